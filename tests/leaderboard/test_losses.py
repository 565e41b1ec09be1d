"""Degradations on the board: means and worst conditions over the same pairs, and mean leads."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from bench.metrics.jackknife import Influences
from bench.metrics.metric import METRICS
from bench.metrics.statistics import NO_SEEDS, SeedVariance, interval, seed_variance
from leaderboard.board.conditions import LADDERS, SINGLE, condition_tables
from leaderboard.board.degradation import reference_pairs
from leaderboard.board.rows import BoardScore, Degradation
from leaderboard.board.scores import set_scores
from leaderboard.board.summaries import (
    clean_lead,
    degradation_columns,
    informative_tasks,
    lead,
    mean_lead,
)
from leaderboard.page.cells import lead_rows


def lossy(degradations, *, competes=True):
    return SimpleNamespace(degradations=degradations, competes=competes, key=str(id(degradations)))


def test_losses_over_other_pairs_are_shown_and_never_ranked():
    """Only rows with the reference's pairs have a value, which sorts and draws."""
    pair = {("ks", "gsm"): Degradation(0.1), ("ks", "ood"): Degradation(0.3)}
    full = lossy(pair | {("sid", "gsm"): Degradation(0.6)})
    twin = lossy(dict(full.degradations))
    other = lossy({("asv", "gsm"): Degradation(0.2)})
    control = lossy(full.degradations | {("asr", "gsm"): Degradation(9.0)}, competes=False)
    rows = [lossy(pair), other, full, twin, control]
    assert reference_pairs(rows) == full.degradations.keys()
    assert reference_pairs([control]) == control.degradations.keys()
    assert reference_pairs([]) == frozenset()
    mean, worst = degradation_columns(rows)
    # Two conditions of ks weigh as much as one of sid: (20 + 60) / 2, not (10 + 30 + 60) / 3.
    assert [mean.cell(row).text for row in rows[:3]] == ["+20.0", "+20.0", "+40.0"]
    for column, value in ((mean, 40.0), (worst, 35.0)):
        found = [column.cell(row).value for row in rows]
        assert found == [None, None, *[pytest.approx(value)] * 3]
        assert "over the same 3 pairs" in column.about
    assert mean.cell(rows[0]).note == "only 2 of 3, KS"
    assert mean.cell(other).note == "other 1 of 3, ASV"


def test_a_row_with_more_conditions_does_not_push_the_others_out():
    losses = {("ks", "gsm"): Degradation(0.1), ("ks", "ood"): Degradation(0.3)}
    usual = [lossy(losses) for _ in range(3)]
    more = lossy(losses | {("ks", f"white-{n}db"): Degradation(0.9) for n in (20, 10)})
    mean, worst = degradation_columns([*usual, more])
    for column, value in ((mean, 20.0), (worst, 30.0)):
        assert [column.cell(row).value for row in (*usual, more)] == [pytest.approx(value)] * 4
        assert "only" not in column.cell(more).note
    every = [*usual, *[more] * 3]  # most is compared by the larger set: 3 x 4 pairs, not 6 x 2
    assert reference_pairs(every) == more.degradations.keys()


def test_the_worst_condition_is_one_of_those_with_most_tasks():
    both = {(task, "gsm"): Degradation(0.2) for task in ("ks", "sid")}
    row = lossy(both | {("ks", "white-0db"): Degradation(0.9)})
    (cell,) = [column.cell(row) for column in degradation_columns([row])[1:]]
    assert (cell.text, cell.note) == ("+20.0", "gsm")


RNG = np.random.default_rng(0)


def scored(value, *, seeds=3, chance=0.1):
    """A score with its seeds, and an interval far from chance."""
    leans = RNG.normal(0, 0.01, seeds)
    runs = [
        Influences(value + lean, RNG.normal(0, 0.01, 12), 12.0) for lean in leans - leans.mean()
    ]
    return BoardScore(value, value - 0.1, value + 0.1, runs=tuple(runs), seeds=seeds, chance=chance)


def of_scores(key, tasks, **options):
    """A row with scores by task and condition, and their degradations."""
    scores = {
        (task, "accuracy", name): part
        for task, part in tasks.items()
        for name, part in part.items()
    }
    lost = {
        (task, name): Degradation(1 - (s.value - 0.1) / (part["clean"].value - 0.1))
        for task, part in tasks.items()
        for name, s in part.items()
        if name != "clean"
    }
    main = dict.fromkeys(tasks, "accuracy")
    given = {"pools": True, "main_metrics": main, "degradations": lost} | options
    return SimpleNamespace(key=key, scores=scores, **given)


WHITE = ["white-20db", "white-10db", "white-5db", "white-0db"]


def test_a_ladder_is_the_mean_over_its_rungs_of_the_tasks_that_have_them():
    rungs = dict(zip(WHITE, [scored(v) for v in (0.5, 0.4, 0.3, 0.2)], strict=True))
    ks = {"clean": scored(0.6), **rungs}
    sid = {"clean": scored(0.7), WHITE[0]: scored(0.2), "gsm": scored(0.6)}
    row = of_scores("one", {"ks": ks, "sid": sid}, competes=True, name="one")
    plain = of_scores("two", {"ks": {"clean": scored(0.6)}}, competes=True, name="two")
    tables = {table.name: table for table in condition_tables([row, plain], ["gsm", *WHITE])}
    assert list(tables) == ["clean", "ladder-white", "gsm", *WHITE]  # no set lacks a condition
    white = tables["ladder-white"]
    assert (white.group, white.members, list(white.tasks)) == (LADDERS, tuple(WHITE), ["ks"])
    score, loss = white.tasks["ks"].scores["one"], white.tasks["ks"].losses["one"]
    assert score.value == pytest.approx(0.35)
    assert loss.value == pytest.approx(0.5)  # (0.6 - 0.35) of a lead of 0.5
    assert list(white.tasks["ks"].scores) == ["one"]
    assert tables["gsm"].group == SINGLE and tables["white-5db"].group == "Ladder: white"


