"""A bundle of the toy track, as an archive and as a folder."""

import json
import shutil

import pytest
from bundles import COST, send
from toy_track import TRACK, evaluate, make_toy
from toys import ToyUpstream

from bench.load.catalog import parse_upstream_name, upstream_card
from bench.load.loader import Loaded
from bench.measure.cost import Cost
from bench.records.bundle import opened

ON_BOARD = TRACK.replace("on_board: false", "on_board: true")


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """The toy track with a run of each of its two tasks, and an archive of them."""
    folder = tmp_path_factory.mktemp("submit")
    with pytest.MonkeyPatch.context() as patch:
        track = make_toy(folder, patch, ON_BOARD)
        for module in ("rerun", "submit", "cost_check"):
            patch.setattr(f"bench.submit.{module}.load_upstream", _load)
        patch.setattr("bench.submit.cost_check.measure", lambda upstream: Cost(1, 2.0, 3, 8, 320))
        patch.setattr("bench.submit.cost_check.stored_bytes", lambda upstream: 10)
        evaluate(track)
        evaluate(track, "voice")
        track.cost = folder / "cost.json"
        track.cost.write_text(json.dumps(COST), encoding="utf-8")
        track.archive = folder / "toy.tar.gz"
        track.submission = send(track, track.archive)
        yield track


def _load(text, session=None):
    name = parse_upstream_name(text)
    return Loaded(ToyUpstream(), name, upstream_card("fbank"), "none", None, None, "d" * 64)


@pytest.fixture
def folder(toy, tmp_path):
    """An unpacked bundle that a test may change."""
    target = tmp_path / "bundle"
    with opened(toy.archive) as bundle:
        shutil.copytree(bundle, target)
    return target
