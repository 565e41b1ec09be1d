"""The units in which costs are shown: millions of parameters, G MACs a second of audio."""

from __future__ import annotations


def millions(params: float) -> str:
    """Return a number of parameters in millions."""
    return f"{params / 1e6:,.2f}"


def giga(macs: float) -> str:
    """Return multiply-accumulates in units of 10^9."""
    return f"{macs / 1e9:,.3f}"


def size_text(params: float, macs_per_second: float) -> str:
    """Return the size of an upstream: parameters, and multiply-accumulates a second of audio."""
    return f"{millions(params)} M parameters, {giga(macs_per_second)} G MACs/s"
