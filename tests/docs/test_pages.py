"""The README and the pages: short, linked, and every block of code can be copied."""

import re
import shlex
import subprocess
import tomllib
from functools import cache
from pathlib import Path

import pytest
import yaml
from newcomer import ROOT, blocks
from pseudo_terminal import on_terminal, plain

from bench.cli import _parser, main
from bench.config import UpstreamCard
from bench.metrics.metric import METRICS
from bench.records.record import read_record
from leaderboard.terminal.yardsticks import CONTROLS, comparable_runs

MAX_WORDS = 1_000
PAGES = ["README.md", "docs/own-model.md", "docs/own-data.md", "docs/submitting.md"]
PAGES += ["docs/superb.md", "CONTRIBUTING.md"]
OF_SYSTEM = {".", "git", "pip", ".venv/bin/pip", ".venv/bin/python"}
LINK = re.compile(r"\]\(([^)\s#]+)(?:#[^)]*)?\)")


@cache
def parser():
    return _parser()


def lines(page):
    """The command lines of a page, without comments; a backslash at an end joins two lines."""
    text = "\n".join(blocks(page, "sh")).replace("\\\n", " ")
    return [words for line in text.splitlines() if (words := shlex.split(line, comments=True))]


def of_make(words):
    """The command lines of `slim-superb` that a target of the Makefile runs."""
    done = subprocess.run(
        ["make", "-n", "--no-print-directory", "-o", ".venv/.made", "-o", ".venv/.made-conditions",
         "-o", ".venv/.made-dev", *words[1:]],
        capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    told = [shlex.split(line) for line in done.stdout.replace("\\\n", " ").splitlines()]
    return [line for line in told if line and line[0].endswith("bin/slim-superb")]


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= MAX_WORDS


def test_the_readme_has_its_order():
    heads = re.findall(r"^## (.*)", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    firsts = ["Run", "Compare", "Bring", "Make", "The board", "What the numbers mean"]
    assert all(head.startswith(first) for head, first in zip(heads, firsts, strict=False))


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_a_page_is_a_command(page):
    """Targets exist, and their commands and all others are parsed; nothing is run."""
    commands = lines(page)
    assert commands
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    for words in commands:
        name, *arguments = words
        if name == "make":
            told = of_make(words)
            assert told or {"test", "setup", "lint", "setup-dev"} & set(arguments), words
        elif name in OF_SYSTEM:
            told = []
            named = [extra for word in arguments for extra in re.findall(r"\.\[(.*)\]", word)]
            assert {n for text in named for n in text.split(",")} <= extras.keys()
        else:
            told = [words]
        for line in told:
            assert line[0].endswith("slim-superb"), line
            if "--help" not in line:
                parser().parse_args(line[1:])  # ends the program where it is wrong


@pytest.mark.parametrize("page", PAGES)
def test_every_card_of_a_page_is_one(page):
    for text in blocks(page, "yaml"):
        card = yaml.safe_load(text)
        if "family" in card:
            UpstreamCard.model_validate(card)
    for text in blocks(page, "toml"):
        tomllib.loads(text)
    for text in blocks(page, "python"):
        compile(text, page, "exec")


def test_the_comparison_in_the_readme_is_what_the_command_prints(monkeypatch):
    (words,) = (w for w in lines("README.md") if "compare" in w and "whisper_tiny_en" in w)
    monkeypatch.chdir(ROOT)
    printed = plain(on_terminal(monkeypatch, lambda: main(words[1:])))
    (shown,) = (text for text in blocks("README.md", "text") if "track open, clean" in text)
    assert [line.rstrip() for line in printed.splitlines()] == shown.splitlines()


def test_the_first_result_in_the_readme_stands_beside_the_shipped_ones():
    """The run itself is a slow test; what it is held against comes from the committed records."""
    (shown,) = (text for text in blocks("README.md", "text") if "held against" in text)
    rows = {line.split("  ")[0]: line for line in shown.splitlines()}
    board = ROOT / "leaderboard"
    record = read_record(board / "results/quick/random_features/ks-s0.json")
    model = record.model_copy(update={"upstream": "house_whisper_distil"})
    others = comparable_runs(model, Path("none"), board)
    control = max((run for run in others if run.role in CONTROLS), key=lambda run: run.value)
    metric = METRICS["accuracy"]
    assert metric.text(model.score().chance) in rows["chance"]
    assert control.upstream in rows["best control"]
    assert metric.text(control.value) in rows["best control"]


def test_every_link_leads_to_a_file():
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
    for page in pages:
        for target in LINK.findall(page.read_text(encoding="utf-8")):
            if "://" not in target and not target.startswith("mailto:"):
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_index_has_one_line_for_each_page():
    text = (ROOT / "docs/README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^- \[(\S+)\]\(\1\): .+", text, re.MULTILINE)
    pages = {path.name for end in ("md", "ipynb") for path in (ROOT / "docs").glob(f"*.{end}")}
    assert sorted(listed) == sorted(pages - {"README.md"})
