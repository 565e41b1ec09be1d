"""One training: what it reads, what it writes, and that it goes on where it was interrupted."""

import itertools

import pytest
import torch
from memory_source import labelled_source, random_source

from bench import stopping
from bench.config import Recipe
from bench.features.crops import Cropped
from bench.features.tensor_file import read_sealed
from bench.features.weighted_sum import Moments
from bench.probe import fit
from bench.probe.fit import Lesson, Trainer
from bench.probe.grids import Stacked
from bench.seeds import derive_seed
from downstreams.classify import UtteranceClassifier
from downstreams.ctc import CtcBlstm

LABELS = ["low", "high"] * 4
LENGTHS = [3, 9, 4, 8, 5, 7, 6, 2]
TEXTS = ["AB", "A", "ABA", "B", "BA", "A", "B", "A"]
RECIPE = Recipe(lr_grid=(1e-2,), steps=6, batch_size=2, eval_every=2)
SCHEDULED = RECIPE.model_copy(update={"decay": "cosine", "warmup": 2, "sum_rate": 3.0})


def classifier(size):
    return UtteranceClassifier(size, 320, LABELS, projection=4)


def recogniser(size):
    return CtcBlstm(size, 320, TEXTS, projection=4, hidden=3, layers=1, dropout=0.5)


HEADS = {"classifier": (classifier, LABELS), "ctc": (recogniser, TEXTS)}


def lesson_of(head="classifier", seeds=(0, 1), **fields):
    make_head, targets = HEADS[head]
    lengths = [1] * 8 if head == "classifier" else LENGTHS
    arguments = {
        "train": random_source(lengths),
        "targets": dict.fromkeys(seeds, targets),
        "dev": random_source(lengths[:4], seed=1),
        "make_head": make_head,
        "recipe": RECIPE,
        "moments": None,
        "dev_score": lambda predictions: float(len(set(predictions))),
        "higher_is_better": True,
    }
    return Lesson(**arguments | fields)


def trainer_of(path, rates=(1e-2, 1e-3), seeds=(0, 1), **options):
    return Trainer(lesson_of(seeds=seeds, **options), rates, seeds, checkpoint=path)


def assert_same(first, second):
    for one, other in zip(first, second, strict=True):
        assert (one.lr, one.seed, one.step, one.value) == (
            other.lr,
            other.seed,
            other.step,
            other.value,
        )
        assert one.state.keys() == other.state.keys()
        assert all(torch.equal(x, other.state[name]) for name, x in one.state.items())


def weights(trainer):
    return [
        tensor.detach().clone()
        for point in trainer.grid.points
        for tensor in point.probe.state_dict().values()
    ]


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("stop_at", [1, 2, 5])
def test_an_interrupted_training_goes_on_with_the_same_weights(
    tmp_path, monkeypatch, head, stop_at
):
    """Adam's moments and the schedule of the rate go on: else the next step would be another."""
    monkeypatch.setattr(fit, "SECONDS_BETWEEN_SAVES", 0.0)
    whole = trainer_of(tmp_path / "whole", head=head, recipe=SCHEDULED)
    expected = whole.run()

    def stop(step, _):
        if step == stop_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trainer_of(tmp_path / "cut", head=head, recipe=SCHEDULED).run(stop)
    again, steps = trainer_of(tmp_path / "cut", head=head, recipe=SCHEDULED), []
    assert_same(again.run(lambda step, _: steps.append(step)), expected)
    assert steps == list(range(stop_at, 7))
    for one, other in zip(weights(whole), weights(again), strict=True):
        assert torch.equal(one, other)


def test_a_finished_training_is_read_and_not_repeated(tmp_path):
    expected = trainer_of(tmp_path / "a").run()
    again = trainer_of(tmp_path / "a")
    again.grid.update = lambda *_: pytest.fail("an update")
    assert_same(again.run(), expected)
    assert again.step == 6


