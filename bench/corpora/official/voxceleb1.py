"""VoxCeleb1 (Nagrani et al. 2017): interviews of 1,251 celebrities, for speaker identification.

Layout: `VoxCeleb1/{dev,test}/wav/SPEAKER/VIDEO/NNNNN.wav` and `iden_split.txt`, whose lines say
`1` (training), `2` (dev) or `3` (test) and a file. s3prl calls the list `veri_test_class.txt`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bench.corpora.official._layout import OfficialClip, OfficialTable, need, read_lines
from bench.corpora.official._manifest import OfficialCorpus
from bench.errors import InvalidDataError, MissingError

META = "https://www.robots.ox.ac.uk/~vgg/data/voxceleb/meta"
LISTS = ("iden_split.txt", "veri_test_class.txt")
TABLES = {"1": "sid/train", "2": "sid/dev", "3": "sid/test"}
SIDES = ("dev", "test")
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


def need_wavs(root: Path) -> None:
    """Check that both sides are unpacked, as WAV files.

    Raises:
        MissingError: a side is missing or empty.
        InvalidDataError: a side holds the compressed sound of the videos.
    """
    for side in SIDES:
        folder = need(root / side / "wav", f"the {side} side of VoxCeleb1")
        if next(folder.glob("id*/*/*.wav"), None) is None:
            if next(folder.glob("id*/*/*.m4a"), None) is not None:
                raise InvalidDataError(
                    f"{folder}: holds .m4a files, .wav expected: take the waveform archives"
                )
            raise MissingError(
                f"{folder}: no files idNNNNN/VIDEO/NNNNN.wav in it. {CORPUS.layout.about}"
            )


def read(root: Path) -> Mapping[str, OfficialTable]:
    """Read the tables of speaker identification.

    Raises:
        MissingError: the list, a side, or a file that the list names, is missing.
        InvalidDataError: a malformed line of the list.
    """
    need_wavs(root)
    path = find_list(root, LISTS)
    clips: dict[str, list[OfficialClip]] = {table: [] for table in TABLES.values()}
    missing: list[str] = []
    for number, line in enumerate(read_lines(path, "the list of the splits"), 1):
        kind, _, file = line.strip().partition(" ")
        if kind not in TABLES or file.count("/") != 2 or not file.endswith(".wav"):
            raise InvalidDataError(
                f"{path}, line {number}: expected '1|2|3 idNNNNN/VIDEO/NNNNN.wav', found "
                f"{line[:60]!r}"
            )
        side = next((s for s in SIDES if (root / s / "wav" / file).is_file()), None)
        if side is None:
            missing.append(file)
            continue
        speaker = file.partition("/")[0]
        clips[TABLES[kind]].append(
            OfficialClip(file.removesuffix(".wav"), f"{side}/wav/{file}", speaker, speaker)
        )
    if missing:
        raise MissingError(
            f"{root}: {missing[0]} is in neither dev/wav nor test/wav, though {path.name} names it "
            f"({len(missing)} files are missing): unpack both archives again"
        )
    return {table: OfficialTable(rows) for table, rows in clips.items()}


CORPUS = OfficialCorpus(__file__, read=read, targets=SPEAKERS)
OFFICIAL = True
folder, prepare, status = CORPUS.folder, CORPUS.prepare, CORPUS.status
validate, differences = CORPUS.validate, CORPUS.differences
