"""Controls without a network: what a code of a frame is, and what it does not depend on."""

import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import rbf_kernel

from bench.api import UpstreamSource
from bench.errors import UsageError
from bench.load.loader import load_upstream
from upstreams.frame_codes import FrameCode, load

CONFIG = {"kind": "random", "size": 16, "top_hz": 3_800.0, "spread": 2.0}


def code(kind="units", size=5, spread=2.0):
    upstream = FrameCode(kind, size, top_hz=3_800.0, spread=spread)
    torch.manual_seed(0)
    torch.nn.init.normal_(upstream.centres)
    if upstream.phases is not None:
        torch.nn.init.uniform_(upstream.phases, 0, 2 * torch.pi)
    return upstream.freeze()


def test_units_are_the_posterior_of_equal_gaussians():
    upstream, frames = code(), torch.randn(7, 39)
    squared = torch.cdist(frames, upstream.centres) ** 2
    expected = (-squared / (2 * 2.0**2)).softmax(dim=1)
    assert torch.allclose(upstream._code(frames), expected, atol=1e-6)


def test_random_features_have_the_products_of_a_gaussian_kernel():
    upstream, frames = code("random", 20_000, spread=6.0), torch.randn(6, 39)
    values = upstream._code(frames).double().numpy()
    kernel = rbf_kernel(frames.numpy(), gamma=1 / (2 * 6.0**2))
    assert np.abs(values @ values.T - kernel).max() < 0.05


@pytest.mark.parametrize("kind", ["units", "random"])
def test_a_code_does_not_depend_on_the_batch(kind):
    upstream = code(kind)
    wavs = torch.randn(2, 8_000)
    lengths = torch.tensor([8_000, 5_000])
    (states,), frames = upstream(wavs, lengths)
    (alone,), _ = upstream(wavs[1:, :5_000], lengths[1:])
    assert frames.tolist() == [upstream.num_frames(8_000), upstream.num_frames(5_000)]
    assert torch.equal(states[1, : frames[1]], alone[0])


def test_another_seed_gives_other_features():
    def features(variant):
        return load(UpstreamSource(CONFIG, variant)).centres

    assert torch.equal(features(None), features("seed=0"))
    assert not torch.equal(features(None), features("seed=1"))


@pytest.mark.parametrize("variant", ["seed=x", "size=3", "seed"])
def test_other_variants_are_refused(variant):
    with pytest.raises(UsageError, match="seed=NUMBER"):
        load(UpstreamSource(CONFIG, variant))


@pytest.mark.parametrize("name", ["mfcc_units", "random_features", "random_features@seed=2"])
def test_the_cards_load(name):
    loaded = load_upstream(name)
    assert (loaded.name.text(), loaded.card.family) == (name, "control")
    with pytest.raises(UsageError):
        load_upstream("mfcc_units@seed=2")
