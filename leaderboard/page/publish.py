"""A folder for any web server: page, exports, records, and a feed of changes."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from bench.errors import UsageError, printable
from bench.paths import disk_errors, write_text
from bench.records.checkout import git
from leaderboard.board.board import git_stamp
from leaderboard.page.build import build_board

MARK = ".slim-superb"  # a file that marks a published folder, which may be replaced
MAX_ENTRIES = 50


def publish(board: Path, dest: Path, *, address: str = "") -> str:
    """Build a board and put it with its records into `dest`, completely or not at all.

    Args:
        board: folder of results, items and so on.
        dest: folder; replaced if an earlier call made it, otherwise empty or missing.
        address: https address of the site, for the feed; may be empty.

    Raises:
        UsageError: `dest` holds other files, or `address` is no https address.
        InvalidDataError: a broken record, or records that cannot share a column.
        MissingError: no record, no space or no permission.
    """
    if address and not re.fullmatch(r"https://[\w./-]+", address):
        raise UsageError(f"address {address!r}: expected https://...")
    if dest.exists() and not dest.is_dir():
        raise UsageError(f"{dest} is a file: name a folder")
    if dest.exists() and any(dest.iterdir()) and not (dest / MARK).exists():
        raise UsageError(
            f"{dest} holds other files: name an empty folder, or one that was published before"
        )
    fresh = dest.with_name(f".{dest.name}.new")
    with disk_errors(dest):
        shutil.rmtree(fresh, ignore_errors=True)
        summary = build_board(board / "results", fresh, git_stamp(board))
        _records(board, fresh)
        write_text(fresh / "feed.xml", printable(feed(board, address)))
        write_text(fresh / ".nojekyll", "")
        write_text(fresh / MARK, "made by 'slim-superb publish'; the next one replaces it\n")
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
    """Return the tracks that are on the board and have a folder of records."""
    from bench.registry import track_card

    folders = sorted(path for path in (board / "results").glob("*") if path.is_dir())
    return [folder.name for folder in folders if track_card(folder.name).on_board]


def feed(board: Path, address: str) -> str:
    """Return an Atom feed of the commits that changed the data of the page, newest first."""
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
    """Return commit, date and subject of the newest changes; none outside a checkout."""
    folders = [board / name for name in ("costs", "published")]
    for name in ("results", "items", "standing"):
        folders += [board / name / track for track in _tracks(board)]
    paths = [str(folder.resolve()) for folder in folders]
    log = git(board, "log", f"-{MAX_ENTRIES}", "--format=%H%x09%cI%x09%s", "--", *paths)
    rows = [line.split("\t", 2) for line in (log or "").splitlines()]
    return [(row[0], row[1], row[2]) for row in rows if len(row) == 3]
