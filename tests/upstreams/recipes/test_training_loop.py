"""The training loop: settings, schedule, stages, checkpoints, log, failures."""

import json
import multiprocessing
import os
import signal
from contextlib import suppress
from dataclasses import replace
from itertools import islice

import pytest
import torch
from recipe_toys import MEL, first_batch, ingredients, stream

from bench.errors import InvalidDataError, MissingError, UsageError
from bench.schema import make_model
from upstreams.encoder.state import build, random_state
from upstreams.recipes.distillation import distil
from upstreams.recipes.training import loader
from upstreams.recipes.training.loop import TrainingRun
from upstreams.recipes.training.objective import Objective, TrainedUpstream
from upstreams.recipes.training.runlog import RunLog
from upstreams.recipes.training.settings import TrainingSettings


class Killed(BaseException):
    """What ends a run in a test."""


class Line(Objective):
    """Fits the mean of the sound: a loss whose course is easy to know."""

    min_samples = 400

    def __init__(self, at: float = 1.0):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.full((2, 2), at))
        self.bias = torch.nn.Parameter(torch.zeros(2))
        self.begun: list[int] = []

    def begin(self, stage):
        self.begun.append(stage)

    def loss(self, batch, at):
        noise = torch.rand(2, generator=at.generator)
        value = ((self.weight @ noise + self.bias) ** 2).mean() * batch.wavs.abs().mean()
        return value, {"noise": float(noise[0])}

    def product(self):
        return TrainedUpstream({}, {"weight": self.weight.detach().clone()})


def make_run(folder, source, *, hours=0.004, objective=None, **training):
    objective = objective or Line()
    exported = []
    run = TrainingRun(
        objective,
        stream(source),
        [first_batch(source)],
        TrainingSettings(hours=hours, log_steps=2, lr=0.1, **training),
        folder=folder,
        identity="this",
        seed=5,
        device=torch.device("cpu"),
        export=exported.append,
    )
    return run, objective, exported


@pytest.fixture
def source(tmp_path):
    return ingredients(tmp_path, {})


def test_schedule():
    training = TrainingSettings(warmup=0.1, decay=0.5)
    found = [round(training.factor(at), 6) for at in (0.0, 0.05, 0.1, 0.5, 0.75, 1.0)]
    assert found == [0.0, 0.5, 1.0, 1.0, 0.5, 0.0]


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ({"hour": 1}, "did you mean 'hours'"),
        ({"hours": "two"}, "key 'hours'"),
        ({"hours": 0}, "key 'hours'"),
        ({"lr": "high"}, "key 'lr': Input should be a valid number"),
        ({"weight_decay": -0.1}, "key 'weight_decay'"),
        ({"betas": [0.9, 1.5]}, "key 'betas.1'"),
        ({"held_out": -1}, "key 'held_out'"),
        ({"warmup": 0.7, "decay": 0.6}, "^training: 'warmup' and 'decay' are shares of a stage"),
    ],
)
def test_training_that_does_not_hold(section, told):
    with pytest.raises(UsageError, match=told):
        make_model(TrainingSettings, section, "training")


