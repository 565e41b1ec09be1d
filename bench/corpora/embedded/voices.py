"""More voices to train speaker verification on: letters, words, prompts; some twenty languages.

The games have eleven training characters, too few to learn what distinguishes speakers. These
packages add one voice for each language and package: `klettres-data` (letters and syllables),
`ktuberling-data` (names of things) and the prompts of `asterisk-core-sounds-*`. They are used for
training only: no voice is in a dev or test table. Two folders are assumed to be two people.

A voice's clips are joined, in a fixed random order and without pauses, to utterances of at least
1.5 s; everything is low-passed at 4 kHz, as the games are. Voices of fewer than `MIN_UTTERANCES`
such utterances are left out.
"""

from __future__ import annotations

import io
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import soundfile
from tqdm import tqdm

from bench.api import SAMPLE_RATE_HZ
from bench.corpora.package import clip_sound, corpus_files, corpus_folder, debian, notes
from bench.corpora.package.rows import clip_row, order
from bench.errors import InvalidDataError
from bench.sound.audio import Wav, samples_digest, write_wav
from bench.sound.manifests import write_table

NEEDED_BYTES = 300_000_000
MIN_UTTERANCES = 14
MOST_UTTERANCES = {"open": 40, "quick": 16}
MAX_SECONDS = 6.0
RATES_HZ = (8_000, 192_000)

PACKAGES = (
    debian.Package(
        "klettres-data",
        "1186d257a19e84230856baea0b0b1ded8be9195080fcdb2588970b5cd937f5a8",
        r"(?:/klettres/[^/]+/(?:alpha|syllab)/[^/]+\.ogg|/doc/[^/]+/copyright)$",
    ),
    debian.Package(
        "ktuberling-data",
        "fba44c875bfa31ea488dadd9263e87a4dcaea0bd47d28817f6c0dc6d2af970ed",
        # Serbian comes in four spellings and one voice.
        r"(?:/ktuberling/sounds/[^/@]+/[^/]+\.(?:ogg|wav)|/doc/[^/]+/copyright)$",
    ),
    *(
        debian.Package(
            f"asterisk-core-sounds-{language}-wav",
            digest,
            r"(?:/asterisk/sounds/[^/]+/(?!silence/)(?:[^/]+/)?[^/]+\.wav|/doc/[^/]+/copyright)$",
        )
        for language, digest in {
            "en": "2be3ea287d83299d143815fa804f11179a75b7affd4a758b98b55f5afc18a35d",
            "fr": "8d4e1bc32ed5ba7fbda40841ca1825ed20cc6232724a473c90f8bb0e53e6073e",
            "it": "5a26638089e134b8ac39363fe249c5c93c50cd8bfdc9b2499ae61ec4a35e2fcb",
            "ru": "ccbfaebfa450b7a9ddf644ae0f3d1e9017d5df7c0aebe816e946345589d38201",
        }.items()
    ),
)

NOTICE = """\
THIS IS A MODIFIED VERSION of the sounds of some Debian packages: single clips were converted to
16 kHz mono, low-passed at 4 kHz, joined, and arranged as a corpus for speech research.

- klettres-data (KLettres, (C) Anne-Marie Mahfouf and others, GPL-2+)
- ktuberling-data (KTuberling, (C) Albert Astals Cid and others, GPL-2+)
- asterisk-core-sounds-en-wav, -fr-wav, -it-wav, -ru-wav ((C) Allison Smith, June Wallack, Carlo
  Flora, Maxim Topal; Creative Commons, see each package's notice)

The copyright files of all packages stand unchanged in this folder; whoever passes this audio on
passes them on too, under the same terms. Provided as is, without any warranty.
"""


@dataclass(frozen=True)
class Voice:
    """One folder of one package: a voice.

    Attributes:
        name: of its speaker, such as `KLETTRES-DE`.
        source: the package.
        sounds: the files' bytes by path.
    """

    name: str
    source: str
    sounds: Mapping[str, bytes]


def _make(target: Path, packages: Path, deb_dir: Path | None) -> corpus_folder.CorpusSummary:
    """Write audio, tables and notices into the folder of the corpus."""
    debs = {item: debian.fetch(item, packages, deb_dir) for item in PACKAGES}
    files = {item.name: debian.read(item, path) for item, path in debs.items()}
    dropped: Counter[str] = Counter()
    rows: list[dict[str, Any]] = []
    for voice in tqdm(voices(files), desc="voices", unit="voice", file=sys.stderr):
        utterances = write_utterances(
            voice, target, dropped, most=max(MOST_UTTERANCES.values()), max_seconds=MAX_SECONDS
        )
        if len(utterances) < MIN_UTTERANCES:
            dropped["voices with too little sound"] += 1
            continue
        rows += utterances
    rows.sort(key=lambda row: str(row["id"]))
    for track, most in MOST_UTTERANCES.items():
        write_table(target, f"{track}/asv/train", [row for row in rows if _number(row) < most])
    dropped_by_rule = dict(sorted(dropped.items()))
    notes.write(target, NOTICE, files, dropped_by_rule, len(rows))
    corpus_files.remove_unused(target, {row["path"] for row in rows})
    seconds = [row["num_samples"] / SAMPLE_RATE_HZ for row in rows]
    return corpus_folder.CorpusSummary(seconds, dropped_by_rule)


