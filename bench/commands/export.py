"""`slim-superb export`: write an upstream as an ONNX file."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.commands._options import add_upstream, control_lines, load_named, upstream_name
from bench.errors import CONTROL_CODE
from bench.progress import show, warn

GROUP = "bring"
HELP = "Export an upstream to ONNX, and compare it with the module."
EXAMPLE = "slim-superb export lighthubert_small@min --onnx small.onnx"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_upstream(parser)
    parser.add_argument("--onnx", type=Path, required=True, help="file to write")


def run(options: argparse.Namespace) -> int:
    """Export, compare with the module and print the result."""
    from bench.measure.export import export_onnx

    loaded = load_named(options)
    if loaded.warning:
        warn(*loaded.warning.splitlines())
    exported = export_onnx(loaded.upstream, options.onnx)
    show(
        f"{exported.path}: {loaded.name.text()}, {exported.states} hidden states, "
        f"{exported.size_bytes / 1e6:.1f} MB; equals the module to {exported.worst:.1e} at "
        f"{', '.join(map(str, exported.lengths))} samples",
        f"read it back: slim-superb check onnx:{exported.path}",
    )
    last = control_lines(loaded.name.text(), upstream_name(options))
    show(*last)
    return CONTROL_CODE if last else 0
