"""An upstream on several devices: copies on the CPU take the way that GPUs take."""

import threading
from dataclasses import replace

import pytest
import torch
from toys import hidden_states, make_utterances

from bench.engine import Engine
from bench.errors import InvalidDataError, MissingError
from bench.features import passes
from bench.features.passes import clean_sound, upstream_pass
from bench.features.placement import in_few_sizes, place_on_all
from bench.features.store import FeatureStore
from bench.load.loader import load_upstream

TOGETHER = Engine(bucket_seconds=2.0)


@pytest.fixture
def devices(monkeypatch):
    """Let the CPU be several devices, by their number."""
    return lambda count: monkeypatch.setattr(Engine, "devices", ("cpu",) * count)


@pytest.fixture
def used(monkeypatch):
    """The modules that passed buckets; `fail` raises an error in the place of some passes."""
    forward, modules = passes.forward_bucket, []

    def listed(module, wavs, engine):
        modules.append(module)
        listed.fail(module, wavs)
        return forward(module, wavs, engine)

    listed.fail, listed.modules = lambda *_: None, modules
    monkeypatch.setattr(passes, "forward_bucket", listed)
    return listed


@pytest.mark.parametrize("count", [2, 3])
def test_several_devices_write_the_files_of_one(
    tmp_path, toy_upstream, utterances, monkeypatch, devices, used, count
):
    monkeypatch.setattr("bench.features.store.SHARD_UTTERANCES", 7)
    stores, orders = [], []
    for number in (1, count):
        devices(number)
        store = FeatureStore(tmp_path / f"{number}", "d" * 64, "frames", engine=TOGETHER)
        orders.append([])
        store.extract(toy_upstream, utterances, lambda item: orders[-1].append(item.id))
        stores.append(store.folder.parent)
        assert len({id(module) for module in used.modules}) == number
        used.modules.clear()
    one, several = (
        {path.relative_to(store): path.read_bytes() for path in store.rglob("*.npy")}
        for store in stores
    )
    assert len(one) == 8 and one == several
    assert orders[0] == orders[1]


def test_copies_are_made_once_and_compute_the_same(tmp_path, devices, used):
    upstream, utterances = (
        load_upstream("house_whisper_distil").upstream,
        make_utterances(tmp_path, 4),
    )
    found = []
    for number in (1, 2, 2):
        devices(number)
        found.append(list(upstream_pass(upstream, utterances, TOGETHER, hidden_states)))
    assert len({id(module) for module in used.modules}) == 2
    for (item, states), *others in zip(*found, strict=True):
        for other, same in others:
            assert other == item and torch.equal(states, same)


def test_a_device_that_lacks_memory_takes_less_and_the_others_go_on(
    toy_upstream, utterances, devices, used, capsys
):
    devices(1)
    whole = dict(hidden(toy_upstream, utterances))
    devices(2)
    sizes = {True: [], False: []}

    def fail(module, wavs):
        if module is not toy_upstream and len(wavs) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        sizes[module is toy_upstream].append(len(wavs))

    used.fail = fail
    found = hidden(toy_upstream, utterances)
    assert [name for name, _ in found] == list(whole)
    for name, states in found:
        torch.testing.assert_close(states, whole[name])
    assert max(sizes[True]) > 1 and set(sizes[False]) == {1}
    assert "out of memory on cpu with" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error", [ValueError("broken"), torch.OutOfMemoryError("CUDA out of memory")]
)
def test_an_error_on_one_device_ends_the_pass(toy_upstream, utterances, devices, used, error):
    devices(3)
    threads = threading.active_count()

    def fail(module, wavs):
        if module is not toy_upstream:
            raise error

    used.fail = fail
    expected = MissingError if isinstance(error, torch.OutOfMemoryError) else ValueError
    with pytest.raises(expected, match=r"broken|alone does not fit"):
        hidden(toy_upstream, utterances)
    assert threading.active_count() == threads


def test_an_unreadable_file_ends_the_pass(toy_upstream, utterances, devices):
    devices(2)

    def sound(item):
        if item.id == utterances[9].id:
            raise InvalidDataError("unreadable")
        return clean_sound(item)

    with pytest.raises(InvalidDataError, match="unreadable"):
        list(upstream_pass(toy_upstream, utterances, TOGETHER, hidden_states, sound))


def test_a_pass_that_is_left_leaves_no_thread(toy_upstream, utterances, devices):
    devices(2)
    threads = threading.active_count()
    passed = upstream_pass(toy_upstream, utterances, TOGETHER, hidden_states)
    next(passed)
    passed.close()
    assert threading.active_count() == threads


def test_an_upstream_with_a_closure_stays_on_one_device(toy_upstream, utterances, devices, capsys):
    """A copy would share what the closure keeps."""
    devices(1)
    whole = hidden(toy_upstream, utterances)
    kept = []
    toy_upstream.first.register_forward_hook(lambda *arguments: kept.append(1))
    devices(2)
    for _ in range(2):
        found = hidden(toy_upstream, utterances)
        for one, other in zip(whole, found, strict=True):
            assert one[0] == other[0] and torch.equal(one[1], other[1])
    assert capsys.readouterr().err.count("cannot be copied to cpu") == 1


def test_cuda_is_every_gpu_of_the_first_ones_model(monkeypatch):
    models = ["H200", "H200", "T4", "H200"]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(models))
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: models[number])
    assert Engine("cuda").devices == ("cuda:1", "cuda:0", "cuda:3")
    assert Engine("cuda:2").devices == ("cuda:2",)
    assert Engine("cuda", compile=True).devices == ("cuda",)
    assert Engine().devices == ("cpu",)
    assert replace(Engine("cuda"), device="cuda:3").suffix == Engine("cuda").suffix == "-cuda"


def test_the_cpu_without_buckets_places_one_module(toy_upstream):
    (placed,) = place_on_all(toy_upstream, Engine())
    assert placed.module is toy_upstream


def hidden(upstream, utterances):
    """Pairs of an utterance's name and its hidden states."""
    passed = upstream_pass(upstream, utterances, TOGETHER, hidden_states)
    return [(item.id, states) for item, states in passed]


def test_compiled_buckets_have_few_sizes(utterances):
    cut = [utterances[:1], utterances[1:24], utterances * 3]
    found = list(in_few_sizes(cut))
    assert [item for bucket in found for item in bucket] == [item for b in cut for item in b]
    assert [len(bucket) for bucket in found] == [1, 16, 4, 1, 1, 1, 64, 4, 4]
