"""int8 and bf16-weights: near the upstream itself, with their own sizes, identity and names."""

import pytest
import torch
from models import TwoStates
from tiny_encoder import encode, tiny
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from bench.api import Hidden, Upstream
from bench.errors import InvalidDataError, UsageError
from bench.load.loader import load_upstream
from bench.load.modifiers import modify
from bench.load.recurrent import Int8Recurrent
from bench.measure.check import check
from bench.measure.cost import measure, num_params, stored_bytes
from bench.session import Session
from upstreams.sources.adapter import Adapter


@pytest.mark.parametrize(("modifier", "share"), [("int8", 0.75), ("bf16-weights", 0.55)])
def test_a_modified_upstream(modifier, share):
    plain, (modified, made_by) = tiny(), modify(tiny(), modifier)
    assert made_by.split()[0] in ("torch", "torchao")
    for state, reference in zip(encode(modified), encode(plain), strict=True):
        assert state.dtype == torch.float32 and state.shape == reference.shape
        error = float((state - reference).norm() / reference.norm())
        assert 1e-4 < error < 0.05
    assert num_params(modified) == num_params(plain)
    assert measure(modified, 2.0) == measure(plain, 2.0)
    assert stored_bytes(modified) < share * stored_bytes(plain)
    results = check(modified)
    assert all(item.ok for item in results), results


FILTER_BANKS = ["ge2e", "house_whisper_ofa", "campplus+untrained"]


@pytest.mark.parametrize("name", FILTER_BANKS)
def test_filter_banks_are_computed_in_float32(name):
    """CPUs have no Fourier transform in bfloat16."""
    modified, _ = modify(load_upstream(name).upstream, "bf16-weights")
    plain = load_upstream(name).upstream
    for state, reference in zip(encode(modified), encode(plain), strict=True):
        assert float((state - reference).norm() / reference.norm()) < 0.1


def test_sizes_by_hand():
    """int8: a byte a weight and a float a row; the rest as it was."""
    linear = [(3 * 64, 64), (64, 64), (256, 64), (64, 256)] * 2 + [(64, 32)]
    weights = sum(rows * columns for rows, columns in linear)
    scales = sum(rows for rows, _ in linear)
    saved = stored_bytes(tiny()) - stored_bytes(modify(tiny(), "int8")[0])
    assert saved == pytest.approx(3 * weights - 4 * scales, abs=8 * 2_048)  # and headers


SHAPES = [
    (nn.LSTM, {"batch_first": True}),
    (nn.LSTM, {"num_layers": 2, "bidirectional": True, "proj_size": 8}),
    (nn.GRU, {"bias": False}),
]


@pytest.mark.parametrize(("kind", "options"), SHAPES)
def test_an_int8_recurrent_layer_stands_in_for_the_layer(kind, options):
    torch.manual_seed(0)
    layer, x = kind(24, 32, **options).eval(), torch.randn(3, 20, 24)
    small = Int8Recurrent(layer).eval()
    lengths = torch.tensor([5, 20, 11])
    first = options.get("batch_first", False)
    packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    with torch.no_grad():
        for given in (x if first else x.transpose(0, 1), packed):
            (wanted, last), (found, own) = layer(given), small(given)
            pairs = [(wanted.data, found.data)]
            states = [(last, own)] if kind is nn.GRU else list(zip(last, own, strict=True))
            for one, two in [*pairs, *states]:
                assert one.shape == two.shape
                assert 0 < float((one - two).norm() / one.norm()) < 0.02
    for name, weight in layer.state_dict().items():
        kept = getattr(small, name).detach()
        if weight.dim() == 2:  # half a step of the row's scale is the most that rounding moves
            step = weight.abs().amax(1, keepdim=True) / 127
            assert kept.dtype == torch.int8
            assert float((kept * step - weight).abs().div(step).max()) < 0.501
        else:
            assert torch.equal(kept, weight)
    with pytest.raises(ValueError, match="from zeros"):
        small(x, last)


def test_a_recurrent_upstream():
    plain = load_upstream("ge2e+untrained:3").upstream
    loaded = load_upstream("ge2e@int8+untrained:3")
    for state, reference in zip(encode(loaded.upstream), encode(plain), strict=True):
        assert 0 < float((state - reference).norm() / reference.norm()) < 0.05
    assert num_params(loaded.upstream) == num_params(plain) == 1_423_616
    assert measure(loaded.upstream, 1.0) == measure(plain, 1.0)
    # A byte a weight and a float a row, except in the first map of inputs; biases do not change.
    small = 5 * 1_024 * 256 + 256 * 256
    saved = stored_bytes(plain) - stored_bytes(loaded.upstream)
    assert saved == pytest.approx(3 * small - 4 * (5 * 1_024 + 256), abs=2_048)
    results = check(loaded.upstream)
    assert all(item.ok for item in results), results


@pytest.fixture
def tiny_card(tmp_path):
    path = tmp_path / "card.yaml"
    path.write_text(
        "name: mine\ntitle: M\nfamily: distilled\nload: upstreams.importers.hubert:load\n"
        "config: {num_layers: 2, embed_dim: 64, heads: 2, head_dim: 32, ffn: 256,\n"
        "  conv_layers: [[32, 10, 5], [32, 3, 4], [32, 3, 4], [32, 4, 4]],\n"
        "  pos_conv_groups: 4, mask_embedding: 64}\ncheckpoint: {file: none.pt}\n"
    )
    return path


def test_names_and_identity(tiny_card):
    names = ("mine+untrained", "mine@int8+untrained", "mine@bf16-weights+untrained")
    loaded = [load_upstream(name, Session(cards=[tiny_card])) for name in names]
    assert [item.name.text() for item in loaded] == list(names)
    assert len({item.digest for item in loaded}) == 3
    again = load_upstream(names[1], Session(cards=[tiny_card]))
    assert again.digest == loaded[1].digest
    for state, same in zip(encode(again.upstream), encode(loaded[1].upstream), strict=True):
        assert torch.equal(state, same)


class ReadsWeights(nn.Module):
    """A model that multiplies by its layers' weights itself, as many attentions do."""

    def __init__(self):
        super().__init__()
        self.inner = TwoStates(width=512)

    def forward(self, wavs):
        first = self.inner.conv(wavs[:, None]).transpose(1, 2)
        return torch.baddbmm(first, first, self.inner.linear.weight.view(512, 512)[None])


def test_what_cannot_be_modified():
    with pytest.raises(UsageError, match="no weights of torch's"):
        load_upstream("fbank@int8")
    with pytest.raises(UsageError, match="only 256 of 6,688 parameters are in linear and"):
        modify(Adapter(TwoStates(), "m"), "int8")
    with pytest.raises(InvalidDataError, match="@int8: the upstream does not run"):
        modify(Adapter(ReadsWeights(), "m"), "int8")


class Overflows(Upstream):
    num_layers, hidden_size, stride, min_samples = 1, 1, 320, 320

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def num_frames(self, num_samples):
        return num_samples // 320

    def forward(self, wavs, lengths):
        state = wavs.unfold(1, 320, 320).mean(-1, keepdim=True) * self.weight / 0
        return Hidden((state,), lengths // 320)


def test_states_that_are_not_finite():
    with pytest.raises(InvalidDataError, match="not finite"):
        modify(Overflows().freeze(), "bf16-weights")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("distilhubert@int9+untrained", "did you mean the modifier 'int8'"),
        ("lighthubert_small@fp16+untrained", "did you mean the modifier 'bf16-weights'"),
    ],
)
def test_near_modifiers_are_suggested(name, words):
    with pytest.raises(UsageError, match=words):
        load_upstream(name)
