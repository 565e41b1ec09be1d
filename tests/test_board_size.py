"""The board stays small and quick with many rows."""

import time

import pytest
from big_board import make_results

from leaderboard.build import build_board
from leaderboard.stamp import Stamp


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    folder = tmp_path_factory.mktemp("many")
    assert make_results(folder, upstreams=167, num_conditions=4) == 1002
    return folder


def test_a_thousand_records_in_five_seconds(many, tmp_path):
    start = time.process_time()
    summary = build_board(many / "results", tmp_path, Stamp("", ""))
    assert time.process_time() - start < 5.0
    assert summary.records == 1002


def test_a_hundred_upstreams_under_twenty_conditions_fit(tmp_path):
    make_results(tmp_path, upstreams=100, num_conditions=20)
    build_board(tmp_path / "results", tmp_path / "site", Stamp("", ""))
    size = (tmp_path / "site/index.html").stat().st_size
    assert 200_000 < size < 600_000
