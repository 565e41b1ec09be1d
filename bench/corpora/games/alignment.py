"""Does a line say what its script says, and when? Forced alignment, done once and committed.

`alignment.tsv.gz` holds, for each line, its id, an identity of its sound and transcript, the
verdict, and where each word lies; no script. `python -m tools align DEB_DIR FOLDER` makes it again
from the packages and a prepared corpus (needs `pocketsphinx`; 2 minutes).

The verdicts, the first that applies:

- `sign`: the transcript rule refuses the line (`bench.corpora.package.text`); `empty`: no word
  in it.
- `word`: a word has no pronunciation, neither in the aligner's dictionary nor in `_lexicon`. Such
  lines are dropped: they are cries, grunts and codes, whose spelling nobody can check.
- `decoy`: the aligner was given the line and seven others of equal length (at most one word and as
  few letters more or less as there are; drawn by a hash of the line) as the only things that may
  be said, and found another one, or nothing. A search may end a few words early at a clip that is
  cut tightly: finding the line without its last two words, but at least one, is enough.
- `path`: it won, but no path through all its words exists.
- `rate`: fewer than 4 or more than 26 letters a second between its first and its last word.
- `ok`: none of these.

Measured: a wrong line of equal length, put in the place of the right one, was `ok` in 6 of 400
clips (1.5 %). Of the games' 5,289 lines 4,294 are `ok` (81 %): 493 `decoy`, 296 `path`, 126 `word`,
44 `rate`, 27 `sign`, 9 `empty`. Most of the rest are right too, but unclear, cut tightly or acted
beyond what the aligner follows; so what is left is somewhat easier than the games are.
"""

from __future__ import annotations

import gzip
import hashlib
import random
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bench.corpora.games.lexicon import PRONUNCIATIONS
from bench.corpora.package.clip_sound import audio_path
from bench.corpora.package.reader import Line
from bench.corpora.package.text import normalise
from bench.errors import InvalidDataError
from bench.paths import atomic_path
from bench.sound.audio import Wav, read_wav

TABLE = Path(__file__).with_name("alignment.tsv.gz")
FRAME = 160  # samples of one alignment frame at 16 kHz
NUM_DECOYS = 7
PAD_FRAMES = 15  # of faint noise on both sides: many clips are cut at the first and last sound
LETTERS_PER_SECOND = (4.0, 26.0)
MAY_LOSE = 2  # words at the end that the search for the winner may not reach

Span = tuple[int, int]  # first sample, sample after the last


@dataclass(frozen=True)
class Alignment:
    """What the aligner found in one line.

    Attributes:
        identity: of its sound and its transcript.
        verdict: `ok`, or why the line is not used.
        words: where each word of the transcript lies, in samples at 16 kHz.
    """

    identity: str
    verdict: str
    words: tuple[Span, ...] = ()


def identity(line: Line) -> str:
    """24 hex digits of the sha256 of a line's bytes and transcript."""
    transcript = repr(normalise(line.text)).encode()
    return hashlib.sha256(line.audio + b"\0" + transcript).hexdigest()[:24]


def read(path: Path = TABLE) -> dict[str, Alignment]:
    """The committed table, by line.

    Raises:
        InvalidDataError: not such a table.
    """
    try:
        rows = gzip.decompress(path.read_bytes()).decode().splitlines()
        table = dict(_parse(row) for row in rows)
    except (OSError, EOFError, ValueError) as error:
        raise InvalidDataError(f"{path}: not a table of alignments ({error})") from error
    if not table:
        raise InvalidDataError(f"{path}: not a table of alignments (empty)")
    return table


def write(table: Mapping[str, Alignment], path: Path = TABLE) -> None:
    """Write the table; the same content gives the same bytes."""
    rows = []
    for name, item in sorted(table.items()):
        spans = ",".join(f"{start // FRAME}-{end // FRAME}" for start, end in item.words)
        rows.append(f"{name}\t{item.identity}\t{item.verdict}\t{spans}\n")
    with atomic_path(path) as temporary:
        temporary.write_bytes(gzip.compress("".join(rows).encode(), 9, mtime=0))


def _parse(row: str) -> tuple[str, Alignment]:
    name, same, verdict, spans = row.split("\t")
    pairs = [span.split("-") for span in spans.split(",") if span]
    words = tuple((int(start) * FRAME, int(end) * FRAME) for start, end in pairs)
    return name, Alignment(same, verdict, words)


def available() -> bool:
    """Whether lines can be aligned here."""
    from importlib.util import find_spec

    return find_spec("pocketsphinx") is not None


