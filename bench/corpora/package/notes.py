"""Notices beside the audio: licences, attribution, and a README of counts."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Mapping
from pathlib import Path

from bench.api import SAMPLE_RATE_HZ, Utterance
from bench.errors import InvalidDataError
from bench.paths import write_text
from bench.sound.manifests import read_table, read_trials

GAMES = """\
THIS IS A MODIFIED VERSION of parts of two games: single spoken lines were taken out, converted to
16 kHz mono, low-passed at 4 kHz, and arranged as a corpus for speech research. The games themselves
are neither included nor sold.

- Flight of the Amazon Queen: all game content (C) John Passfield and Steven Stamatiadis.
  Debian package flight-of-the-amazon-queen, https://packages.debian.org/flight-of-the-amazon-queen
- Drascula: The Vampire Strikes Back: all game content (C) Alcachofa Soft S.L.
  Debian package drascula, https://packages.debian.org/drascula

Licences, copyright notices, readmes and disclaimers of both stand unchanged in this folder, as they
ask; whoever passes this audio on passes them on too. Provided as is, without any warranty.
"""


def write(
    folder: Path,
    notice: str,
    files: Mapping[str, Mapping[str, bytes]],
    dropped: Mapping[str, int],
    num_clips: int,
) -> None:
    """Write `notices/`.

    Args:
        folder: the corpus, with its tables.
        notice: origin of the sound, and the changes to it.
        files: contents by package and path; documentation among them is copied.
        dropped: number of lines by rule.
        num_clips: distinct, audible clips.
    """
    write_text(folder / "notices" / "NOTICE.txt", notice)
    for package, contents in files.items():
        for path, content in contents.items():
            if "/doc/" in path:
                name = f"{package}-{Path(path).name.removesuffix('.gz')}"
                text = _unpacked(path, content).decode("utf-8", "replace")
                write_text(folder / "notices" / name, text)
    write_text(folder / "notices" / "README.md", _readme(folder, dropped, num_clips))


def _unpacked(path: str, content: bytes) -> bytes:
    try:
        return gzip.decompress(content) if path.endswith(".gz") else content
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidDataError(f"{path}: corrupt ({error})") from error


def _readme(folder: Path, dropped: Mapping[str, int], num_clips: int) -> str:
    lines = [
        "# What is in this corpus",
        "",
        f"{num_clips} distinct, audible clips. The labels of IC and SLU, if it has any, are "
        "derived by rules. NOTICE.txt says where the sound is from.",
        "",
        "Dropped, or kept for unlabelled training only (`not verified`):",
        "",
        *(f"- {reason}: {count}" for reason, count in dropped.items()),
        "",
        "| table | utterances | minutes | speakers | targets | trials |",
        "|---|---|---|---|---|---|",
    ]
    tables = folder / "tables"
    for path in sorted(tables.rglob("*.parquet")):
        if not path.name.endswith(".trials.parquet"):
            name = path.relative_to(tables).with_suffix("").as_posix()
            lines.append(_row(name, read_table(folder, name), len(read_trials(folder, name))))
    return "\n".join(lines) + "\n"


def _row(name: str, rows: list[Utterance], num_trials: int) -> str:
    minutes = sum(row.num_samples for row in rows) / SAMPLE_RATE_HZ / 60
    speakers = len({row.speaker for row in rows})
    targets = len({str(row.target) for row in rows})
    return f"| {name} | {len(rows)} | {minutes:.1f} | {speakers} | {targets} | {num_trials or ''} |"
