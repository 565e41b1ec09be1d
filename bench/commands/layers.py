"""`slim-superb layers`: what each hidden state of an upstream knows."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from bench.commands._options import (
    add_task_card,
    add_upstream,
    control_lines,
    session_of,
    set_task,
    upstream_name,
)
from bench.errors import CONTROL_CODE
from bench.features.engine_options import add_engine

if TYPE_CHECKING:
    from bench.records.layer_curve import LayerCurve
    from bench.terminal.table import TerminalTable

GROUP = "evaluate"
HELP = "Probe each hidden state of an upstream by logistic regression (no seed)."
EXAMPLE = "slim-superb layers house_whisper_distil ks --track open"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_upstream(parser)
    parser.add_argument("task", nargs="?", help="ks, ic or sid, or your own")
    add_task_card(parser)
    parser.add_argument("--track", choices=["quick", "open", "own"], help="quick (default) or open")
    parser.add_argument("--force", action="store_true", help="compute a finished curve again")
    parser.add_argument("--deb-dir", type=Path, help="folder of Debian packages, without apt")
    parser.add_argument("--out", type=Path, default=Path("runs"), help="folder of records (runs)")
    parser.add_argument("--json", action="store_true", help="print the file")
    add_engine(parser)


def run(options: argparse.Namespace) -> int:
    """Compute the curve, or print a finished one."""
    from bench import stopping
    from bench.layers.curve import layer_curve
    from bench.progress import say, show
    from bench.run.spec import RunSpec
    from bench.terminal.table import show_report

    stopping.install()
    set_task(options)
    spec = RunSpec(upstream_name(options), options.task, options.track)
    outcome = layer_curve(spec, session_of(options), force=options.force)
    if outcome.was_done:
        say("this curve is already done (--force computes it again)")
    curve = outcome.curve
    last = control_lines(curve.upstream, spec.upstream)
    if options.json:
        show(curve.model_dump_json(indent=1))
    else:
        show_report(*_report(curve, outcome.path), *last)
    return CONTROL_CODE if last else 0


def _report(curve: LayerCurve, path: Path) -> tuple[str | TerminalTable, ...]:
    """Return accuracy with counts by state and split, and the path of the file."""
    from bench.terminal.table import TableColumn, TerminalTable

    splits = list(curve.utterances)

    def cell(state: str, split: str) -> str:
        hits = sum(curve.state(state).hits[split])
        return f"{100 * curve.accuracy(state, split):.1f} ({hits} / {curve.total(split)})"

    rows = [
        [item.state, f"{item.penalty:g}", *(cell(item.state, split) for split in splits)]
        for item in curve.states
    ]
    title = f"{curve.task} on track {curve.track}: {curve.upstream} ({curve.weights} weights)"
    titles = ["dev (cross-validated)" if split == "dev" else split for split in splits]
    columns = (
        TableColumn("state"),
        TableColumn("C", is_number=True, priority=1),
        *(TableColumn(text, is_number=True, priority=text.startswith("dev")) for text in titles),
    )
    return f"{title}, accuracy in percent", TerminalTable(columns, rows), f"file: {path}"
