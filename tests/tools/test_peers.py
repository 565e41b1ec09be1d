"""The comparison with other libraries: who takes part, what is timed, what the page says."""

from argparse import Namespace

import pytest
import torch

from tools.benchmarks import _paired
from tools.benchmarks._paired import Times
from tools.commands import bench as command
from tools.peers import page, timing
from tools.peers.peer import OURS, Peer, available, in_batches, padded, with_torch
from tools.peers.timing import compare, difference

SOUNDS = [torch.arange(4.0), torch.arange(6.0)]


def states_of(wavs):
    """Two states of width 1 a sample, the second one twice the first; padding gets zeros."""
    rows = padded(wavs)
    return [torch.stack([row, 2 * row])[:, :, None] for row in rows]


def toy(name, precision="float32", function=states_of, **options):
    run = with_torch(name, precision, function).prepare
    return Peer(name, precision, run, **options)


@pytest.fixture
def takes(monkeypatch):
    """A pass that takes some seconds whatever it passes, by a clock that nothing else moves."""
    spent = [0.0]

    def clock(function):
        begin = spent[0]
        function()
        return Times(spent[0] - begin, spent[0] - begin)

    for module in (timing, _paired):
        monkeypatch.setattr(module, "clock", clock)

    def passes(seconds, function=states_of):
        def passed(wavs):
            spent[0] += seconds
            return function(wavs)

        return passed

    return passes


def off_by(value):
    return lambda wavs: [states + value for states in states_of(wavs)]


def test_a_library_that_is_not_installed_is_left_out_with_the_reason(tmp_path):
    def missing(folder):
        import no_such_library

        yield from no_such_library.peers(folder)

    peers, absent = available({"A": lambda folder: [toy("A")], "B": missing}, tmp_path)
    assert [peer.name for peer in peers] == ["A"]
    assert absent == {"B": "No module named 'no_such_library'"}


def test_sounds_pass_in_batches_of_the_wanted_size():
    sizes = []

    def function(wavs):
        sizes.append(len(wavs))
        return states_of(wavs)

    assert len(in_batches(function, SOUNDS * 2, 3)) == 4
    assert sizes == [3, 1]


def test_the_difference_is_that_of_the_last_states_without_padding():
    expected = [states_of([sound])[0] for sound in SOUNDS]
    assert difference(states_of(SOUNDS), expected) == 0.0
    last = [states[-1:] + 0.5 for states in expected]
    assert difference(last, expected) == 0.5


def test_times_are_ratios_to_ours_and_a_slow_library_is_measured_once(takes):
    peers = [
        toy(OURS, function=takes(2), takes_batches=False),
        toy("alike", function=takes(3, off_by(0.25)), takes_batches=False),
        toy("batches", function=takes(2)),
        toy("slow", function=takes(14)),
    ]
    base, rows = compare(peers, SOUNDS, 1, 3)
    assert base == (4.0, 4.0)
    assert [row.ratios for row in rows] == [
        [(1.0, 1.0)] * 3,
        [(1.5, 1.5)] * 3,
        [(0.5, 0.5)] * 3,
        [(7.0, 7.0)],
    ]
    assert [row.difference for row in rows] == [0.0, 0.25, 0.0, 0.0]
    assert [row.together for row in rows] == [1, 1, 2, 1]
    assert [row.is_slow for row in rows] == [False, False, False, True]


def test_the_page_says_where_ours_is_behind(takes, monkeypatch, capsys):
    makers = {
        "ours": lambda _: [
            toy(OURS, function=takes(4), takes_batches=False),
            toy(OURS, "int8", takes(3), takes_batches=False),
        ],
        "fast": lambda _: [toy("fast", "int8", takes(2)), toy("fast", "bf16", takes(9))],
    }
    case = page.Case("Model", makers, {"two sounds": SOUNDS})
    monkeypatch.setattr(page, "cases", lambda home, quick: [case])
    assert command.run(Namespace(peers=True, quick=True)) == 0
    text = capsys.readouterr().out
    (line,) = (line for line in text.splitlines() if "| fast " in line and "int8" in line)
    cells = [cell.strip() for cell in line.split("|")[1:-1]]
    ratios = ["0.25 (0.25 to 0.25)"] * 2
    assert cells == ["Model, two sounds", "fast", "int8", "2", *ratios, "2", *ratios, "0.0e+00"]
    behind = text.partition("## Where ours is behind")[2]
    assert [line for line in behind.splitlines() if line.startswith("-")] == [
        f"- fast, int8: 0.33 times the seconds of ours (Model, two sounds, {count} thread(s))"
        for count in (1, 2)
    ]
