"""LibriSpeech (Panayotov et al. 2015): 100 hours of read books, for speech recognition.

Layout: `LibriSpeech/SPLIT/SPEAKER/CHAPTER/SPEAKER-CHAPTER-UTTERANCE.flac` with the transcripts of a
chapter in `SPEAKER-CHAPTER.trans.txt` in the same folder.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bench.corpora.official._layout import (
    OfficialClip,
    OfficialTable,
    listed,
    present,
    read_lines,
    spelled,
)
from bench.corpora.official._manifest import OfficialCorpus
from bench.errors import InvalidDataError, MissingError

SPLITS = {
    "asr/train": "train-clean-100",
    "asr/dev": "dev-clean",
    "asr/test": "test-clean",
    "asr/test-other": "test-other",
}
SENTENCE = ("AND IT IS THE SAME WITH EVERYTHING THAT WE READ ALOUD " * 4).strip()


def read(root: Path) -> Mapping[str, OfficialTable]:
    """Read the tables of a LibriSpeech folder.

    Raises:
        MissingError: a split, or every file of it, is missing.
        InvalidDataError: a malformed transcript, or sound without a transcript.
    """
    missing = [split for split in SPLITS.values() if not (root / split).exists()]
    if missing:
        folders = [path.name for path in listed(root, "*") if path.is_dir()]
        raise MissingError(
            f"{root}: {', '.join(missing)} missing, found {', '.join(folders)}. Track superb needs "
            f"{', '.join(SPLITS.values())}, and no other split replaces one of them: 'slim-superb "
            f"data fetch --track superb --task asr --data {root.parent}' downloads what is missing"
        )
    return {table: _split(root, split) for table, split in SPLITS.items()}


def _split(root: Path, split: str) -> OfficialTable:
    clips: list[OfficialClip] = []
    gap = ""
    for chapter in listed(root / split, "*/*"):
        if (chapter / _transcript(chapter)).exists():
            clips += _chapter(root, chapter)
        elif chapter.is_dir():
            gap = gap or f"{(chapter / _transcript(chapter)).relative_to(root)}: no transcript"
    if not clips:
        raise InvalidDataError(
            f"{root / split}: no chapters in it, folders SPEAKER/CHAPTER with .flac files and "
            "SPEAKER-CHAPTER.trans.txt expected"
        )
    there, missing = present(root, clips, "the transcript of its chapter")
    return OfficialTable(there, gap=gap or missing)


def _transcript(chapter: Path) -> str:
    """Return the name of a chapter's file of transcripts."""
    return f"{chapter.parent.name}-{chapter.name}.trans.txt"


def _chapter(root: Path, chapter: Path) -> list[OfficialClip]:
    """Read the utterances of one chapter, of which some sounds may be missing."""
    name = f"{chapter.parent.name}-{chapter.name}"
    path = chapter / _transcript(chapter)
    clips = []
    for number, line in enumerate(read_lines(path, "the transcript of the chapter"), 1):
        identifier, _, words = line.strip().partition(" ")
        if not words or not identifier.startswith(f"{name}-"):
            raise InvalidDataError(
                f"{path}, line {number}: expected '{name}-UTTERANCE WORDS', found {line[:60]!r}"
            )
        flac = (chapter / f"{identifier}.flac").relative_to(root).as_posix()
        text = words.upper()
        speaker = chapter.parent.name
        clips.append(OfficialClip(identifier, flac, spelled(text), speaker=speaker, text=text))
    named, files = {clip.id for clip in clips}, {p.stem for p in listed(chapter, "*.flac")}
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


CORPUS = OfficialCorpus(__file__, read=read, write_rows=write_hub, targets=(SENTENCE,))
OFFICIAL = True
folder, prepare, status = CORPUS.folder, CORPUS.prepare, CORPUS.status
validate, differences = CORPUS.validate, CORPUS.differences
