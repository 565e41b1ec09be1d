"""Which step of a training is kept: the best on dev, in the metric's direction."""

import pytest
import torch
from memory_source import labelled_source, random_source

from bench import stopping
from bench.config import Recipe
from bench.errors import InvalidDataError
from bench.features.weighted_sum import Moments
from bench.probe import fit
from bench.probe.choice import best_of, smallest_as_good
from bench.probe.fit import Fitted, Lesson, Trainer, predict, predict_all
from bench.probe.heads import take
from downstreams.classify import UtteranceClassifier
from downstreams.ctc import CtcBlstm

RECIPE = Recipe(lr_grid=(1e-2,), steps=5, batch_size=2, eval_every=1)
LABELS = ["low", "high"] * 4
SCORES = [0.4, 0.6, 0.6, 0.2, 0.3]  # of dev after each of five updates


def classifier(size):
    return UtteranceClassifier(size, 320, LABELS, projection=4)


class Script:
    """Scores of dev that are given in advance; it keeps the predictions that it is called with."""

    def __init__(self, scores):
        self.scores, self.calls = iter(scores), []

    def __call__(self, predictions):
        self.calls.append(predictions)
        return next(self.scores)


def lesson_of(dev_score, *, higher_is_better=True, recipe=RECIPE, seeds=(0,), **fields):
    arguments = {
        "train": labelled_source(LABELS, high="high"),
        "targets": dict.fromkeys(seeds, LABELS),
        "dev": labelled_source(LABELS[:4], high="high", seed=1),
        "make_head": classifier,
        "recipe": recipe,
        "moments": None,
    }
    return Lesson(**arguments | fields, dev_score=dev_score, higher_is_better=higher_is_better)


def train(path, dev_score, rates=(1e-2,), seeds=(0,), on_scores=lambda *_: None, **options):
    lesson = lesson_of(dev_score, seeds=seeds, **options)
    return Trainer(lesson, rates, seeds, checkpoint=path).run(on_scores=on_scores)


@pytest.mark.parametrize(
    ("higher_is_better", "step", "value"), [(True, 2, 0.6), (False, 4, 0.2)], ids=["max", "min"]
)
def test_the_best_step_is_kept_in_the_metrics_direction(tmp_path, higher_is_better, step, value):
    """On a tie the earlier step: the third score is as high as the second."""
    (point,) = train(tmp_path / "a", Script(SCORES), higher_is_better=higher_is_better)
    assert (point.step, point.value) == (step, value)
    shorter = RECIPE.model_copy(update={"steps": step, "eval_every": step})
    (last,) = train(tmp_path / "b", lambda _: 0.0, recipe=shorter)
    assert point.state.keys() == last.state.keys()
    for name, tensor in point.state.items():
        assert torch.equal(tensor, last.state[name])


@pytest.mark.parametrize("scores", [SCORES, SCORES[::-1]])
def test_the_last_step_is_kept_where_the_recipe_has_seeds_of_its_own(tmp_path, scores):
    recipe = RECIPE.model_copy(update={"selection_seeds": 1})
    (point,) = train(tmp_path / "a", Script(scores), recipe=recipe)
    assert (point.step, point.value) == (5, scores[-1])
    once = recipe.model_copy(update={"eval_every": 5})
    (last,) = train(tmp_path / "b", lambda _: 0.0, recipe=once)
    assert all(torch.equal(tensor, last.state[name]) for name, tensor in point.state.items())


@pytest.mark.parametrize("selection_seeds", [0, 1])
def test_an_earlier_state_of_a_training_that_diverges_is_kept_by_best_step_alone(
    tmp_path, selection_seeds
):
    recipe = RECIPE.model_copy(update={"selection_seeds": selection_seeds})
    trainer = Trainer(
        lesson_of(lambda _: 0.5, recipe=recipe), [1e-2], [0], checkpoint=tmp_path / "a"
    )

    def diverge(step, best):
        trainer.grid.points[0].diverged = step >= 2

    (point,) = trainer.run(diverge)
    expected = (0, None, None) if selection_seeds else (1, 0.5, point.state)
    assert (point.step, point.value, point.state) == expected
    assert (point.state is None) == bool(selection_seeds)


