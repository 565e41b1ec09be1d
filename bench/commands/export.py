"""`slim-superb export`: an upstream as an ONNX file."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.commands._options import add_upstream, load_asked

GROUP = "bring"
HELP = "Export an upstream to ONNX, and compare it with the module."
EXAMPLE = "slim-superb export lighthubert_small@min --onnx small.onnx"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_upstream(parser)
    parser.add_argument("--onnx", type=Path, required=True, help="file to write")


def run(options: argparse.Namespace) -> int:
    """Export, verify and say what was written."""
    from bench.measure.export import export_onnx
    from bench.progress import warn

    loaded = load_asked(options)
    if loaded.warning:
        warn(loaded.warning)
    done = export_onnx(loaded.upstream, options.onnx)
    print(
        f"{done.path}: {loaded.name.text()}, {done.states} hidden states, "
        f"{done.size_bytes / 1e6:.1f} MB; equals the module to {done.worst:.1e} at "
        f"{', '.join(map(str, done.lengths))} samples\n"
        f"read it back: slim-superb check onnx:{done.path}"
    )
    return 0
