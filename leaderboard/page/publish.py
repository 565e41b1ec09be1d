"""A folder that any web server can serve: page, exports, records, and a feed of changes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from bench.errors import UsageError
from bench.paths import disk_errors, write_text
from leaderboard.page.build import build_board
from leaderboard.page.stamp import git_stamp

MARK = ".slim-superb"  # what a folder of ours holds, and no other
MAX_ENTRIES = 50


def publish(board: Path, dest: Path, *, address: str = "") -> str:
    """Build the board of `board` and put everything into `dest`, whole or not at all.

    Args:
        board: folder of results, draws and so on.
        dest: folder; replaced when it is one of ours, and must be empty or missing otherwise.
        address: https address of the site, for the feed; may be empty.

    Raises:
        UsageError: `dest` holds something else, or an address that is none.
        MissingError: no space or no permission.
    """
    if address and not re.fullmatch(r"https://[\w./-]+", address):
        raise UsageError(f"address {address!r}: expected https://...")
    if dest.exists() and not dest.is_dir():
        raise UsageError(f"{dest} is a file: name a folder")
    if dest.exists() and any(dest.iterdir()) and not (dest / MARK).exists():
        raise UsageError(
            f"{dest} holds other things: name an empty folder, or one published before"
        )
    fresh = dest.with_name(f".{dest.name}.new")
    with disk_errors(dest):
        shutil.rmtree(fresh, ignore_errors=True)
        summary = build_board(board / "results", fresh, git_stamp(board))
        _records(board, fresh)
        write_text(fresh / "feed.xml", feed(board, address))
        write_text(fresh / ".nojekyll", "")
        write_text(fresh / MARK, "made by 'slim-superb publish'; replaced by the next one\n")
        if dest.exists():
            shutil.rmtree(dest)
        fresh.rename(dest)
    return f"{summary.records} records of {summary.upstreams} upstreams published in {dest}"


def _records(board: Path, target: Path) -> None:
    """Copy records, costs and standings of tracks on the board."""
    for track in _tracks(board):
        shutil.copytree(board / "results" / track, target / "results" / track)
    for name in ("costs", "standing"):
        if (board / name).is_dir():
            shutil.copytree(board / name, target / name)


def _tracks(board: Path) -> list[str]:
    """Tracks with records that are on the board."""
    from bench.registry import track_card

    folders = sorted(path for path in (board / "results").glob("*") if path.is_dir())
    return [folder.name for folder in folders if track_card(folder.name).on_board]


def feed(board: Path, address: str) -> str:
    """An Atom feed of the commits that changed what the page shows, newest first."""
    root = Element("feed", xmlns="http://www.w3.org/2005/Atom")
    SubElement(root, "title").text = "Slim-SUPERB: changes of the board"
    SubElement(root, "id").text = address or "urn:slim-superb:board"
    entries = _changes(board)
    SubElement(root, "updated").text = entries[0][1] if entries else "1970-01-01T00:00:00Z"
    author = SubElement(root, "author")
    SubElement(author, "name").text = "Slim-SUPERB"
    if address:
        SubElement(root, "link", href=address)
    for commit, date, title in entries:
        entry = SubElement(root, "entry")
        SubElement(entry, "title").text = title
        SubElement(entry, "id").text = f"urn:slim-superb:commit:{commit}"
        SubElement(entry, "updated").text = date
        SubElement(entry, "content").text = title
    indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + tostring(root, encoding="unicode") + "\n"


def _changes(board: Path) -> list[tuple[str, str, str]]:
    """Commit, date and subject of the newest changes; none outside a checkout."""
    folders = [board / name for name in ("costs", "published")]
    for name in ("results", "draws", "standing"):
        folders += [board / name / track for track in _tracks(board)]
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    command = ["git", "-C", str(board), "log", f"-{MAX_ENTRIES}", "--format=%H%x09%cI%x09%s", "--"]
    resolved = [str(folder.resolve()) for folder in folders]
    try:
        done = subprocess.run(
            [*command, *resolved], capture_output=True, text=True, check=True, env=environment
        )
    except (OSError, subprocess.CalledProcessError):
        return []
    rows = [line.split("\t", 2) for line in done.stdout.splitlines()]
    return [(row[0], row[1], row[2]) for row in rows if len(row) == 3]
