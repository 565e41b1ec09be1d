"""Heads of speaker verification, layer by layer against their formulas."""

import pytest
import torch
from torch import nn

from downstreams.speaker import (
    CONTEXTS,
    LOST_FRAMES,
    LinearSpeaker,
    MarginSoftmax,
    XVector,
    _at_least,
    _mean_and_std,
)


def test_margin_softmax_is_cross_entropy_of_scaled_cosines_less_a_margin():
    torch.manual_seed(0)
    softmax = MarginSoftmax(5, 3, scale=7.0, margin=0.3)
    vectors, index = torch.randn(4, 5), torch.tensor([2, 0, 1, 1])
    logits = torch.empty(4, 3)
    for row in range(4):
        for speaker in range(3):
            cosine = nn.functional.cosine_similarity(
                vectors[row], softmax.prototypes[:, speaker], dim=0
            )
            logits[row, speaker] = 7.0 * (cosine - 0.3 * (index[row] == speaker))
    expected = nn.functional.cross_entropy(logits, index)
    torch.testing.assert_close(softmax(vectors, index), expected)
    torch.testing.assert_close(softmax(9.0 * vectors, index), expected)  # lengths do not matter


def test_prototypes_begin_as_xavier_normal():
    torch.manual_seed(0)
    softmax = MarginSoftmax(400, 200, scale=1.0, margin=0.0)
    assert float(softmax.prototypes.detach().std()) == pytest.approx((2 / 600) ** 0.5, rel=0.05)


def test_short_utterances_repeat_their_last_frame():
    feats = torch.arange(12.0).view(2, 3, 2)
    filled, lengths = _at_least(feats, torch.tensor([3, 1]), 5)
    assert lengths.tolist() == [5, 5]
    assert filled.shape == (2, 5, 2)
    assert filled[0, :, 0].tolist() == [0, 2, 4, 4, 4]
    assert filled[1, :, 1].tolist() == [7, 7, 7, 7, 7]
    long, lengths = _at_least(feats, torch.tensor([3, 2]), 2)
    assert lengths.tolist() == [3, 2]
    assert long[0].tolist() == feats[0].tolist()
    assert long[1, :2].tolist() == feats[1, :2].tolist()


def test_pooling_gives_mean_and_unbiased_deviation_of_valid_frames():
    torch.manual_seed(0)
    hidden = torch.randn(2, 3, 8)
    pooled = _mean_and_std(hidden, torch.tensor([8, 5]))
    for row, length in enumerate((8, 5)):
        valid = hidden[row, :, :length]
        expected = torch.cat([valid.mean(dim=1), valid.std(dim=1)])
        torch.testing.assert_close(pooled[row], expected)


def test_a_constant_has_a_deviation_with_a_finite_gradient():
    hidden = torch.ones(1, 2, 6, requires_grad=True)
    pooled = _mean_and_std(hidden, torch.tensor([6]))
    assert pooled[0, 2:].tolist() == pytest.approx([1e-5, 1e-5])
    pooled.sum().backward()
    assert torch.isfinite(hidden.grad).all()


def small_x_vector(**options):
    torch.manual_seed(0)
    return XVector(3, 160, ["a", "b", "c"], width=4, pooled_width=5, **options).eval()


def test_x_vector_is_time_delays_pooling_and_an_affine_layer():
    head = small_x_vector()
    feats = torch.randn(1, 20, 3)
    hidden = head.connect(feats).transpose(1, 2)
    for delay, (context, dilation) in zip(head.delays, CONTEXTS, strict=True):
        assert (delay.kernel_size, delay.dilation) == ((context,), (dilation,))
        hidden = torch.relu(delay(hidden))
    assert hidden.shape[2] == 20 - LOST_FRAMES == 6
    pooled = torch.cat([hidden.mean(dim=2), hidden.std(dim=2)], dim=1)
    expected = torch.relu(head.embed(pooled))
    torch.testing.assert_close(head(feats, torch.tensor([20])), expected, rtol=1e-4, atol=1e-5)
    loss = head.margin_softmax(torch.relu(head.segment(expected)), torch.tensor([2]))
    torch.testing.assert_close(head.loss(expected, head.encode(["c"])), loss)


@pytest.mark.parametrize("frames", [1, 2, LOST_FRAMES, LOST_FRAMES + 1])
def test_a_short_x_vector_is_that_of_its_repeated_last_frame(frames):
    head = small_x_vector()
    feats = torch.randn(1, frames, 3)
    whole = torch.cat([feats, feats[:, -1:].expand(1, LOST_FRAMES + 2 - frames, 3)], dim=1)
    expected = head(whole, torch.tensor([LOST_FRAMES + 2]))
    torch.testing.assert_close(head(feats, torch.tensor([frames])), expected)


def test_x_vector_joins_frames_of_a_fast_upstream():
    head = small_x_vector(frame_ms=20)
    assert head.connect.in_features == 6
    feats = torch.randn(1, 40, 3)
    joined = feats.view(1, 20, 6)
    slow = small_x_vector(frame_ms=20)
    slow.frames_joined = 1
    torch.testing.assert_close(head(feats, torch.tensor([40])), slow(joined, torch.tensor([20])))


def test_defaults_are_superbs():
    head = XVector(3, 320, ["a", "b"])
    assert head.connect.out_features == head.embed.out_features == 512
    assert head.embed.in_features == 2 * 1500
    assert (head.segment.in_features, head.segment.out_features) == (512, 512)
    assert (head.margin_softmax.scale, head.margin_softmax.margin) == (30.0, 0.4)
    assert head.margin_softmax.prototypes.shape == (512, 2)
    assert head.frames_joined == 1
    light = LinearSpeaker(3, 320, ["a", "b"])
    assert (light.embed.in_features, light.embed.out_features) == (3, 256)
    assert (light.margin_softmax.scale, light.margin_softmax.margin) == (15.0, 0.1)
    assert light.margin_softmax.prototypes.shape == (256, 2)


def test_linear_speaker_begins_with_the_cosines_of_the_features():
    torch.manual_seed(0)
    head = LinearSpeaker(6, 320, ["a", "b"], width=8)
    assert head.embed.bias.tolist() == [0.0] * 8
    gram = head.embed.weight.T @ head.embed.weight
    torch.testing.assert_close(gram, torch.eye(6), rtol=1e-5, atol=1e-5)
    feats = torch.randn(2, 4, 6)
    output = head(feats, torch.tensor([4, 2]))
    means = torch.stack([feats[0].mean(0), feats[1, :2].mean(0)])
    torch.testing.assert_close(output, head.embed(means))
    cosine = nn.functional.cosine_similarity
    torch.testing.assert_close(cosine(*output, dim=0), cosine(*means, dim=0))
    expected = head.margin_softmax(output, torch.tensor([1, 0]))
    torch.testing.assert_close(head.loss(output, head.encode(["b", "a"])), expected)


@pytest.mark.parametrize("make", [LinearSpeaker, XVector])
def test_predictions_are_embeddings_of_unit_length(make):
    head = make(3, 320, ["a", "b"], width=4)
    vectors = head.predict(torch.tensor([[3.0, 4.0, 0.0, 0.0], [0.0, 0.0, 0.5, 0.0]]))
    assert vectors == [pytest.approx([0.6, 0.8, 0.0, 0.0]), [0.0, 0.0, 1.0, 0.0]]
    assert all(isinstance(number, float) for vector in vectors for number in vector)
    assert head.encode(["b", "a", "b"]).tolist() == [1, 0, 1]
