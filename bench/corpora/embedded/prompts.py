"""Telephone prompts in English, read by one professional: an out-of-domain test of recognition.

`asterisk-core-sounds-en-g722` holds the recordings (G.722, 16 kHz, in a studio) and
`asterisk-core-sounds-en` the words. Nothing is trained on them. As everything that is tested beside
the games they are limited to 4 kHz; lines with digits, of one word or of sounds are left out.
"""

from __future__ import annotations

import gzip
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from bench.corpora.games.splits import order
from bench.corpora.noise.packaged import Status, decode
from bench.corpora.package.clip_sound import EDGE_HZ, is_silent
from bench.corpora.package.debian import Package, fetch, read
from bench.corpora.package.text import normalise
from bench.errors import InvalidDataError, MissingError, UserError
from bench.paths import write_text
from bench.sound.audio import low_pass, read_wav, samples_digest, write_wav
from bench.sound.manifests import read_table, write_table

NAME = "prompts-v1"
MARK = "corpus.json"
RECIPE = 1  # goes up when the same packages would give another corpus
SPEAKER = "ALLISON"
MIN_SECONDS, MAX_SECONDS = 1.0, 20.0
QUICK_SECONDS, QUICK_MINUTES = 6.0, 1.5

TEXT = Package(
    "asterisk-core-sounds-en",
    "973e797d28e37fa6ca3c0a9d6fa717e77cf1268ae916bf09fd3503113cdffa50",
    r"core-sounds-en\.txt\.gz$",
)
SOUND = Package(
    "asterisk-core-sounds-en-g722",
    "38c5261820b406dcb0ecb37675720da2b0864850690690352ca52707eb623806",
    r"/en_US_f_Allison/(?!silence/).*\.g722$",
)


def folder(home: Path) -> Path:
    """Where the corpus lies."""
    return home / "corpora" / NAME


def prepare(home: Path, *, deb_dir: Path | None = None) -> Path:
    """Make the corpus, or return at once when it is there.

    Args:
        home: the folder of everything that can be made again.
        deb_dir: a folder with the two .deb files, for systems without apt.

    Raises:
        MissingError: a package cannot be had, no space, no permission.
        InvalidDataError: a package is corrupt or holds no prompts.
    """
    here = folder(home)
    if _mark(here).get("recipe") == RECIPE:
        return here
    files = read(SOUND, fetch(SOUND, home / "packages", deb_dir))
    scripts = transcripts(read(TEXT, fetch(TEXT, home / "packages", deb_dir)))
    rows = [row for path in sorted(files) if (row := _row(path, files[path], scripts, here))]
    if not rows:
        raise InvalidDataError(f"{SOUND.name}: holds no prompt with its words")
    write_table(here, "open/asr/test", rows)
    write_table(here, "quick/asr/test", _quick(rows))
    seconds = sum(row["num_samples"] for row in rows) / 16_000
    mark = {"recipe": RECIPE, "num_utterances": len(rows), "hours": round(seconds / 3600, 3)}
    write_text(here / MARK, json.dumps(mark) + "\n")
    return here


def transcripts(files: dict[str, bytes]) -> dict[str, str]:
    """Name of a prompt to its words, of those that say at least two.

    Raises:
        InvalidDataError: not the list of prompts.
    """
    found: dict[str, str] = {}
    for content in files.values():
        try:
            text = gzip.decompress(content).decode("utf-8", "replace")
        except (OSError, EOFError, zlib.error) as error:
            raise InvalidDataError(f"{TEXT.name}: not the list of prompts ({error})") from error
        for line in text.splitlines():
            name, colon, words = line.partition(":")
            said = normalise(words) if colon and "[" not in words else None
            if said and len(said.split()) > 1 and not line.startswith(";"):
                found[name.strip()] = said
    return found


def _row(path: str, content: bytes, scripts: dict[str, str], here: Path) -> dict[str, Any] | None:
    """Write one prompt and give its row; None where it is not used."""
    name = path.partition("_Allison/")[2].removesuffix(".g722")
    wav = decode(content, path) if name in scripts else None
    if wav is None or not MIN_SECONDS <= wav.size / 16_000 <= MAX_SECONDS or is_silent(wav):
        return None
    identifier = f"prompt-{name.replace('/', '-')}"
    file = here / "audio" / f"{identifier}.wav"
    write_wav(file, np.clip(low_pass(wav, edge_hz=EDGE_HZ), -1.0, 32_767 / 32_768))
    wav = read_wav(file)
    return {
        "id": identifier,
        "path": f"audio/{identifier}.wav",
        "start": 0,
        "num_samples": wav.size,
        "target": scripts[name],
        "speaker": SPEAKER,
        "source": SOUND.name,
        "text": scripts[name],
        "key": samples_digest(wav),
    }


def _quick(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A fixed part: prompts of up to 6 s until the minutes are full, in the order of a hash."""
    left, chosen = QUICK_MINUTES * 60, []
    for row in sorted(rows, key=lambda row: order("prompts", str(row["id"]))):
        seconds = row["num_samples"] / 16_000
        if seconds <= min(left, QUICK_SECONDS):
            left -= seconds
            chosen.append(row)
    return sorted(chosen, key=lambda row: str(row["id"]))


def _mark(here: Path) -> dict[str, Any]:
    try:
        found = json.loads((here / MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def status(home: Path) -> Status:
    """What there is of the corpus."""
    here = folder(home)
    mark = _mark(here)
    prepared = mark.get("recipe") == RECIPE
    return Status(
        name=NAME,
        prepared=prepared,
        num_utterances=int(mark.get("num_utterances", 0)),
        hours=float(mark.get("hours", 0.0)),
        size_bytes=sum(path.stat().st_size for path in here.rglob("*") if path.is_file()),
        problems=() if prepared else (f"{here}: not prepared",),
    )


def validate(here: Path) -> list[str]:
    """Everything that is wrong with the prepared corpus, one line each."""
    problems = []
    try:
        rows = read_table(here, "open/asr/test")
    except (MissingError, InvalidDataError) as error:
        return [str(error)]
    for row in rows:
        try:
            if samples_digest(read_wav(row.path)) != row.key:
                problems.append(f"{row.id}: altered")
        except UserError as error:
            problems.append(str(error))
    return problems
