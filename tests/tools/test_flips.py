"""A small part of `flips.py`."""

from tools.hostile import flips


def test_flipped_bits_are_found_or_change_nothing():
    rows = flips.lines(30, seed=1)
    assert flips.findings(rows) == []
    refused = sum(counter["refused"] for *_, counter in rows)
    assert sum(counter.total() for *_, counter in rows) == 60 and refused >= 55