@pytest.mark.parametrize(("higher_is_better", "best"), [(True, 0.6), (False, 0.2)])
def test_the_best_score_so_far_is_reported_at_every_step(tmp_path, higher_is_better, best):
    seen = []
    lesson = lesson_of(Script(SCORES), higher_is_better=higher_is_better)
    trainer = Trainer(lesson, [1e-2], [0], checkpoint=tmp_path / "a")
    trainer.run(lambda step, value: seen.append((step, value)))
    pick = max if higher_is_better else min
    expected = [(step, pick(SCORES[:step], default=None)) for step in range(6)]
    assert seen == expected
    assert trainer.best_value() == best


def test_dev_is_scored_every_so_many_updates_and_after_the_last(tmp_path):
    script, at = Script([0.1, 0.2, 0.3]), []
    train(
        tmp_path / "a",
        script,
        recipe=RECIPE.model_copy(update={"steps": 5, "eval_every": 2}),
        on_scores=lambda step, *_: at.append(step),
    )
    assert at == [2, 4, 5]
    assert all(len(predictions) == 4 for predictions in script.calls)


def test_scores_and_losses_come_by_rate_and_seed(tmp_path):
    """One evaluation scores the points in the grid's order; a loss is that of the last update."""
    seen = []
    recipe = RECIPE.model_copy(update={"steps": 1})
    points = train(
        tmp_path / "a",
        Script([0.1, 0.2, 0.3, 0.4]),
        rates=(1e-2, 1e-3),
        seeds=(0, 1),
        recipe=recipe,
        on_scores=lambda step, losses, scores: seen.append((step, losses, scores)),
    )
    ((step, losses, scores),) = seen
    keys = [(1e-2, 0), (1e-3, 0), (1e-2, 1), (1e-3, 1)]
    assert step == 1
    assert scores == dict(zip(keys, [0.1, 0.2, 0.3, 0.4], strict=True))
    assert list(losses) == keys
    assert losses[1e-2, 0] == losses[1e-3, 0] != losses[1e-2, 1]  # before the first update
    assert [(p.lr, p.seed, p.step, p.value) for p in points] == [
        (lr, seed, 1, scores[lr, seed]) for lr, seed in keys
    ]
    assert not any(point.explored for point in points)


def test_training_learns_from_train_and_predicts_dev(tmp_path):
    script = Script([0.0] * 4)
    recipe = RECIPE.model_copy(update={"steps": 16, "eval_every": 8})
    train(tmp_path / "a", script, (1e-1,), recipe=recipe)
    assert script.calls[-1] == LABELS[:4]
    flipped = ["low" if label == "high" else "high" for label in LABELS]
    train(tmp_path / "b", script, (1e-1,), recipe=recipe, targets={0: flipped})
    assert script.calls[-1] == flipped[:4]


def test_every_seed_learns_its_own_targets(tmp_path):
    flipped = ["low" if label == "high" else "high" for label in LABELS]
    script = Script([0.0, 0.0])
    recipe = RECIPE.model_copy(update={"steps": 16, "eval_every": 16})
    train(tmp_path / "a", script, (1e-1,), (0, 1), recipe=recipe, targets={0: LABELS, 1: flipped})
    assert script.calls == [LABELS[:4], flipped[:4]]


def test_predictions_are_in_the_order_of_the_utterances_and_without_dropout():
    """Batches are by length; the head is switched to evaluation and back."""
    lengths = [9, 2, 7, 2, 5] * 9
    source = random_source(lengths, seed=4)
    head = CtcBlstm(3, 320, ["AB"], projection=4, hidden=3, layers=1, dropout=0.9)
    grid = Trainer(
        lesson_of(
            lambda _: 0.0,
            train=source,
            dev=source,
            targets={0: ["AB"] * 45},
            make_head=lambda size: head,
        ),
        [1e-2],
        [0],
        checkpoint=None,
    ).grid
    probe = grid.points[0].probe
    assert probe.training
    (together,) = predict_all(grid, source)
    assert probe.training
    probe.eval()
    alone = []
    for index in range(len(source)):
        batch = source.rows([index]).batch([0])
        alone += probe.head.predict(probe(batch))
    assert together == alone
    assert predict(probe, source) == alone
    assert len(set(alone)) > 1


