"""A small corpus in the place of the games': clips of noise, two tasks, and trials."""

from collections import defaultdict
from pathlib import Path

import numpy as np

from bench.corpora.embedded import games
from bench.corpora.games import table_files
from bench.corpora.games.table_files import TEXT, CommittedClip, CommittedRow
from bench.corpora.package import debian
from bench.corpora.package.reader import GameLine
from bench.sound.manifests import Trial

NUM_CLIPS = 24
KS = ("ks/train", "ks/dev", "ks/test", "ks/ood")


def line(name: str, script: str = "Who are you?", seconds: int = 1) -> GameLine:
    """A line whose sound is noise, decided by the number in its name."""
    seed = int(name.rpartition("-")[2])
    size = 11_025 * seconds
    audio = np.random.default_rng(seed).integers(90, 166, size, dtype=np.uint8).tobytes()
    return GameLine(name, "drascula", "DR-HACKER", script, audio, "u8")


def small_lines() -> dict[str, GameLine]:
    """The lines by id; the first clips are longer, so that they are done after later ones."""
    seconds = {number: 20 if number < 4 else 1 for number in range(NUM_CLIPS)}
    return {
        name: line(name, seconds=seconds[number])
        for number, name in enumerate(f"drascula-{number}" for number in range(NUM_CLIPS))
    }


def small_rows() -> dict[str, list[CommittedRow]]:
    """The rows by task: KS has the clips 0 to 11, ASV 8 to 19; the rest is in no table."""
    names = list(small_lines())
    rows = defaultdict(list)
    for number in range(12):
        split = KS[number // 3]
        tables = (f"open/{split}", f"quick/{split}") if number < 6 else (f"quick/{split}",)
        rows["ks"].append(
            CommittedRow(names[number], names[number], 800, 8_000, 0, 2, TEXT, tables)
        )
    for number in range(8, 20):
        tables = ("quick/asv/test",) if number < 14 else ("open/asv/test",)
        rows["asv"].append(
            CommittedRow(names[number], names[number], 0, 16_000, 0, 3, TEXT, tables)
        )
    return dict(rows)


def use_small_games(patch, folder: Path) -> None:
    """Prepare the small corpus wherever the games are prepared; no package is read.

    Args:
        patch: of pytest.
        folder: an empty one for the names of the tables.
    """
    lines, rows = small_lines(), small_rows()
    clips = {
        name: CommittedClip(table_files.identity(item), len(item.audio) // 11_025 * 16_000, "ok")
        for name, item in lines.items()
    }
    pairs = {"quick/asv/test": (8, 13), "open/asv/test": (14, 19)}
    trials = {
        name: [Trial(1, f"drascula-{one}", f"drascula-{two}")] for name, (one, two) in pairs.items()
    }
    folder.mkdir(exist_ok=True)
    for task in rows:
        (folder / task).touch()
    patch.setattr(table_files, "ROWS", folder)
    patch.setattr(table_files, "read_clips", lambda: clips)
    patch.setattr(table_files, "read_rows", lambda path: rows[path.name])
    patch.setattr(table_files, "read_trials", lambda: trials)
    patch.setattr(debian, "fetch", lambda item, *_: Path(item.name))
    patch.setattr(debian, "read", lambda item, path: {"/doc/x/copyright": item.name.encode()})
    patch.setattr(games, "_lines", lambda files: lines)
