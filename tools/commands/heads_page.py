"""`python -m tools heads-page`: how heads end, and trials of other recipes for them."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.paths import board_folder

HELP = "Write docs/heads.md from committed records and trials; with --upstreams run trials first."
EXAMPLE = "python -m tools heads-page --upstreams 'house_wave;ge2e' --tasks ks,sid"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="where to write")
    parser.add_argument("--upstreams", default="", help="of the trials, ';' between them")
    parser.add_argument("--tasks", default="ks,sid,ic", help="of the trials (default ks,sid,ic)")
    parser.add_argument("--track", default="open", help="of the trials (default open)")
    parser.add_argument("--changes", default="", help="names of recipes, ';' between them; all")


def run(options: argparse.Namespace) -> int:
    """Run the trials that the file lacks, then write the page."""
    from bench.errors import UsageError, did_you_mean
    from bench.progress import say
    from bench.registry import task_card
    from bench.session import Session
    from tools.pages.head_trials import (
        CHANGES,
        TRIALS,
        add_trial,
        read_trials,
        run_trial,
        write_page,
    )

    file = options.docs / TRIALS
    changes = options.changes.split(";") if options.changes else list(CHANGES)
    for name in changes:
        if name not in CHANGES:
            raise UsageError(f"--changes {name!r}: {did_you_mean(name, CHANGES)}")
    for upstream in filter(None, options.upstreams.split(";")):
        for task in options.tasks.split(","):
            for change in changes:
                version = task_card(task, options.track).version
                key = (task, options.track, version, change, upstream)
                if key not in {one.key for one in read_trials(file)}:
                    add_trial(run_trial(task, options.track, upstream, change, Session()), file)
                    say(f"tried: {task}, {upstream}, {change}")
    print(write_page(board_folder() / "results", options.docs))
    return 0
