"""SpecAugment at its edges; the parity tests compare its draws with s3prl's."""

import pytest
import torch

from downstreams.spec_augment import (
    FREQUENCY_MASKS,
    FREQUENCY_WIDTH,
    TIME_MASKS,
    TIME_WIDTH,
    WARP,
    _masked,
    _warp,
    spec_augment,
)


@pytest.mark.parametrize("frames", [1, 2 * WARP - 1, 2 * WARP])
def test_too_few_frames_are_not_warped(frames):
    feats = torch.randn(frames, 3)
    assert _warp(feats) is feats


@pytest.mark.parametrize("frames", [2 * WARP + 1, 30])
def test_a_warp_keeps_the_shape_and_both_ends(frames):
    torch.manual_seed(0)
    ramp = torch.arange(float(frames)).unsqueeze(1).expand(frames, 4)
    moved = []
    for _ in range(40):
        warped = _warp(ramp)
        assert warped.shape == ramp.shape
        assert (warped - ramp).abs().max() <= WARP + 1.5
        assert torch.allclose(warped[:, :1].expand(-1, 4), warped, atol=1e-4)
        moved.append(float((warped - ramp).abs().max()))
    assert max(moved) > 1.0


@pytest.mark.parametrize(("axis", "shape"), [(1, (6, 40, 3)), (2, (6, 3, 40))])
def test_spans_are_masked_in_each_utterance_along_one_axis(axis, shape):
    torch.manual_seed(0)
    masked = _masked(torch.ones(shape), axis, 1, 10) == 0
    rows = masked.any(dim=3 - axis)
    assert torch.equal(rows, masked.all(dim=3 - axis))
    widths = []
    for row in rows.int():
        edges = torch.diff(torch.nn.functional.pad(row, (1, 1)))
        assert (edges == 1).sum() <= 1  # one span
        widths.append(int(row.sum()))
    assert max(widths) < 10
    assert len(set(widths)) > 2


def test_a_span_may_begin_at_the_first_place_and_never_covers_the_last():
    """As in s3prl: a start is drawn below the size less the longest span of the batch."""
    torch.manual_seed(0)
    masked = torch.cat([_masked(torch.ones(50, 1, 8), 2, 1, 4) for _ in range(20)]) == 0
    share = masked.float().mean(dim=(0, 1))
    assert (share[:-1] > 0).all()
    assert share[-1] == 0


def test_an_axis_shorter_than_a_span_is_masked_from_its_beginning():
    torch.manual_seed(0)
    masked = torch.cat([_masked(torch.ones(1, 1, 1), 2, 1, 50) for _ in range(200)]) == 0
    assert masked.float().mean() > 0.9  # a width of 0 masks nothing


def test_masks_of_both_axes_and_warped_padding_stays_zero():
    torch.manual_seed(0)
    feats, lengths = torch.rand(8, 200, 300) + 0.5, torch.tensor([200] * 7 + [60])
    augmented = spec_augment(feats, lengths)
    assert (augmented[7, 60:] == 0).all()
    whole = augmented[:7] == 0
    bands, spans = whole.all(dim=1).sum(dim=1), whole.all(dim=2).sum(dim=1)
    assert bands.max() <= FREQUENCY_MASKS * (FREQUENCY_WIDTH - 1)
    assert spans.max() <= TIME_MASKS * (TIME_WIDTH - 1)
    assert bands.float().mean() > 50
    assert spans.float().mean() > 20
    assert (FREQUENCY_MASKS, FREQUENCY_WIDTH, TIME_MASKS, TIME_WIDTH, WARP) == (4, 50, 2, 40, 5)
