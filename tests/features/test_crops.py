"""Crops: the same for everyone, inside the utterance, one of the K an epoch, kept like the rest."""

import pytest
import torch

from bench.config import CropRule, Recipe
from bench.engine import Engine
from bench.features.crops import at_epoch, cropped, crops_of
from bench.features.passes import clean_sound
from bench.features.store import FeatureStore
from bench.features.stream import Stream
from bench.identity import card_digest
from bench.probe.fit import Lesson, Trainer
from downstreams.classify import UtteranceClassifier

RULE = CropRule(seconds=0.3, count=3)


def test_crops_lie_inside_long_utterances_and_short_ones_stay_whole(utterances):
    long = [item for item in utterances if item.num_samples > 4_800]
    short = [item for item in utterances if item.num_samples <= 4_800]
    assert long
    assert short
    for item in long:
        crops = crops_of(item, RULE)
        assert crops == crops_of(item, RULE)
        assert len({crop.key for crop in crops}) == 3
        for crop in crops:
            assert crop.num_samples == 4_800
            assert item.start <= crop.start
            assert crop.start + 4_800 <= item.start + item.num_samples
            whole, start = clean_sound(item), crop.start - item.start
            assert (clean_sound(crop) == whole[start : start + 4_800]).all()
    assert all(crops_of(item, RULE) == [item] for item in short)


def make_source(tmp_path, toy_upstream, utterances, mode, stream):
    crops = [crops_of(item, RULE) for item in utterances]
    flat = [crop for own in crops for crop in own]
    if stream:
        return cropped(crops, Stream(toy_upstream, flat, mode, Engine()))
    store = FeatureStore(tmp_path / "features", "d" * 64, mode)
    store.extract(toy_upstream, flat)
    return cropped(crops, store.read(flat))


def test_an_epoch_takes_one_crop_of_each_and_epochs_take_all(tmp_path, toy_upstream, utterances):
    source = make_source(tmp_path, toy_upstream, utterances, "frames", stream=False)
    assert len(source) == len(utterances)
    seen = [set() for _ in utterances]
    for epoch in range(30):
        now = at_epoch(source, epoch)
        rows = now.rows(range(len(now)))
        assert rows.lengths.tolist() == now.lengths()
        for index, own in enumerate(seen):
            first = rows.states[rows.first[index]]
            own.add(first.sum().item())
    counts = [len(crops_of(item, RULE)) for item in utterances]
    assert [len(own) for own in seen] == counts


@pytest.mark.parametrize("mode", ["pooled", "frames"])
def test_kept_crops_train_the_same_head_as_streamed_ones(tmp_path, toy_upstream, utterances, mode):
    targets = [item.target for item in utterances]
    recipe = Recipe(lr_grid=(1e-2,), steps=20, batch_size=4, eval_every=20, crops=RULE)
    states = []
    for stream in (False, True):
        source = make_source(tmp_path, toy_upstream, utterances, mode, stream)
        lesson = Lesson(
            source,
            {0: targets},
            source,
            make_head=lambda size: UtteranceClassifier(size, 320, targets, projection=8),
            recipe=recipe,
            moments=None,
            dev_score=lambda predictions: 0.0,
            higher_is_better=True,
        )
        trainer = Trainer(lesson, [1e-2], [0], checkpoint=tmp_path / f"{stream}.pt")
        states.append(trainer.run()[0].state)
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_a_recipe_without_crops_has_the_identity_that_it_had():
    plain = Recipe(lr_grid=(1e-2,), steps=1, batch_size=1, eval_every=1)
    assert "crops" not in plain.model_dump(mode="json")
    assert card_digest(plain) != card_digest(plain.model_copy(update={"crops": RULE}))