def test_a_point_that_diverged_stays_so_after_an_interruption(tmp_path, monkeypatch):
    monkeypatch.setattr(fit, "SECONDS_BETWEEN_SAVES", 0.0)
    lesson = {"train": random_source([1] * 8), "seeds": (0, 1)}
    first = trainer_of(tmp_path / "a", **lesson)
    first.grid.points[2].diverged = True
    with pytest.raises(KeyboardInterrupt):
        first.run(lambda step, _: (_ for _ in ()).throw(KeyboardInterrupt) if step == 2 else None)
    again = trainer_of(tmp_path / "a", **lesson)
    points = again.run()
    assert [point.diverged for point in again.grid.points] == [False, False, True, False]
    assert points[2].value is None and points[2].state is None and points[2].step == 0
    assert all(points[index].value is not None for index in (0, 1, 3))


def test_a_training_ends_when_every_point_has_diverged(tmp_path):
    trainer = trainer_of(tmp_path / "a")
    for point in trainer.grid.points:
        point.diverged = True
    trainer.grid.update = lambda *_: pytest.fail("an update")
    assert all(point.value is None for point in trainer.run())
    one_left = trainer_of(tmp_path / "b")
    for point in one_left.grid.points[1:]:
        point.diverged = True
    values = [point.value for point in one_left.run()]
    assert values[0] is not None and values[1:] == [None] * 3


@pytest.mark.parametrize(("higher_is_better", "best"), [(True, 0.7), (False, 0.2)])
def test_the_best_of_all_points_follows_the_direction_of_the_metric(
    tmp_path, higher_is_better, best
):
    trainer = trainer_of(tmp_path / "a", higher_is_better=higher_is_better)
    assert trainer.best_value() is None
    for point, value in zip(trainer.grid.points, (0.5, None, 0.7, 0.2), strict=True):
        point.best_value = value
    assert trainer.best_value() == best


def test_a_damaged_state_is_removed_and_said(tmp_path, capsys):
    expected = trainer_of(tmp_path / "whole").run()
    path = tmp_path / "damaged"
    path.write_bytes(b"not a state")
    assert_same(trainer_of(path).run(), expected)
    error = capsys.readouterr().err
    assert str(path) in error and "the training starts again" in error


@pytest.mark.parametrize(("seconds", "saves"), [(0.0, [1, 2, 3, 4, 5, 6]), (1e9, [6])])
def test_the_state_is_written_now_and_then_and_at_the_end(tmp_path, monkeypatch, seconds, saves):
    monkeypatch.setattr(fit, "SECONDS_BETWEEN_SAVES", seconds)
    written = []
    write = fit.write_sealed

    def watched(state, path):
        written.append((state["step"], state["is_scored"]))
        write(state, path)

    monkeypatch.setattr(fit, "write_sealed", watched)
    trainer_of(tmp_path / "a").run()
    assert written == [(step, True) for step in saves]
    state = read_sealed(tmp_path / "a")
    assert len(state["points"]) == 4
    assert set(state["points"][0]) == {"probe", "optimizer", "best", "diverged"}


def test_seconds_between_two_saves_are_counted_from_the_last(tmp_path, monkeypatch):
    now = itertools.count(0.0, 5.0)
    clock = {"now": 0.0}
    written = []
    monkeypatch.setattr(fit, "SECONDS_BETWEEN_SAVES", 15.0)
    monkeypatch.setattr(fit.time, "monotonic", lambda: clock["now"])
    monkeypatch.setattr(fit, "write_sealed", lambda state, path: written.append(state["step"]))
    recipe = RECIPE.model_copy(update={"steps": 8})

    def tick(step, _):
        clock["now"] = next(now)

    trainer_of(tmp_path / "a", recipe=recipe).run(tick)
    assert written == [4, 7, 8]  # at 15 s, at 30 s, and the last


