"""Telephone prompts in English, read by one professional: an out-of-domain test of recognition.

`asterisk-core-sounds-en-g722` holds the recordings (G.722, 16 kHz, in a studio) and
`asterisk-core-sounds-en` the words. Nothing is trained on them. They are low-passed at 4 kHz, as
the games are. Lines with digits, of one word or without words are left out.
"""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from bench.api import SAMPLE_RATE_HZ
from bench.corpora.noise.packaged import decode
from bench.corpora.package import corpus_files, corpus_folder
from bench.corpora.package.clip_sound import EDGE_HZ, audio_path, is_silent
from bench.corpora.package.debian import Package, fetch, read
from bench.corpora.package.rows import clip_row, order
from bench.corpora.package.text import normalise
from bench.errors import InvalidDataError
from bench.sound.audio import low_pass, read_wav, samples_digest, write_wav
from bench.sound.manifests import write_table

NEEDED_BYTES = 200_000_000
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


def _make(target: Path, packages: Path, deb_dir: Path | None) -> corpus_folder.CorpusSummary:
    """Write audio and tables into the folder of the corpus."""
    files = read(SOUND, fetch(SOUND, packages, deb_dir))
    scripts = transcripts(read(TEXT, fetch(TEXT, packages, deb_dir)))
    rows = [row for path in sorted(files) if (row := _row(path, files[path], scripts, target))]
    if not rows:
        raise InvalidDataError(f"{SOUND.name}: holds no prompt with its words")
    write_table(target, "open/asr/test", rows)
    write_table(target, "quick/asr/test", _quick(rows))
    corpus_files.remove_unused(target, {row["path"] for row in rows})
    seconds = [row["num_samples"] / SAMPLE_RATE_HZ for row in rows]
    return corpus_folder.CorpusSummary(seconds, {"not used": len(files) - len(rows)})


def transcripts(files: dict[str, bytes]) -> dict[str, str]:
    """Return the transcripts with at least two words, by the name of the prompt.

    Raises:
        InvalidDataError: a file is not the gzipped list of prompts.
    """
    scripts: dict[str, str] = {}
    for content in files.values():
        try:
            text = gzip.decompress(content).decode("utf-8", "replace")
        except (OSError, EOFError, zlib.error) as error:
            raise InvalidDataError(f"{TEXT.name}: not the list of prompts ({error})") from error
        for line in text.splitlines():
            name, colon, words = line.partition(":")
            script = normalise(words) if colon and "[" not in words else None
            if script and len(script.split()) > 1 and not line.startswith(";"):
                scripts[name.strip()] = script
    return scripts


def _row(path: str, content: bytes, scripts: dict[str, str], target: Path) -> dict[str, Any] | None:
    """Write one prompt and return its row; None where it is not used."""
    name = path.partition("_Allison/")[2].removesuffix(".g722")
    wav = decode(content, path) if name in scripts else None
    if wav is None or not MIN_SECONDS <= wav.size / SAMPLE_RATE_HZ <= MAX_SECONDS or is_silent(wav):
        return None
    identifier = f"prompt-{name.replace('/', '-')}"
    file = target / audio_path(identifier)
    write_wav(file, np.clip(low_pass(wav, edge_hz=EDGE_HZ), -1.0, 32_767 / 32_768))
    wav = read_wav(file)
    return clip_row(
        identifier,
        num_samples=wav.size,
        key=samples_digest(wav),
        target=scripts[name],
        speaker=SPEAKER,
        source=SOUND.name,
        text=scripts[name],
    )


def _quick(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a fixed part: prompts of up to 6 s until the minutes are full, in a hash's order."""
    free_seconds, chosen = QUICK_MINUTES * 60, []
    for row in sorted(rows, key=lambda row: order("prompts", str(row["id"]))):
        seconds = row["num_samples"] / SAMPLE_RATE_HZ
        if seconds <= min(free_seconds, QUICK_SECONDS):
            free_seconds -= seconds
            chosen.append(row)
    return sorted(chosen, key=lambda row: str(row["id"]))


CORPUS = corpus_folder.PackagedCorpus("prompts-v1", __name__, NEEDED_BYTES, make=_make)
folder, prepare, status, validate = CORPUS.folder, CORPUS.prepare, CORPUS.status, CORPUS.validate
