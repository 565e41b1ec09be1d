"""Degradations on the board: means and worst conditions over the same pairs, and heat maps."""

from types import SimpleNamespace

import numpy as np
import pytest

from bench.metrics.draws import Draws
from leaderboard.board.columns import degradation_columns
from leaderboard.board.degradation import reference_pairs
from leaderboard.board.heat import heat_tables, over_column
from leaderboard.board.rows import Degradation, SetDraws


def lossy(degradations, *, competes=True):
    return SimpleNamespace(degradations=degradations, set_draws={}, competes=competes)


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
        assert "sorted over the same 3 pairs" in column.about
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


def test_a_ladder_is_one_column_of_the_heat_map():
    """Of the tasks that have all its rungs: the mean over rungs, then over tasks."""
    losses = {
        **{("ks", f"white-{n}db"): Degradation(n / 100, 0.0, 0.3) for n in (20, 10)},
        **{("ic", f"white-{n}db"): Degradation(0.4, 0.1, 0.5) for n in (20, 10)},
        ("sid", "white-20db"): Degradation(0.9),
        ("ks", "gsm"): Degradation(0.1),
        ("ks", "clip-6db"): Degradation(0.7),
    }
    names = ["gsm", "white-20db", "white-10db", "clip-6db"]
    plain = lossy({("ks", "gsm"): Degradation(0.2)})
    single, ladders = heat_tables([lossy(losses), plain], names)
    assert [item.title for item in single.columns] == ["gsm"] and len(single.rows) == 2
    white, clip = ladders.columns
    assert (white.title, white.tasks, clip.title) == ("ladder-white", "IC, KS", "ladder-clip")
    assert len(ladders.rows) == 1
    found = over_column(lossy(losses), white)
    assert (found.value, found.low, found.high) == pytest.approx((0.275, 0.05, 0.4))
    assert found.tasks == "IC, KS" and over_column(lossy({}), white) is None
    row, values = lossy(losses), np.linspace(0.1, 0.2, 1000)
    row.set_draws["ks", "ladder-white"] = SetDraws(Draws(values, 9), Draws(values, 9))
    drawn = over_column(row, white)
    assert drawn.value == found.value
    low, high = np.percentile(values, [2.5, 97.5])  # of KS; IC keeps the mean of its rungs'
    assert (drawn.low, drawn.high) == pytest.approx(((low + 0.1) / 2, (high + 0.5) / 2))


def test_a_mean_over_fewer_tasks_says_so():
    loss = Degradation(0.2, 0.1, 0.3)
    full = lossy({("ks", "gsm"): loss, ("sid", "gsm"): loss})
    part = lossy({("ks", "gsm"): loss, ("ks", "ood"): Degradation(0.4)})
    (table,) = heat_tables([full, part], ["gsm", "ood"])
    gsm, ood = table.columns
    assert (gsm.tasks, ood.tasks) == ("KS, SID", "KS")
    assert over_column(part, gsm).tasks == "KS"
    mean, worst = degradation_columns([full, part])
    notes = ["[+10.0, +30.0]", "[+10.0, +30.0], only 1 of 2, KS"]
    assert [mean.cell(row).note for row in (full, part)] == notes
    assert [worst.cell(row).note for row in (full, part)] == ["gsm", "gsm, only 1 of 2, KS"]
    assert [worst.cell(row).text for row in (full, part)] == ["+20.0", "+20.0"]
    assert degradation_columns([full])[0].cell(full).note == "[+10.0, +30.0]"
