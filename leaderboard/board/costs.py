"""The committed cost reports: one JSON file for each upstream."""

from __future__ import annotations

from pathlib import Path

from bench.errors import InvalidDataError
from bench.paths import path_name
from bench.records.cost_report import CostReport, read_cost_report


def read_costs(folder: Path) -> dict[str, CostReport]:
    """Read all cost reports, by upstream.

    Raises:
        InvalidDataError: a broken report, or one under another upstream's name.
    """
    reports = {}
    for path in sorted(folder.glob("*.json")):
        report = read_cost_report(path)
        if path_name(report.upstream) != path.stem:
            raise InvalidDataError(f"{path}: holds the costs of {report.upstream!r}: rename it")
        reports[report.upstream] = report
    return reports