def test_killed_and_resumed_gives_the_same_weights(tmp_path, source):
    whole, expected, exported = make_run(tmp_path / "a", source, keep_hours=(0.002,))
    whole.run(lambda *_: None)
    assert exported == [0.002, 0.004]

    broken, _, _ = make_run(tmp_path / "b", source, save_s=0.0)

    def kill(_, __):
        if broken.progress.step == 7:
            raise Killed

    with pytest.raises(Killed):
        broken.run(kill)
    again, found, _ = make_run(tmp_path / "b", source, save_s=0.0)
    again.run(lambda *_: None)
    assert again.progress.step == whole.progress.step > 8
    assert torch.equal(found.weight, expected.weight) and torch.equal(found.bias, expected.bias)
    lines = [
        [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        for name in ("a", "b")
    ]
    steps = [[line["step"] for line in log if "loss" in line] for log in lines]
    assert steps[0] == steps[1]
    done, untouched, _ = make_run(tmp_path / "b", source)
    done.run(lambda *_: None)
    assert torch.equal(untouched.weight, expected.weight)


def test_stages_begin_in_order_and_again_on_resume(tmp_path, source):
    objective = Line()
    objective.stages = (0.5, 0.5)
    run, _, _ = make_run(tmp_path / "a", source, objective=objective)
    run.run(lambda *_: None)
    assert objective.begun == [0, 1]
    rates = [
        json.loads(line)["lr"]
        for line in (tmp_path / "a" / "log.jsonl").read_text().splitlines()
        if "loss" in json.loads(line)
    ]
    half = len(rates) // 2
    assert max(rates[half:]) > min(rates[1 : half + 1])  # it starts again


def test_a_run_killed_between_two_stages_still_begins_the_second_afresh(tmp_path, source):
    weights = []
    for name, killed_at in (("whole", None), ("killed", "second")):
        objective = Line()
        objective.stages = (0.5, 0.5)
        run, _, _ = make_run(tmp_path / name, source, objective=objective, fresh_optimizer=True)

        def kill(_, __, run=run, killed_at=killed_at):
            if killed_at and run.moment().stage == 1:  # after the last update of the first
                run.save()
                raise Killed

        with suppress(Killed):
            run.run(kill)
        objective = Line()
        objective.stages = (0.5, 0.5)
        again, _, _ = make_run(tmp_path / name, source, objective=objective, fresh_optimizer=True)
        again.run(lambda *_: None)
        weights.append(objective.weight)
    assert torch.equal(*weights)


def test_a_checkpoint_of_another_run_is_refused(tmp_path, source):
    run, _, _ = make_run(tmp_path / "a", source)
    run.save()
    other, _, _ = make_run(tmp_path / "a", source)
    other.identity = "that"
    with pytest.raises(UsageError, match="another configuration or other data"):
        other.run(lambda *_: None)
    (tmp_path / "a" / "checkpoint.pt").write_bytes(b"PK\x03\x04")
    with pytest.raises(InvalidDataError, match="damaged"):
        other.run(lambda *_: None)


def test_a_loss_that_is_not_finite_stops_and_keeps_the_checkpoint(tmp_path, source):
    run, objective, _ = make_run(tmp_path / "a", source, objective=Line(1.0))

    def poison(_, __):
        if run.progress.step == 2:
            run.save()
        if run.progress.step == 3:
            with torch.no_grad():
                objective.weight.fill_(float("nan"))

    with pytest.raises(InvalidDataError, match=r"update 3: loss nan.*last checkpoint is kept"):
        run.run(poison)
    checkpoint = torch.load(tmp_path / "a" / "checkpoint.pt", weights_only=True)
    assert checkpoint["place"]["step"] == 2
    assert torch.isfinite(checkpoint["objective"]["weight"]).all()


def test_the_log_has_means_over_the_updates_that_have_a_figure(tmp_path):
    log = RunLog(tmp_path)
    for figures in ({"loss": 1.0, "sparsity": 0.5}, {"loss": 3.0}, {"loss": 5.0}):
        log.add(figures)
    assert log.write(step=3, hours=0.1, lr=0.01, wall_s=2.0) == {"loss": 3.0, "sparsity": 0.5}
    log.add({"loss": 7.0})
    log.wait(1.0, 4.0)
    log.wait(0.0, 4.0)
    assert log.write(step=4, hours=0.1, lr=0.01, wall_s=2.0) == {"loss": 7.0}
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line.get("waiting") for line in lines] == [None, 0.125]


def signal_loaders(*_):
    """Signal as Ctrl-C and a scheduler do, to all processes of a group."""
    for process in multiprocessing.active_children():
        os.kill(process.pid, signal.SIGINT)
        os.kill(process.pid, signal.SIGTERM)


def test_a_stop_before_a_loader_ignores_it_is_held_back(tmp_path, source, monkeypatch):
    monkeypatch.setattr(loader, "_leave_signals", lambda _: None)  # as if it came no further
    run, _, _ = make_run(tmp_path / "a", source, loaders=2)
    run.run(signal_loaders)


def test_reading_ahead_changes_no_weight(tmp_path, source):
    class Louder(Line):
        def prepare(self, batch, generator):
            return batch._replace(prepared=(batch.wavs * torch.rand((), generator=generator),))

        def loss(self, batch, at):
            wavs = batch.prepared[0] if batch.prepared else self.prepare(batch, at.generator)[0]
            return super().loss(batch._replace(wavs=wavs), at)

    weights = []
    for loaders in (0, 2):
        run, objective, _ = make_run(
            tmp_path / str(loaders), source, objective=Louder(), loaders=loaders
        )
        run.run(signal_loaders)
        weights.append(objective.weight.detach())
        log = (tmp_path / str(loaders) / "log.jsonl").read_text().splitlines()
        assert 0 <= json.loads(log[0])["waiting"] <= 1
    assert torch.equal(*weights)


def test_a_killed_loader_is_one_line(tmp_path, source):
    run, _, _ = make_run(tmp_path / "a", source, loaders=1)

    def kill(*_):
        for process in multiprocessing.active_children():
            process.kill()
            process.join()

    with pytest.raises(MissingError, match="a process that reads ahead was killed"):
        run.run(kill)


@pytest.mark.slow
def test_compiled_layers_give_the_same_losses(tmp_path):
    losses = []
    for compiled in (False, True):
        source = ingredients(tmp_path, {"targets": [1, 2], "student": {"num_layers": 1}})
        source = replace(source, teacher=build(MEL, random_state(MEL, 7)))
        run, _, _ = make_run(
            tmp_path / "run", source, objective=distil.make(source), compile=compiled
        )
        losses.append([run._update(*shards)["loss"] for _, _, shards in islice(run._batches(), 3)])
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)


def test_too_little_memory_is_one_line(tmp_path, source):
    class Large(Line):
        def loss(self, batch, at):
            raise torch.OutOfMemoryError

    run, _, _ = make_run(tmp_path / "a", source, objective=Large(), batch_s=30.0)
    with pytest.raises(MissingError, match="not enough memory for batches of 30 s: lower"):
        run.run(lambda *_: None)
