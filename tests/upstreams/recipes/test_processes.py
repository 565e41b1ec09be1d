"""Several processes, or several shards in one, give the losses of one process for every method."""

import json
import multiprocessing
import os
import socket

import pytest
import torch
from recipe_methods import DEEP, RECIPES
from recipe_toys import ingredients, moment, stream

from bench.errors import UsageError
from downstreams.classify import UtteranceClassifier
from downstreams.ctc import CtcBlstm
from upstreams.encoder.state import build, random_state
from upstreams.recipes.distillation import distil, robust
from upstreams.recipes.finetuning import finetune
from upstreams.recipes.pruning import prune_task
from upstreams.recipes.training.distributed import Processes, join
from upstreams.recipes.training.export import write_weights
from upstreams.recipes.training.loop import TrainingRun
from upstreams.recipes.training.objective import TrainedUpstream
from upstreams.recipes.training.settings import TrainingSettings
from upstreams.recipes.training.stream import ClipStream

CPU = torch.device("cpu")
FORK = multiprocessing.get_context("fork")
STUDENT = {"targets": [1, 2], "student": {"num_layers": 1}}
METHODS = RECIPES | {
    "robust": (robust, {**STUDENT, "robust": {"setup": "both_independent", "domain": "reversal"}}),
    "discriminative": (distil, {**STUDENT, "start_prob": 0.1, "code_weight": 0.5}),
    "prune_task": (prune_task, {"targets": [2], "sparsity": 0.3}),
    "finetune": (finetune, {"start_prob": 0.1, "head_alone": 0.4}),
}
LABELS = ["high", "low"]


def distort(wav, index, number):
    return wav * (0.5 + (index + number) % 7 / 10)


def make_objective(folder, name):
    module, config = METHODS[name]

    def make_head(width, stride):
        if name == "finetune":
            return CtcBlstm(width, stride, LABELS, projection=0, layers=0, frame_ms=0)
        return UtteranceClassifier(width, stride, LABELS)

    source = ingredients(
        folder,
        config,
        teacher=build(DEEP, random_state(DEEP, 7)),
        file=unit_heads(folder),
        distort=distort,
        make_head=make_head,
    )
    return module.make(source), source


def unit_heads(folder):
    """The file of a teacher's unit heads."""
    generator = torch.Generator().manual_seed(7)
    shapes = {"projection.weight": (4, 16), "projection.bias": (4,), "codes": (6, 4)}
    extras = {f"heads.0.{key}": torch.randn(s, generator=generator) for key, s in shapes.items()}
    file = folder / "heads.safetensors"
    if not file.exists():
        write_weights(TrainedUpstream({}, {}, extras), file)
    return file


def train(folder, name, processes, run_folder, updates, total=None):
    """Train a method for some updates of the total; return the loss of each."""
    torch.set_num_threads(1)
    objective, source = make_objective(folder, name)
    size = {"batch_s": 4.0, "max_s": 4.0, "grid": False} if objective.whole_clips else None
    data = (
        ClipStream(source.clips, source.read, min_samples=400, seed=0, **size)
        if size
        else stream(source)
    )
    settings = TrainingSettings(updates=total or updates, lr=1e-3, log_steps=1000)
    run = TrainingRun(
        objective, data, [], settings, folder=run_folder, identity="this", seed=5, device=CPU,
        export=lambda _: None, processes=processes,
    )  # fmt: skip
    run_folder.mkdir(parents=True, exist_ok=True)
    run.resume()
    losses = []
    for epoch, number, shards in run._batches():
        losses.append(run._update(*shards)["loss"])
        run.progress.epoch, run.progress.number = epoch, number
        if len(losses) == updates:
            run.save()
            break
    return losses


