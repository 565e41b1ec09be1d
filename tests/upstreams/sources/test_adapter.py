"""The adapter of foreign models: hidden states in their outputs, and measured frame rules."""

from functools import partial

import pytest
import torch
from models import TwoStates
from torch import nn

from bench.errors import InvalidDataError
from bench.measure.cost import measure
from upstreams.sources.adapter import Adapter, as_states
from upstreams.sources.frame_rule import measure_rule


@pytest.mark.parametrize(
    ("result", "description"),
    [
        (torch.zeros(1, 3), r"float32 tensor \(1, 3\)"),
        (torch.zeros(2, 5, 4), r"tensor \(2, 5, 4\)"),
        ([torch.zeros(1, 5, 4), torch.zeros(1, 5, 3)], "2 items"),
        ([torch.zeros(1, 5, 4).long()], "int64"),
        ({"logits": torch.zeros(1, 5, 4)}, "the keys logits"),
        ([], "0 items"),
        (None, "NoneType"),
    ],
)
def test_other_outputs_are_refused(result, description):
    with pytest.raises(InvalidDataError, match=f"m: expected hidden states.*{description}"):
        as_states(result, "m")


def test_hidden_states_in_an_output():
    state = torch.zeros(1, 5, 4)
    for result in (
        state,
        [state],
        ([state], None),
        (state, torch.tensor([5])),
        {"hidden_states": (state,)},
        torch.zeros(1, 1, 5, 4),
    ):
        assert len(as_states(result, "m")) == 1
    assert len(as_states(torch.zeros(3, 1, 5, 4), "m")) == 3


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        (lambda size: max(0, (size - 400) // 320 + 1), (320, 400, 400)),
        (lambda size: -(-size // 160), (160, 1, 1)),
        (lambda size: size // 160 + 1 if size > 200 else 0, (160, 0, 201)),
        (lambda size: size // 5_000, (5_000, 5_000, 5_000)),
        (lambda size: max(0, ((size - 400) // 320 + 1) // 2 * 2), (320, 720, 720)),
        (lambda size: size // 960 * 3, (320, 960, 960)),
    ],
)
def test_frame_rules_are_measured(frames, expected):
    rule = measure_rule(frames, "m")
    assert (rule.stride, rule.first, rule.min_samples) == expected
    assert all(rule.num_frames(size) == frames(size) for size in range(1, 20_000, 37))


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        (lambda size: 0, "gives no frames, or NaN, for"),
        (lambda size: 1, "more than one a second"),
        (lambda size: size // 640 * 2 + 1, "does not grow evenly"),
        (lambda size: int(size**0.5), "does not grow evenly|the rule measured"),
    ],
)
def test_uneven_frame_rules_are_refused(frames, words):
    with pytest.raises(InvalidDataError, match=words):
        measure_rule(frames, "m")


def test_an_adapter_refuses_other_shapes_than_measured():
    upstream = Adapter(lambda wavs: TwoStates()(wavs), "m")
    upstream.model = lambda wavs: TwoStates()(wavs)[0]
    with pytest.raises(InvalidDataError, match=r"expected \(L, D, T\)"):
        upstream(torch.zeros(1, 4_000), torch.tensor([4_000]))
    with pytest.raises(InvalidDataError, match="at least 400 are needed"):
        upstream(torch.zeros(1, 399), torch.tensor([399]))


class Held(nn.Module):
    """Two layers in registered places, four in a plain list."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(1, 16, 320, 320)
        self.norm = nn.BatchNorm1d(16)
        self.layers = [nn.Sequential(nn.Linear(16, 16), nn.Dropout()) for _ in range(4)]

    def forward(self, wavs):
        x = self.norm(self.conv(wavs[:, None])).transpose(1, 2)
        for layer in self.layers:
            x = layer(x)
        return x


def in_closure(model):
    return lambda wavs: model(wavs)


class Callable:
    def __init__(self, model):
        self.parts = {"model": model}

    def __call__(self, wavs):
        return self.parts["model"](wavs)


@pytest.mark.parametrize(
    "wrap",
    [lambda m: m, lambda m: m.forward, in_closure, Callable, lambda m: partial(m)],
    ids=["module", "method", "closure", "object", "partial"],
)
def test_modules_that_are_not_registered_are_frozen_and_counted(wrap):
    model = Held()
    upstream = Adapter(wrap(model), "held")
    assert not any(part.training for part in (model.norm, *model.layers, model.layers[3][1]))
    assert torch.equal(model.norm.running_mean, torch.zeros(16))  # nothing was learned
    weights = 16 * 320 + 16 + 2 * 16 + 4 * (16 * 16 + 16)
    cost = measure(upstream, seconds=1.0)
    assert (cost.params, cost.macs_per_second) == (weights, 50 * (16 * 320 + 4 * 16 * 16))


def test_the_tensors_of_a_function_count_where_they_are_weights():
    weights, unused = torch.rand(320, 16), torch.rand(5, 5)

    def encode(wavs, unused=unused):
        return wavs[:, : wavs.shape[1] // 320 * 320].reshape(1, -1, 320) @ weights

    assert measure(Adapter(encode, "function"), seconds=1.0).params == 320 * 16


def test_what_torch_packs_in_quantised_layers_is_counted():
    class Frames(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.linear = nn.Conv1d(1, 16, 320, 320), nn.Linear(16, 16)

        def forward(self, wavs):
            return self.linear(self.conv(wavs[:, None]).transpose(1, 2))

    model = torch.ao.quantization.quantize_dynamic(Frames().eval(), {nn.Linear})
    assert measure(Adapter(model, "int8"), seconds=1.0).params == 16 * 320 + 16 + 16 * 16 + 16


def test_a_model_of_one_length_names_what_it_says_of_others():
    def encode(wavs):
        if wavs.shape[1] not in (8_000, 16_000):
            raise ValueError("only one length")
        return wavs[:, None, :320]

    with pytest.raises(InvalidDataError, match=r"with \d+ samples it fails: only one length"):
        Adapter(encode, "fixed")


def test_a_model_whose_last_axis_is_time_is_refused():
    with pytest.raises(InvalidDataError, match="swap the last two axes"):
        Adapter(lambda wavs: TwoStates()(wavs)[0].transpose(1, 2), "m")


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (TwoStates().half(), "m: fails on .* float32: RuntimeError"),
        (lambda wavs, more: wavs, "m: fails on .*: TypeError"),
    ],
)
def test_a_model_that_fails_is_one_line(model, words):
    with pytest.raises(InvalidDataError, match=words) as caught:
        Adapter(model, "m")
    assert "\n" not in str(caught.value)
