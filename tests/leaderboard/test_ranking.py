"""Ranks, degradations, the picture of cost and score, and BibTeX, of rows made by hand."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.errors import InvalidDataError
from bench.load.catalog import CARDS, upstream_card
from bench.metrics.jackknife import Influences
from bench.metrics.metric import METRICS
from bench.metrics.statistics import SeedVariance, holm, pair_tests, rank_bands
from bench.records.standing import Standing
from leaderboard.board.board import View
from leaderboard.board.columns import all_columns
from leaderboard.board.layer_table import LayerTable
from leaderboard.board.ranking import column_tests, compare
from leaderboard.board.rows import BoardScore, Row
from leaderboard.page.export import bibtex, references
from leaderboard.page.picture import PicturePoint, cost_picture, frontier
from leaderboard.page.texts import HOW_TO_READ

ROOT = Path(__file__).resolve().parents[2]
BOARD = ROOT / "leaderboard"


SEEDS = SeedVariance(1e-6, 0.0, 30, 11.0)
SPREAD = np.random.default_rng(9).normal(0, 0.02, 12)  # over speakers, shared by all rows


def score(value, changes=SPREAD, *, seeds=3, spread=SEEDS):
    runs = tuple(Influences(value, changes, float(len(changes))) for _ in range(seeds))
    return BoardScore(value, value - 0.1, value + 0.1, "", runs, spread, seeds=seeds)


def row(name, value, changes=SPREAD, *, kind="measured", revoked=None, **options):
    return Row(
        key=name, name=name, kind=kind, role="", card_name=name, card=None, family="distilled",
        teacher="", weights="", tap="", protocol="", params=1, macs_per_second=1.0,
        macs_superb=None, cost=None, rtf=None,
        scores={("ks", "accuracy", "clean"): score(value, changes, **options)},
        standing=Standing(upstream=name, track="open", revoked=revoked),
    )  # fmt: skip


def clean_scores(rows):
    return {row.key: row.scores["ks", "accuracy", "clean"] for row in rows}


def test_ranks_are_bands_of_what_competes():
    other = SPREAD + np.random.default_rng(0).normal(0, 0.01, 12)
    rows = [
        row("a", 0.90),
        row("b", 0.895, other),
        row("c", 0.50),
        row("control", 0.99, kind="control"),
        row("revoked", 0.99, revoked="why"),
        row("one seed", 0.99, seeds=1),
        row("no item counts", 0.99, seeds=0),
    ]
    tests = column_tests(rows, clean_scores(rows), METRICS["accuracy"])
    found = tests.rankings
    assert tests.tells_apart and 0 < tests.resolution < 0.1
    assert {name: (r.best, r.worst, r.of) for name, r in found.items()} == {
        "a": (1, 2, 3), "b": (1, 2, 3), "c": (3, 3, 3),
    }  # fmt: skip
    assert found["b"].above == "a" and found["b"].p_above > 0.05 and found["a"].p_above is None
    assert found["c"].p_above < 1e-6


def test_no_rank_without_the_variance_of_head_seeds():
    rows = [row(name, value, spread=None) for name, value in (("a", 0.9), ("b", 0.1))]
    tests = column_tests(rows, clean_scores(rows), METRICS["accuracy"])
    assert tests.rankings == {} and tests.resolution is None and not tests.tells_apart
    assert compare(score(0.9, spread=None), score(0.1, spread=None)) is None


def told_apart(p_values):
    """Pairs that Holm's rule tells apart."""
    pairs = [(i, j) for i in range(len(p_values)) for j in range(i)]
    corrected = holm([p_values[pair] for pair in pairs])
    return {frozenset(pair) for pair, p in zip(pairs, corrected, strict=True) if p < 0.05}