def test_a_request_to_stop_is_followed_after_the_update(tmp_path, monkeypatch):
    expected = trainer_of(tmp_path / "whole").run()
    trainer = trainer_of(tmp_path / "cut")

    def check():
        if trainer.step == 3:
            raise stopping.Stopped

    with monkeypatch.context() as patch:
        patch.setattr(stopping, "requested", lambda: trainer.step == 3)
        patch.setattr(stopping, "check", check)
        with pytest.raises(stopping.Stopped):
            trainer.run()
    assert read_sealed(tmp_path / "cut")["step"] == 3
    assert_same(trainer_of(tmp_path / "cut").run(), expected)


def test_a_group_is_read_once_for_all_seeds_and_its_updates(tmp_path):
    """Equal lengths are one group: one read of the training split in three epochs."""
    recipe = RECIPE.model_copy(update={"steps": 12})
    lesson = lesson_of(recipe=recipe)
    Trainer(lesson, [1e-2, 1e-3], [0, 1], checkpoint=tmp_path / "a").run()
    assert lesson.train.reads == [tuple(range(8))]
    assert len(lesson.dev.reads) == 6
    unequal = lesson_of("ctc")
    trainer = Trainer(unequal, [1e-2], [0, 1], checkpoint=tmp_path / "b")
    trainer.run()
    groups = [step.group for step in trainer._schedule.steps(0, 6)]
    assert unequal.train.reads == [group for group, _ in itertools.groupby(groups)]


def test_every_epoch_takes_its_own_crops(tmp_path):
    """Two crops of each utterance, equal in length: an epoch reads the crop that it draws."""
    crops = random_source([1] * 16)
    train = Cropped(crops, list(range(0, 16, 2)), [2] * 8)
    recipe = RECIPE.model_copy(update={"steps": 16})
    lesson = lesson_of(train=train, recipe=recipe)
    Trainer(lesson, [1e-2], [0, 1], checkpoint=tmp_path / "a").run()
    expected = [
        tuple(2 * index + derive_seed("crop", epoch, index) % 2 for index in range(8))
        for epoch in range(4)
    ]
    assert crops.reads == expected
    assert len(set(expected)) > 1


def test_targets_follow_the_utterances_of_each_seeds_batch(tmp_path):
    """Every update sees pairs of features and target of one utterance, shuffled by seed."""
    train = labelled_source(LABELS, high="high")
    flipped = [{"low": "high", "high": "low"}[label] for label in LABELS]
    lesson = lesson_of(train=train, targets={0: LABELS, 1: flipped})
    trainer = Trainer(lesson, [1e-2], [0, 1], checkpoint=tmp_path / "a")
    seen = []

    def update(step, batches, targets):
        for seed in (0, 1):
            high = batches[seed].stacked[0, :, 0, 0] > 0
            seen.append((seed, high.tolist(), targets[seed].tolist()))
        return torch.zeros(2)

    trainer.grid.update = update
    trainer.run()
    assert len(seen) == 12
    high_class, low_class = 0, 1
    for seed, is_high, targets in seen:
        right = [high_class if high else low_class for high in is_high]
        assert targets == (right if seed == 0 else [1 - number for number in right])


GROUPS = {
    "balanced": [tuple(range(8))],
    "halved-buckets": [(1, 3), (2, 0), (5, 6), (7, 4)],  # by falling number of samples
    "windows": [(0, 4), (1, 3), (2, 0), (3, 5), (4, 1), (5, 6), (6, 7)],  # of tokens
}


@pytest.mark.parametrize("rule", GROUPS)
def test_a_recipe_names_how_batches_are_formed(tmp_path, rule):
    recipe = RECIPE.model_copy(update={"batches": rule, "steps": 8})
    num_samples = [320 * n for n in (1, 9, 2, 8, 3, 7, 6, 4)]
    lesson = lesson_of("ctc", recipe=recipe, num_samples=num_samples)
    trainer = Trainer(lesson, [1e-2], [0, 1], checkpoint=tmp_path / "a")
    steps = list(trainer._schedule.steps(0, 8))
    assert sorted({step.group for step in steps}) == GROUPS[rule]
    assert all(point.value is not None for point in trainer.run())