def worker(rank, count, port, accumulate, task, out):
    os.environ |= {
        "RANK": str(rank), "WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }  # fmt: skip
    try:
        result = task(join(CPU, accumulate))
    except Exception as error:  # to show it in the test's process
        result = [f"{type(error).__name__}: {error}"]
    (out / f"{rank}.json").write_text(json.dumps(result))
    os._exit(0)


def together(folder, count, task, accumulate=1):
    """Run a task in several processes; return the result of each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = [(rank, count, port, accumulate, task, folder) for rank in range(count)]
    workers = [FORK.Process(target=worker, args=each) for each in arguments]
    for one in workers:
        one.start()
    for one in workers:
        one.join(600)
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(count)]


def every_method(folder, processes, tag, names, updates, total=None):
    return {
        name: train(folder, name, processes, folder / tag / name, updates, total) for name in names
    }


@pytest.mark.parametrize(
    "updates", [pytest.param(2, id="few"), pytest.param(50, marks=pytest.mark.slow, id="fifty")]
)
def test_two_processes_with_half_of_each_batch_have_the_losses_of_one(tmp_path, updates):
    names = list(METHODS)
    ingredients(tmp_path, {})
    unit_heads(tmp_path)
    alone = every_method(tmp_path, Processes(), "one", names, updates)
    parts = every_method(tmp_path, Processes(accumulate=3), "three", names, updates)
    results = together(
        tmp_path, 2, lambda processes: every_method(tmp_path, processes, "two", names, updates)
    )
    for name in names:
        for other in (parts, *results):
            assert len(other[name]) == updates
            assert other[name] == pytest.approx(alone[name], rel=1e-5, abs=1e-5), name
    assert results[0] == results[1]


@pytest.mark.parametrize(
    ("names", "updates"),
    [
        pytest.param(["distil"], 9, id="few"),
        pytest.param(list(METHODS), 48, marks=pytest.mark.slow, id="every"),
    ],
)
def test_a_run_goes_on_with_another_number_of_processes(tmp_path, names, updates):
    ingredients(tmp_path, {})
    unit_heads(tmp_path)
    alone = every_method(tmp_path, Processes(), "one", names, updates)

    def part(processes):
        return every_method(tmp_path, processes, "changing", names, updates // 3, updates)

    parts = together(tmp_path, 2, part)[0], part(Processes()), together(tmp_path, 2, part)[1]
    for name in names:
        losses = [loss for part in parts for loss in part[name]]
        assert len(losses) == updates
        assert losses == pytest.approx(alone[name], abs=1e-4), name


def test_a_loss_that_is_not_finite_in_one_process_stops_all(tmp_path):
    ingredients(tmp_path, {})

    def poisoned(processes):
        def nan_for_one(wav, index, number):
            return wav * (float("nan") if processes.rank else 1.0)

        global distort
        distort = nan_for_one
        return train(tmp_path, "robust", processes, tmp_path / "run", 3)

    results = together(tmp_path, 2, poisoned)
    assert results[0] == results[1]
    assert "training failed at update 0: loss nan" in results[0][0]


def test_processes_that_differ_from_the_first_stop(tmp_path):
    results = together(tmp_path, 2, lambda processes: processes.agree("same"))
    assert results == [None, None]
    results = together(tmp_path, 2, lambda processes: processes.agree(str(processes.rank)))
    assert results[0] == results[1]
    assert "process 1 of 2 has another recipe" in results[0][0]


def test_a_shard_without_a_clip_adds_nothing(tmp_path):
    objective, source = make_objective(tmp_path, "distil")
    data = stream(source)
    parts = data.plan(0)[0][:2]
    whole, _ = objective.loss(data.load(parts), moment())
    shards = [data.load_shard(parts, index, 3) for index in range(3)]
    assert [shard.is_idle for shard in shards] == [False, False, True]
    total = sum(objective.loss(shard, moment())[0] for shard in shards)
    assert torch.allclose(total, whole, atol=1e-6)
    assert {shard.seconds for shard in shards} == {data.load(parts).seconds}


def test_what_needs_the_whole_update_is_refused_in_shards(tmp_path):
    data = stream(ingredients(tmp_path, {}))
    shard = data.load_shard(data.plan(0)[0], 0, 2)
    teacher = build(DEEP, random_state(DEEP, 7))
    config = {**STUDENT, "target_norm": "dimensions"}
    with pytest.raises(UsageError, match="over all frames of an update"):
        distil.make(ingredients(tmp_path, config, teacher=teacher)).loss(shard, moment())
    config = {**STUDENT, "robust": {"domain": "alternating"}}
    source = ingredients(tmp_path, config, teacher=teacher, distort=distort)
    with pytest.raises(UsageError, match="domain: alternating"):
        robust.make(source).loss(shard, moment())