def voices(files: Mapping[str, Mapping[str, bytes]]) -> list[Voice]:
    """Return the voices in packages: each folder below the package's own is a voice."""
    sounds: dict[tuple[str, str], dict[str, bytes]] = defaultdict(dict)
    for source, members in files.items():
        for path, content in members.items():
            parts = PurePosixPath(path).parts
            if "doc" not in parts:
                package = parts.index("sounds" if "sounds" in parts else "klettres")
                sounds[source, parts[package + 1]][path] = content
    return [
        Voice(f"{source.split('-')[0]}-{name}".upper(), source, files_of_voice)
        for (source, name), files_of_voice in sorted(sounds.items())
    ]


def write_utterances(
    voice: Voice, target: Path, dropped: Counter[str], *, most: int | None, max_seconds: float
) -> list[dict[str, Any]]:
    """Write the utterances of a voice.

    Args:
        voice: its clips.
        target: folder of the corpus.
        dropped: counts the clips that are silent or not sound, by rule.
        most: number of utterances; None is all.
        max_seconds: of an utterance; the rest of a longer one is left out.

    Returns:
        the rows of a manifest.
    """
    rows = []
    utterances = islice(_joined(_decoded(voice, dropped), max_seconds), most)
    for number, wav in enumerate(utterances):
        name = f"{voice.name}-{number:03d}"
        write_wav(target / clip_sound.audio_path(name), wav)
        rows.append(
            clip_row(
                name,
                num_samples=wav.size,
                key=samples_digest(wav),
                target=voice.name,
                speaker=voice.name,
                source=voice.source,
            )
        )
    return rows


def _number(row: Mapping[str, Any]) -> int:
    return int(row["id"].rpartition("-")[2])


def _decoded(voice: Voice, dropped: Counter[str]) -> Iterator[Wav]:
    """Yield the clips of a voice, decoded, in a fixed random order, each once."""
    seen: set[str] = set()
    for path in sorted(voice.sounds, key=lambda path: order("voices", path)):
        try:
            wav = _decode(voice.sounds[path], path)
        except InvalidDataError:
            dropped["undecodable"] += 1
            continue
        key = samples_digest(wav)
        if key in seen or clip_sound.is_silent(wav):
            dropped["duplicate" if key in seen else "silent"] += 1
            continue
        seen.add(key)
        yield wav


def _joined(wavs: Iterator[Wav], max_seconds: float) -> Iterator[Wav]:
    """Yield clips joined to `MIN_VOICE_SECONDS` or more; a shorter rest is left out."""
    parts: list[Wav] = []
    for wav in wavs:
        parts.append(wav)
        if sum(map(len, parts)) >= clip_sound.MIN_VOICE_SECONDS * SAMPLE_RATE_HZ:
            yield np.concatenate(parts)[: int(max_seconds * SAMPLE_RATE_HZ)]
            parts = []


def _decode(content: bytes, path: str) -> Wav:
    """Decode the first minute of a file to (S,) at 16 kHz, mono, low-passed.

    Raises:
        InvalidDataError: not readable as sound, empty, or at a rate outside `RATES_HZ`.
    """
    try:
        with soundfile.SoundFile(io.BytesIO(content)) as file:
            if not RATES_HZ[0] <= file.samplerate <= RATES_HZ[1]:
                raise InvalidDataError(f"{path}: a rate of {file.samplerate} Hz")
            wav = file.read(60 * file.samplerate, dtype="float32", always_2d=True)
            rate_hz = int(file.samplerate)
    except soundfile.LibsndfileError as error:
        raise InvalidDataError(f"{path}: not readable as sound ({error})") from error
    if wav.shape[0] == 0:
        raise InvalidDataError(f"{path}: empty")
    return clip_sound.convert(wav.mean(axis=1), rate_hz)


CORPUS = corpus_folder.PackagedCorpus("voices-v1", __name__, NEEDED_BYTES, make=_make)
folder, prepare, status, validate = CORPUS.folder, CORPUS.prepare, CORPUS.status, CORPUS.validate
