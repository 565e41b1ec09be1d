"""What was kept and is not what was written any more: named, made again, never a wrong number."""

import json
import random
import shutil
import signal
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from toy_track import evaluate
from toys import hidden_states

from bench import stopping
from bench.engine import Engine
from bench.errors import InvalidDataError, MissingError
from bench.features import passes, placement
from bench.features.passes import upstream_pass
from bench.features.tensor_file import read_sealed, write_sealed
from bench.probe import fit
from bench.run import job
from bench.run.artifacts import rescore


def damage(path, rng):
    """Flip one bit or cut the end; in the sixth of cases take the file away."""
    content = bytearray(path.read_bytes())
    place, kind = rng.randrange(len(content)), rng.randrange(6)
    if kind == 0:
        path.unlink()
    elif kind <= 2:
        path.write_bytes(content[:place])
    else:
        content[place] ^= 1 << rng.randrange(8)
        path.write_bytes(content)


@pytest.mark.parametrize("task", ["tone", "voice"])
def test_a_store_damaged_anywhere_gives_the_same_record(toy, task):
    whole = evaluate(toy, task).record.comparable()
    rng = random.Random(5)
    for number in range(6):
        files = [path for path in (toy.home / "features").rglob("*") if path.is_file()]
        damage(rng.choice([path for path in files if ".locks" not in path.parts]), rng)
        again = evaluate(toy, task, seed=0, force=True)
        assert again.record.comparable() == whole, number


def test_a_shard_that_was_altered_is_named(toy, capsys):
    evaluate(toy)
    (shard,) = (toy.home / "features").glob("*/pooled-*/*.npy")
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    passes_of_shard = evaluate(toy, seed=1)
    assert not passes_of_shard.was_done
    assert f"{shard}: its content has changed (sha256); removed" in capsys.readouterr().err


