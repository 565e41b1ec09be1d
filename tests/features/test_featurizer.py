"""The weighted sum against its definition."""

import torch

from bench.features.weighted_sum import Moments, WeightedSum


def test_starts_as_the_plain_mean():
    stacked = torch.randn(5, 2, 7, 3)
    torch.testing.assert_close(WeightedSum(5)(stacked), stacked.mean(dim=0))


def test_equals_softmax_weighted_sum():
    module, stacked = WeightedSum(4), torch.randn(4, 2, 6, 3)
    with torch.no_grad():
        module.logits.copy_(torch.tensor([0.1, -1.0, 2.0, 0.0]))
    weights = torch.softmax(module.logits, 0)
    expected = sum(weights[layer] * stacked[layer] for layer in range(4))
    torch.testing.assert_close(module(stacked), expected)
    torch.testing.assert_close(weights.sum(), torch.tensor(1.0))


def test_one_layer_has_nothing_to_learn():
    module = WeightedSum(1)
    assert not list(module.parameters())
    stacked = torch.randn(1, 2, 6, 3)
    torch.testing.assert_close(module(stacked), stacked[0])


def test_one_state_can_be_chosen():
    module, stacked = WeightedSum(3), torch.randn(3, 2, 6, 3)
    for layer in (2, 0):
        module.choose(layer)
        assert module.weights().tolist() == [float(index == layer) for index in range(3)]
        torch.testing.assert_close(module(stacked), stacked[layer])
    assert module.logits.requires_grad
    WeightedSum(1).choose(0)  # nothing to choose from


def test_standardised_equals_z_scoring_first():
    mean, std = torch.randn(4, 3), torch.rand(4, 3) + 0.5
    module, stacked = WeightedSum(4, Moments(mean, std)), torch.randn(4, 2, 6, 3) * 5
    with torch.no_grad():
        module.logits.copy_(torch.randn(4))
    scored = (stacked - mean[:, None, None]) / std[:, None, None]
    expected = torch.einsum("l,lbtd->btd", torch.softmax(module.logits, 0), scored)
    torch.testing.assert_close(module(module.standardize(stacked)), expected, rtol=1e-4, atol=1e-5)


def test_dead_dimensions_are_not_blown_up():
    std = torch.tensor([[1.0, 1.0, 1e-6]])
    assert Moments(torch.zeros(1, 3), std).floored_std()[0, 2] == 0.1
    still = torch.full((1, 3), 1e-8)
    assert (Moments(torch.zeros(1, 3), still).floored_std() == 1e-3).all()
