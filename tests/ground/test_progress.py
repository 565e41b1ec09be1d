"""What is said on stderr: plain lines where there is no terminal, warnings only with -q."""

import argparse
import sys
from types import SimpleNamespace

import pytest
from toy_track import evaluate, make_toy

from bench import cli, progress
from bench.progress import NORMAL, QUIET, VERBOSE, bar, detail, say, set_level, warn


@pytest.fixture(autouse=True)
def own_level(monkeypatch):
    for name in ("TQDM_DISABLE", "TQDM_MININTERVAL"):
        monkeypatch.setenv(name, "0")
    yield
    set_level(NORMAL)


def test_a_bar_without_a_terminal_is_lines_now_and_then(monkeypatch, capsys):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    with bar(total=3, label="work", unit="pieces") as own:
        for _ in range(3):
            own.update(1)
    said = capsys.readouterr().err
    assert "\r" not in said and said.endswith("\n")
    lines = said.splitlines()
    assert len(lines) >= 2
    assert all(line.startswith("work") and "pieces" in line for line in lines)
    monkeypatch.undo()
    with bar(total=1_000, label="work", unit="pieces") as own:
        for _ in range(1_000):
            own.update(1)
    assert len(capsys.readouterr().err.splitlines()) <= 3  # 15 s apart


@pytest.mark.parametrize(
    ("total", "part", "shown"),
    [(0.25, 0.125, "0.12/0.25 h"), (12.0, 3.0, "3/12 h"), (4, 1, "1/4 h")],
)
def test_a_bar_of_few_hours_shows_parts_of_them(monkeypatch, capsys, total, part, shown):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    with bar(total=total, label="work", unit="h") as own:
        own.update(part)
    assert shown in capsys.readouterr().err


def test_a_bar_in_a_notebook_is_drawn_in_place(monkeypatch, capsys):
    shell = SimpleNamespace(config={"IPKernelApp": {}})
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setattr("tqdm.notebook.IProgress", None)  # without ipywidgets
    with bar(total=2, label="work", unit="pieces") as own:
        own.update(2)
    said = capsys.readouterr().err
    assert "\rwork" in said and "100%" in said and said.count("\n") == 1


@pytest.mark.parametrize(
    ("level", "expected"),
    [(QUIET, ["w"]), (NORMAL, ["s", "w"]), (VERBOSE, ["s", "d", "w"])],
)
def test_levels(level, expected, capsys):
    set_level(level)
    say("s")
    detail("d")
    warn("w")
    assert capsys.readouterr().err.splitlines() == expected


def test_every_command_has_both_options():
    (commands,) = [
        action
        for action in cli._parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    ]
    assert {"board", "eval", "grid"} <= commands.choices.keys()
    for name, parser in commands.choices.items():
        for leaf in cli.leaf_parsers(parser):
            assert {"-q", "--quiet", "-v", "--verbose"} <= set(leaf._option_string_actions), name


def test_a_quiet_run_says_nothing_and_a_talkative_one_how_long_stages_take(
    tmp_path, monkeypatch, capsys
):
    toy = make_toy(tmp_path, monkeypatch)
    set_level(QUIET)
    evaluate(toy, seed=0)
    assert capsys.readouterr().err == ""
    set_level(VERBOSE)
    evaluate(toy, seed=1)
    said = capsys.readouterr().err
    assert all(f"\n{stage}: " in said for stage in ("upstream", "head", "predict", "score"))
