"""Training: it learns, it selects on dev, it resumes; points of a grid do not touch each other."""

import itertools

import pytest
import torch

from bench.config import Recipe
from bench.engine import Engine, without_denormals
from bench.errors import InvalidDataError
from bench.features.rows import moments
from bench.features.store import FeatureStore
from bench.features.stream import Stream
from bench.features.workers import in_order
from bench.probe import fit
from bench.probe.choice import best_of
from bench.probe.fit import Lesson, Trainer, predict
from downstreams.classify import UtteranceClassifier
from downstreams.ctc import CtcBlstm
from downstreams.speaker import LinearSpeaker

RECIPE = Recipe(lr_grid=(1e-2,), steps=15, batch_size=4, eval_every=5, standardize=True)
HEADS = {
    "classifier": lambda size, targets: UtteranceClassifier(size, 320, targets, projection=8),
    "speaker": lambda size, targets: LinearSpeaker(size, 320, targets, width=6),
    "ctc": lambda size, targets: CtcBlstm(
        size, 320, targets, projection=6, hidden=4, layers=1, dropout=0.3
    ),
}


@pytest.fixture(autouse=True)
def _save_at_every_evaluation(monkeypatch):
    monkeypatch.setattr(fit, "SECONDS_BETWEEN_SAVES", 0.0)


@pytest.fixture
def lesson(tmp_path, toy_upstream, utterances):
    """A lesson of a head by name, on kept or streamed features."""
    train, dev = utterances[:16], utterances[16:]
    targets = [item.target for item in train]

    def accuracy(predictions):
        truth = [item.target for item in dev]
        return sum(a == b for a, b in zip(predictions, truth, strict=True)) / len(truth)

    def make(head="classifier", recipe=RECIPE, stream=False, seeds=(0, 1, 2)):
        mode = "frames" if head == "ctc" else "pooled"
        store = FeatureStore(tmp_path / "features", "d" * 64, mode)
        if not stream:
            store.extract(toy_upstream, utterances)
        source = (
            (lambda items: Stream(toy_upstream, items, mode, Engine())) if stream else store.read
        )
        score = accuracy if head == "classifier" else lambda predictions: 0.0
        return Lesson(
            source(train),
            dict.fromkeys(seeds, targets),
            source(dev),
            make_head=lambda size: HEADS[head](size, targets),
            recipe=recipe,
            moments=moments(source(train)) if recipe.standardize else None,
            dev_score=score,
            higher_is_better=True,
        )

    return make


@pytest.fixture
def run(lesson, tmp_path):
    def run(rates=(1e-2,), seeds=(0,), name="a.pt", on_step=lambda *_: None, **options):
        trainer = Trainer(lesson(**options), rates, seeds, checkpoint=tmp_path / name)
        return trainer.run(on_step)

    return run


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


def close(first, second, rtol=1e-4, atol=1e-5):
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=rtol, atol=atol)


@pytest.mark.seconds
def test_it_learns_what_the_features_hold(lesson, tmp_path):
    trainer = Trainer(lesson(), [1e-2], [0], checkpoint=tmp_path / "a.pt")
    assert trainer.run()[0].value == 1.0
    probe = trainer.grid.points[0].probe
    assert predict(probe, trainer.lesson.dev)[:2] == ["low", "high"]


def tiny_product(_=None):
    """A number below the smallest normal one, or 0 where such numbers are rounded to it."""
    return (torch.full((8,), 1e-30) * 1e-10).max().item()


ROUNDS = pytest.mark.skipif(
    not torch.set_flush_denormal(False), reason="this processor cannot round to zero"
)


@ROUNDS
@pytest.mark.parametrize("workers", [1, 2])
def test_all_threads_round_denormal_numbers_to_zero(workers):
    with without_denormals():
        assert list(in_order(tiny_product, range(3), workers)) == [0.0] * 3
    assert min(in_order(tiny_product, range(3), workers)) > 0.0


@ROUNDS
def test_a_training_rounds_denormal_numbers_to_zero_and_its_caller_does_not(run):
    products = []
    run(on_step=lambda *_: products.append(tiny_product()))
    assert set(products) == {0.0}
    assert tiny_product() > 0.0