def test_bands_that_do_not_overlap_tell_apart_and_others_may():
    """What `HOW_TO_READ` says of bands."""
    rng = np.random.default_rng(3)
    apart_and_overlapping = 0
    for _ in range(20):
        values = np.sort(rng.normal(0, 0.05, 12))
        changes = rng.normal(0, 1, (12, 40)) * rng.uniform(0.001, 0.01, (12, 1))
        runs = [score(*pair).runs for pair in zip(values, changes, strict=True)]
        p_values = pair_tests(runs, SEEDS).p_values
        bands = rank_bands(values.tolist(), p_values, higher_is_better=True)
        apart = told_apart(p_values)
        for i, one in enumerate(bands):
            for j, two in enumerate(bands[:i]):
                overlap = one[0] <= two[1] and two[0] <= one[1]
                assert overlap or frozenset((i, j)) in apart
                apart_and_overlapping += overlap and frozenset((i, j)) in apart
    assert apart_and_overlapping > 0
    assert "rows whose bands do not overlap are told apart" in HOW_TO_READ
    assert "bands overlap are not told apart" not in HOW_TO_READ


def test_other_test_sets_are_not_compared():
    with pytest.raises(InvalidDataError, match="not the same test set"):
        compare(score(0.5), score(0.5, np.zeros(9)))
    assert compare(score(0.5), BoardScore(0.5)) is None


def points(*pairs):
    return [PicturePoint(row(f"p{i}", value), cost, value, 0.0, 0.0)
            for i, (cost, value) in enumerate(pairs)]  # fmt: skip


def test_frontier_by_hand():
    found = points((1, 5), (2, 4), (2, 6), (3, 6), (4, 7))
    assert [p.row.key for p in frontier(found, higher_is_better=True)] == ["p0", "p2", "p4"]
    assert [p.row.key for p in frontier(found, higher_is_better=False)] == ["p0", "p1"]


def view_of(rows):
    metrics = {("ks", "accuracy"): METRICS["accuracy"]}
    columns = all_columns(rows, metrics, None)
    cells = tuple(tuple(column.cell(item) for column in columns) for item in rows)
    return View("open", "", "", columns, tuple(rows), cells, (), (), (), (), LayerTable((), ()))


def sized(name, params, value, **options):
    return replace(row(name, value), params=params, **options)


def test_the_picture_has_costs_by_their_logarithm_and_scores_upwards():
    rows = [sized("a", 0, 0.1), sized("b", 1e6, 0.3), sized("c", 1e8, 0.2), sized("d", 1e7, 0.5)]
    picture = cost_picture(view_of(rows))
    a, b, c, d = picture.points
    assert a.x < b.x and d.x - b.x == pytest.approx(c.x - d.x)
    assert a.y > c.y > b.y > d.y  # pixels count downwards
    assert [point.row.key for point in picture.frontier] == ["a", "b", "d"]
    assert picture.x_ends == ((a.x, "0"), (c.x, "100"))
    assert picture.y_ends == ((a.y, "10"), (d.y, "50"))
    assert cost_picture(view_of([])) is None


@pytest.mark.parametrize(("others", "shown"), [(7, True), (8, False)])
def test_baselines_are_left_out_beside_eight_others(others, shown):
    rows = [sized(f"r{i}", 1e6 + i, 0.5) for i in range(others)]
    picture = cost_picture(view_of([*rows, sized("fbank", 0, 0.1, family="baseline")]))
    assert ("fbank" in [point.row.name for point in picture.points]) is shown


def test_bibtex_of_every_paper_that_a_card_names_has_authors_and_a_year():
    """Cards of upstreams, of recipes, and rows that papers report."""
    folders = (CARDS, ROOT / "upstreams/recipes/cards", ROOT / "leaderboard/published")
    texts = [path.read_text("utf-8") for folder in folders for path in folder.glob("*.yaml")]
    papers = {paper for text in texts for paper in re.findall(r"^ *paper: (\S+)$", text, re.M)}
    assert len(papers) > 20 and papers <= references().keys()
    for entry in references().values():
        assert re.search(r"^  author = \{.+\},$", entry, re.MULTILINE)
        assert re.search(r"^  year = \{20\d\d\},?$", entry, re.MULTILINE)
        assert entry.count("{") == entry.count("}")
    card = upstream_card("distilhubert")
    entry = bibtex(replace(row("a", 0.5), card=card, paper=card.paper))
    assert "Chang, Heng-Jui" in entry and card.paper in entry
    assert bibtex(row("a", 0.5)) == ""
    other = bibtex(replace(row("a", 0.5), card=card, paper="https://x.org/y"))
    assert f"  title = {{{card.title}}},\n" in other and r"Paper: \url{https://x.org/y}" in other
