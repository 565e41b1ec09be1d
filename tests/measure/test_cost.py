"""MACs by hand, against the published figures and on both devices; time, memory, bytes."""

import platform
import sys
from dataclasses import replace

import pytest
import torch
from published_files import BASE
from torch import nn
from toys import ToyUpstream

from bench.api import Hidden, Upstream
from bench.errors import MissingError
from bench.load.loader import load_upstream
from bench.measure import operations, timing
from bench.measure.cost import (
    SLT2022_BUCKETS,
    cost_report,
    cost_table,
    measure,
    num_params,
    real_time_factor,
    standard_macs,
    stored_bytes,
)
from bench.measure.macs import count
from bench.measure.timing import peak_memory_bytes, time_upstream
from bench.records.cost_report import BucketMacs, Timing
from upstreams.encoder.state import build, random_state


class Wrapped(Upstream):
    """Any module on frames of 320 samples: (B, S) to (B, T, 320), then the module."""

    num_layers, hidden_size, stride, min_samples = 1, 320, 320, 320

    def __init__(self, module):
        super().__init__()
        self.module = module
        self.freeze()
        nn.Module.train(module, False)

    def num_frames(self, num_samples):
        return num_samples // 320

    def forward(self, wavs, lengths):
        out = self.module(wavs.unfold(1, 320, 320))
        return Hidden((out[0] if isinstance(out, tuple) else out,), lengths // 320)


class Lambda(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class Sdpa(nn.Module):
    """Attention of 4 heads of width 80 over (B, T, 320) without projections."""

    def forward(self, x):
        heads = x.unflatten(-1, (4, 80)).transpose(1, 2)
        out = nn.functional.scaled_dot_product_attention(heads, heads, heads)
        return out.transpose(1, 2).flatten(2)


class Eager(nn.Module):
    """The same attention, written out."""

    def forward(self, x):
        heads = x.unflatten(-1, (4, 80)).transpose(1, 2)
        weights = (heads @ heads.transpose(-1, -2) / 80**0.5).softmax(-1)
        return (weights @ heads).transpose(1, 2).flatten(2)


class Values(nn.Module):
    """Looks at its input, which the meta device cannot."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, x):
        assert float(x.abs().max()) >= 0.0
        return self.module(x)


GE2E_PARAMS = 4 * 256 * (40 + 256 + 2) + 2 * 4 * 256 * (256 + 256 + 2) + 256 * 257
N = 50  # frames in a second
ENCODER = N * (4 * 320 * 320 + 2 * 320 * 640) + 2 * N * N * 320
BY_HAND = {
    "linear": (lambda: nn.Linear(320, 7), N * 320 * 7),
    "conv": (
        lambda: nn.Sequential(
            Lambda(lambda x: x.transpose(1, 2)),
            nn.Conv1d(320, 32, 3, padding=1, groups=4),
            Lambda(lambda x: x.transpose(1, 2)),
        ),
        N * 3 * 80 * 32,
    ),
    "sdpa": (Sdpa, 2 * N * N * 320),
    "eager attention": (Eager, 2 * N * N * 320),
    "lstm": (lambda: nn.LSTM(320, 16, batch_first=True), N * 4 * 16 * (320 + 16)),
    "bilstm, 2 layers": (
        lambda: nn.LSTM(320, 16, num_layers=2, bidirectional=True, batch_first=True),
        2 * N * 4 * 16 * ((320 + 16) + (32 + 16)),
    ),
    "gru": (lambda: nn.GRU(320, 16, batch_first=True), N * 3 * 16 * (320 + 16)),
    "encoder layer, fused on CPU": (
        lambda: nn.TransformerEncoderLayer(320, 4, 640, batch_first=True),
        ENCODER,
    ),
    "norms, softmax and activations": (
        lambda: nn.Sequential(nn.LayerNorm(320), nn.GELU(), nn.Softmax(-1), nn.Dropout()),
        0,
    ),
    "einsum": (
        lambda: Lambda(lambda x: torch.einsum("btd,bsd->bts", x, x)),
        N * N * 320,
    ),
}


@pytest.mark.parametrize("device", ["meta", "cpu"])
@pytest.mark.parametrize("name", BY_HAND)
def test_macs_by_hand_on_both_devices(name, device):
    build, expected = BY_HAND[name]
    module = build() if device == "meta" else Values(build())
    found = count(Wrapped(module), 16_000)
    assert found.device == ("cpu" if "lstm" in name else device)  # where LSTMs are one operation
    assert found.macs("plain") == expected


def test_attention_terms_of_the_challenge():
    found = count(Wrapped(Sdpa()), 16_000)
    extra = 4 * N * 320 + 4 * 4 * N * N
    assert found.macs("superb_slt2022") - found.macs("plain") == extra
    assert count(Wrapped(nn.Linear(320, 7)), 16_000).attention_terms == 0


def test_models_trained_without_dropout_have_one_term_less():
    upstream = Wrapped(Sdpa())
    upstream.attention_dropout = False
    found = count(upstream, 16_000)
    assert found.attention_terms == 4 * N * 320 + 3 * 4 * N * N


def test_an_unknown_operation_is_named_and_the_rest_is_counted():
    module = nn.Sequential(nn.Linear(320, 320), Lambda(lambda x: x + torch.linalg.lu_factor(x)[0]))
    cost = measure(Wrapped(module), seconds=1.0)  # N x 320 frames: one layer and no more
    assert cost.macs_per_second == N * 320 * 320
    assert "aten.linalg_lu_factor_ex.default" in cost.uncounted


class Buffers(nn.Module):
    """Two matrices in buffers: one is stored, the other one is computed when the module is made."""

    def __init__(self):
        super().__init__()
        self.register_buffer("weight", torch.rand(320, 320))
        self.register_buffer("filters", torch.rand(320, 320), persistent=False)
        self.register_buffer("unused", torch.rand(7, 7))

    def forward(self, x):
        return x @ self.weight.t() @ self.filters


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_a_stored_buffer_that_is_a_weight_counts_as_parameters(device):
    module = Buffers() if device == "meta" else Values(Buffers())
    assert count(Wrapped(module), 16_000).device == device
    assert measure(Wrapped(module)).params == 320 * 320


def test_a_free_operation_that_is_forgotten_would_be_found(monkeypatch):
    monkeypatch.setattr(operations, "FREE_OPERATIONS", frozenset())
    assert "aten.native_layer_norm.default" in count(Wrapped(nn.LayerNorm(320)), 16_000).uncounted


def test_counting_changes_nothing():
    upstream = ToyUpstream()
    before = {key: value.clone() for key, value in upstream.state_dict().items()}
    fast = torch.backends.mha.get_fastpath_enabled()
    first, second = count(upstream, 3_200), count(upstream, 3_200)
    assert first == second and first.device == "meta"
    assert first.plain == 10 * (320 * 8 + 2 * 8 * 8)
    assert all(torch.equal(before[key], value) for key, value in upstream.state_dict().items())
    assert all(not value.is_meta for value in upstream.parameters())
    assert torch.backends.mha.get_fastpath_enabled() is fast


def test_an_encoder_counts_alike_on_both_devices_and_in_the_layout_of_onednn():
    encoder = build(BASE, random_state(BASE, 0))
    plain = count(encoder, 16_000)
    assert plain.device == "meta" and not plain.uncounted
    encoder.lay_out()
    assert count(encoder, 16_000) == plain
    assert count(encoder, 16_000, once=True) == replace(plain, device="cpu")


def test_counting_a_small_upstream_once_does_not_import_the_compiler(monkeypatch):
    for name in ("torch._dynamo", "sympy"):
        monkeypatch.setitem(sys.modules, name, None)  # an import fails
    encoder = build(BASE, random_state(BASE, 0))
    assert count(encoder, 16_000, once=True).plain > 0


class Branches(nn.Module):
    """A `torch.cond` of which the cheaper branch runs: one map of two."""

    def __init__(self):
        super().__init__()
        self.cheap, self.dear = nn.Linear(320, 320), nn.Linear(320, 640)

    def forward(self, x):
        branches = (lambda y: self.dear(y).sum(-1, True), lambda y: self.cheap(y).sum(-1, True))
        return torch.cond(x.sum() > 0, *branches, (x,))


@pytest.mark.parametrize("once", [False, True])
def test_the_larger_branch_counts(once):
    counted = count(Wrapped(Branches()), 16_000, once=once)
    assert counted.plain == N * 320 * 640


@pytest.fixture(scope="module")
def hubert():
    return load_upstream("hubert_base+untrained").upstream


def check_hubert_base(upstream):
    plain, official = standard_macs(upstream)
    shares = [getattr(official, name) for name in SLT2022_BUCKETS]
    # README of B06901052/DeepSpeed, branch superb-challenge; methods of the SLT 2022 challenge.
    assert [f"{share / 1e9:.2f}" for share in shares] == ["149.26", "261.28", "422.37", "836.25"]
    assert f"{official.total / 1e12:.2f}" == "1.67"
    assert f"{official.per_second_min / 1e9:.2f}" == "7.00"
    assert f"{official.per_second_max / 1e9:.2f}" == "7.92"
    assert f"{plain.total / 1e9:.1f}" == "1665.5"
    assert plain.total < official.total


def test_hubert_base_costs_what_the_challenge_published(hubert):
    check_hubert_base(hubert)
    cost = measure(hubert)
    assert cost.params == 94_371_712
    assert cost.macs_per_second == pytest.approx(7.4066523136e9, rel=1e-12)
    assert (cost.layers, cost.hidden_size, cost.stride) == (13, 768, 320)


@pytest.mark.slow
def test_transformers_hubert_base_costs_the_same():
    """The rule looks at what runs, not at whose classes run."""
    from bench.sound.torchaudio_guard import import_torchaudio

    import_torchaudio()
    transformers = pytest.importorskip("transformers")

    class Hugging(Upstream):
        num_layers, hidden_size, stride, min_samples = 13, 768, 320, 400

        def __init__(self):
            super().__init__()
            with torch.device("meta"):
                self.model = transformers.HubertModel(transformers.HubertConfig())
            nn.Module.train(self.model, False)

        def num_frames(self, num_samples):
            raise NotImplementedError

        def forward(self, wavs, lengths):
            states = self.model(wavs, output_hidden_states=True).hidden_states
            return Hidden(tuple(states), lengths)

    check_hubert_base(Hugging())


@pytest.mark.parametrize(
    ("name", "params", "plain_giga"),
    [
        ("fbank", 0, 0.0),  # torchaudio's front end is not counted, by either rule
        ("ge2e+untrained", GE2E_PARAMS, None),
        ("distilhubert+untrained", 23_491_200, None),
        ("lighthubert_small@min+untrained", 11_449_088, None),
        ("lighthubert_small+untrained", 26_879_744, None),
    ],
)
def test_cards_cost_what_they_are(name, params, plain_giga):
    upstream = load_upstream(name).upstream
    cost = measure(upstream, seconds=1.0)
    assert cost.params == num_params(upstream) == params
    if plain_giga is not None:
        assert cost.macs_per_second == plain_giga
    else:
        assert cost.macs_per_second > cost.params  # every weight is used at least once a second


def test_ge2e_by_hand():
    """Three LSTM layers of 256, the projection and the mel product (201, 40), at 101 frames."""
    expected = 101 * (4 * 256 * (40 + 256) + 2 * 4 * 256 * 512 + 256 * 256 + 201 * 40)
    assert count(load_upstream("ge2e+untrained").upstream, 16_000).plain == expected


def test_two_layers_of_hubert_base(hubert):
    """Published for DistilHuBERT without its heads: 785.3 G over the 32 utterances."""
    layers = hubert.layers
    hubert.layers = layers[:2]
    try:
        total = standard_macs(hubert)[0].total
    finally:
        hubert.layers = layers
    assert f"{total / 1e9:.1f}" == "785.3"


def test_stored_bytes_are_those_of_the_file():
    upstream = ToyUpstream()
    payload = 4 * num_params(upstream)
    whole = stored_bytes(upstream)
    assert payload < whole < payload + 1_000
    upstream.layers[1] = upstream.layers[0]  # tied: once
    assert stored_bytes(upstream) <= whole - 4 * (8 * 8 + 8)


def test_a_processor_has_the_name_that_the_system_gives(tmp_path, monkeypatch):
    monkeypatch.setattr(timing, "CPU_FILE", tmp_path / "cpuinfo")
    assert timing.cpu_name() == platform.machine()
    (tmp_path / "cpuinfo").write_text("flags\t\t: fpu\nmodel name\t: Abacus 3000\nmodel\t: 1\n")
    assert timing.cpu_name() == "Abacus 3000"


def test_timing_runs_in_turn_on_one_thread():
    seen = []

    class Noted(ToyUpstream):
        def forward(self, wavs, lengths):
            seen.append((self, torch.get_num_threads(), torch.is_inference_mode_enabled()))
            return super().forward(wavs, lengths)

    threads = torch.get_num_threads()
    a, b = Noted(), Noted()
    timing = time_upstream(a, b, seconds=0.5, runs=4)
    assert [model for model, _, _ in seen] == [a, b] * 5
    assert {(count, mode) for _, count, mode in seen} == {(1, True)}
    assert torch.get_num_threads() == threads
    assert timing.rtf > 0 and timing.rtf_iqr >= 0 and timing.speedup > 0
    assert time_upstream(a, seconds=0.5, runs=2).reference_rtf is None
    assert real_time_factor(a) > 0
    with pytest.raises(ValueError, match="at least 2"):
        time_upstream(a, runs=1)


def test_peak_memory_of_a_fresh_process(tmp_path, monkeypatch):
    (tmp_path / "heavy_toy.py").write_text(
        "import torch\n"
        "from types import SimpleNamespace\n"
        "class Heavy(torch.nn.Module):\n"
        "    def forward(self, wavs, lengths):\n"
        "        return torch.ones(25_000_000).sum()  # 100 MB\n"
        "def load(name):\n"
        "    torch.ones(100_000_000).sum()  # 400 MB that only loading needs\n"
        "    return SimpleNamespace(upstream=Heavy())\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = peak_memory_bytes("x", 1.0, loader="heavy_toy:load")
    assert found > 90e6
    if sys.platform == "linux":
        assert found < 250e6
    failing = tmp_path / "python"
    failing.write_text("#!/bin/sh\necho 'a traceback' >&2\necho 'last words' >&2\nexit 1\n")
    failing.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(failing))
    with pytest.raises(MissingError, match=r"memory of nosuch: .*: last words"):
        peak_memory_bytes("nosuch", 1.0)


def test_report_is_json_and_a_table():
    report = cost_report(ToyUpstream(), "toy", timing=False, seconds=1.0)
    assert type(report).model_validate_json(report.model_dump_json()) == report
    text = str(cost_table(report))
    assert "plain" in text and "superb_slt2022" in text and "toy" in text
    macs = BucketMacs(
        rule="superb_slt2022", short=1, medium=2, long=3, longer=4, total=10,
        per_second_min=1.0, per_second_max=2.0,
    )  # fmt: skip
    timing = Timing(
        seconds=10.0, runs=5, rtf=0.25, rtf_iqr=0.01,
        reference_rtf=0.5, reference_iqr=0.02, speedup=2.0,
    )  # fmt: skip
    full = report.model_copy(
        update={"buckets": (macs,), "timing": timing, "peak_memory_bytes": 150_000_000}
    )
    text = str(cost_table(full, "superb_slt2022"))
    assert "0.2500 (IQR 0.0100)" in text and "2.00 x" in text and "150 MB" in text
    assert "32 utterances" not in str(cost_table(full, "plain"))
    beside = full.model_copy(update={"reported": {"params": 94.68e6, "macs_superb": 1669.0e9}})
    text = str(cost_table(beside))
    assert ", published 94.68 M)" in text and "0.0 G (published 1,669.0 G)" in text
    assert "published" not in str(cost_table(full))