def interrupted(toy, monkeypatch, stage):
    def dies(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(job, stage, dies)
        with pytest.raises(KeyboardInterrupt):
            evaluate(toy)


@pytest.mark.parametrize(
    "pattern", ["lr*.sealed", "cost.sealed", "predicted.sealed", "clean.jsonl"]
)
def test_what_a_stage_left_is_checked_by_the_next(toy, monkeypatch, capsys, pattern):
    whole = evaluate(toy).record.comparable()
    (toy.out / "toy" / "fbank" / "tone-s0.json").unlink()
    interrupted(toy, monkeypatch, "score_tests")
    path = sorted(toy.out.rglob(pattern))[0]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    capsys.readouterr()
    assert evaluate(toy).record.comparable() == whole
    assert str(path) in capsys.readouterr().err


@pytest.mark.parametrize("cut", [0, 5, 40, -1])
def test_sealed_files_say_what_is_wrong(tmp_path, cut):
    path = tmp_path / "a.sealed"
    write_sealed({"x": torch.arange(3.0)}, path)
    assert read_sealed(path)["x"].tolist() == [0.0, 1.0, 2.0]
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(InvalidDataError, match=r"a\.sealed: (not a sealed file|its content)"):
        read_sealed(path)


def test_a_stop_in_training_and_passes_keeps_what_is_there(toy, monkeypatch):
    whole = evaluate(toy).record.comparable()
    for path in (toy.out / "toy" / "fbank").glob("*.json"):
        path.unlink()
    monkeypatch.setattr(fit, "SECONDS_BETWEEN_SAVES", 1e9)
    flag = {"left": 0}

    def requested():
        flag["left"] -= 1
        return flag["left"] < 0

    def check():
        if requested():
            raise stopping.Stopped

    for updates in (3, 4, 3):
        flag["left"] = updates
        with monkeypatch.context() as patch:
            patch.setattr(stopping, "requested", requested)
            patch.setattr(stopping, "check", check)
            with pytest.raises(stopping.Stopped):
                evaluate(toy)
    assert evaluate(toy).record.comparable() == whole


def test_ctrl_c_in_a_pass_keeps_what_is_there(toy, monkeypatch):
    """The first Ctrl-C of a terminal, in the middle of a shard."""
    whole = evaluate(toy).record.comparable()
    shutil.rmtree(toy.out)
    shutil.rmtree(toy.home / "features")
    forward, calls = passes.forward_bucket, []

    def interrupted(*args):
        calls.append(args)
        if len(calls) == 5:  # the plan measures with three
            signal.raise_signal(signal.SIGINT)
        return forward(*args)

    before = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        patch.setattr(stopping, "SECONDS_TO_STOP", 1e6)  # the process itself must not end
        patch.setattr(stopping, "_requested", threading.Event())
        patch.setattr(stopping, "_interrupts", 0)
        patch.setattr(passes, "forward_bucket", interrupted)
        stopping.install_interrupts()
        try:
            with pytest.raises(stopping.Stopped):
                evaluate(toy)
        finally:
            signal.signal(signal.SIGINT, before)
        assert list((toy.home / "features").rglob("*.npy"))
        (index,) = (toy.home / "features").rglob("*.json")
        assert 0 < len(json.loads(index.read_text())["places"]) < 5
        patch.setattr(stopping, "_requested", threading.Event())
        assert evaluate(toy).record.comparable() == whole
        assert index.exists()


def test_out_of_memory_halves_the_bucket_and_says_so(toy_upstream, utterances, monkeypatch, capsys):
    engine = Engine(bucket_seconds=5.0)
    whole = dict(zip([item.id for item in utterances], [None] * 24, strict=True))
    for item, states in upstream_pass(toy_upstream, utterances, engine, hidden_states):
        whole[item.id] = states
    forward, sizes = passes.forward_bucket, []

    def small(module, wavs, engine):
        if len(wavs) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        sizes.append(len(wavs))
        return forward(module, wavs, engine)

    monkeypatch.setattr(passes, "forward_bucket", small)
    found = {
        item.id: states
        for item, states in upstream_pass(toy_upstream, utterances, engine, hidden_states)
    }
    assert list(found) != []
    assert max(sizes) == 2
    assert "out of memory on cpu with" in capsys.readouterr().err
    for name, states in found.items():
        torch.testing.assert_close(states, whole[name])
    assert set(found) == set(whole)


@pytest.fixture
def switches():
    """What a GPU may do, put back afterwards."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark, matmul.allow_tf32
    yield cudnn, matmul
    cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark, matmul.allow_tf32 = before


@pytest.mark.parametrize("precision", ["float32", "tf32", "bf16"])
def test_a_gpu_computes_the_same_way_every_time(switches, monkeypatch, precision):
    """As far as it can be seen without one: the switches, and where the upstream goes."""
    placed = []
    engine = Engine(device="cuda:1", precision=precision)
    placement.place(SimpleNamespace(to=placed.append), engine)
    cudnn, matmul = switches
    assert placed == ["cuda:1"]
    assert cudnn.deterministic and not cudnn.benchmark
    assert matmul.allow_tf32 == cudnn.allow_tf32 == (precision == "tf32")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(MissingError, match="finds no GPU"):
        engine.check()


@pytest.mark.parametrize("bucket_seconds", [0.0, 5.0])
@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:1] . DefaultCPUAllocator: can't allocate memory"
        ),
        MemoryError("Unable to allocate 64. GiB"),
    ],
    ids=["torch on a GPU", "torch on a CPU", "numpy"],
)
def test_one_utterance_that_does_not_fit_is_named(
    toy_upstream, utterances, monkeypatch, bucket_seconds, error
):
    def never(*_):
        raise error

    monkeypatch.setattr(passes, "forward_bucket", never)
    engine = Engine(bucket_seconds=bucket_seconds, workers=2)
    with pytest.raises(MissingError, match=r"alone does not fit into the memory.*cut the file"):
        list(upstream_pass(toy_upstream, utterances, engine, hidden_states))


def test_out_of_memory_on_a_cpu_halves_the_workers(toy_upstream, utterances, monkeypatch, capsys):
    forward, running = passes.forward_bucket, []

    def small(module, wavs, engine):
        running.append(1)
        time.sleep(0.002)
        try:
            if len(running) > 1:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
            return forward(module, wavs, engine)
        finally:
            running.pop()

    monkeypatch.setattr(passes, "forward_bucket", small)
    monkeypatch.setattr(toy_upstream, "is_reentrant", True)
    passed = upstream_pass(toy_upstream, utterances, Engine(workers=2), hidden_states)
    assert [item.id for item, _ in passed] == [item.id for item in utterances]
    assert "out of memory on cpu with 2 utterances: going on with 1" in capsys.readouterr().err


def test_a_file_longer_than_the_limit_is_named(toy_upstream, utterances):
    long = replace(utterances[0], num_samples=1_800 * 16_000 + 1)
    with pytest.raises(InvalidDataError, match=r"has 1800 s, at most 1800 expected: cut the file"):
        list(upstream_pass(toy_upstream, [long], Engine(), hidden_states))


@pytest.mark.parametrize("content", [b"", b"{}", b"damaged"])
def test_a_broken_record_is_named_with_a_way_on(toy, content):
    done = evaluate(toy)
    whole = done.path.read_bytes()
    done.path.write_bytes(whole.replace(b"0", b"1", 1) if content == b"damaged" else content)
    with pytest.raises(InvalidDataError, match="delete the file, or use --force") as error:
        evaluate(toy)
    assert str(done.path) in str(error.value)
    again = evaluate(toy, force=True)
    assert not again.was_done and again.record.comparable() == done.record.comparable()


def test_a_head_is_that_of_its_record(toy):
    done = evaluate(toy)
    head = done.path.with_suffix("") / "head.safetensors"
    content = bytearray(head.read_bytes())
    content[-1] ^= 1
    head.write_bytes(content)
    with pytest.raises(InvalidDataError, match=r"head\.safetensors: altered: sha256"):
        rescore(done.path, toy.home)
