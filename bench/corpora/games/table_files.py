"""The committed tables of the embedded corpus: its clips, the rows of its manifests, its trials.

They are tab-separated, compressed by gzip, and hold neither sound nor script: the words of a row
are given by their positions in the transcript of its clip.

- `clips.tsv.gz`: id, identity, number of samples, verdict of the alignment.
- `rows/<task>.tsv.gz`: names of the manifests, id, clip, first sample, number of samples, first
  word, word after the last, target as JSON. `{text}` in a target stands for the words. A row whose
  features are a part of its clip has two more fields: first sample and number of samples of the
  part. Rows are sorted by id, as they are in the manifests.
- `trials.tsv.gz`: name of the manifest, label, ids of enrolment and test.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.corpora.package.reader import GameLine
from bench.corpora.package.text import normalise
from bench.errors import InvalidDataError

if TYPE_CHECKING:
    from bench.sound.manifests import Trial

FOLDER = Path(__file__).with_name("tables")
CLIPS, TRIALS, ROWS = FOLDER / "clips.tsv.gz", FOLDER / "trials.tsv.gz", FOLDER / "rows"
TEXT = "{text}"


@dataclass(frozen=True)
class CommittedClip:
    """One clip of the corpus.

    Attributes:
        identity: of its encoded sound and its transcript.
        num_samples: at 16 kHz.
        verdict: `ok`, or why its script does not count as verified.
    """

    identity: str
    num_samples: int
    verdict: str


@dataclass(frozen=True)
class CommittedRow:
    """One utterance: a clip, or a part of one.

    Attributes:
        id: of the utterance.
        clip: id of its clip.
        start, num_samples: its position in the clip, at 16 kHz.
        first_word, end_word: its words in the transcript of the clip.
        target: as in a manifest; `TEXT` in it stands for the words.
        manifests: names of the manifests that have it.
        part: as in `bench.api.Utterance`.
    """

    id: str
    clip: str
    start: int
    num_samples: int
    first_word: int
    end_word: int
    target: Any
    manifests: tuple[str, ...] = ()
    part: tuple[int, int] | None = None


def identity(line: GameLine) -> str:
    """Return 24 hex digits of the sha256 of a line's encoded sound and transcript."""
    transcript = repr(normalise(line.text)).encode()
    return hashlib.sha256(line.audio + b"\0" + transcript).hexdigest()[:24]


def files() -> tuple[Path, ...]:
    """Return all committed files, sorted."""
    return tuple(sorted(FOLDER.rglob("*.tsv.gz")))


def read_clips() -> dict[str, CommittedClip]:
    """Return all clips by id."""
    return {
        name: CommittedClip(same, int(num_samples), verdict)
        for name, same, num_samples, verdict in read_fields(CLIPS)
    }


def read_rows(path: Path) -> list[CommittedRow]:
    """Return the rows of one task, by id."""
    return [
        CommittedRow(
            id=name,
            clip=clip,
            start=int(start),
            num_samples=int(num_samples),
            first_word=int(first_word),
            end_word=int(end_word),
            target=json.loads(target),
            manifests=tuple(manifests.split()),
            part=(int(part[0]), int(part[1])) if part else None,
        )
        for manifests, name, clip, start, num_samples, first_word, end_word, target, *part in (
            read_fields(path)
        )
    ]


def read_trials() -> dict[str, list[Trial]]:
    """Return the trials of each manifest that has some, in their order."""
    from bench.sound.manifests import Trial  # imports torch

    trials: dict[str, list[Trial]] = defaultdict(list)
    for manifest, label, enrolment, test in read_fields(TRIALS):
        trials[manifest].append(Trial(int(label), enrolment, test))
    return trials


def read_fields(path: Path) -> list[list[str]]:
    """Return the fields of each line of a compressed tab-separated file.

    Raises:
        InvalidDataError: not gzip or not text, or the file is empty.
    """
    try:
        lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise InvalidDataError(f"{path}: not a compressed table ({error})") from error
    if not lines:
        raise InvalidDataError(f"{path}: not a compressed table (empty)")
    return [line.split("\t") for line in lines]


def fill(target: Any, text: str) -> Any:
    """Return a target with the words of its row in place of `TEXT`."""
    if isinstance(target, dict):
        return {name: fill(value, text) for name, value in target.items()}
    return text if target == TEXT else target
