"""Measure the committed costs again, in float32, bf16 and int8: `make costs` on an idle machine.

A model whose weights are not here is measured with random ones, under the name of its untrained
control: costs do not depend on the values of weights.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.load.catalog import MODIFIERS, UpstreamName, parse_upstream_name
from bench.paths import path_name, write_text
from bench.records.cost_report import CostReport, read_cost_report

COSTS = Path(__file__).resolve().parents[1] / "leaderboard" / "costs"


def planned(reports: Sequence[CostReport]) -> list[UpstreamName]:
    """Return what is measured: every reported model, and each modifier of those with weights.

    An untrained control of a model that is reported itself has no modifiers.
    """
    params = {parse_upstream_name(report.upstream): report.params for report in reports}
    names = [name for name in params if name.modifier is None]
    trained = {name.card for name in names if name.untrained_seed is None}
    modified = [
        name._replace(modifier=modifier)
        for name in names
        if params[name] and (name.untrained_seed is None or name.card not in trained)
        for modifier in MODIFIERS
    ]
    return [*names, *modified]


def measured(name: UpstreamName) -> CostReport | None:
    """Return the report of a model, or of its untrained control; None where neither is possible."""
    for text in dict.fromkeys([name.text(), name.untrained().text()]):
        command = [sys.executable, "-m", "bench", "cost", text, "--json", "--strict"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return CostReport.model_validate_json(done.stdout)
        sys.stderr.write(f"{text}: {done.stderr.strip().splitlines()[-1]}\n")
    return None


def main(only: str = "") -> int:
    """Write the reports of names that contain `only`; remove those that others replace."""
    reports = [read_cost_report(path) for path in sorted(COSTS.glob("*.json"))]
    for name in planned(reports):
        if only not in name.text():
            continue
        report = measured(name)
        if report is None:
            continue
        text = report.model_dump_json(indent=2) + "\n"
        write_text(COSTS / f"{path_name(report.upstream)}.json", text)
        if report.upstream != name.text():
            (COSTS / f"{path_name(name.text())}.json").unlink(missing_ok=True)
        sys.stdout.write(f"{report.upstream}: {report.timing}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
