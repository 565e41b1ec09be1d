"""Training: it learns, it selects on dev, it resumes to the same weights."""

import itertools

import pytest
import torch

from bench.config import Recipe
from bench.errors import InvalidDataError
from bench.features import FeatureStore
from bench.fit import Fitted, Schedule, Split, Trainer, best_of, epoch_batches, predict
from downstreams.classify import UtteranceClassifier

RECIPE = Recipe(lr_grid=(1e-2,), steps=30, batch_size=4, eval_every=10, standardize=True)


@pytest.fixture
def make_trainer(tmp_path, toy_upstream, utterances):
    store = FeatureStore(tmp_path / "features", "d" * 64, "pooled")
    store.extract(toy_upstream, utterances)
    train, dev = utterances[:16], utterances[16:]
    features = store.read(train)
    targets = [item.target for item in train]

    def accuracy(predictions):
        truth = [item.target for item in dev]
        return sum(a == b for a, b in zip(predictions, truth, strict=True)) / len(truth)

    def make(checkpoint="a.pt", seed=0, lr=1e-2, recipe=RECIPE):
        return Trainer(
            Split(features, targets),
            store.read(dev),
            make_head=lambda size: UtteranceClassifier(size, 320, targets, projection=8),
            recipe=recipe,
            moments=features.moments() if recipe.standardize else None,
            seed=seed,
            lr=lr,
            dev_score=accuracy,
            higher_is_better=True,
            checkpoint=tmp_path / checkpoint,
        )

    return make


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


def test_it_learns_what_the_features_hold(make_trainer):
    trainer = make_trainer()
    fitted = trainer.run()
    assert fitted.value == 1.0
    assert predict(trainer.probe, trainer.dev)[:2] == ["low", "high"]


def test_the_same_seed_gives_the_same_weights_and_another_does_not(make_trainer):
    first, second = make_trainer("a.pt").run(), make_trainer("b.pt").run()
    assert same(first.state, second.state)
    assert not same(first.state, make_trainer("c.pt", seed=1).run().state)


@pytest.mark.parametrize("stop_at", [3, 10, 11, 25])
def test_an_interrupted_training_ends_with_the_same_weights(make_trainer, stop_at):
    whole = make_trainer("whole.pt").run()

    def stop(step, _):
        if step == stop_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_trainer("cut.pt").run(stop)
    resumed = make_trainer("cut.pt").run()
    assert (resumed.step, resumed.value) == (whole.step, whole.value)
    assert same(whole.state, resumed.state)


def test_a_broken_checkpoint_is_made_again(make_trainer, tmp_path):
    whole = make_trainer("whole.pt").run()
    (tmp_path / "broken.pt").write_bytes(b"not a checkpoint")
    assert same(whole.state, make_trainer("broken.pt").run().state)


def test_a_diverging_point_is_reported_and_not_chosen(make_trainer):
    recipe = RECIPE.model_copy(update={"standardize": False, "clip": 1e30})
    bad = make_trainer("bad.pt", lr=1e30, recipe=recipe).run()
    assert bad.value is None
    good = make_trainer("good.pt").run()
    assert best_of([bad, good], higher_is_better=True) is good
    with pytest.raises(InvalidDataError, match="diverged at every learning rate"):
        best_of([bad], higher_is_better=True)


def test_best_of_knows_the_direction():
    points = [Fitted(1e-2, 1, 0.3, {}), Fitted(1e-3, 1, 0.2, {}), Fitted(1e-4, 1, 0.3, {})]
    assert best_of(points, higher_is_better=True) is points[0]
    assert best_of(points, higher_is_better=False) is points[1]


def test_an_epoch_holds_every_utterance_once_and_little_padding():
    lengths = [10 + (7 * i) % 200 for i in range(333)]
    batches = epoch_batches(lengths, 8, seed=1, epoch=0)
    assert sorted(index for batch in batches for index in batch) == list(range(333))
    padded = sum(max(lengths[i] for i in batch) * len(batch) for batch in batches)
    assert padded < 1.1 * sum(lengths)
    assert batches != epoch_batches(lengths, 8, seed=1, epoch=1)


def test_the_schedule_is_a_function_of_the_step():
    lengths = [5, 6, 7, 8, 9]
    forward = Schedule(lengths, 2, seed=3)
    seen = [forward.batch(step) for step in range(9)]
    assert seen[7] == Schedule(lengths, 2, seed=3).batch(7)
    assert all(sorted(itertools.chain(*seen[i : i + 3])) == [0, 1, 2, 3, 4] for i in (0, 3, 6))
