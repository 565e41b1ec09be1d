"""The board stays small and quick with many rows."""

import re
from collections import Counter
from pathlib import Path

import pytest
from big_board import make_results

from leaderboard.board.board import Stamp
from leaderboard.page.build import build_board

PACKAGE = Path(__file__).resolve().parents[2] / "leaderboard"


@pytest.mark.slow
def test_a_hundred_upstreams_under_every_condition_fit(tmp_path):
    """`make page-speed` measures the time."""
    count = make_results(tmp_path, upstreams=100, num_conditions=85)
    board = build_board(tmp_path / "results", tmp_path / "site", Stamp("", ""))
    assert board.records == count == 1_400
    size = (tmp_path / "site/index.html").stat().st_size
    assert 200_000 < size < 1_000_000


def test_no_two_scripts_of_the_page_share_a_name():
    """They become one: a second `function` of a name would silently take the first one's place."""
    text = "\n".join(path.read_text("utf-8") for path in (PACKAGE / "page/assets").glob("*.js"))
    names = re.findall(r"^(?:async )?(?:function|const|let) ([\w$]+)", text, flags=re.MULTILINE)
    assert len(names) > 50
    assert [name for name, count in Counter(names).items() if count > 1] == []
