"""The stream of clips: epochs, cuts, the grid of lengths, resumption; span masks."""

import pytest
import torch
from recipe_toys import ingredients, stream

from bench.errors import InvalidDataError, UsageError
from upstreams.recipes.training.distributed import Processes
from upstreams.recipes.training.loader import UpdateLoader
from upstreams.recipes.training.masking import span_mask
from upstreams.recipes.training.stream import ClipStream


@pytest.fixture
def source(tmp_path):
    return ingredients(tmp_path, {})


def test_an_epoch_has_every_clip_once_and_batches_fit(source):
    data = stream(source)
    plan = data.plan(0)
    parts = [part for batch in plan for part in batch]
    assert sorted(part.index for part in parts) == list(range(len(source.clips)))
    for batch in plan:
        assert len(batch) * max(part.num_samples for part in batch) <= 1.2 * 16_000
    assert plan == stream(source).plan(0)
    assert plan != data.plan(1)
    assert plan != stream(source, seed=1).plan(0)


def test_a_long_clip_is_cut_on_the_frame_grid(source):
    parts = [part for epoch in range(4) for batch in stream(source).plan(epoch) for part in batch]
    cut = [part for part in parts if source.clips[part.index].num_samples > 8_000]
    assert cut and all(part.start % 320 == 0 and part.num_samples == 7_680 for part in cut)
    assert len({(part.index, part.start) for part in cut}) > len({part.index for part in cut})
    batch = stream(source).load([cut[-1]])
    clip = source.clips[cut[-1].index]
    whole = source.read(clip, 0, clip.num_samples)
    assert torch.equal(batch.wavs[0], whole[cut[-1].start :][:7_680])


def test_lengths_are_on_a_grid_where_that_leaves_enough(source):
    for part in stream(source).plan(0)[0]:
        assert part.num_samples % 2_560 == 0
        assert part.start + part.num_samples <= source.clips[part.index].num_samples
    whole = ClipStream(
        source.clips, source.read, batch_s=2, max_s=1, min_samples=400, seed=0, grid=False
    )
    uncut = {part.index: part.num_samples for batch in whole.plan(0) for part in batch}
    assert uncut == {index: clip.num_samples for index, clip in enumerate(source.clips)}
    few = ClipStream(source.clips, source.read, batch_s=2, max_s=1, min_samples=3_000, seed=0)
    lengths = {part.num_samples for batch in few.plan(0) for part in batch}
    short = {clip.num_samples for clip in source.clips if clip.num_samples < 5_120}
    assert short and min(lengths) >= 3_000
    assert {length for length in lengths if length % 2_560} == short


def test_batches_go_on_where_they_stopped(source):
    def first(count, epoch, skip):
        loader = UpdateLoader(stream(source), Processes(), lambda shard, _: shard, loaders)
        found = loader.updates(epoch, skip, step=0)
        return [
            (place[:2], place[2][0].indices) for place, _ in zip(found, range(count), strict=False)
        ]

    loaders = 0
    every = first(8, 0, 0)
    (epoch, number), _ = every[4]
    assert first(3, epoch, number) == every[5:8]
    loaders = 2
    assert first(8, 0, 0) == every


def test_a_loader_that_reads_ahead_stops_with_the_error_of_its_sound(source):
    def prepare(shard, step):
        if step == 3:
            raise InvalidDataError("x.wav: truncated")
        return shard._replace(prepared=(shard.wavs * step,))

    updates = UpdateLoader(stream(source), Processes(), prepare, 2).updates(0, 0, step=1)
    first, second = next(updates).shards[0], next(updates).shards[0]
    assert torch.equal(first.prepared[0], first.wavs)
    assert torch.equal(second.prepared[0], 2 * second.wavs)
    with pytest.raises(InvalidDataError, match=r"^x.wav: truncated$"):
        next(updates)


def test_clips_that_are_too_short_are_named(source):
    with pytest.raises(InvalidDataError, match=r"u0-\d+.wav: \d+ samples; at least 20000"):
        ClipStream(source.clips, source.read, batch_s=2, max_s=1, min_samples=20_000, seed=0)
    with pytest.raises(UsageError, match="no clips"):
        ClipStream([], source.read, batch_s=2, max_s=1, min_samples=400, seed=0)
    with pytest.raises(UsageError, match="one clip must fit"):
        ClipStream(source.clips, source.read, batch_s=1, max_s=2, min_samples=400, seed=0)


def test_masks_have_the_share_that_spans_give():
    frames = torch.tensor([2_000] * 20 + [1_000])
    mask = span_mask(
        frames, 2_000, start_prob=0.08, span=6, generator=torch.Generator().manual_seed(0)
    )
    assert not mask[20, 1_000:].any()
    assert abs(mask[:20].float().mean().item() - (1 - 0.92**6)) < 0.01
    lonely = span_mask(
        torch.tensor([5, 9]), 9, start_prob=0.0, span=3, generator=torch.Generator().manual_seed(1)
    )
    assert lonely.any(dim=1).all() and not lonely[0, 5:].any()
