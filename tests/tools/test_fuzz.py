"""A small part of `fuzz.py`."""

from tools.hostile import fuzz


def test_nothing_but_errors_of_one_line_comes_out_of_damaged_files():
    lines = fuzz.fuzz(240)
    for line in lines:
        assert line["cases"] * len(lines) >= 240
        assert fuzz.findings(line) == {}
