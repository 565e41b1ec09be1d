"""Learning curves: what is drawn is what the logs say."""

import json
import re

import pytest

import tools.commands
from bench.cli import main
from bench.registry import ROOT

LOGS = ROOT / "upstreams" / "recipes" / "logs"


def tool(command):
    return main(command, package=tools.commands, prog="python -m tools")


def write_log(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_a_panel_a_run_with_its_points(tmp_path):
    pytest.importorskip("matplotlib")
    plain = [{"hours": hours / 4, "loss": 3.0 - hours} for hours in range(3)]
    held = {"hours": 0.5, "validation_loss": 2.0}
    write_log(tmp_path / "one" / "log.jsonl", *plain, held)
    pruned = [{**line, "sparsity0": 0.25 * line["hours"]} for line in plain]
    write_log(tmp_path / "two.jsonl", *pruned)
    out = tmp_path / "curves.svg"
    command = ["learning-curves", str(tmp_path / "one"), str(tmp_path / "two.jsonl")]
    assert tool([*command, "--out", str(out)]) == 0
    text = out.read_text()
    for label in (">one<", ">two<", ">training<", ">held out<", ">sparsity<"):
        assert label in text
    paths = [match.count("L ") for match in re.findall(r'<path d="(M [^"]*)" clip-path', text)]
    assert paths.count(2) == 3  # three points each: two losses and a sparsity
    again = tmp_path / "again.svg"
    assert tool([*command, "--out", str(again)]) == 0
    assert again.read_bytes() == out.read_bytes()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "no such log"),
        ("{", "line 1 is not JSON"),
        ("[]\n", "line 1 has no 'hours'"),
        ('{"hours": "1"}\n', "line 1: 'hours' is not a number"),
        ('{"hours": 1, "loss": null}\n', "line 1: 'loss' is not a number"),
        ('{"hours": 1}\n', "no line with a loss"),
    ],
)
def test_what_is_no_log_is_told_in_one_line(content, told, tmp_path, capsys):
    path = tmp_path / "log.jsonl"
    if content is not None:
        path.write_text(content)
    assert tool(["learning-curves", str(path), "--out", str(tmp_path / "c.svg")]) in (3, 4)
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert told in line


@pytest.mark.parametrize(
    "command",
    [
        ["subnets", "search", "no_such_upstream", "--plot"],
        ["subnets", "tradeoff", "no_such_upstream", "ks", "--sample", "2", "--plot"],
        ["subnets", "list", "no_such_upstream", "--plot"],
        ["learning-curves", "no_such_run", "--out"],
    ],
)
def test_a_picture_that_cannot_be_written_is_refused_before_the_work(command, capsys):
    run = tool if command[0] == "learning-curves" else main
    assert run([*command, "curve.pdf"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "curve.pdf: a plot is an .svg or a .png file" in line


def test_the_picture_in_the_recipes_is_that_of_the_committed_logs(tmp_path):
    pytest.importorskip("matplotlib")
    logs = [str(path) for path in sorted(LOGS.glob("*.jsonl"))]
    assert tool(["learning-curves", *logs, "--out", str(tmp_path / "c.svg")]) == 0
    committed = ROOT / "docs" / "recipes-curves.svg"
    names = re.compile(r">(house_\w+-s\d)<")
    assert names.findall((tmp_path / "c.svg").read_text()) == names.findall(committed.read_text())
