"""Tables fit the terminal, and are TSV everywhere else."""

import pytest
from pseudo_terminal import on_terminal, plain

from bench import progress
from bench.terminal.table import (
    StyledCell,
    TableColumn,
    TerminalTable,
    facts_table,
    show_paragraph,
    show_report,
    show_table,
    wrapped,
)

NAME = "house_ofa@embed=192,layers=4,heads=2-2-2-4,ffn=4.0-2.0-4.0-3.0"
TABLE = TerminalTable(
    (
        TableColumn("upstream"),
        TableColumn("score", is_number=True),
        TableColumn("about", priority=1),
        TableColumn("rare", priority=2),
    ),
    [
        (NAME, StyledCell("12.34 [5.00, 20.00]", "best"), "a text of some words " * 6, "x" * 30),
        ("fbank", "1.00", "short", "y"),
    ],
)


@pytest.mark.parametrize("columns", [40, 60, 80, 120, 200])
def test_no_line_is_wider_than_the_terminal(columns, monkeypatch, capfd):
    text = plain(on_terminal(monkeypatch, lambda: show_table(TABLE), columns))
    assert max(map(len, text.splitlines())) <= columns
    assert "fbank" in text and "12.34" in text  # what has priority 0 is always there
    named = "(columns that do not fit: " in capfd.readouterr().err
    assert named == ("rare" not in text)


def test_wide_shows_every_column_in_one_line_each(monkeypatch):
    monkeypatch.setattr(progress, "_is_wide", True)
    head, _, first, second = plain(on_terminal(monkeypatch, lambda: show_table(TABLE))).splitlines()
    assert head.split() == ["upstream", "score", "about", "rare"]
    assert NAME in first and "x" * 30 in first and second.startswith("fbank ")


def test_a_pipe_gets_tsv_that_tools_can_read(capsys):
    show_report("title", TABLE, facts_table([("record", "a\tb")]))
    title, _, head, first, _, _, fact = capsys.readouterr().out.splitlines()
    assert title == "title" and head == "upstream\tscore\tabout\trare"
    assert first.split("\t")[:2] == [NAME, "12.34 [5.00, 20.00]"]
    assert fact == "record\ta\\tb"  # a cell cannot make a column


@pytest.mark.parametrize(("variable", "coloured"), [("", True), ("1", False)])
def test_colour_unless_it_is_not_wanted(variable, coloured, monkeypatch):
    text = on_terminal(monkeypatch, lambda: show_table(TABLE), NO_COLOR=variable)
    assert ("\x1b[1;32m" in text) == coloured
    monkeypatch.setattr("sys.stderr", type("T", (), {"isatty": lambda self: True, "flush": int,
                        "write": lambda self, text: lines.append(text)})())  # fmt: skip
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", variable)
    lines = []
    progress.warn("careful")
    progress.say("calm")
    assert lines == ["\x1b[33mcareful\x1b[0m\n" if coloured else "careful\n", "calm\n"]


def test_texts_are_broken_at_words_and_only_long_words_within():
    assert wrapped("one two three", 8) == ["one two", "three"]
    assert wrapped("a@b=1,c=2", 6) == ["a@b=1,", "c=2"]
    assert wrapped("x" * 7, 3) == ["xxx", "xxx", "x"]
    assert wrapped("house_whisper_distil or", 15) == ["house_whisper_", "distil or"]
    assert wrapped("slot-value of_" + "x" * 7, 5) == ["slot-", "value", "of_", "xxxxx", "xx"]
    assert wrapped("", 5) == [""]


def test_a_long_title_takes_no_space_from_numbers(monkeypatch):
    titles = ("house_whisper_distil", "house_whisper_robust", "difference")
    columns = [TableColumn(title, is_number=True) for title in titles]
    table = TerminalTable(columns, [("40.26", "42.79", "-2.53 [-3.31, -1.75]")])
    lines = plain(on_terminal(monkeypatch, lambda: show_table(table), 50)).splitlines()
    assert lines[-1].split() == ["40.26", "42.79", "-2.53", "[-3.31,", "-1.75]"]


def test_a_command_in_a_text_can_be_copied(monkeypatch):
    command = "  slim-superb compare " + " ".join(["house_whisper_distil"] * 9)
    text = on_terminal(monkeypatch, lambda: show_paragraph("word " * 30 + "\n" + command))
    *words, last = text.splitlines()
    assert last == command and max(map(len, words)) <= 80


def test_a_hostile_cell_controls_no_terminal(monkeypatch):
    cells = TerminalTable((TableColumn("a"),), [("x\x1b[2J\x1b]0;owned\x07",)])
    for text in (on_terminal(monkeypatch, lambda: show_table(cells)), str(cells)):
        assert "\x1b[2J" not in text and "\\u001b[2J" in text