def test_dev_is_z_scored_as_train_is(tmp_path):
    statistics = Moments(torch.full((2, 3), 5.0), torch.full((2, 3), 2.0))
    dev = random_source([1, 1, 1], seed=2)
    lesson = lesson_of(lambda _: 0.0, dev=dev, moments=statistics)
    trainer = Trainer(lesson, [1e-2], [0], checkpoint=tmp_path / "a")
    probe = trainer.grid.points[0].probe
    seen = []
    probe.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].stacked))
    predict(probe, dev)
    expected = (dev.rows([0, 1, 2]).batch([0, 1, 2]).stacked - 5.0) / 2.0
    torch.testing.assert_close(seen[0], expected)


def test_targets_of_a_batch_are_taken_by_index():
    assert take(torch.tensor([5, 6, 7]), [2, 0], "cpu").tolist() == [7, 5]
    texts = [torch.tensor([1]), torch.tensor([2, 3])]
    assert [item.tolist() for item in take(texts, [1, 0, 1], "cpu")] == [[2, 3], [1], [2, 3]]


def test_the_best_point_of_a_grid_in_either_direction():
    points = [Fitted(1e-2, 1, 0.3, {}), Fitted(1e-3, 1, 0.2, {}), Fitted(1e-4, 1, 0.3, {})]
    assert best_of(points, higher_is_better=True) is points[0]
    assert best_of(points, higher_is_better=False) is points[1]
    worst = Fitted(1e-5, 0, 0.0, {})
    assert best_of([*points, worst], higher_is_better=False) is worst
    lost = Fitted(1e-1, 0, None, None)
    assert best_of([lost, worst], higher_is_better=True) is worst
    with pytest.raises(InvalidDataError, match=r"every learning rate tried \(0\.1, 0\.2\)$"):
        best_of([lost, Fitted(0.2, 0, None, None)], higher_is_better=True)


def seeded(lr, *scores):
    """A point of the mean of some seeds."""
    value = None if None in scores else sum(scores) / len(scores)
    return Fitted(lr, 1, value, None, by_seed=scores)


@pytest.mark.parametrize(
    ("points", "higher", "lr"),
    [
        # The best rate is 0.7 with an error of 0.1: 0.61 is as good, 0.59 is not.
        ([(0.3, 0.5, 0.8, 0.8), (0.1, 0.61, 0.61, 0.61), (0.01, 0.59, 0.59, 0.59)], True, 0.1),
        ([(0.3, 0.5, 0.2, 0.2), (0.1, 0.39, 0.39, 0.39), (0.01, 0.41, 0.41, 0.41)], False, 0.1),
        ([(0.1, 0.61, 0.61, 0.61), (0.3, 0.5, 0.8, 0.8)], True, 0.1),
        ([(0.3, 0.7, 0.7), (0.1, 0.69, 0.69)], True, 0.3),
        ([(0.3, 0.7, 0.7), (0.1, 0.7, 0.7)], True, 0.1),
        ([(0.3, 0.6, 0.8), (0.1, 0.9, None), (0.01, 0.6, 0.7)], True, 0.01),
        ([(0.3, 0.7), (0.1, 0.6), (0.01, 0.7)], True, 0.01),
    ],
)
def test_the_smallest_rate_within_one_standard_error_of_the_best(points, higher, lr):
    points = [seeded(*point) for point in points]
    assert smallest_as_good(points, higher_is_better=higher).lr == lr


def test_a_request_to_stop_while_dev_is_scored_is_not_lost(tmp_path, monkeypatch):
    """The state says that its score is still to come, and the next run scores it first."""
    whole = train(tmp_path / "whole", Script(SCORES))
    stopped = lesson_of(Script(SCORES))
    trainer = Trainer(stopped, [1e-2], [0], checkpoint=tmp_path / "cut")
    with monkeypatch.context() as patch:

        def stop(*_):
            if trainer.step == 2:
                raise stopping.Stopped

        patch.setattr(fit.stopping, "check", stop)
        with pytest.raises(stopping.Stopped):
            trainer.run()
    rest, at = Script(SCORES[1:]), []
    again = train(tmp_path / "cut", rest, on_scores=lambda step, *_: at.append(step))
    assert at == [3, 4, 5]
    assert (again[0].step, again[0].value) == (whole[0].step, whole[0].value)
    for name, tensor in whole[0].state.items():
        assert torch.equal(tensor, again[0].state[name])
