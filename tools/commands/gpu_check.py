"""`python -m tools gpu-check`: tests, speed and scores on a GPU."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "Check a GPU in eight minutes at most, and write docs/gpu.md."
EXAMPLE = "python -m tools gpu-check --device cuda"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--device", default="cuda", help="cuda (every GPU, default), cuda:N or cpu")
    parser.add_argument("--rehearse", action="store_true", help="little work, to try the script")
    parser.add_argument("--out", type=Path, default=Path("docs/gpu.md"), help="the page")


def run(options: argparse.Namespace) -> int:
    """Make the check and write the page; return 1 where a part failed."""
    from tools.pages.gpu import GpuCheck, write_page

    failed = write_page(GpuCheck(options.device, options.rehearse), options.out)
    print(options.out)
    return 1 if failed else 0
