"""The two games' containers: right ones are read, wrong ones refused in one line, at once."""

from __future__ import annotations

import struct

import pytest
from game_containers import pack_drascula, pack_queen, queen_entries, remarks
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.corpora.games import drascula_reader, queen_reader
from bench.errors import InvalidDataError


def test_reads_the_queens_lines() -> None:
    lines = queen_reader.parse(pack_queen(queen_entries()))
    found = {name: (line.speaker, line.text, line.audio) for name, line in lines.items()}
    assert found == {
        "queen-07SSSSJ1": ("JOE", "Hello there", b"mp3 a"),
        "queen-07001FJ1": ("JOE", "Who are you?", b"mp3 b"),
        "queen-070020P1": ("BOB", "I'm Bob.", b"mp3 c"),
        "queen-07XXXXP1": ("BOB", "Bye.", b"mp3 d"),
        "queen-JOE00411": ("JOE", "What a mess.", b"mp3 e"),
        "queen-JOE00012": ("JOE", "Really nice.", b"mp3 f"),
    }


def test_stage_directions_cut_a_line() -> None:
    assert list(queen_reader._segments("Oh*CA no!*XY12345678901 You?")) == [
        (1, "Oh"),
        (2, " no!"),
        (3, " You?"),
    ]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "QTBL"),
        (b"RIFF" * 20, "QTBL"),
        (pack_queen(queen_entries(), compression=2), "compression 2"),
        (pack_queen(queen_entries())[:-1], "truncated"),
        (pack_queen(queen_entries())[:100], "truncated"),
        (pack_queen({"A.SB": b"x"}), "QUEEN2.JAS"),
        (pack_queen(queen_entries() | {"QUEEN2.JAS": b"one line"}), "lines expected"),
        (pack_queen(queen_entries() | {"BOB2.DOG": b"\x7f" * 60}), "BOB2.DOG"),
        (pack_queen({"QUEEN2.JAS": remarks()}), "no spoken line"),
    ],
)
def test_refuses_a_wrong_queen(data: bytes, message: str) -> None:
    with pytest.raises(InvalidDataError, match=message) as caught:
        queen_reader.parse(data)
    assert "\n" not in str(caught.value)


def test_entries_may_not_overlap() -> None:
    header = b"QTBL" + b"\0" * 8 + b"\1" + struct.pack(">H", 3)
    entry = b"A.SB".ljust(13, b"\0") + struct.pack(">II", 0, 70)
    with pytest.raises(InvalidDataError, match="overlap"):
        queen_reader.parse(header + entry * 3)


def test_reads_drasculas_lines() -> None:
    data = pack_drascula(["Hi.", "", "Who's there?"], {"VB": ["I am."]})
    clips = {"0.ALS": b"a", "1.ALS": b"b", "2.ALS": b"c", "VB0.ALS": b"d", "B0.ALS": b"e"}
    lines = drascula_reader.parse(data, clips)
    assert {name: (line.speaker, line.text, line.audio) for name, line in lines.items()} == {
        "drascula-0": ("DR-HACKER", "Hi.", b"a"),
        "drascula-2": ("DR-HACKER", "Who's there?", b"c"),
        "drascula-VB0": ("DR-VB", "I am.", b"d"),
    }


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "found none"),
        (drascula_reader.MARK, "truncated"),
        (pack_drascula(["Hi."], {})[:-1], "truncated"),
        (pack_drascula([], {}), "no spoken line"),
    ],
)
def test_refuses_a_wrong_drascula(data: bytes, message: str) -> None:
    with pytest.raises(InvalidDataError, match=message) as caught:
        drascula_reader.parse(data, {"0.ALS": b"a"})
    assert "\n" not in str(caught.value)


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 8))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data)


@settings(deadline=2_000, max_examples=300)
@given(
    st.one_of(
        st.binary(max_size=400),
        st.binary(max_size=400).map(lambda tail: b"QTBL" + b"\0" * 8 + b"\1" + tail),
        damaged(pack_queen(queen_entries())),
    )
)
def test_any_bytes_are_a_queen_or_an_error(data: bytes) -> None:
    try:
        assert all(line.audio is not None for line in queen_reader.parse(data).values())
    except InvalidDataError as error:
        assert "\n" not in str(error)


@settings(deadline=2_000, max_examples=300)
@given(
    st.one_of(
        st.binary(max_size=400),
        st.binary(max_size=400).map(lambda tail: drascula_reader.MARK + tail),
        damaged(pack_drascula(["Hi.", "Who?"], {"VB": ["I am."]})),
    )
)
def test_any_bytes_are_a_drascula_or_an_error(data: bytes) -> None:
    try:
        assert isinstance(drascula_reader.parse(data, {"0.ALS": b"a", "1.ALS": b"b"}), dict)
    except InvalidDataError as error:
        assert "\n" not in str(error)
