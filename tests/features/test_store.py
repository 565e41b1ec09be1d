"""The store as a whole: its budget, what goes first, what is found broken, and the command."""

import os
from dataclasses import replace

import numpy as np
import pytest
import torch

from bench.cli import main
from bench.engine import Engine
from bench.errors import MissingError
from bench.features import inventory
from bench.features.store import FeatureStore
from bench.identity import PASS_REVISION
from bench.session import GB

DAY = 86_400


@pytest.fixture
def root(tmp_path, toy_upstream, utterances, monkeypatch):
    """Three shards of 8 utterances, the first used last."""
    monkeypatch.setenv("SLIM_SUPERB_HOME", str(tmp_path))
    monkeypatch.setattr("bench.features.store.SHARD_UTTERANCES", 8)
    root = tmp_path / "features"
    store = FeatureStore(root, "d" * 64, "pooled", name="toy")
    store.extract(toy_upstream, utterances)
    for age in range(3):
        (shard,) = store.shards_of(utterances[8 * age : 8 * age + 8])
        os.utime(shard.with_suffix(".json"), (10 * DAY, (10 - age) * DAY))
    return root


def reopen(root):
    return FeatureStore(root, "d" * 64, "pooled")


def test_the_least_recently_used_goes_first(root, utterances):
    size = inventory.shards(root)[0].size_bytes
    assert inventory.make_room(root, 0, 3 * size / GB) == 0
    assert inventory.make_room(root, 0, 2 * size / GB) == size
    assert reopen(root).missing(utterances) == utterances[16:]
    assert inventory.make_room(root, size, 2 * size / GB) == size
    assert reopen(root).missing(utterances) == utterances[8:]


def test_what_a_run_needs_stays(root, utterances):
    keep = reopen(root).shards_of(utterances[16:])
    inventory.make_room(root, 0, 0.0, keep)
    assert reopen(root).missing(utterances) == utterances[:16]


def test_reading_counts_as_use(root, utterances):
    reopen(root).read(utterances[16:])
    size = inventory.shards(root)[0].size_bytes
    inventory.make_room(root, 0, size / GB)
    assert reopen(root).missing(utterances) == utterances[:16]


def test_a_disk_without_room_is_said_before_the_pass(root):
    with pytest.raises(MissingError, match=r"features need 1000000000\.0 GB"):
        inventory.make_room(root, 10**18, 1e9)


@pytest.mark.parametrize(
    ("engine", "folder"),
    [
        (Engine(), "pooled-torch"),
        (Engine(workers=2, bucket_seconds=9.0), "pooled-torch"),
        (Engine("cuda:1"), "pooled-cuda-torch"),
        (Engine("cuda", "bf16", compile=True), "pooled-bf16-cuda-compiled-torch"),
    ],
)
def test_what_decides_the_last_bits_names_the_folder(tmp_path, engine, folder):
    store = FeatureStore(tmp_path, "d" * 64, "pooled", engine=engine)
    assert store.folder.name == f"{folder}{torch.__version__}-r{PASS_REVISION}"


def test_status_names_the_upstream_and_what_it_takes(root, capsys):
    assert main(["store", "status"]) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if "toy" in line)
    mode = f"pooled-torch{torch.__version__}-r{PASS_REVISION}"
    assert row.split("\t")[:4] == ["toy", mode, "24", "3"]


def test_verify_finds_every_kind_of_damage_and_prune_removes_it(root, utterances, capsys):
    whole, flipped, cut = [shard.path for shard in inventory.shards(root)]
    rows = np.load(flipped)
    rows[0, 0, 0] += 1
    np.save(flipped, rows)
    cut.write_bytes(cut.read_bytes()[:-10])
    orphan = whole.with_name("orphan.npy")
    np.save(orphan, rows)
    assert main(["store", "verify"]) == 4
    shown = capsys.readouterr()
    for path, why in [(flipped, "sha256"), (cut, "expected"), (orphan, "no index")]:
        assert any(str(path) in line and why in line for line in shown.out.splitlines())
    assert "3 shards are damaged" in shown.err
    assert main(["store", "prune"]) == 0
    assert flipped.exists()
    assert not cut.exists()
    assert not orphan.exists()
    assert main(["store", "prune", "--verify"]) == 0
    assert [shard.path for shard in inventory.shards(root)] == [whole]
    assert len(reopen(root).missing(utterances)) == 16
    assert main(["store", "verify"]) == 0


def test_one_upstream_can_be_forgotten(root, capsys):
    assert main(["store", "prune", "--upstream", "to"]) == 2
    assert "stored: dddddddddddddddddddddddd, toy" in capsys.readouterr().err
    assert main(["store", "prune", "--upstream", "toy"]) == 0
    assert inventory.shards(root) == []


def test_prune_refuses_a_budget_below_zero(root):
    assert main(["store", "prune", "--store-gb", "-1"]) == 2
    assert main(["store", "prune", "--store-gb", "0"]) == 0
    assert inventory.shards(root) == []


def test_another_torch_passes_anew(root, utterances, monkeypatch):
    assert not reopen(root).missing(utterances)
    monkeypatch.setattr("torch.__version__", "99.0.0")
    assert reopen(root).missing(utterances) == utterances


def test_a_part_has_its_frames_of_the_whole(tmp_path, toy_upstream, utterances):
    """At least one frame, and none beyond the utterance."""
    store = FeatureStore(tmp_path / "features", "d" * 64, "frames")
    store.extract(toy_upstream, utterances[:1])
    item = utterances[0]
    whole = store.read([item]).utterance(0)
    parts = [(0, item.num_samples), (640, 960), (item.num_samples - 10, 10), (5, 1)]
    cut = store.read([replace(item, part=part) for part in parts])
    assert cut.lengths()[1:] == [3, 1, 1]
    for index, frames in enumerate((slice(None), slice(2, 5), slice(-1, None), slice(0, 1))):
        assert np.array_equal(cut.utterance(index), whole[:, frames])
