"""Exported to ONNX and read back: the same states, sizes and products."""

from dataclasses import replace

import pytest
import torch
from dphubert_file import WAVLM, published
from tiny_encoder import TINY, encode

from bench.errors import InvalidDataError, UsageError
from bench.load.loader import load_upstream
from bench.load.modifiers import modify
from bench.measure import export
from bench.measure.cost import measure, num_params
from bench.measure.export import export_onnx
from upstreams.encoder.kaldi import KaldiConfig
from upstreams.encoder.state import build, random_state
from upstreams.importers.dphubert import import_pruned
from upstreams.onnx.form import OneUtterance

# A front end of three blocks, of 20 ms as all: the time of a trace grows with the graph.
SMALL = replace(TINY, conv_layers=((32, 10, 5), (32, 8, 8), (32, 8, 8)))


def unlike(config, state):
    """An encoder, no two tensors of it alike: an exporter keeps equal ones once."""
    generator = torch.Generator().manual_seed(1)
    for tensor in state.values():
        tensor += 0.02 * torch.randn(tensor.shape, generator=generator)
    return build(config, state)


@pytest.fixture(scope="module")
def upstream():
    return unlike(SMALL, random_state(SMALL, 0))


@pytest.fixture(scope="module")
def program(upstream):
    return export._traced(OneUtterance(upstream).eval(), upstream)


def test_an_encoder_goes_there_and_back(tmp_path, monkeypatch, upstream, program):
    monkeypatch.setattr(export, "_traced", lambda *_: program)
    done = export_onnx(upstream, tmp_path / "tiny.onnx")
    assert done.worst <= 1e-5 and done.states == 3 and done.lengths[0] == 325
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.onnx"]
    again = load_upstream(f"onnx:{tmp_path}/tiny.onnx").upstream
    for num_samples in (400, 5_111, 20_000):
        pairs = zip(encode(again, num_samples), encode(upstream, num_samples), strict=True)
        for state, reference in pairs:
            assert float((state - reference).norm() / reference.norm()) <= 1e-5
    assert measure(again, 2.0).macs_per_second == measure(upstream, 2.0).macs_per_second
    # The mask embedding is in no graph, and the positional convolution's gain is folded.
    folded = upstream.mask_embedding.numel() + upstream.pos_conv.gain.numel()
    assert num_params(again) == pytest.approx(num_params(upstream) - folded, abs=64)


def test_a_graph_that_differs_is_not_kept(tmp_path, monkeypatch, program):
    monkeypatch.setattr(export, "_traced", lambda *_: program)
    other = build(SMALL, random_state(SMALL, 1))
    with pytest.raises(InvalidDataError, match="differs from the module by"):
        export_onnx(other, tmp_path / "tiny.onnx")
    assert not list(tmp_path.iterdir())


def students():
    """FitHuBERT's and ARMHuBERT's parts in one: time reduced and expanded, maps reused."""
    reducing = {"time_reduction": 2, "layer_projection": 48, "tap": "projections"}
    config = replace(SMALL, reuses=(False, True), **reducing)
    return config, random_state(config, 0)


def pruned():
    """DPWavLM's: layers without attention or feed-forward, single heads, gated positions."""
    config, _ = import_pruned(published(dict(WAVLM)))
    three = {name: getattr(config, name)[:3] for name in ("heads", "ffn", "kept_heads")}
    config = replace(config, **three)
    return config, random_state(config, 0)


def banked():
    """A subnet of a supernet with a filter bank: its positions are those of a wider encoder."""
    mel = {"extractor_mode": "mel", "conv_layers": ((80, 400, 320),), "normalize_wav": True}
    wider = {"sinusoidal_positions": True, "sinusoidal_width": 2 * TINY.embed_dim}
    config = replace(TINY, feature_norm=False, **mel, **wider)
    return config, random_state(config, 0)


@pytest.mark.parametrize(("made", "states"), [(students, 2), (pruned, 4), (banked, 3)])
def test_encoders_of_other_shapes_go_there_and_back(made, states, tmp_path):
    upstream = unlike(*made())
    done = export_onnx(upstream, tmp_path / "tiny.onnx")
    assert done.worst <= 1e-5 and done.states == states
    again = load_upstream(f"onnx:{tmp_path}/tiny.onnx").upstream
    assert (again.stride, again.min_samples) == (upstream.stride, upstream.min_samples)
    for num_samples in (upstream.min_samples, 5_111):
        assert again.num_frames(num_samples) == upstream.num_frames(num_samples)


def test_what_cannot_be_exported(tmp_path):
    with pytest.raises(UsageError, match="only upstreams of the encoder family"):
        export_onnx(load_upstream("fbank").upstream, tmp_path / "a.onnx")
    with pytest.raises(UsageError, match="and without @int8 or @bf16-weights; this is Modified"):
        modified, _ = modify(build(TINY, random_state(TINY, 0)), "bf16-weights")
        export_onnx(modified, tmp_path / "a.onnx")
    config = replace(TINY, feature_norm=False, first_state="projection", kaldi=KaldiConfig())
    with pytest.raises(UsageError, match="Kaldi's filter bank cannot be exported"):
        export_onnx(build(config, random_state(config, 0)), tmp_path / "a.onnx")
    with pytest.raises(UsageError, match=r"ends in \.onnx"):
        export_onnx(load_upstream("fbank").upstream, tmp_path / "a.pt")
