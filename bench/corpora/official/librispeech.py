"""LibriSpeech (Panayotov et al. 2015): 100 hours of read books, for speech recognition.

Layout: `LibriSpeech/SPLIT/SPEAKER/CHAPTER/SPEAKER-CHAPTER-UTTERANCE.flac` with the transcripts of a
chapter in `SPEAKER-CHAPTER.trans.txt` in the same folder.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bench.corpora.official._layout import (
    Archive,
    HubRows,
    Layout,
    OfficialClip,
    OfficialTable,
    Size,
    need,
    read_lines,
)
from bench.corpora.official._manifest import OfficialCorpus
from bench.errors import InvalidDataError

SPLITS = {
    "asr/train": "train-clean-100",
    "asr/dev": "dev-clean",
    "asr/test": "test-clean",
    "asr/test-other": "test-other",
}
DIGESTS = {
    "train-clean-100": "d4ddd1d5a6ab303066f14971d768ee43278a5f2a0aa43dc716b0e64ecbbbf6e2",
    "dev-clean": "76f87d090650617fca0cac8f88b9416e0ebf80350acb97b343a85fa903728ab3",
    "test-clean": "39fde525e59672dc6d1551919b1478f724438a95aa55f874b576be21967e6c23",
    "test-other": "d09c181bba5cf717b3dee7d4d592af11a3ee3a09e08ae025c5506f6ebe961c29",
}
SENTENCE = ("AND IT IS THE SAME WITH EVERYTHING THAT WE READ ALOUD " * 4).strip()


def read(root: Path) -> Mapping[str, OfficialTable]:
    """Read the tables of a LibriSpeech folder.

    Raises:
        MissingError: a split, or a file that a transcript names, is missing.
        InvalidDataError: a malformed transcript, or sound without a transcript.
    """
    return {table: OfficialTable(_split(root, split)) for table, split in SPLITS.items()}


def _split(root: Path, split: str) -> list[OfficialClip]:
    chapters = sorted(need(root / split, f"the split {split} of LibriSpeech").glob("*/*"))
    clips: list[OfficialClip] = []
    for chapter in chapters:
        if chapter.is_dir():
            clips += _chapter(root, chapter)
    if not clips:
        raise InvalidDataError(
            f"{root / split}: no chapters in it, folders SPEAKER/CHAPTER with .flac files expected"
        )
    return clips


def _chapter(root: Path, chapter: Path) -> list[OfficialClip]:
    """Read the utterances of one chapter; every sound needs a transcript and the reverse."""
    name = f"{chapter.parent.name}-{chapter.name}"
    path = chapter / f"{name}.trans.txt"
    clips = []
    for number, line in enumerate(read_lines(path, "the transcript of the chapter"), 1):
        identifier, _, words = line.strip().partition(" ")
        if not words or not identifier.startswith(f"{name}-"):
            raise InvalidDataError(
                f"{path}, line {number}: expected '{name}-UTTERANCE WORDS', found {line[:60]!r}"
            )
        flac = (chapter / f"{identifier}.flac").relative_to(root).as_posix()
        text = words.upper()
        clips.append(OfficialClip(identifier, flac, text, speaker=chapter.parent.name, text=text))
    named, files = {clip.id for clip in clips}, {p.stem for p in chapter.glob("*.flac")}
    if named - files:
        raise InvalidDataError(
            f"{chapter / min(named - files)}.flac: missing, though {path.name} names it "
            f"({len(named - files)} of {len(named)} are missing): unpack the archive again"
        )
    if files - named:
        raise InvalidDataError(f"{path}: has no line for {min(files - named)}.flac")
    return clips


def write_hub(folder: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows of `openslr/librispeech_asr` as a split's folder; bytes are those of the archives.

    Raises:
        KeyError: a row lacks its sound, text or id.
        TypeError: the sound of a row is empty.
    """
    transcripts: dict[Path, list[str]] = {}
    for row in rows:
        speaker, chapter, _ = str(row["id"]).split("-")
        place = folder / speaker / chapter
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{row['id']}.flac").write_bytes(row["audio"]["bytes"])
        path = place / f"{speaker}-{chapter}.trans.txt"
        transcripts.setdefault(path, []).append(f"{row['id']} {row['text']}\n")
    for path, lines in transcripts.items():
        path.write_text("".join(sorted(lines)), encoding="utf-8")


CORPUS = OfficialCorpus(
    Layout(
        name="librispeech-v1",
        title="LibriSpeech",
        folders=("LibriSpeech",),
        signs=tuple(SPLITS.values()),
        about=(
            "Free (CC BY 4.0) from https://www.openslr.org/12: train-clean-100, dev-clean, "
            "test-clean and test-other; 'slim-superb data fetch --track superb' downloads them"
        ),
        read=read,
        sizes={
            "asr/train": Size(28_539, 100.6, (SENTENCE,)),
            "asr/dev": Size(2_703, 5.4, (SENTENCE,)),
            "asr/test": Size(2_620, 5.4, (SENTENCE,)),
            "asr/test-other": Size(2_939, 5.1, (SENTENCE,)),
        },
        archives=tuple(
            Archive(
                f"https://www.openslr.org/resources/12/{split}.tar.gz",
                makes=f"LibriSpeech/{split}",
                sha256=DIGESTS[split],
            )
            for split in SPLITS.values()
        ),
        hub="openslr/librispeech_asr",
        from_hub=HubRows(
            {
                "train-clean-100": ("clean", "train.100"),
                "dev-clean": ("clean", "validation"),
                "test-clean": ("clean", "test"),
                "test-other": ("other", "test"),
            },
            write_hub,
        ),
    )
)
OFFICIAL = True
folder, prepare, status = CORPUS.folder, CORPUS.prepare, CORPUS.status
validate, differences = CORPUS.validate, CORPUS.differences
