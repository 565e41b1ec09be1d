"""The stages after the upstream pass: dev selects, test sets are predicted once and scored."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch
from memory_source import labelled_source
from safetensors.torch import load_file
from torch import nn

from bench.api import Head, Utterance
from bench.config import TaskCard
from bench.features.weighted_sum import Moments
from bench.metrics.detection import equal_error_rate, operating_points
from bench.probe.fit import Fitted, Trainer
from bench.run import stages
from bench.run.spec import Resolved, RunSpec, Table
from bench.sound.manifests import Trial

TRAIN = ["low", "high"] * 6
DEV = ["low", "high", "high", "low"]
OPPOSITE = {"low": "high", "high": "low"}
CARD = {
    "name": "tone",
    "track": "toy",
    "title": "Tone",
    "version": 1,
    "corpus": "toy",
    "tables": {"train": "train", "dev": "dev", "clean": "clean", "ood": "ood"},
    "labels": "derived",
    "head": "downstreams.classify:UtteranceClassifier",
    "head_conf": {"projection": 4},
    "metrics": ("accuracy",),
    "features": "pooled",
    "recipe": {"lr_grid": (1e-1, 1e-2), "steps": 12, "batch_size": 4, "eval_every": 4},
}


class CurvesInMemory:
    """What a training writes for TensorBoard, by folder."""

    written: ClassVar[dict] = {}

    def __init__(self, folder, lines):
        assert lines in (None, folder.parents[1] / "learning-curve.jsonl")
        self.figures = self.written[folder] = []
        self.is_open = True

    def add(self, name, value, step):
        assert self.is_open
        self.figures.append((name, value, step))

    def close(self):
        self.is_open = False


@pytest.fixture(autouse=True)
def curves(monkeypatch):
    monkeypatch.setattr(stages, "Curves", CurvesInMemory)
    CurvesInMemory.written = {}
    return CurvesInMemory.written


def utterances(split, targets):
    return tuple(
        Utterance(f"{split}-{n}", Path(), 0, 100 + n, target, f"s{n % 2}", "toy", f"{split}{n}")
        for n, target in enumerate(targets)
    )


class ToyFeatures:
    """Features in memory, one source a split; it keeps the names of the splits that are read."""

    def __init__(self, card, spec=None, moments=None, **changes):
        splits = {"train": TRAIN, "dev": DEV, "clean": DEV, "ood": DEV} | changes
        tables = {
            name: Table(utterances(name, targets), (), "0" * 64) for name, targets in splits.items()
        }
        # All splits sound alike for a label; what the labels of a split say is another thing.
        self.sources = {
            name: labelled_source({"train": TRAIN}.get(name, DEV), high="high", seed=number)
            for number, name in enumerate(splits)
        }
        loaded = SimpleNamespace(upstream=SimpleNamespace(stride=320))
        spec = spec or RunSpec("fbank", "tone", "toy")
        self.resolved = Resolved(spec, card, loaded, tables, "script")
        self.store = SimpleNamespace(engine=SimpleNamespace(device="cpu"))
        self.statistics, self.reads = moments, []

    def source(self, split):
        self.reads.append(split)
        return self.sources[split]

    def moments(self):
        return self.statistics


def card(**changes):
    return TaskCard.model_validate(CARD | changes)


def recipe(**changes):
    return CARD["recipe"] | changes


def folder_of(tmp_path, name="a"):
    return tmp_path / name / "training" / "digest"


def train(features, folder, runs=None):
    runs = runs or [features.resolved]
    folders = [folder] if len(runs) == 1 else [folder / str(run.spec.seed) for run in runs]
    return stages.train(features, runs, folders)


def test_dev_selects_and_no_test_set_is_read(tmp_path):
    """Tests whose labels are the opposite of those of training and dev change nothing."""
    opposite = [OPPOSITE[label] for label in DEV]
    features = ToyFeatures(card(), clean=opposite, ood=opposite)
    (points,) = train(features, folder_of(tmp_path))
    assert max(point.value for point in points) == 1.0
    assert set(features.reads) == {"train", "dev"}
    best = stages.best_of(points, higher_is_better=True)
    probe = stages.best_probe(features, best)
    stages.predict_tests(features, probe, tmp_path / "predictions")
    clean, ood = stages.score_tests(features.resolved, tmp_path / "predictions")
    assert (clean.value, ood.value) == (0.0, 0.0)


def test_labels_of_dev_select_the_step(tmp_path):
    """Training leads away from a dev whose labels are the opposite: its first score is its best."""
    away = ToyFeatures(card(recipe=recipe(eval_every=1)), dev=[OPPOSITE[label] for label in DEV])
    (points,) = train(away, folder_of(tmp_path))
    towards = ToyFeatures(card(recipe=recipe(eval_every=1)))
    (others,) = train(towards, folder_of(tmp_path, "b"))
    assert [point.value for point in others] == [1.0, 1.0]
    assert all(point.value < 1.0 for point in points)
    assert [p.step for p in points] != [p.step for p in others]


@pytest.mark.parametrize(("metric", "higher"), [("accuracy", True), ("wer", False)])
def test_a_lesson_scores_dev_by_the_first_metric_in_its_direction(metric, higher):
    second = "cer" if metric == "wer" else "wer"
    features = ToyFeatures(card(metrics=(metric, second)), clean=["other"] * 4)
    lesson = stages.make_lesson(features, [features.resolved], features.resolved.card.recipe)
    assert lesson.higher_is_better is higher
    three_right = [*DEV[:3], "none"]
    assert lesson.dev_score(three_right) == pytest.approx(0.75 if higher else 0.25)
    assert lesson.train is features.sources["train"]
    assert lesson.dev is features.sources["dev"]
    assert list(lesson.num_samples) == [100 + n for n in range(12)]
    assert lesson.device == "cpu"
    assert lesson.moments is None
    assert lesson.targets == {0: TRAIN}


def test_verification_selects_by_the_trials_of_dev():
    features = ToyFeatures(card(metrics=("eer",)))
    tables = features.resolved.tables
    items = tables["dev"].utterances
    trials = tuple(
        Trial(int(a.speaker == b.speaker), a.id, b.id) for a in items for b in items if a.id < b.id
    )
    tables["dev"] = replace(tables["dev"], trials=trials)
    vectors = [[1.0, 0.0], [0.9, 0.3], [0.2, 1.0], [1.0, 0.1]]
    lesson = stages.make_lesson(features, [features.resolved], features.resolved.card.recipe)
    unit = torch.nn.functional.normalize(torch.tensor(vectors, dtype=torch.float64))
    place = {item.id: index for index, item in enumerate(items)}
    scores = [float(unit[place[t.enrolment]] @ unit[place[t.test]]) for t in trials]
    labels = torch.tensor([trial.label == 1 for trial in trials]).numpy()
    points = operating_points(torch.tensor(scores).numpy(), labels, torch.ones(6).numpy())
    assert lesson.dev_score(vectors) == pytest.approx(float(equal_error_rate(*points)))
    assert not lesson.higher_is_better


def test_runs_of_several_seeds_learn_their_own_targets(tmp_path):
    features = ToyFeatures(card())
    other = replace(
        features.resolved,
        spec=replace(features.resolved.spec, seed=7),
        tables=features.resolved.tables
        | {"train": Table(utterances("train", [OPPOSITE[x] for x in TRAIN]), (), "1" * 64)},
    )
    one, seven = train(features, tmp_path / "t" / "r", [features.resolved, other])
    assert [(p.seed, p.lr) for p in one] == [(0, 1e-1), (0, 1e-2)]
    assert [(p.seed, p.lr) for p in seven] == [(7, 1e-1), (7, 1e-2)]
    assert max(p.value for p in one) == 1.0
    assert max(p.value for p in seven) < 1.0


def same(first, second):
    assert vars(first).keys() == vars(second).keys()
    for name, value in vars(first).items():
        if name != "state":
            assert getattr(second, name) == value
        elif value is None:
            assert second.state is None
        else:
            assert all(torch.equal(tensor, second.state[key]) for key, tensor in value.items())


def test_trained_heads_are_on_disk_and_not_trained_again(tmp_path, monkeypatch):
    folder = folder_of(tmp_path)
    (first,) = train(ToyFeatures(card()), folder)
    assert sorted(path.name for path in folder.iterdir()) == ["lr0.01.sealed", "lr0.1.sealed"]
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "run", lambda *_: pytest.fail("trained again"))
        (again,) = train(ToyFeatures(card()), folder)
    for one, other in zip(first, again, strict=True):
        same(one, other)


@pytest.mark.parametrize("damage", ["missing", "broken"])
def test_a_head_that_is_missing_or_damaged_is_trained_again(tmp_path, capsys, damage):
    folder = folder_of(tmp_path)
    (first,) = train(ToyFeatures(card()), folder)
    path = folder / "lr0.01.sealed"
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-9])
    (again,) = train(ToyFeatures(card()), folder)
    assert ("the heads are trained again" in capsys.readouterr().err) == (damage == "broken")
    for one, other in zip(first, again, strict=True):
        same(one, other)


def test_only_seeds_without_heads_are_trained(tmp_path, monkeypatch):
    features = ToyFeatures(card())
    runs = [
        replace(features.resolved, spec=replace(features.resolved.spec, seed=seed))
        for seed in (0, 1, 2)
    ]
    folders = [folder_of(tmp_path, str(seed)) for seed in (0, 1, 2)]
    (middle,) = stages.train(features, runs[1:2], folders[1:2])
    seeds = []
    init = Trainer.__init__

    def watched(self, lesson, rates, some, *, checkpoint):
        seeds.append((tuple(some), checkpoint.name, checkpoint.parent))
        init(self, lesson, rates, some, checkpoint=checkpoint)

    monkeypatch.setattr(Trainer, "__init__", watched)
    first, again, last = stages.train(features, runs, folders)
    assert seeds == [((0, 2), "grid-0-2.sealed", folders[0])]
    assert [points[0].seed for points in (first, again, last)] == [0, 1, 2]
    for one, other in zip(middle, again, strict=True):
        same(one, other)
    (alone,) = stages.train(features, runs[2:], [folder_of(tmp_path, "alone")])
    for one, other in zip(alone, last, strict=True):
        assert (one.lr, one.step, one.value) == (other.lr, other.step, other.value)


def test_exploring_trains_every_rate_a_little_and_the_best_in_full(tmp_path):
    """The rate of 1e-9 learns nothing in 6 updates, so the other is trained for 12."""
    exploring = card(recipe=recipe(lr_grid=(1e-9, 1e-1), explore=0.5))
    folder = folder_of(tmp_path)
    (points,) = train(ToyFeatures(exploring), folder)
    *tried, full = points
    assert [(p.lr, p.explored, p.state) for p in tried] == [(1e-9, True, None), (1e-1, True, None)]
    assert all(point.step <= 6 for point in tried)
    assert tried[1].value == 1.0 > tried[0].value
    assert (full.lr, full.explored) == (1e-1, False)
    assert full.state is not None
    (alone,) = train(ToyFeatures(card(recipe=recipe(lr_grid=(1e-1,)))), folder_of(tmp_path, "b"))
    same(full, alone[0])
    assert (folder / "explored" / "lr1e-09.sealed").exists()
    assert not (folder / "lr1e-09.sealed").exists()


def test_a_rate_of_heads_that_learned_nothing_is_called_a_guess(tmp_path, capsys):
    """So it is where all rates are too small for a few updates; else nothing is said."""
    for rates, is_guess in (((1e-9, 1e-1), False), ((1e-9, 1e-8), True)):
        exploring = card(recipe=recipe(lr_grid=rates, explore=0.5))
        train(ToyFeatures(exploring), folder_of(tmp_path, f"{rates[1]:g}"))
        said = capsys.readouterr().err
        assert ("learning rate 1e-0" in said) == is_guess
        assert ("accuracy 50.00 on dev, 50.00 without the sound" in said) == is_guess


def test_exploring_follows_the_direction_of_the_metric(tmp_path):
    """By word errors the lowest wins; each seed goes on with its own best rate."""
    exploring = card(metrics=("wer",), recipe=recipe(lr_grid=(1e-9, 1e-1), explore=0.5))
    features = ToyFeatures(exploring)
    flipped = Table(utterances("train", [OPPOSITE[x] for x in TRAIN]), (), "1" * 64)
    other = replace(
        features.resolved,
        spec=replace(features.resolved.spec, seed=1),
        tables=features.resolved.tables | {"train": flipped},
    )
    folders = [folder_of(tmp_path, "0"), folder_of(tmp_path, "1")]
    first, second = stages.train(features, [features.resolved, other], folders)
    assert first[-1].lr == 1e-1 and first[-1].value == 0.0
    rates = {point.lr: point.value for point in second[:-1]}
    assert second[-1].lr == min(rates, key=rates.get)
    assert second[-1].seed == 1


@pytest.mark.parametrize(("metric", "lr"), [("accuracy", 1e-2), ("wer", 1e-1)])
def test_a_shared_choice_follows_the_direction_of_the_metric(tmp_path, metric, lr):
    shared = [
        Fitted(1e-1, 12, 0.2, None, explored=True),
        Fitted(1e-2, 12, 0.4, None, explored=True),
    ]
    features = ToyFeatures(card(metrics=(metric,), recipe=recipe(selection_seeds=1)))
    (points,) = stages.train(features, [features.resolved], [folder_of(tmp_path)], shared)
    assert points[:2] == shared
    assert [(point.lr, point.step, point.explored) for point in points[2:]] == [(lr, 12, False)]


def test_one_rate_has_nothing_to_explore(tmp_path):
    (points,) = train(
        ToyFeatures(card(recipe=recipe(lr_grid=(1e-1,), explore=0.5))), folder_of(tmp_path)
    )
    assert [(p.lr, p.explored) for p in points] == [(1e-1, False)]


class SignHead(Head):
    """A head without parameters: `high` where the mean of the first dimension is positive."""

    def __init__(self, input_size, stride, targets):
        nn.Module.__init__(self)

    def forward(self, feats, lengths):
        assert not self.training
        return feats[:, :, 0].mean(dim=1)

    def encode(self, targets):
        return torch.zeros(len(targets))

    def loss(self, output, targets):
        return output.sum()

    def predict(self, output):
        return ["high" if value > 0 else "low" for value in output.tolist()]


@pytest.mark.parametrize(("metric", "values"), [("accuracy", [0.5, 1.0]), ("wer", [0.5, 0.0])])
def test_where_nothing_is_trained_dev_chooses_one_hidden_state(
    tmp_path, monkeypatch, metric, values
):
    """State 0 is always positive; state 1 tells the labels of dev."""
    monkeypatch.setattr(stages, "head_factory", lambda _: lambda size: SignHead(size, 320, []))
    untrained = card(metrics=(metric,), recipe=recipe(lr_grid=(), steps=0))
    features = ToyFeatures(untrained, clean=[OPPOSITE[label] for label in DEV])
    for source in features.sources.values():
        for states in source.states:
            states[:, 0] = 1.0
    other = replace(features.resolved, spec=replace(features.resolved.spec, seed=3))
    points, others = stages.train(features, [features.resolved, other], [tmp_path, tmp_path])
    assert [(p.lr, p.step, p.value, p.seed) for p in points] == [
        (0.0, 0, value, 0) for value in values
    ]
    assert [p.seed for p in others] == [3, 3]
    assert set(features.reads) == {"train", "dev"}
    best = stages.best_of(points, higher_is_better=metric == "accuracy")
    assert best is points[1]
    probe = stages.best_probe(features, best)
    assert probe.weighted_sum.weights().tolist() == [0.0, 1.0]
    stages.predict_tests(features, probe, tmp_path)
    scores = {s.condition: s.value for s in stages.score_tests(features.resolved, tmp_path)}
    assert scores == {"clean": 1.0 - values[1], "ood": values[1]}


def test_the_probe_that_dev_selected_predicts_every_test_set(tmp_path):
    statistics = Moments(torch.full((2, 3), 0.5), torch.full((2, 3), 2.0))
    features = ToyFeatures(card(), moments=statistics, ood=[OPPOSITE[label] for label in DEV])
    (points,) = train(features, folder_of(tmp_path))
    best = stages.best_of(points, higher_is_better=True)
    probe = stages.best_probe(features, best)
    assert not probe.training
    assert all(torch.equal(probe.state_dict()[name], x) for name, x in best.state.items())
    digests = stages.predict_tests(features, probe, tmp_path / "p")
    assert list(digests) == ["clean", "ood"]
    lines = [json.loads(line) for line in (tmp_path / "p" / "clean.jsonl").open()]
    assert lines == [{"id": f"clean-{n}", "prediction": x} for n, x in enumerate(DEV)]
    scores = stages.score_tests(features.resolved, tmp_path / "p")
    assert [(s.condition, s.metric, s.value, s.n) for s in scores] == [
        ("clean", "accuracy", 1.0, 4),
        ("ood", "accuracy", 0.0, 4),
    ]
    stages.save_head(probe, tmp_path / "head.safetensors")
    saved = load_file(tmp_path / "head.safetensors")
    assert saved.keys() == probe.state_dict().keys()
    assert all(torch.equal(saved[name], x) for name, x in probe.state_dict().items())


def test_a_point_without_weights_makes_no_probe():
    with pytest.raises(AssertionError, match="without weights"):
        stages.best_probe(ToyFeatures(card()), Fitted(1e-2, 0, None, None))


def test_curves_hold_losses_and_dev_scores_of_every_evaluation(tmp_path, curves):
    folder = folder_of(tmp_path, "ks-s0")
    (points,) = train(ToyFeatures(card()), folder)
    (place,) = curves
    assert place == tmp_path / "ks-s0" / "tensorboard" / "trained"
    names = [(name, step) for name, _, step in curves[place]]
    expected = [
        (name, step)
        for step in (4, 8, 12)
        for lr in ("0.1", "0.01")
        for name in (f"loss/lr{lr}", f"dev accuracy/lr{lr}")
    ]
    assert names == expected
    scores = [value for name, value, _ in curves[place] if name == "dev accuracy/lr0.1"]
    assert points[0].value == max(scores)
    losses = [value for name, value, _ in curves[place] if name == "loss/lr0.1"]
    assert losses == sorted(losses, reverse=True) and losses[0] > 0


def test_curves_of_exploring_lie_beside_those_of_the_training(tmp_path, curves):
    folder = folder_of(tmp_path, "ks-s0")
    train(ToyFeatures(card(recipe=recipe(explore=0.5))), folder)
    board = tmp_path / "ks-s0" / "tensorboard"
    assert list(curves) == [board / "explored", board / "trained"]
    assert {step for _, _, step in curves[board / "explored"]} == {4, 6}
    assert {step for _, _, step in curves[board / "trained"]} == {4, 8, 12}


def test_a_new_training_removes_the_curves_of_an_older_one(tmp_path):
    """A resumed training goes on with them."""
    folder = folder_of(tmp_path, "ks-s0")
    old = tmp_path / "ks-s0" / "tensorboard" / "trained" / "events"
    old.parent.mkdir(parents=True)
    old.write_text("old")
    checkpoint = folder / "grid-0.sealed"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_text("a checkpoint")
    stages._curves(folder, checkpoint)
    assert old.exists()
    train(ToyFeatures(card()), folder)  # the checkpoint is not one: the training starts again
    checkpoint.unlink(missing_ok=True)
    stages._curves(folder, checkpoint)
    assert not old.exists()


def test_progress_counts_updates_and_shows_the_best_score(tmp_path, monkeypatch):
    bars = []

    class Bar:
        def __init__(self, **options):
            self.options, self.n, self.texts = options, 0, []
            bars.append(self)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.done = True

        def update(self, count):
            self.n += count

        def set_postfix(self, figures, refresh):
            self.texts.append(figures)

    monkeypatch.setattr(stages, "bar", Bar)
    train(ToyFeatures(card()), folder_of(tmp_path))
    train(ToyFeatures(card(recipe=recipe(lr_grid=(1e-1,)))), folder_of(tmp_path, "b"))
    two, one = bars
    assert two.options == {"total": 12, "label": "2 heads", "unit": "updates"}
    assert one.options["label"] == "head"
    assert (two.n, one.n) == (12, 12)
    assert two.texts[-1] == {"best dev accuracy": "1.0000"}
    assert len(two.texts) == 9  # from the fourth update on
