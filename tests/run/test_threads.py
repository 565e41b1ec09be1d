"""Threads and workers change no bit of features, heads, predictions and records."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from toys import ToyUpstream

from bench.config import Recipe
from bench.engine import Engine, available_bytes, one_thread, usable_cores
from bench.features import passes, workers
from bench.features.rows import Batch
from bench.features.store import FeatureStore
from bench.features.workers import in_order
from bench.probe import grids
from downstreams.ctc import CtcBlstm

HELPERS = Path(__file__).resolve().parents[1] / "helpers"


def run(folder, threads, workers, store_gb=50.0):
    """Start a run of the toy track with a real encoder in a new process."""
    script = HELPERS / "threads_run.py"
    command = [sys.executable, str(script), str(folder), str(workers), str(store_gb)]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def test_threads_workers_and_streaming_change_no_bit(tmp_path):
    settings = {"one": (1, 1), "four": (4, 3), "streamed": (2, 2, 0.0)}
    runs = {name: run(tmp_path / name, *setting) for name, setting in settings.items()}
    outputs = {name: json.loads(process.communicate()[0]) for name, process in runs.items()}
    assert all(process.returncode == 0 for process in runs.values())
    files, records = outputs["one"]
    assert len(records) == 4 and any(name.endswith(".npy") for name in files)
    assert outputs["four"] == [files, records]
    heads = {name: digest for name, digest in files.items() if name.endswith(".safetensors")}
    assert outputs["streamed"] == [heads, records]


def test_results_come_in_order_and_at_most_so_many_calls_run_at_once():
    running, most, lock = set(), [], threading.Lock()

    def slow(number):
        with lock:
            running.add(number)
            most.append(len(running))
        assert torch.get_num_threads() == 1
        time.sleep(0.002 * (5 - number % 5))
        with lock:
            running.remove(number)
        return number**2

    before = torch.get_num_threads()
    assert list(in_order(slow, range(20), 3)) == [number**2 for number in range(20)]
    assert 1 < max(most) <= 3
    assert torch.get_num_threads() == before


def test_an_error_cancels_the_calls_that_have_not_begun():
    begun = []

    def fails(number):
        begun.append(number)
        time.sleep(0.01)
        if number == 1:
            raise ValueError("the second")
        return number

    results = in_order(fails, range(100), 2)
    assert next(results) == 0
    with pytest.raises(ValueError, match="the second"):
        list(results)
    assert len(begun) < 20


def test_an_upstream_that_is_not_reentrant_takes_turns(utterances, tmp_path, monkeypatch):
    inside, most = [], []
    forward = ToyUpstream.forward

    def watched(self, wavs, lengths):
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.001)
        hidden = forward(self, wavs, lengths)
        inside.pop()
        return hidden

    monkeypatch.setattr(ToyUpstream, "forward", watched)
    monkeypatch.setattr(ToyUpstream, "is_reentrant", False)
    store = FeatureStore(tmp_path / "a", "d" * 64, "pooled", engine=Engine(workers=4))
    store.extract(ToyUpstream(), utterances)
    assert max(most) == 1
    monkeypatch.setattr(ToyUpstream, "is_reentrant", True)
    other = FeatureStore(tmp_path / "b", "d" * 64, "pooled", engine=Engine(workers=4))
    other.extract(ToyUpstream(), utterances)
    assert max(most) > 1
    for index in range(len(utterances)):
        one, two = (item.read(utterances).utterance(index) for item in (store, other))
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(("at_once", "seeds"), [(2, [0, 1]), (3, [0, 1]), (2, [0])])
def test_heads_side_by_side_are_the_heads_of_one_worker(at_once, seeds, monkeypatch):
    """With dropout, for which torch has one generator; a head alone uses a core a direction."""
    targets = ["ab", "ba", "aab", "b"]
    recipe = Recipe(lr_grid=[1e-3], steps=4, batch_size=4, eval_every=4)
    source = SimpleNamespace(num_layers=3, hidden_size=40)
    conf = {"projection": 64, "hidden": 48, "dropout": 0.3, "augment": True}

    def trained(count):
        for module in (grids, workers):
            monkeypatch.setattr(module, "default_workers", lambda: count)
        generator = torch.Generator().manual_seed(0)
        stacked = torch.randn(3, 4, 60, 40, generator=generator)
        batch = Batch(stacked, torch.tensor([60, 50, 40, 60]))
        rates = [1e-2, 1e-3][: len(seeds)]
        grid = grids.make_grid(
            source, lambda size: CtcBlstm(size, 320, targets, **conf), recipe, None, rates, seeds
        )
        encoded = grid.points[0].probe.head.encode(targets)
        both = dict.fromkeys(seeds, batch), dict.fromkeys(seeds, encoded)
        losses = [grid.update(step, *both) for step in range(4)]
        states = [point.probe.eval().state_dict() for point in grid.points]
        return losses, states, [output.log_probs for output in grid.outputs(batch)]

    with one_thread():
        expected, found = trained(1), trained(at_once)
    assert len({float(loss) for loss in expected[0][-1]}) == len(seeds) ** 2
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_short_memory_means_fewer_workers(utterances, monkeypatch):
    longest = max(item.num_samples for item in utterances)
    upstream = ToyUpstream()
    count = passes._workers_that_fit(upstream, utterances, Engine(workers=64))
    assert count == 64
    need = longest * passes.BYTES_PER_SAMPLE
    for room, expected in ((7.5 * need, 3), (0, 1)):
        monkeypatch.setattr(workers, "available_bytes", lambda room=room: room)
        assert passes._workers_that_fit(upstream, utterances, Engine(workers=64)) == expected


def test_workers_follow_cores_and_the_limit_of_the_user(monkeypatch):
    cores = usable_cores()
    assert 1 <= cores <= len(os.sched_getaffinity(0))
    assert available_bytes() > 1e6
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert Engine().num_workers == 1
    assert Engine(workers=5).num_workers == 5
    monkeypatch.setenv("OMP_NUM_THREADS", "4,2")  # nested levels: no limit of ours
    assert Engine().num_workers == cores
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert Engine().num_workers == cores


def test_one_thread_restores_the_setting():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with pytest.raises(KeyError), one_thread():
            assert torch.get_num_threads() == 1
            raise KeyError
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