@pytest.mark.seconds
def test_the_same_seed_gives_the_same_weights_and_another_does_not(run):
    first, second = run(name="a.pt")[0], run(name="b.pt")[0]
    assert same(first.state, second.state)
    assert not same(first.state, run(seeds=(1,), name="c.pt")[0].state)


@pytest.mark.seconds
@pytest.mark.parametrize("head", sorted(HEADS))
def test_a_point_of_a_grid_is_what_it_is_alone(run, lesson, head):
    rates, seeds = (1e-2, 1e-3), (0, 2)
    together = run(rates, seeds, "grid.pt", head=head)
    assert [(point.seed, point.lr) for point in together] == list(itertools.product(seeds, rates))
    for number, point in enumerate(together):
        alone = run((point.lr,), (point.seed,), f"{number}.pt", head=head)[0]
        close(alone.state, point.state)
        assert (alone.step, alone.value) == (point.step, point.value)


@pytest.mark.parametrize("clip", [0.05, 1e3])
def test_the_gradients_of_a_grid_are_those_of_plain_torch(lesson, tmp_path, clip):
    """Gradients, not weights: Adam makes a step of a gradient that is nothing but rounding."""
    recipe = RECIPE.model_copy(update={"steps": 1, "clip": clip})
    trainer = Trainer(lesson(recipe=recipe), [1e-2, 3e-3], [1, 2], checkpoint=tmp_path / "a.pt")
    alone = Trainer(lesson(recipe=recipe), [3e-3], [2], checkpoint=tmp_path / "b.pt")
    probe, step = alone.grid.points[0].probe, next(alone._schedule.steps(0, 1))
    chosen = [step.group[place] for place in step.positions[2]]
    batch = alone.lesson.train.rows(chosen).batch(range(len(chosen)))
    targets = probe.head.encode(alone.lesson.targets[2])[chosen]
    probe.head.loss(probe(probe.standardized(batch)), targets).backward()
    torch.nn.utils.clip_grad_norm_(probe.parameters(), clip)
    expected = [parameter.grad.clone() for parameter in probe.parameters()]
    trainer.run()
    found = [parameter.grad for parameter in trainer.grid.points[3].probe.parameters()]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-7)


@pytest.mark.seconds
@pytest.mark.parametrize("head", ["classifier", "ctc"])
def test_a_diverging_point_does_not_disturb_the_others(run, head):
    recipe = RECIPE.model_copy(update={"standardize": False, "clip": 1e30})
    bad, good = run((1e30, 1e-2), name="both.pt", recipe=recipe, head=head)
    assert bad.value is None
    alone = run((1e-2,), name="alone.pt", recipe=recipe, head=head)[0]
    close(alone.state, good.state)
    assert best_of([bad, good], higher_is_better=True) is good
    with pytest.raises(InvalidDataError, match="diverged at every learning rate"):
        best_of([bad], higher_is_better=True)


@pytest.mark.seconds
@pytest.mark.parametrize("head", ["classifier", "ctc"])
def test_streaming_gives_what_keeping_gives(run, head):
    grid = {"rates": (1e-2, 1e-3), "seeds": (0, 1), "head": head}
    kept = run(name="kept.pt", **grid)
    streamed = run(name="streamed.pt", stream=True, **grid)
    for first, second in zip(kept, streamed, strict=True):
        assert same(first.state, second.state)


@pytest.mark.seconds
def test_a_streamed_epoch_is_one_pass_for_the_whole_grid(lesson, tmp_path, monkeypatch):
    seen = []
    recipe = RECIPE.model_copy(update={"steps": 12, "eval_every": 12, "standardize": False})
    made = lesson("ctc", stream=True, recipe=recipe)
    forward = type(made.train.upstream).forward

    def counting(self, wavs, lengths):
        seen.append(len(wavs))
        return forward(self, wavs, lengths)

    monkeypatch.setattr(type(made.train.upstream), "forward", counting)
    Trainer(made, [1e-2, 1e-3], [0, 1, 2], checkpoint=tmp_path / "a.pt").run()
    assert sum(seen) == 3 * 16 + 8  # three epochs of train, one evaluation on dev
