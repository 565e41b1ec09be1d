"""`python -m tools training-throughput`: how long a training waits for its batches."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "Train house_whisper_robust with and without loaders; write docs/training-throughput.md."
EXAMPLE = "python -m tools training-throughput --docs docs"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="folder of page and logs")


def run(options: argparse.Namespace) -> int:
    """Measure and keep the logs, then write the page."""
    import json

    from bench.paths import home, write_text
    from tools.recipes.throughput import LOGS, measure, write_page

    lines = [json.dumps(line) + "\n" for line in measure(home())]
    write_text(options.docs / LOGS, "".join(lines))
    print(write_page(options.docs))
    return 0
