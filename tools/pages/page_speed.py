"""Time to build a large board, and that its page is busy with an interaction: `make page-speed`."""

import os
import platform
import shutil
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from big_board import make_results
from interactions import ACTIONS, FLAGS, LAY_OUT, TIMES, BusyTime
from playwright.sync_api import sync_playwright
from tabulate import tabulate

from bench.paths import write_text
from leaderboard.board.board import Stamp
from leaderboard.page.build import build_board

ROWS = 150
LIMIT_MS = 100.0
BUILD_ROWS, BUILD_LIMIT_S = 72, 5.0  # 1,008 records
ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "page-speed.md"


def build_times_s() -> tuple[int, list[float]]:
    """Return the number of records of a board, and CPU seconds of three builds of it, in order."""
    with tempfile.TemporaryDirectory(prefix="slim-superb-page-") as folder:
        results = Path(folder) / "results"
        count = make_results(Path(folder), upstreams=BUILD_ROWS, num_conditions=4)
        times_s = []
        for _ in range(3):
            start = time.process_time()
            build_board(results, Path(folder) / "site", Stamp("", ""))
            times_s.append(time.process_time() - start)
    return count, sorted(times_s)


def main() -> int:
    """Write the page; return 1 if a median interaction or the quickest build exceeds its limit."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        sys.stderr.write("page-speed: no chromium found; install your system's package\n")
        return 3
    with (
        tempfile.TemporaryDirectory(prefix="slim-superb-page-") as folder,
        sync_playwright() as play,
    ):
        board = Path(folder)
        make_results(board, upstreams=ROWS, num_conditions=8)
        shutil.copytree(ROOT / "leaderboard" / "published", board / "published")
        build_board(board / "results", board / "site", Stamp("0" * 12, "2026-01-01"))
        chromium = play.chromium.launch(executable_path=browser, args=FLAGS)
        page = chromium.new_page(viewport={"width": 1400, "height": 900})
        page.goto((board / "site/index.html").as_uri())
        version = chromium.version
        busy = BusyTime(page)
        times_ms = {
            name: sorted(busy.every(action))
            for name, action in {"(the table's layout alone)": LAY_OUT, **ACTIONS}.items()
        }
        chromium.close()
    count, builds_s = build_times_s()
    rows = [[name, tries[0], tries[len(tries) // 2], tries[-1]] for name, tries in times_ms.items()]
    table = tabulate(
        rows,
        headers=["interaction", "least ms", "median ms", "most ms"],
        floatfmt=".1f",
        tablefmt="github",
    )
    text = f"""# Speed of the page

## Time that it is busy with an interaction

Written by `make page-speed`: script, style and layout on the main thread, {TIMES} tries each,
on a board of {ROWS} artificial rows, 12 columns and 8 conditions. Chromium {version},
{platform.machine()}, {os.cpu_count()} cores, {datetime.now(UTC):%Y-%m-%d}. The limit
is {LIMIT_MS:.0f} ms.

{table}

## Time of a build

A board of {count:,} records is built in {builds_s[0]:.1f} to {builds_s[-1]:.1f} CPU seconds (three
builds). The limit is {BUILD_LIMIT_S:.0f} seconds.
"""
    write_text(PAGE, text)
    sys.stdout.write(text)
    medians_ms = [tries[len(tries) // 2] for name, tries in times_ms.items() if name in ACTIONS]
    is_slow = max(medians_ms) > LIMIT_MS
    return int(is_slow or builds_s[0] > BUILD_LIMIT_S)


if __name__ == "__main__":
    sys.exit(main())
