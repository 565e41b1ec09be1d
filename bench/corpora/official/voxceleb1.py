"""VoxCeleb1 (Nagrani et al. 2017): interviews of 1,251 celebrities, for speaker identification.

Layout: `VoxCeleb1/{dev,test}/wav/SPEAKER/VIDEO/NNNNN.wav`, or `VoxCeleb1/wav/` where both archives
were unpacked into one folder, and `iden_split.txt`, whose lines say `1` (training), `2` (dev) or
`3` (test) and a file. s3prl calls the list `veri_test_class.txt`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bench.corpora.official._layout import OfficialClip, OfficialTable, need, present, read_lines
from bench.corpora.official._manifest import OfficialCorpus
from bench.errors import InvalidDataError, MissingError

META = "https://www.robots.ox.ac.uk/~vgg/data/voxceleb/meta"
LISTS = ("iden_split.txt", "veri_test_class.txt")
TABLES = {"1": "sid/train", "2": "sid/dev", "3": "sid/test"}
SIDES, MERGED = ("dev/wav", "test/wav"), "wav"
SPEAKERS = tuple(f"id{10_001 + number}" for number in range(1_251))


def find_list(root: Path, names: tuple[str, ...]) -> Path:
    """Return the list of a task, by any of its names.

    Raises:
        MissingError: no file has one of the names.
    """
    for name in names:
        if (root / name).is_file():
            return root / name
    raise MissingError(
        f"{root / names[0]}: the list is missing (and {' nor '.join(names[1:])}): get it from "
        f"{META}/{names[0]}"
    )


def wav_folders(root: Path, *, need_both: bool = False) -> tuple[str, ...]:
    """Return the folders of speakers: one of both archives together, or those of the two sides.

    Args:
        root: the corpus' folder.
        need_both: refuse one side alone.

    Raises:
        MissingError: both sides are missing, or one of them with `need_both`, or one is empty.
        InvalidDataError: a side holds the compressed sound of the videos.
    """
    folders = tuple(side for side in SIDES if (root / side).exists())
    if (root / MERGED).is_dir() and not folders:
        folders = (MERGED,)
    elif need_both or not folders:
        folders = SIDES
    for name in folders:
        folder = need(root / name, f"a side of VoxCeleb1 ({' and '.join(SIDES)}, or {MERGED})")
        if next(folder.glob("id*/*/*.wav"), None) is None:
            if next(folder.glob("id*/*/*.m4a"), None) is not None:
                raise InvalidDataError(
                    f"{folder}: holds .m4a files, .wav expected: take the waveform archives"
                )
            raise MissingError(
                f"{folder}: no files idNNNNN/VIDEO/NNNNN.wav in it. {CORPUS.layout.about}"
            )
    return folders


def read(root: Path) -> Mapping[str, OfficialTable]:
    """Read the tables of speaker identification.

    Raises:
        MissingError: the list, both sides, or every file of a table is missing.
        InvalidDataError: a malformed line of the list.
    """
    folders, path = wav_folders(root), find_list(root, LISTS)
    clips: dict[str, list[OfficialClip]] = {table: [] for table in TABLES.values()}
    usual = MERGED if folders == (MERGED,) else SIDES[0]  # named where a file is in neither side
    for number, line in enumerate(read_lines(path, "the list of the splits"), 1):
        kind, _, file = line.strip().partition(" ")
        if kind not in TABLES or file.count("/") != 2 or not file.endswith(".wav"):
            raise InvalidDataError(
                f"{path}, line {number}: expected '1|2|3 idNNNNN/VIDEO/NNNNN.wav', found "
                f"{line[:60]!r}"
            )
        folder = next((name for name in folders if (root / name / file).is_file()), usual)
        speaker = file.partition("/")[0]
        clips[TABLES[kind]].append(
            OfficialClip(file.removesuffix(".wav"), f"{folder}/{file}", speaker, speaker)
        )
    tables = {}
    for table, rows in clips.items():
        there, gap = present(root, rows, path.name)
        tables[table] = OfficialTable(there, gap=gap)
    return tables


CORPUS = OfficialCorpus(__file__, read=read, targets=SPEAKERS)
OFFICIAL = True
folder, prepare, status = CORPUS.folder, CORPUS.prepare, CORPUS.status
validate, differences = CORPUS.validate, CORPUS.differences
