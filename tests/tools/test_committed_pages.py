"""Every page that is made of the committed records is that of the committed records."""

import re
from functools import cache
from pathlib import Path

import pytest

from tools.family import page as family_page
from tools.pages import conditions, levels, statistics_page, validation
from tools.recipes import throughput

ROOT = Path(__file__).resolve().parents[2]
BOARD = ROOT / "leaderboard"


@cache
def rows(track):
    return conditions.read_rows(BOARD, track)


PAGES = {
    "conditions": lambda: conditions.page(rows("open"), "open"),
    "track-open": lambda: validation.page(rows("open"), "open"),
    "track-quick": lambda: validation.page(rows("quick"), "quick"),
    "training-throughput": lambda: throughput.page(ROOT / "docs" / throughput.LOGS),
}


def committed_page_of(name):
    return (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_that_of_the_records(name):
    assert committed_page_of(name) == PAGES[name](), "make docs"


def ends(text):
    """Return the intervals of a text, each also as that of the opposite difference."""
    pairs = re.findall(r"\[([+-]?\d+\.\d), ([+-]?\d+\.\d)\]", text)
    values = {(float(low), float(high)) for low, high in pairs}
    return values | {(-high, -low) for low, high in values}


def test_the_intervals_that_the_text_on_the_family_quotes_are_those_of_its_claims():
    _, claims = committed_page_of("recipes-results").split("## Claims of the papers")
    text = (
        committed_page_of("recipes").split("\n## The house family")[1].split("### Word errors")[0]
    )
    quoted = ends(text)
    assert len(quoted) > 40 and not quoted - ends(claims)


def test_the_results_of_recipes_are_those_of_the_records(house_family):
    assert committed_page_of("recipes-results") == family_page.page(house_family), "make docs"


def test_the_table_of_upstreams_against_themselves_is_that_of_the_records():
    committed = (ROOT / "docs/statistics.md").read_text(encoding="utf-8")
    tests = list(statistics_page.self_tests(rows("open")))
    assert statistics_page.observed(tests) in committed, "make statistics"
    assert levels.levels_table(levels.column_levels(rows("open"))) in committed
    assert sum(item.pairs for item in tests) > 500
    assert 0.03 <= sum(i.rejected for i in tests) / sum(i.pairs for i in tests) <= 0.07


def test_loaders_shorten_the_wait_and_change_no_loss():
    machine, runs = throughput.read_logs(ROOT / "docs" / throughput.LOGS)
    assert [run.loaders for run in runs] == list(throughput.LOADERS)
    assert {"date", "cpu", "cores"} <= set(machine)
    assert len({run.loss for run in runs}) == 1
    assert runs[1].waiting < runs[0].waiting
