"""`python -m tools learning-curves`: a picture of loss over training."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "Draw loss against hours of audio from the logs of 'compress', a panel a run."
EXAMPLE = "python -m tools learning-curves runs/compress/house_whisper_distil-s0 --out curves.svg"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("logs", type=Path, nargs="+", help="folders of runs, or their log.jsonl")
    parser.add_argument("--out", type=Path, required=True, help=".svg or .png to write")


def run(options: argparse.Namespace) -> int:
    """Draw the picture."""
    from bench.metrics.plots import check_picture
    from tools.recipes.learning_curves import plot

    check_picture(options.out)
    plot(options.logs, options.out)
    print(options.out)
    return 0
