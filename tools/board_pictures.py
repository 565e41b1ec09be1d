"""Pictures of the board for README and docs, from today's records: `make board-pictures`."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Literal

from bench.paths import make_folder, write_text
from leaderboard.board.board import git_stamp
from leaderboard.page.build import build_board

ROOT = Path(__file__).resolve().parents[1]
BOARD = ROOT / "leaderboard"
FOLDER = ROOT / "docs" / "img"
DIGEST = FOLDER / "board.json"
COLOURS = 96  # of a picture's palette: enough for text and one scale of blue
SHOTS: dict[
    str, tuple[int, int, Literal["light", "dark"]]
] = {  # file: width, height and scheme of the window
    "board.png": (1440, 900, "light"),
    "board-768.png": (768, 900, "light"),
    "board-360.png": (360, 740, "dark"),
}


def records_sha256() -> str:
    """Return the digest of all files that the pictures show: records, costs, published scores."""
    digest = hashlib.sha256()
    patterns = ("results/open/*/*.json", "items/open/*/*", "costs/*.json", "published/*.yaml")
    for path in sorted(path for pattern in patterns for path in BOARD.glob(pattern)):
        digest.update(str(path.relative_to(BOARD)).encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def small_png(content: bytes) -> bytes:
    """Return a PNG with a palette of `COLOURS` colours."""
    from PIL import Image

    out = io.BytesIO()
    Image.open(io.BytesIO(content)).convert("RGB").quantize(COLOURS).save(out, "PNG", optimize=True)
    return out.getvalue()


def main() -> int:
    """Write the pictures and the digest of the records that they show."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        sys.stderr.write("board-pictures: no chromium found; install your system's package\n")
        return 3
    make_folder(FOLDER)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as play:
        build_board(BOARD / "results", Path(folder), git_stamp(BOARD))
        browser = play.chromium.launch(executable_path=chromium)
        for name, (width, height, scheme) in SHOTS.items():
            page = browser.new_page(
                viewport={"width": width, "height": height}, color_scheme=scheme
            )
            page.goto((Path(folder) / "index.html").as_uri())
            (FOLDER / name).write_bytes(small_png(page.screenshot()))
            page.close()
        browser.close()
    write_text(DIGEST, json.dumps({"records_sha256": records_sha256()}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
