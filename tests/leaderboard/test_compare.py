"""Comparing in the terminal, and the item counts that it rests on."""

import json
import re
from pathlib import Path

import pytest

from bench.cli import main
from bench.errors import InvalidDataError, UsageError
from bench.metrics.item_file import ItemFile, all_influences, read_items
from bench.metrics.statistics import interval
from bench.records.record import read_record
from leaderboard.board.compare import compare_rows
from leaderboard.board.reading import BoardRecord

ROOT = Path(__file__).resolve().parents[2]
BOARD = ROOT / "leaderboard"


def test_compare_in_the_terminal(capsys):
    assert main(["compare", "ge2e", "fbank@cmvn=off", "--board", str(BOARD)]) == 0
    text = capsys.readouterr().out
    lines = compare_rows(["ge2e", "fbank@cmvn=off"], track="open", condition="clean", board=BOARD)
    assert {"ic", "ks"} <= {line.task for line in lines}
    (pair,) = next(line for line in lines if line.task == "ks").pairs
    # Means over seeds, by hand, of the committed records.
    one, two = (
        [
            score["value"]
            for path in (BOARD / "results/open" / name).glob("ks-s?.json")
            for score in json.loads(path.read_text())["scores"]
            if (score["condition"], score["metric"]) == ("clean", "accuracy")
        ]
        for name in ("ge2e", "fbank@cmvn=off")
    )
    difference = sum(one) / len(one) - sum(two) / len(two)
    assert pair.comparison.difference == pytest.approx(difference)
    shown = re.escape(f"{100 * difference:+.2f}")
    assert re.search(rf"ks\taccuracy\t.*{shown} \[\+\d+.*\tge2e", text)
    with pytest.raises(UsageError, match=r"no row 'ge2f'.*'ge2e'"):
        compare_rows(["ge2f", "fbank@cmvn=off"], track="open", condition="clean", board=BOARD)


@pytest.mark.parametrize(
    ("words", "code", "expected"),
    [
        (["zzz"], 2, ", fbank@cmvn=off, "),  # as upstreams are called, not as their folders are
        (["house_whisper_distil", "--task", "kss"], 3, "did you mean 'ks'?"),
        (
            ["house_whisper_distil", "--task", "ks,sld"],
            0,
            "no score in sld on 'clean' of track open: did ",
        ),
        (["house_whisper_distil", "--condition", "odd"], 3, "did you mean 'ood'?"),
        (["house_whisper_distil", "--board", "nowhere"], 2, "nowhere: no folder 'results' in it"),
    ],
)
def test_what_cannot_be_compared_is_told_with_names_that_can(words, code, expected, capsys):
    assert main(["compare", "ge2e", *words]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert expected in line and "conditions.json" not in line


def test_a_control_without_a_network_is_named_like_its_upstream():
    path = BOARD / "results/open/ge2e/ks-s0.json"
    record = read_record(path).model_copy(update={"upstream": "units", "family": "control"})
    own = [BoardRecord(Path("runs/ks-s0.json"), record, ItemFile({}))]
    (line, *_) = compare_rows(
        ["units", "house_whisper_ofa"], track="open", condition="clean", board=BOARD, local=own
    )
    assert line.pairs[0].first == "units"


@pytest.mark.parametrize(
    ("updates", "what"),
    [({"protocol": "2027.1"}, "protocol"), ({"task_version": 99}, "task version")],
)
def test_own_records_of_another_protocol_are_never_paired_with_the_board(updates, what):
    path = BOARD / "results/open/ge2e/ks-s0.json"
    record = read_record(path).model_copy(update={"upstream": "mine", **updates})
    own = [BoardRecord(Path("runs/ks-s0.json"), record, ItemFile({}))]
    with pytest.raises(InvalidDataError, match=f"column ks clean: two of {what}, .* of mine"):
        compare_rows(["mine", "ge2e"], track="open", condition="clean", board=BOARD, local=own)
    assert compare_rows(
        ["fbank@cmvn=off", "ge2e"], track="open", condition="clean", board=BOARD, local=own
    )


def test_committed_items_are_those_of_the_committed_records():
    """What the counts of items sum up to is the score in the record."""
    for path in sorted((BOARD / "items").rglob("*.items")):
        beside = path.relative_to(BOARD / "items").with_suffix(".json")
        record = read_record(BOARD / "results" / beside)
        distorted = [score for item in record.conditions for score in item.scores]
        scores = {(s.condition, s.metric): s for s in (*distorted, *record.scores)}
        main = record.score().metric
        for key, influences in all_influences(read_items(path), main).items():
            score = scores[key]
            assert influences.value == pytest.approx(score.value, abs=1e-6), path
            if score.low is not None:
                over = interval([influences], None)
                ends = pytest.approx((score.low, score.high), abs=1e-6)  # float32 under conditions
                assert (over.low, over.high) == ends, path


def test_a_metric_without_intervals_has_no_test():
    lines = compare_rows(["ge2e", "fbank@cmvn=off"], track="open", condition="clean", board=BOARD)
    pairs = {(line.task, line.metric): line.pairs[0] for line in lines}
    assert pairs["asv", "eer"].comparison is not None
    assert pairs["asv", "min_dcf"].comparison is None
