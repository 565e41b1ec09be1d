"""Audio SNIPS (Lai et al. 2021): synthetic speech of SNIPS sentences, for slot filling.

Layout: `SNIPS/{train,valid,test}/SPEAKER-snips-SPLIT-N.wav`, `SNIPS/all.iob.snips.txt` (a line is
`ID BOS WORDS EOS<TAB>O SLOTS INTENT`) and `SNIPS/slots.txt`. Training, dev and test have different
speakers (s3prl, `downstream/ctc/snips.yaml`).

A target holds the sentence in pieces, as s3prl's `CharacterTextSlotEncoder` spells it: plain text,
and the begin (`B`) and end (`E`) of slots. Two of its properties stay: words that are parts of
`?!.,;-` are left out, and a sentence that ends with such a word has no end mark.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.corpora.official._layout import (
    OfficialClip,
    OfficialTable,
    listed,
    need,
    read_lines,
    spelled,
)
from bench.corpora.official._manifest import OfficialCorpus
from bench.errors import InvalidDataError, MissingError
from bench.metrics.edits import tagged_slots

FOLDERS = {"slu/train": "train", "slu/dev": "valid", "slu/test": "test"}
SPEAKERS = {
    "slu/train": ("Ivy", "Joanna", "Joey", "Justin", "Kendra", "Kimberly", "Matthew", "Salli"),
    "slu/dev": ("Aditi", "Amy", "Geraint", "Nicole"),
    "slu/test": ("Brian", "Emma", "Raveena", "Russell"),
}
LABELS, SLOTS = "all.iob.snips.txt", "slots.txt"
PUNCTUATION = "?!.,;-"
OUTSIDE = "O"
END = ["end", ""]


def pieces_of(line: str) -> list[list[str]]:
    """Split a line of the labels, without its ID, into `[kind, text]`: `""`, `B`, `E` or `end`.

    Raises:
        ValueError: the numbers of slots and words differ.
    """
    sentence, _, slots = line.strip("\r\n ").partition("\t")
    words, tags = sentence.split(" ")[1:-1], slots.split(" ")[1:-1]
    if not words or len(words) != len(tags):
        raise ValueError(f"{len(words)} words and {len(tags)} slots")
    pieces: list[list[str]] = []
    for index, (word, tag) in enumerate(zip(words, tags, strict=True)):
        if word in PUNCTUATION:
            continue
        last = index == len(words) - 1
        if tag != OUTSIDE and (index == 0 or tags[index - 1] != tag):
            pieces.append(["B", tag])
        pieces.append(["", "AND" if word == "&" else word])
        if tag != OUTSIDE and (last or tags[index + 1] != tag):
            pieces.append(["E", tag])
        pieces.append(list(END) if last else ["", " "])
    return pieces


def target_of(line: str) -> dict[str, Any]:
    """Return the target of a line: text, slots and pieces.

    Slots are those that s3prl reads in the encoded and decoded line, so that letters outside its
    vocabulary are `<unk>` in a reference as in a prediction.
    """
    pieces = pieces_of(line)
    marks = {"B": "B-{} ", "E": " E-{}"}
    spelt = "".join(
        marks[kind].format(text) if kind in marks else spelled(text) for kind, text in pieces
    )
    plain = " ".join("".join(text for kind, text in pieces if kind == "").split())
    return {"text": plain, "slots": [list(slot) for slot in tagged_slots(spelt)], "pieces": pieces}


def read(root: Path) -> Mapping[str, OfficialTable]:
    """Read the tables of a folder of Audio SNIPS.

    Raises:
        MissingError: labels, slots, a folder or all speakers of it are missing.
        InvalidDataError: a malformed line of the labels, an unknown slot, unlabelled sound.
    """
    labels = _labels(root)
    return {table: _split(root, table, labels) for table in FOLDERS}


def _labels(root: Path) -> dict[str, dict[str, Any]]:
    slots = read_lines(root / SLOTS, "the list of slots")
    if slots[0].strip() != OUTSIDE:
        raise InvalidDataError(
            f"{root / SLOTS}: first line {slots[0][:40]!r}, {OUTSIDE!r} expected"
        )
    slots_in_list = {slot.strip() for slot in slots[1:]}
    path, labels = root / LABELS, {}
    for number, line in enumerate(read_lines(path, "the labels of Audio SNIPS"), 1):
        name, _, rest = line.partition(" ")
        try:
            labels[name] = target_of(rest)
        except ValueError as error:
            raise InvalidDataError(
                f"{path}, line {number}: expected 'ID BOS WORDS EOS<TAB>O SLOTS INTENT' with one "
                f"slot a word, found {error}: {line[:60]!r}"
            ) from error
        unknown = {text for kind, text in labels[name]["pieces"] if kind == "B"} - slots_in_list
        if unknown:
            raise InvalidDataError(
                f"{path}, line {number}: slot {min(unknown)!r} is not in {SLOTS}"
            )
    return labels


def _split(root: Path, table: str, labels: Mapping[str, dict[str, Any]]) -> OfficialTable:
    folder = need(root / FOLDERS[table], f"the folder {FOLDERS[table]} of Audio SNIPS")
    clips = []
    for path in listed(folder, "*.wav"):
        speaker = path.name.partition("-")[0]
        if speaker not in SPEAKERS[table]:
            continue
        if path.stem not in labels:
            raise InvalidDataError(f"{path}: {LABELS} has no line for {path.stem!r}")
        target = labels[path.stem]
        relative = path.relative_to(root).as_posix()
        clips.append(OfficialClip(path.stem, relative, target, speaker, target["text"]))
    speakers = {clip.speaker for clip in clips}
    missing = [name for name in SPEAKERS[table] if name not in speakers]
    gap = ""
    if missing:
        gap = (
            f"{FOLDERS[table]}: no recording of {missing[0]} ({missing[0]}-snips-*.wav), one of "
            f"the {len(SPEAKERS[table])} speakers of this split"
        )
    if not clips:
        raise MissingError(f"{root}: {gap}: unpack the archive again")
    return OfficialTable(clips, gap=gap)


# 39 kinds of slots, from which a plan builds the head.
EXAMPLES = tuple(
    target_of(f"BOS PLAY SOMETHING BY MILES DAVIS NOW EOS\tO O O O slot{n} slot{n} O intent")
    for n in range(39)
)
CORPUS = OfficialCorpus(__file__, read=read, targets=EXAMPLES)
OFFICIAL = True
folder, prepare, status = CORPUS.folder, CORPUS.prepare, CORPUS.status
validate, differences = CORPUS.validate, CORPUS.differences
