"""Comparing in the terminal, and the draws that it rests on."""

import json
import re
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest

from bench.conditions.catalogue import catalogue
from bench.errors import InvalidDataError, UsageError
from bench.metrics.draws import STEP, read_draws
from bench.records.record import read_record
from leaderboard.board.compare import compare_rows, table
from leaderboard.board.reading import BoardRecord

ROOT = Path(__file__).resolve().parents[2]
BOARD = ROOT / "leaderboard"


def test_compare_in_the_terminal():
    lines = compare_rows("ge2e", "fbank", track="open", condition="clean", board=BOARD)
    assert {"ic", "ks"} <= {line.task for line in lines}
    assert any(line.comparison is not None for line in lines)
    text = table(lines, "ge2e", "fbank")
    keywords = next(line for line in lines if line.task == "ks" and line.comparison is not None)
    # Means over seeds, by hand, of the committed records.
    one, two = (
        [
            score["value"]
            for path in (BOARD / "results/open" / name).glob("ks-s?.json")
            for score in json.loads(path.read_text())["scores"]
            if (score["condition"], score["metric"]) == ("clean", "accuracy")
        ]
        for name in ("ge2e", "fbank")
    )
    difference = sum(one) / len(one) - sum(two) / len(two)
    assert keywords.comparison.difference == pytest.approx(difference)
    shown = re.escape(f"{100 * difference:+.2f}")
    assert re.search(rf"ks +accuracy .* {shown} \[\+\d+.* ge2e", text)
    with pytest.raises(UsageError, match=r"no row 'ge2f'.*'ge2e'"):
        compare_rows("ge2f", "fbank", track="open", condition="clean", board=BOARD)


@pytest.mark.parametrize(
    ("updates", "what"),
    [({"protocol": "2027.1"}, "protocol"), ({"task_version": 99}, "task version")],
)
def test_own_records_of_another_protocol_are_never_paired_with_the_board(updates, what):
    path = BOARD / "results/open/ge2e/ks-s0.json"
    record = read_record(path).model_copy(update={"upstream": "mine", **updates})
    own = [BoardRecord(Path("runs/ks-s0.json"), record, {})]
    with pytest.raises(InvalidDataError, match=f"column ks clean: two of {what}, .* of mine"):
        compare_rows("mine", "ge2e", track="open", condition="clean", board=BOARD, local=own)
    assert compare_rows("fbank", "ge2e", track="open", condition="clean", board=BOARD, local=own)


def test_committed_draws_are_those_of_the_committed_records():
    """A draw's percentiles are the interval in the record: made of the same predictions."""
    for path in sorted((BOARD / "draws").rglob("*.draws")):
        beside = path.relative_to(BOARD / "draws").with_suffix(".json")
        record = read_record(BOARD / "results" / beside)
        for (condition, metric), draws in read_draws(path).items():
            if condition not in {score.condition for score in record.scores}:  # a set
                by_name = {item.condition: item.scores[0].value for item in record.conditions}
                mean = fmean(by_name[name] for name in catalogue().sets[condition])
                assert np.nanmin(draws.values) < mean < np.nanmax(draws.values), path
                continue
            score = record.score(condition, metric)
            found = np.nanpercentile(draws.values, (2.5, 97.5))
            expected = pytest.approx((score.low, score.high), abs=STEP)
            assert found == expected, f"{path}: send the record again: submit, verify --accept"
