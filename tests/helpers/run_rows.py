"""Rows of the table of runs, and records of runs that nobody computed."""

from dataclasses import replace
from pathlib import Path

from bench.records.record import read_record, write_record
from bench.reports.run_table import run_row

COMMITTED = Path(__file__).parents[2] / "leaderboard/results/open"


def record(**changes):
    """Return a committed record of KS with other fields."""
    return read_record(COMMITTED / "fbank@cmvn=off" / "ks-s0.json").model_copy(update=changes)


def row(upstream, value, *, params=7, macs=1.0, metric="accuracy", **changes):
    """Return a row of a run with an interval from 0 to 1."""
    of_record = run_row(record(upstream=upstream), Path("ks-s0.json"))
    return replace(
        of_record, value=value, low=0.0, high=1.0, params=params, macs_per_second=macs,
        metric=metric, **changes,
    )  # fmt: skip


def write(runs, item, name=""):
    """Write a record below a folder of runs; return its path."""
    path = runs / item.track / item.upstream / f"{item.task}-s{item.seed}{name}.json"
    write_record(item, path)
    return path
