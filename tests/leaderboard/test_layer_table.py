"""The section of layer curves: what stands in it, and what is refused."""

import json
import shutil
from pathlib import Path

import pytest

from bench import registry
from bench.errors import InvalidDataError
from bench.records.layer_curve import curve_path, read_curve
from bench.records.record import read_record
from leaderboard.board.board import Stamp
from leaderboard.page.build import build_board

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(autouse=True)
def own_tracks(monkeypatch):
    monkeypatch.setattr(registry, "TASKS", GOLDEN / "tasks")
    monkeypatch.setattr("bench.load.catalog.CARDS", GOLDEN / "cards")


@pytest.fixture
def results(tmp_path):
    return Path(shutil.copytree(GOLDEN / "results", tmp_path / "results"))


def add_curve(results, hits=((8, 4), (5, 4), (9, 7)), **changes):
    """Write the curve of the first record's upstream: two states and all, two speakers."""
    path = sorted(path for path in results.glob("*/*/*.json") if path.parent.name != "fbank")[0]
    record = json.loads(path.read_text())
    names = ("track", "task", "task_version", "upstream", "family", "weights", "tap")
    curve = {name: record[name] for name in (*names, "inputs", "provenance")}
    curve["utterances"] = {"dev": {"A": 10, "B": 10}, "clean": {"C": 10, "D": 10}}
    states = zip(("0", "1", "all"), hits, strict=True)
    curve["states"] = [
        {"state": name, "penalty": 0.1, "hits": {"dev": [n, n], "clean": list(count)}}
        for (name, count), n in zip(states, (5, 6, 7), strict=True)
    ]
    curve |= changes
    file = curve_path(results, record["track"], record["upstream"], record["task"])
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(curve))
    return file


def page_of(results, tmp_path):
    build_board(results, tmp_path / "site", Stamp("0123456789ab", "2026-11-21"))
    return (tmp_path / "site" / "index.html").read_text("utf-8")


def test_the_section_shows_each_state_and_what_the_layers_add(results, tmp_path):
    read_curve(add_curve(results))
    section = page_of(results, tmp_path).split('class="layers"')[1].split("</section>")[0]
    assert "<td>60.0<td>45.0<small>state 1</small><td>80.0<td>+20.0<small>" in section
    assert "60.0 45.0" in section


def test_a_board_without_curves_has_no_section(results, tmp_path):
    assert 'class="layers"' not in page_of(results, tmp_path)


def test_a_curve_in_the_place_of_another_is_refused(results, tmp_path):
    add_curve(results, upstream="another")
    with pytest.raises(InvalidDataError, match=r"holds .*/another/"):
        page_of(results, tmp_path)


def test_records_are_not_looked_for_among_curves(results):
    file = add_curve(results)
    with pytest.raises(InvalidDataError):
        read_record(file)
