"""One name for each metric on every surface: the table of metrics is the only source."""

import csv
from pathlib import Path

import pytest

from bench.metrics.metric import METRICS
from bench.records.record import read_record
from bench.registry import task_card, task_names, track_names
from bench.reports.run_report import run_report
from bench.reports.run_table import run_data, run_row, run_table
from leaderboard.board.compare import ComparedMetric, ComparedPair
from leaderboard.board.published import definitions, read_published
from leaderboard.board.rows import BoardScore
from leaderboard.terminal.comparison import ModelComparison

ROOT = Path(__file__).resolve().parents[2]
PUBLISHED, RESULTS = (ROOT / "leaderboard" / name for name in ("published", "results"))
GOLDEN = ROOT / "tests" / "golden"


def test_a_label_is_the_name_in_plain_spelling():
    """So that nobody has to guess which quantity of a record a head of the board is."""
    about, _ = read_published(PUBLISHED)
    every = [*METRICS.values(), *definitions(about).values()]
    for metric in every:
        assert metric.label.lower().replace("-", "_").replace(" ", "_") == metric.name
    assert len({metric.label for metric in every}) == len({metric.name for metric in every})


@pytest.mark.parametrize("track", track_names())
def test_task_cards_name_metrics_of_the_table(track):
    cards = [task_card(task, track) for task in task_names(track)]
    named = {name for card in cards for name in (*card.metrics, card.selects_by)}
    assert named <= METRICS.keys()


def record_slu():
    """A shipped record with three metrics whose names were confused before."""
    path = RESULTS / "open" / "house_wave" / "slu-s0.json"
    return read_record(path), path


def test_terminal_and_comparison_say_the_label_and_their_files_the_name():
    """`show`, `eval` and `compare` for people; CSV and JSON of them for programs."""
    record, path = record_slu()
    scores = {score.metric: METRICS[score.metric] for score in record.scores}
    table = run_report(record, path)[1]
    assert {row[1] for row in table.texts()[1:]} == {metric.label for metric in scores.values()}
    row = run_row(record, path, record.score())
    assert METRICS[record.score().metric].label in str(run_table([row]))
    assert run_data([row])[0]["metric"] == record.score().metric
    value = BoardScore(0.5, seeds=1)
    pair = ComparedPair("one", "other", None)
    compared = [ComparedMetric("slu", name, {"one": value, "other": value}, (pair,))
                for name in scores]  # fmt: skip
    comparison = ModelComparison(("one", "other"), "open", "clean", {}, compared, frozenset())
    assert {line["metric"] for line in comparison.lines()} == scores.keys()
    assert {row[1] for row in comparison.pairs().texts()[1:]} == {m.label for m in scores.values()}


def test_every_format_of_the_board_says_the_same():
    """The miniature board, which another test builds: names in CSV and JSON, labels elsewhere."""
    about, _ = read_published(PUBLISHED)
    every = METRICS | definitions(about)
    with (GOLDEN / "board.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    named = {(row["task"], row["metric"]) for row in rows if row["metric"] in every}
    assert {"slot_type_f1", "slot_value_cer"} <= {name for _, name in named}
    texts = {e: (GOLDEN / f"board.{e}").read_text(encoding="utf-8") for e in ("html", "tex", "md")}
    for _, name in named:
        label = every[name].label
        assert label in texts["html"], label
        assert "_" not in name or name not in texts["tex"].replace("\\_", "_") + texts["md"], name
    heads = texts["tex"].partition("\\toprule ")[2].partition(r" \\")[0].split(" & ")
    labels = {every[name].label for _, name in named}
    scores = [head for head in heads if head not in ("Model", "Parameters", "MACs")]
    assert scores and all(any(head.endswith(label) for label in labels) for head in scores), scores
