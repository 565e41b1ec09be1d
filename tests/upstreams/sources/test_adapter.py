"""The adapter of foreign models: hidden states in their outputs, and measured frame rules."""

import pytest
import torch
from models import TwoStates

from bench.errors import InvalidDataError
from upstreams.sources.adapter import Adapter, as_states, measure_rule


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
