"""Curves of trainings: lines of JSON, and TensorBoard events where it is installed."""

import sys
import types
from pathlib import Path

import pytest
from toy_track import evaluate, evaluate_seeds

from bench.records import curves


def test_without_tensorboard_there_are_lines_alone(toy, monkeypatch):
    monkeypatch.setattr(curves, "find_spec", lambda name: None)
    outcome = evaluate(toy)
    assert not list(toy.out.rglob("tensorboard"))
    path = outcome.path.with_suffix("") / curves.LINES
    with path.open("a") as file:
        file.write(
            '["dev accuracy/lr0.01", 4, 0.5]\n["loss/lr0.01", 1e999, 0]\n'
        )  # resumed, damaged
        file.write("[" * 10_000 + '\n["dev accur')  # damaged, and killed while it wrote
    figures = curves.read_lines(path)
    assert len(figures) == 4 and list(figures["loss/lr0.01"]) == [4, 8, 12]
    assert figures["dev accuracy/lr0.01"][4] == 0.5
    point = next(point for point in outcome.record.selection.grid if point.lr == 1e-3)
    assert max(figures["dev accuracy/lr0.001"].values()) == point.value


def test_a_training_gives_loss_and_dev_score_of_every_point(toy, monkeypatch):
    """Through a writer of ours, which TensorBoard's has the form of."""
    found = {}

    class Writer:
        def __init__(self, folder):
            self.figures = found.setdefault(Path(folder), [])

        def add_scalar(self, name, value, step):
            self.figures.append((name, float(value), step))

        def close(self):
            self.figures.append("closed")

    module = types.SimpleNamespace(SummaryWriter=Writer)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    monkeypatch.setattr(curves, "find_spec", lambda name: object())
    first, second = evaluate_seeds(toy, (0, 1), "tone")
    assert list(found) == [
        outcome.path.with_suffix("") / "tensorboard" / "trained" for outcome in (first, second)
    ]
    for outcome, figures in zip((first, second), found.values(), strict=True):
        assert figures.pop() == "closed"
        names = {name for name, _, _ in figures}
        assert names == {
            f"{what}/lr{lr:g}" for what in ("loss", "dev accuracy") for lr in (1e-2, 1e-3)
        }
        assert [step for name, _, step in figures if name == "loss/lr0.01"] == [4, 8, 12]
        for point in outcome.record.selection.grid:
            scores = [value for name, value, _ in figures if name == f"dev accuracy/lr{point.lr:g}"]
            assert max(scores) == point.value


def test_tensorboard_reads_what_is_written(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    own = curves.Curves(tmp_path)
    for step in (1, 2, 3):
        own.add("loss", 1.0 / step, step)
    own.close()
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    found = events.Scalars("loss")
    assert [event.step for event in found] == [1, 2, 3]
    assert [event.value for event in found] == pytest.approx([1.0, 0.5, 1 / 3])
