"""The games' corpus by parts: any number of workers, and only the tables that are asked for."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import pytest
from small_games import NUM_CLIPS, use_small_games

from bench.corpora.embedded import games
from bench.corpora.package import clip_sound
from bench.corpora.package.reader import GameLine


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """An empty home, for the small corpus."""
    use_small_games(monkeypatch, tmp_path / "rows")
    return tmp_path / "home"


def digests(corpus: Path) -> dict[str, str]:
    """Return the digests of all files of a corpus by path."""
    return {
        path.relative_to(corpus).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in corpus.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("workers", [2, 3])
def test_the_number_of_workers_changes_no_byte(home, monkeypatch, workers) -> None:
    """All threads start before one of them goes on, so fewer of them fail."""
    monkeypatch.setattr(games, "default_workers", lambda: 1)
    alone = digests(games.prepare(home / "alone"))
    threads = games.WORKERS_A_CORE * workers
    barrier, make = threading.Barrier(threads, timeout=60), clip_sound.make

    def make_together(line: GameLine, folder: Path) -> clip_sound.ClipSound | None:
        barrier.wait()
        return make(line, folder)

    monkeypatch.setattr(games, "default_workers", lambda: workers)
    monkeypatch.setattr(clip_sound, "make", make_together)
    assert NUM_CLIPS % threads == 0
    assert digests(games.prepare(home / "together")) == alone
    assert len(alone) == NUM_CLIPS + 5 + 2 + 4 + 3  # tables, trials, notices; lock, list, mark
