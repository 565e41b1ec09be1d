"""Forced alignment of lines with their sound: a verdict and word times, computed once, committed.

`alignment.tsv.gz` holds the id of each line, an identity of its sound and transcript, the verdict
and the time of each word, but no script. `python -m tools tables --align` makes it again from the
packages (needs `pocketsphinx`; 2 minutes).

The verdicts, the first that applies:

- `sign`: the transcript rules refuse the line (`bench.corpora.package.text`); `empty`: it has no
  word.
- `word`: a word has no pronunciation, neither in the aligner's dictionary nor in `lexicon`. Such
  lines are cries, grunts and codes, whose spelling nobody can check.
- `decoy`: the aligner chose among the line and seven other lines of similar length (at most one
  word more or less, the closest number of letters, drawn by a hash of the line), and it chose
  another one or none. A search may end early in a clip that is cut tightly, so recognising the
  line without its last two words is enough, if one word remains.
- `path`: the line was chosen, but no path through all its words exists.
- `rate`: fewer than 4 or more than 26 letters a second between its first and its last word.
- `ok`: none of these.

Measured: a wrong line of similar length in place of the right one was `ok` in 6 of 400 clips
(1.5 %). Of the games' 5,289 lines 4,294 are `ok` (81 %): 493 `decoy`, 296 `path`, 126 `word`,
44 `rate`, 27 `sign`, 9 `empty`. Most of the others are right too, but unclear, cut tightly or
strongly acted. So the accepted lines are somewhat easier than the games are.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bench.api import SAMPLE_RATE_HZ
from bench.corpora.games.table_files import identity, read_fields
from bench.corpora.package.clip_sound import audio_path
from bench.corpora.package.reader import GameLine
from bench.corpora.package.text import normalise
from bench.sound.audio import Wav, read_wav
from tools.corpus.gzip_table import write_fields
from tools.corpus.lexicon import PRONUNCIATIONS

TABLE = Path(__file__).with_name("alignment.tsv.gz")
FRAME = SAMPLE_RATE_HZ // 100  # samples of one alignment frame
NUM_DECOYS = 7
PAD_FRAMES = 15  # of faint noise on both sides: many clips are cut at the first and last sound
LETTERS_PER_SECOND = (4.0, 26.0)
MAY_LOSE = 2  # words at the end that the choice among decoys may not reach

Span = tuple[int, int]  # first sample, sample after the last


@dataclass(frozen=True)
class Alignment:
    """The alignment of one line.

    Attributes:
        identity: of its sound and its transcript.
        verdict: `ok`, or why the line is not used.
        words: first sample of each word and the sample after its last, at 16 kHz.
    """

    identity: str
    verdict: str
    words: tuple[Span, ...] = ()


def read(path: Path = TABLE) -> dict[str, Alignment]:
    """Read the committed table, by the id of the line.

    Raises:
        InvalidDataError: not gzip or not text, or the file is empty.
    """
    return dict(_parse(*fields) for fields in read_fields(path))


def write(table: Mapping[str, Alignment], path: Path = TABLE) -> None:
    """Write the table; the same content gives the same bytes."""
    rows = []
    for name, item in sorted(table.items()):
        spans = ",".join(f"{start // FRAME}-{end // FRAME}" for start, end in item.words)
        rows.append((name, item.identity, item.verdict, spans))
    write_fields(path, rows)


def _parse(name: str, same: str, verdict: str, spans: str) -> tuple[str, Alignment]:
    pairs = [span.split("-") for span in spans.split(",") if span]
    words = tuple((int(start) * FRAME, int(end) * FRAME) for start, end in pairs)
    return name, Alignment(same, verdict, words)


@dataclass
class Aligner:
    """The aligner and the lines that decoys are drawn from.

    Attributes:
        transcripts: candidates for decoys.
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
        self.transcripts = sorted({text for text in self.transcripts if self._can_pronounce(text)})

    def __call__(self, line: GameLine, wav: Wav) -> Alignment:
        """Align one line with its samples (S,)."""
        transcript = normalise(line.text)
        same = identity(line)
        if not transcript:
            return Alignment(same, "sign" if transcript is None else "empty")
        if not self._can_pronounce(transcript):
            return Alignment(same, "word")
        words = transcript.split()
        pcm = _padded_pcm(wav)
        chosen, spans = self._choice(transcript, pcm)
        if not chosen or chosen != words[: len(chosen)] or len(chosen) < len(words) - MAY_LOSE:
            return Alignment(same, "decoy")
        if len(chosen) < len(words):
            spans = self._spans(words, pcm)
        if len(spans) != len(words):
            return Alignment(same, "path")
        spans = [_clip(span, wav.size) for span in spans]
        letters = sum(map(len, words)) / max((spans[-1][1] - spans[0][0]) / SAMPLE_RATE_HZ, 1e-3)
        plausible = LETTERS_PER_SECOND[0] <= letters <= LETTERS_PER_SECOND[1]
        return Alignment(same, "ok" if plausible else "rate", tuple(spans))

    def _can_pronounce(self, transcript: str) -> bool:
        words = transcript.split()
        return bool(words) and all(self._decoder.lookup_word(word.lower()) for word in words)

    def _choice(self, transcript: str, pcm: bytes) -> tuple[list[str], list[Span]]:
        """Return the words of the line or decoy that was recognised, and their spans."""
        choices = [transcript, *self._decoys(transcript)]
        rule = " | ".join(f"({choice.lower()})" for choice in choices)
        self._decoder.add_jsgf_string("line", f"#JSGF V1.0;\ngrammar g;\npublic <g> = {rule};")
        self._decoder.activate_search("line")
        words = self._decode(pcm)
        return [word for word, _ in words], [span for _, span in words]

    def _spans(self, words: Sequence[str], pcm: bytes) -> list[Span]:
        self._decoder.set_align_text(" ".join(words).lower())
        return [span for _, span in self._decode(pcm)]

    def _decode(self, pcm: bytes) -> list[tuple[str, Span]]:
        self._decoder.start_utt()
        self._decoder.process_raw(pcm, full_utt=True)
        self._decoder.end_utt()
        if self._decoder.hyp() is None:
            return []
        words = []
        for part in self._decoder.seg():
            word = part.word.split("(")[0].upper()
            if word and word[0] not in "<[+":
                start, end = part.start_frame - PAD_FRAMES, part.end_frame + 1 - PAD_FRAMES
                words.append((word, (start * FRAME, end * FRAME)))
        return words

    def _decoys(self, transcript: str) -> list[str]:
        """Return seven other lines of similar length, the same ones each time."""
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
    """Return 16-bit samples with faint noise (-80 dBFS) before and after."""
    noise = np.random.default_rng(0).standard_normal(PAD_FRAMES * FRAME).astype(np.float32) * 1e-4
    padded = np.concatenate([noise, wav, noise])
    pcm = np.clip(padded * 32_768, -32_768, 32_767).astype("<i2")
    return bytes(pcm.tobytes())


def _clip(span: Span, num_samples: int) -> Span:
    whole = num_samples // FRAME * FRAME
    start = min(max(span[0], 0), whole)
    return start, min(max(span[1], start), whole)


def align(lines: Iterable[GameLine], texts: Iterable[str], folder: Path) -> dict[str, Alignment]:
    """Align lines with their prepared files, on all cores.

    Args:
        lines: lines to align; those without a file are left out.
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


_aligners: list[Aligner] = []  # one in each process


def _start(transcripts: Sequence[str]) -> None:
    _aligners.append(Aligner(transcripts))


def _align_part(lines: Sequence[GameLine], folder: Path) -> dict[str, Alignment]:
    aligner = _aligners[0]
    return {line.id: aligner(line, read_wav(folder / audio_path(line.id))) for line in lines}
