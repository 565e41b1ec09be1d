"""Exported to ONNX and read back: the same states, sizes and products."""

import pytest
import torch
from test_modify import TINY, encode

from bench import export
from bench.cost import measure, num_params
from bench.errors import InvalidDataError, UsageError
from bench.export import export_onnx
from bench.load import load_upstream
from upstreams.onnx_form import OneUtterance
from upstreams.state import build, random_state


@pytest.fixture(scope="module")
def upstream():
    """The tiny encoder, no two tensors of it alike: an exporter keeps equal ones once."""
    state = random_state(TINY, 0)
    generator = torch.Generator().manual_seed(1)
    for tensor in state.values():
        tensor += 0.02 * torch.randn(tensor.shape, generator=generator)
    return build(TINY, state)


@pytest.fixture(scope="module")
def program(upstream):
    return export._traced(OneUtterance(upstream).eval(), upstream.num_layers)


def test_an_encoder_goes_there_and_back(tmp_path, monkeypatch, upstream, program):
    monkeypatch.setattr(export, "_traced", lambda *_: program)
    done = export_onnx(upstream, tmp_path / "tiny.onnx")
    assert done.worst <= 1e-5 and done.states == 3 and done.lengths[0] == 400
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
    other = build(TINY, random_state(TINY, 1))
    with pytest.raises(InvalidDataError, match="differs from the module by"):
        export_onnx(other, tmp_path / "tiny.onnx")
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_exported(tmp_path):
    with pytest.raises(UsageError, match="only upstreams of the encoder family"):
        export_onnx(load_upstream("fbank").upstream, tmp_path / "a.onnx")
    with pytest.raises(UsageError, match=r"ends in \.onnx"):
        export_onnx(load_upstream("fbank").upstream, tmp_path / "a.pt")