@dataclass
class Aligner:
    """The aligner and the lines that decoys are drawn from.

    Attributes:
        transcripts: all that may be drawn.
    """

    transcripts: Sequence[str]
    _decoder: Any = field(init=False)

    def __post_init__(self) -> None:
        from pocketsphinx import Decoder

        self._decoder = Decoder(lm=None, loglevel="FATAL", cmn="batch")
        for word, phones in PRONUNCIATIONS.items():
            if self._decoder.lookup_word(word.lower()) is None:
                self._decoder.add_word(word.lower(), phones, False)
        self._decoder.add_word("zzz", "Z", True)  # rebuilds the searches' dictionary
        self.transcripts = sorted({text for text in self.transcripts if self._known(text)})

    def __call__(self, line: Line, wav: Wav) -> Alignment:
        """Align one line with its samples (S,)."""
        transcript = normalise(line.text)
        same = identity(line)
        if not transcript:
            return Alignment(same, "sign" if transcript is None else "empty")
        if not self._known(transcript):
            return Alignment(same, "word")
        words = transcript.split()
        pcm = _padded_pcm(wav)
        heard, spans = self._winner(transcript, pcm)
        if not heard or heard != words[: len(heard)] or len(heard) < len(words) - MAY_LOSE:
            return Alignment(same, "decoy")
        if len(heard) < len(words):
            spans = self._spans(words, pcm)
        if len(spans) != len(words):
            return Alignment(same, "path")
        spans = [_clip(span, wav.size) for span in spans]
        letters = sum(map(len, words)) / max((spans[-1][1] - spans[0][0]) / 16_000, 1e-3)
        plausible = LETTERS_PER_SECOND[0] <= letters <= LETTERS_PER_SECOND[1]
        return Alignment(same, "ok" if plausible else "rate", tuple(spans))

    def _known(self, transcript: str) -> bool:
        words = transcript.split()
        return bool(words) and all(self._decoder.lookup_word(word.lower()) for word in words)

    def _winner(self, transcript: str, pcm: bytes) -> tuple[list[str], list[Span]]:
        """What was said: the line or a decoy; with the words' spans."""
        choices = [transcript, *self._decoys(transcript)]
        rule = " | ".join(f"({choice.lower()})" for choice in choices)
        self._decoder.add_jsgf_string("line", f"#JSGF V1.0;\ngrammar g;\npublic <g> = {rule};")
        self._decoder.activate_search("line")
        found = self._decode(pcm)
        return [word for word, _ in found], [span for _, span in found]

    def _spans(self, words: Sequence[str], pcm: bytes) -> list[Span]:
        self._decoder.set_align_text(" ".join(words).lower())
        return [span for _, span in self._decode(pcm)]

    def _decode(self, pcm: bytes) -> list[tuple[str, Span]]:
        self._decoder.start_utt()
        self._decoder.process_raw(pcm, full_utt=True)
        self._decoder.end_utt()
        if self._decoder.hyp() is None:
            return []
        found = []
        for part in self._decoder.seg():
            word = part.word.split("(")[0].upper()
            if word and word[0] not in "<[+":
                start, end = part.start_frame - PAD_FRAMES, part.end_frame + 1 - PAD_FRAMES
                found.append((word, (start * FRAME, end * FRAME)))
        return found

    def _decoys(self, transcript: str) -> list[str]:
        """Seven other lines of equal length, the same ones each time."""
        num_words = transcript.count(" ")
        near = [
            (abs(len(other) - len(transcript)), other)
            for other in self.transcripts
            if other != transcript and abs(other.count(" ") - num_words) <= 1
        ]
        random.Random(transcript).shuffle(near)
        near.sort(key=lambda item: max(item[0], 1))
        return [other for _, other in near[:NUM_DECOYS]]


def _padded_pcm(wav: Wav) -> bytes:
    """16-bit samples with faint noise (-80 dBFS) before and after."""
    noise = np.random.default_rng(0).standard_normal(PAD_FRAMES * FRAME).astype(np.float32) * 1e-4
    padded = np.concatenate([noise, wav, noise])
    pcm = np.clip(padded * 32_768, -32_768, 32_767).astype("<i2")
    return bytes(pcm.tobytes())


def _clip(span: Span, num_samples: int) -> Span:
    whole = num_samples // FRAME * FRAME
    start = min(max(span[0], 0), whole)
    return start, min(max(span[1], start), whole)


def align(lines: Iterable[Line], texts: Iterable[str], folder: Path) -> dict[str, Alignment]:
    """Align lines with their prepared files, on all cores.

    Args:
        lines: what to align.
        texts: scripts of all lines, for the decoys.
        folder: the corpus.
    """
    import os

    from tqdm import tqdm

    work = [line for line in lines if (folder / audio_path(line.id)).exists()]
    transcripts = [text for text in map(normalise, texts) if text]
    size = max(1, min(64, len(work) // 8))
    parts = [work[at : at + size] for at in range(0, len(work), size)]
    table: dict[str, Alignment] = {}
    bar = tqdm(total=len(work), desc="align", unit="line", file=sys.stderr)
    with ProcessPoolExecutor(os.cpu_count(), initializer=_start, initargs=(transcripts,)) as pool:
        for part in pool.map(_align_part, parts, [folder] * len(parts)):
            table |= part
            bar.update(len(part))
    bar.close()
    return table


_aligners: list[Aligner] = []  # one a process


def _start(transcripts: Sequence[str]) -> None:
    _aligners.append(Aligner(transcripts))


def _align_part(lines: Sequence[Line], folder: Path) -> dict[str, Alignment]:
    aligner = _aligners[0]
    return {line.id: aligner(line, read_wav(folder / audio_path(line.id))) for line in lines}
