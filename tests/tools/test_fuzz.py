"""A small part of `fuzz.py`."""

from tools.hostile import fuzz


def test_nothing_but_errors_of_one_line_comes_out_of_damaged_files():
    for line in fuzz.fuzz(480):
        assert line["cases"] >= 20
        assert fuzz.findings(line) == {}