def test_the_mean_lead_is_over_tasks_that_tell_rows_apart_and_needs_all_of_them():
    seeds = SeedVariance(1e-6, 0.0, 30, 11.0)

    def exact(value):
        return replace(scored(value), spread=seeds)

    values = {"one": (0.9, 0.5), "two": (0.4, 0.5), "three": (0.3, None)}
    rows = []
    for name, (ks, ic) in values.items():
        tasks = {"ks": {"clean": exact(ks)}} | ({"ic": {"clean": exact(ic)}} if ic else {})
        rows.append(of_scores(name, tasks, competes=True, name=name))
    (clean,) = condition_tables(rows, [])
    assert informative_tasks(clean) == ("ks",)  # one and two are alike in ic
    mean = mean_lead(clean, ("ks", "ic"), "one")
    assert mean.value == pytest.approx((0.8 / 0.9 + 0.4 / 0.9) / 2)  # chance is 0.1
    assert (mean.high - mean.low) == pytest.approx(0.2 / 0.9)
    assert mean_lead(clean, ("ks", "ic"), "three") is None
    assert mean_lead(clean, ("ks", "sid"), "three").value == pytest.approx(0.2 / 0.9)
    assert lead(METRICS["wer"], 0.25, 1.0) == 0.75 and lead(METRICS["wer"], 1.5, 1.0) == -0.5


def test_a_mean_under_a_condition_is_held_against_the_same_tasks_on_clean_speech():
    """Against all tasks, a row seemed to gain by noise where only its best task was distorted."""
    tasks = {"ks": {"clean": scored(0.9), "gsm": scored(0.7)}, "ic": {"clean": scored(0.2)}}
    row = of_scores("one", tasks, competes=True, name="one")
    tables = condition_tables([row], ["gsm"])
    assert clean_lead(tables, 1, ("ks", "ic"), "one").value == pytest.approx(0.8 / 0.9)
    view = SimpleNamespace(informative=("ks", "ic"), rows=[row], tables=tables)
    ((_, cells),) = lead_rows(view, tables)
    assert [(cell.text, cell.change) for cell in cells] == [("50.0", ""), ("66.7", "\u221225.0")]


def test_a_set_counts_where_all_of_it_was_scored():
    rows = [
        of_scores(f"r{i}", {"ks": {"clean": scored(0.6), "a": scored(0.5), "b": scored(0.3)}})
        for i in range(3)
    ]
    found = set_scores(rows, "ks", "accuracy", ["a", "b"])
    mean, loss = found["r0"].mean, found["r0"].loss
    assert (mean.value, loss.value) == pytest.approx((0.4, 0.4))
    assert mean.spread == seed_variance(found[row.key].mean.runs for row in rows)
    expected = interval(loss.runs, loss.spread)
    assert (loss.low, loss.high) == (expected.low, expected.high)
    assert set_scores(rows, "ks", "accuracy", ["a", "b", "c"]) == {}
    assert set_scores(rows, "ic", "accuracy", ["a", "b"]) == {}


def test_a_set_of_a_task_without_training_has_an_interval_from_one_run():
    """There are no head seeds in it, so none are missing."""
    part = {
        name: replace(scored(value), runs=scored(value).runs[:1], seeds=1, spread=NO_SEEDS)
        for name, value in (("clean", 0.6), ("a", 0.5), ("b", 0.3))
    }
    (found,) = set_scores([of_scores("r", {"words": part})], "words", "accuracy", "ab").values()
    for score in (found.mean, found.loss):
        assert score.is_tested and score.low < score.value < score.high


def test_a_set_without_item_counts_has_no_interval():
    part = {"clean": scored(0.6), "a": scored(0.5), "b": BoardScore(0.3, seeds=3)}
    (found,) = set_scores([of_scores("r", {"ks": part})], "ks", "accuracy", ["a", "b"]).values()
    assert (found.mean.value, found.loss.value) == pytest.approx((0.4, 0.4))
    assert found.mean.low is None and found.loss.low is None


def test_who_does_not_beat_chance_has_no_loss():
    part = {"clean": scored(0.15), "a": scored(0.12), "b": scored(0.1)}  # [0.05, 0.25] holds 0.1
    (found,) = set_scores([of_scores("r", {"ks": part})], "ks", "accuracy", ["a", "b"]).values()
    assert found.mean.value == pytest.approx(0.11) and found.loss is None


def test_a_mean_over_fewer_tasks_says_so():
    loss = Degradation(0.2, 0.1, 0.3)
    full = lossy({("ks", "gsm"): loss, ("sid", "gsm"): loss})
    part = lossy({("ks", "gsm"): loss, ("ks", "ood"): Degradation(0.4)})
    mean, worst = degradation_columns([full, part])
    notes = ["[+10.0, +30.0]", "[+10.0, +30.0], only 1 of 2, KS"]
    assert [mean.cell(row).note for row in (full, part)] == notes
    assert [worst.cell(row).note for row in (full, part)] == ["gsm", "gsm, only 1 of 2, KS"]
    assert [worst.cell(row).text for row in (full, part)] == ["+20.0", "+20.0"]
    assert degradation_columns([full])[0].cell(full).note == "[+10.0, +30.0]"