def test_the_moments_of_the_lesson_z_score_what_is_trained_on(tmp_path):
    statistics = Moments(torch.full((2, 3), 1.0), torch.full((2, 3), 2.0))
    lesson = lesson_of(moments=statistics)
    trainer = Trainer(lesson, [1e-2], [0, 1], checkpoint=tmp_path / "a")
    assert type(trainer.grid) is Stacked
    step, batches = next(trainer._feed())
    raw = lesson.train.rows(step.group).batch(step.positions[1])
    torch.testing.assert_close(batches[1].stacked, (raw.stacked - 1.0) / 2.0)
    assert batches.keys() == {0, 1}


FACTORS = [1 / 3, 2 / 3, 1.0, 0.5 + 0.25 * 2**0.5, 0.5, 0.5 - 0.25 * 2**0.5]  # of SCHEDULED


@pytest.mark.parametrize("head", HEADS)
def test_a_training_is_a_loop_in_plain_torch(tmp_path, head):
    """Six steps: batches, dropout, clipping, decay of weights, both rates and their schedule."""
    recipe = SCHEDULED.model_copy(
        update={"optimizer": "adamw", "weight_decay": 0.3, "clip": 0.05, "eval_every": 6}
    )
    trainer = trainer_of(tmp_path / "a", rates=(1e-2,), seeds=(4,), head=head, recipe=recipe)
    lesson = trainer.lesson
    probe = (
        trainer_of(None, rates=(1e-2,), seeds=(4,), head=head, recipe=recipe).grid.points[0].probe
    )
    groups = [
        {"params": list(probe.head.parameters()), "lr": 1e-2},
        {"params": [probe.weighted_sum.logits], "lr": 3e-2, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.3, foreach=False)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, FACTORS.__getitem__)
    targets = probe.head.encode(lesson.targets[4])
    for step in trainer._schedule.steps(0, 6):
        chosen = [step.group[place] for place in step.positions[4]]
        batch = lesson.train.rows(chosen).batch(range(len(chosen)))
        torch.manual_seed(derive_seed(4, "dropout", step.number))
        optimizer.zero_grad()
        probe.head.loss(probe(batch), [targets[index] for index in chosen] if head == "ctc"
                        else targets[chosen]).backward()  # fmt: skip
        torch.nn.utils.clip_grad_norm_(probe.parameters(), 0.05)
        optimizer.step()
        if step.number < 5:
            schedule.step()
    (point,) = trainer.run()
    for name, tensor in probe.state_dict().items():
        torch.testing.assert_close(point.state[name], tensor, rtol=1e-3, atol=1e-4)


RECIPE_CHANGES = {
    "optimizer": "adam",
    "lr_grid": (2e-2,),
    "steps": 7,
    "batch_size": 3,
    "clip": 1e-3,
    "weight_decay": 0.1,
    "batches": "balanced",
    "decay": None,
    "warmup": 0,
    "sum_rate": 2.0,
}
OF_FEATURES = {"standardize", "crops", "explore"}  # used before a training, or around it
OF_SELECTION = {"eval_every", "selection_seeds", "one_standard_error"}


def test_every_field_of_a_recipe_changes_the_weights(tmp_path):
    """A field that a training does not read would leave them as they are."""
    assert RECIPE_CHANGES.keys() | OF_FEATURES | OF_SELECTION == Recipe.model_fields.keys()
    base = SCHEDULED.model_copy(update={"optimizer": "adamw", "weight_decay": 0.3})
    rows = {}
    for name, value in {"": None, **RECIPE_CHANGES}.items():
        recipe = base.model_copy(update={name: value} if name else {})
        path = tmp_path / f"{name}.state"
        trainer = trainer_of(path, rates=recipe.lr_grid, seeds=(0,), recipe=recipe)
        trainer.run()
        rows[name] = torch.cat([tensor.flatten() for tensor in weights(trainer)])
    for name in RECIPE_CHANGES:
        assert not torch.allclose(rows[name], rows[""], rtol=1e-6, atol=1e-8), name
