"""Linear maps in oneDNN's layout: the same products, never stale, no gradient lost."""

import copy

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from references import alone, noise, relative_error

from bench.engine import Engine
from bench.features.placement import place
from upstreams.encoder.config import EncoderConfig
from upstreams.encoder.products import Linear, can_pack
from upstreams.encoder.state import build, random_state

needs_onednn = pytest.mark.skipif(not can_pack(), reason="this torch cannot pack")


@pytest.fixture
def linear():
    torch.manual_seed(0)
    linear = Linear(48, 32).requires_grad_(False)
    linear.pack()
    return linear


def frames(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


@needs_onednn
@pytest.mark.parametrize("shape", [(1, 7, 48), (3, 5, 48), (2, 48)])
def test_packed_is_the_same_product(linear, shape):
    x = frames(*shape)
    with torch.inference_mode():
        expected = F.linear(x, linear.weight, linear.bias)
        assert relative_error(linear(x), expected) < 1e-5
        assert linear._fits(linear.packed, x)


@needs_onednn
def test_another_weight_is_never_answered_by_the_old_one(linear):
    x = frames(4, 48)
    with torch.no_grad():
        linear.weight.mul_(2)
        assert relative_error(linear(x), F.linear(x, linear.weight, linear.bias)) < 1e-5
        linear.pack()
        assert linear._fits(linear.packed, x)
        linear.load_state_dict({"weight": torch.ones(32, 48), "bias": torch.zeros(32)}, assign=True)
        assert relative_error(linear(x), x.sum(dim=1, keepdim=True).expand(4, 32)) < 1e-5


@needs_onednn
def test_a_gradient_and_bf16_take_the_plain_way(linear):
    x = frames(4, 48).requires_grad_()
    linear(x).sum().backward()
    assert relative_error(x.grad, linear.weight.sum(dim=0).expand(4, 48)) < 1e-5
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert linear(x).dtype == torch.bfloat16


@needs_onednn
def test_a_copy_is_not_packed(linear):
    assert copy.deepcopy(linear).packed is None
    assert set(linear.state_dict()) == {"weight", "bias"}


@needs_onednn
def test_a_layout_that_computes_something_else_is_not_used(linear, monkeypatch):
    monkeypatch.setattr(
        "upstreams.encoder.products._packed_product", lambda x, *_: torch.zeros(1, 4, 32)
    )
    fresh = copy.deepcopy(linear)
    fresh.pack()
    assert fresh.packed is None


def test_the_engine_packs_for_float32_on_the_cpu_only():
    config = EncoderConfig(heads=(2, 2), ffn=(64, 64), head_dim=32, embed_dim=64)
    plain = build(config, random_state(config, seed=0))
    expected = alone(plain, noise(4_000)).states
    parts = [part for part in plain.modules() if isinstance(part, Linear)]
    place(plain, Engine(precision="bf16"))
    assert all(part.packed is None for part in parts)
    place(plain, Engine())
    assert all((part.packed is not None) == can_pack() for part in parts)
    for state, reference in zip(alone(plain, noise(4_000)).states, expected, strict=True):
        assert relative_error(state, reference) < 1e-5
