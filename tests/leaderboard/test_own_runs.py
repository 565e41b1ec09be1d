"""One's own runs in the terminal: shown, compared with the board, held against it."""

import base64
import csv
import io
import json
import re
from pathlib import Path

import pytest
import soundfile
from pseudo_terminal import on_terminal, plain
from run_rows import COMMITTED, record, write
from toy_track import evaluate_seeds

from bench.cli import main
from bench.corpora.noise import packaged
from bench.records.record import read_record, write_record
from bench.session import Session
from leaderboard.board.conditions import LADDERS, SINGLE, ConditionScores
from leaderboard.page import sounds
from leaderboard.page.build import PageRequest, build_board
from leaderboard.page.sounds import condition_sounds
from leaderboard.terminal.comparison import compare_models
from leaderboard.terminal.own_runs import common_track, own_runs
from leaderboard.terminal.yardsticks import comparable_runs, held_against, next_step

BOARD = COMMITTED.parents[1]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Own runs: a full and a limited one on `open`, another task, and a damaged file."""
    folder = tmp_path_factory.mktemp("here") / "runs"
    started = record().provenance.model_copy(update={"started": "2030-01-01T00:00:00+00:00"})
    write(folder, record(upstream="mine", provenance=started))
    write(folder, record(upstream="mine", limit=60), "-limit60")
    write(folder, record(upstream="cut", limit=60), "-limit60")
    write(folder, record(upstream="other", task="sid", track="quick"))
    (folder / "open" / "mine" / "sid-s0.json").write_text("{}")
    return folder


def test_a_page_has_own_runs_beside_the_shipped_rows(toy, tmp_path, monkeypatch, capsys):
    """Marked as such, with predictions and sound; hidden folders and unfit runs are left out."""
    monkeypatch.setattr(sounds, "TASK", "tone")
    monkeypatch.setattr(sounds, "TRACK", "toy")
    evaluate_seeds(toy, (0, 1))
    (toy.out / ".grid" / "x").mkdir(parents=True)
    shipped = tmp_path / "shipped/results/toy"
    for path in (toy.out / "toy/fbank").glob("*.json"):
        other = read_record(path).model_copy(update={"upstream": "ge2e"})
        write_record(other, shipped / "ge2e" / path.name)
    request = PageRequest(toy.out, True, Session(home=toy.home))
    build_board(tmp_path / "shipped/results", tmp_path / "site", None, request)
    page = (tmp_path / "site/index.html").read_text("utf-8")
    rows = dict(re.findall(r"<tr id=.*?><a href=.*?>(.*?)</a><small>(.*?)</small>", page))
    assert "your run" in rows["fbank"] and "your run" not in rows["ge2e"]
    summary = "Predictions: TONE, clean speech, seed 1: 16 utterances, the 16 worst first"
    table = page.split(summary)[1].split("</table>")[0]
    errors = [int(text) for text in re.findall(r"<td>(\d+)<td>", table)]
    assert len(errors) == 16 and errors == sorted(errors, reverse=True)
    assert table.count('src="data:audio/ogg;base64,') == 8
    figure = page.split('id="toy-fbank-tone-curve1"')[1].split("</figure>")[0]
    assert "by update, 0 to 12" in figure and figure.count("<polyline") == 2
    assert figure.count('class="s0"') == figure.count("(selected, solid)") == 1
    assert main(["board", "--runs", str(tmp_path / "none")]) == 3
    assert "no such folder of runs" in capsys.readouterr().err


def test_sounds_of_conditions_are_never_fetched(toy, monkeypatch):
    """Clean speech and what needs no noise; the rest is named on stderr."""
    monkeypatch.setattr(sounds, "TASK", "tone")
    monkeypatch.setattr(sounds, "TRACK", "toy")
    groups = [("ladder-clip", LADDERS), ("ladder-music", LADDERS), ("clip-6db", SINGLE)]
    tables = [ConditionScores(name, group, "", (), {}) for name, group in groups]
    monkeypatch.setattr(packaged, "prepare", lambda *a, **k: pytest.fail("fetched"))
    heard = condition_sounds(tables, Session(home=toy.home))
    assert list(heard) == ["clean", "ladder-clip"]
    content = base64.b64decode(heard["ladder-clip"].partition(",")[2])
    wav, rate_hz = soundfile.read(io.BytesIO(content))
    assert len(wav) / rate_hz < 4 and abs(wav).max() > 0.01


def lines_of(captured):
    return [line.split("\t") for line in captured.out.splitlines()]


def test_all_runs_newest_first_with_what_is_no_result(runs, capsys):
    assert main(["show", str(runs)]) == 0
    captured = capsys.readouterr()
    head, *rows = lines_of(captured)
    named = [dict(zip(head, row, strict=True)) for row in rows]
    assert named[0]["upstream"] == "mine" and named[0]["started (UTC)"] == "2030-01-01 00:00"
    assert {(row["upstream"], row["remark"]) for row in named[1:]} == {
        ("mine", "limited to 60 utterances a split: a smoke test, no result"),
        ("cut", "limited to 60 utterances a split: a smoke test, no result"),
        ("other", ""),
    }
    assert "sid-s0.json" in captured.err and "also scored: ood" in captured.err


def test_filters_and_formats(runs, capsys):
    assert main(["show", "--runs", str(runs), "--track", "quick", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["upstream"], row["task"], row["track"]) == ("other", "sid", "quick")
    assert main(["show", str(runs / "open"), "--condition", "all", "--csv"]) == 0
    table = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert {row["condition"] for row in table} == {"clean", "ood"} and len(table) == 6
    assert main(["show", str(runs), "--condition", "gsm"]) == 3
    assert "scored: clean, ood" in capsys.readouterr().err


def test_one_run_in_full(runs, capsys):
    path = COMMITTED / "house_whisper_distil" / "ks-s0.json"
    assert main(["show", str(path)]) == 0
    text = capsys.readouterr().out
    assert text.startswith("ks on track open: house_whisper_distil (house weights), seed 0")
    assert "lead lost, %" in text  # its conditions
    noise = [line.split("\t")[0] for line in text.splitlines() if line.startswith("white-")]
    assert noise == [f"white-{snr_db}db" for snr_db in (20, 10, 5, 0)]  # from mild to severe
    assert main(["show", "other/sid", "--runs", str(runs)]) == 0
    assert "sid on track quick: other" in capsys.readouterr().out
    assert main(["show", "othr/sid", "--runs", str(runs)]) == 2
    assert "did you mean 'other/sid'" in capsys.readouterr().err
    assert main(["show", "--runs", str(runs / "none")]) == 3
    assert "no such folder of runs" in capsys.readouterr().err


@pytest.mark.parametrize("columns", [60, 80])
def test_the_table_fits_a_terminal(columns, runs, monkeypatch, capfd):
    text = plain(on_terminal(monkeypatch, lambda: main(["show", str(runs)]), columns))
    assert max(map(len, text.splitlines())) <= columns
    assert "mine" in text and "limited" in text


def test_the_track_is_one_that_all_have(runs):
    own = own_runs(runs)
    assert common_track(["mine", "ge2e"], own, BOARD) == "open"
    assert common_track(["ge2e", "house_whisper_distil"], own, BOARD) == "open"
    assert common_track(["other", "random_features"], own, BOARD) == "quick"


@pytest.mark.parametrize(
    ("names", "code", "words"),
    [
        (["mine", "other"], 3, "mine on open; other on quick"),
        (["mine", "ge2f"], 2, "did you mean 'ge2e'"),
        (["cut", "ge2e"], 2, "limited to 60 utterances a split"),
        (["ge2e"], 2, "two models or more"),
        (["ge2e", "ge2e"], 2, "each once"),
    ],
)
def test_what_cannot_be_compared_is_said(names, code, words, runs, capsys):
    assert main(["compare", *names, "--runs", str(runs), "--board", str(BOARD)]) == code
    assert words in capsys.readouterr().err


@pytest.fixture(scope="module")
def three():
    """Three shipped rows on two tasks."""
    return compare_models(
        ["house_whisper_distil", "house_whisper_ofa@min", "fbank@cmvn=off"],
        runs=Path("none"), board=BOARD, session=None, tasks=["ks", "sid"],
    )  # fmt: skip


def test_any_number_of_models_with_holm_over_all_tests(three):
    assert three.track == "open" and set(three.sources) == {
        "house_whisper_distil",
        "house_whisper_ofa@min",
        "fbank@cmvn=off",
    }
    pairs = [pair for line in three.metrics for pair in line.pairs]
    assert len(pairs) == 6 and [line.task for line in three.metrics] == ["ks", "sid"]
    ordered = sorted(pairs, key=lambda pair: pair.comparison.p_value)
    # Holm (1979) by hand: the smallest p value times the number of tests.
    assert ordered[0].p_holm == pytest.approx(min(1.0, 6 * ordered[0].comparison.p_value))
    assert ordered[-1].p_holm >= ordered[-1].comparison.p_value
    assert three.metrics[0].best == "house_whisper_distil"  # better than both others, by tests
    assert three.metrics[1].best is None  # on speakers it is not told apart from the subnet


def test_the_best_is_marked_only_where_a_test_says_so(three):
    marked = {
        (row[0], three.names[index - 2])
        for row in three.values().rows
        for index, cell in enumerate(row)
        if getattr(cell, "style", "") == "best"
    }
    assert marked == {("ks", "house_whisper_distil")}


def test_a_comparison_as_json_and_csv(three):
    data = json.loads(json.dumps(three.data()))
    assert (
        data["metrics"][0]["best"] == "house_whisper_distil"
        and len(data["metrics"][0]["pairs"]) == 3
    )
    assert {"difference", "p", "p_holm", "better"} <= three.lines()[0].keys()
    assert len(three.lines()) == 6


def test_what_a_result_is_held_against():
    path = COMMITTED / "house_whisper_distil" / "ks-s0.json"
    item = read_record(path)
    others = comparable_runs(item, Path("none"), BOARD)
    table = {row[0]: row[1] for row in held_against(item, others).rows}
    assert table["its teacher"] == "house_whisper_fbank" and table["chance"] == "ignores the sound"
    values = {run.upstream: run.value for run in others if not run.role}
    assert table["best on the board"] == max(values, key=values.get)
    assert table["best control"] == "random_features"
    assert next_step(item, others).startswith("next:\n  slim-superb compare house_whisper_distil ")


def test_only_runs_of_the_same_column_are_comparable(tmp_path):
    item = record(upstream="mine")
    other = item.inputs.model_copy(update={"manifests": {"clean": "0" * 64}})
    for change in ({"task_version": 99}, {"protocol": "1"}, {"limit": 9}, {"inputs": other}):
        write(tmp_path, record(upstream="wrong", **change))
        assert comparable_runs(item, tmp_path, tmp_path) == []
    write(tmp_path, record(upstream="right"))
    (run,) = comparable_runs(item, tmp_path, tmp_path)
    assert run.upstream == "right" and run.is_own
    limited = record(limit=60)
    assert "no result" in next_step(limited, [])


def test_the_newest_result_of_an_upstream_is_shown_in_full(runs, capsys):
    assert main(["show", "mine/ks", "--runs", str(runs)]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("ks on track open: mine (none weights), seed 0")
    assert "1 other run: slim-superb show 'mine' --task ks" in captured.err
