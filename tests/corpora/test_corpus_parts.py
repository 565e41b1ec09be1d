"""The games' corpus by parts: any number of workers, and only the tables that are asked for."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from small_games import KS, NUM_CLIPS, use_small_games

from bench.corpora.embedded import games, voices
from bench.corpora.games import table_files
from bench.corpora.package import clip_sound, corpus_files, corpus_folder, debian
from bench.corpora.package.reader import GameLine
from bench.errors import MissingError
from bench.registry import task_card, task_names
from bench.run.plan import planned_tables
from bench.run.spec import RunSpec, needed_tables, prepare_corpora
from bench.session import Session

KS_TABLES = [f"quick/{split}" for split in KS]
ASV_TABLES = ["open/asv/test", "quick/asv/test"]


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
    barrier, make = threading.Barrier(threads, timeout=300), clip_sound.make

    def make_together(line: GameLine, folder: Path) -> clip_sound.ClipSound | None:
        barrier.wait()
        return make(line, folder)

    monkeypatch.setattr(games, "default_workers", lambda: workers)
    monkeypatch.setattr(clip_sound, "make", make_together)
    assert NUM_CLIPS % threads == 0
    assert digests(games.prepare(home / "together")) == alone
    assert len(alone) == NUM_CLIPS + 8 + 2 + 4 + 3  # tables, trials, notices; lock, list, mark


def names(corpus: Path, part: str) -> set[str]:
    """Return the files in a part of a corpus, without their endings."""
    folder = corpus / part
    return {p.relative_to(folder).with_suffix("").as_posix() for p in folder.rglob("*.*")}


def test_a_part_has_the_clips_of_its_tables(home) -> None:
    corpus = games.prepare(home, tables=["open/ks/train", "open/asv/test"])
    assert names(corpus, "tables") == {"open/ks/train", "open/asv/test", "open/asv/test.trials"}
    assert names(corpus, "audio") == {f"drascula-{n}" for n in (0, 1, 2, *range(14, 20))}
    assert games.validate(corpus) == []
    part = games.status(home, tables=["open/ks/train"])
    assert part.prepared and part.num_utterances == 9 and part.problems == ()
    whole = games.status(home)
    assert not whole.prepared and "not complete" in whole.problems[0]
    assert "9 distinct, audible clips" in (corpus / "notices/README.md").read_text()


def test_parts_make_the_whole_in_any_order(home) -> None:
    for place in ("one", "two", "three"):
        tables = {"one": KS_TABLES, "two": ASV_TABLES, "three": [*KS_TABLES, *ASV_TABLES]}[place]
        games.prepare(home / place, tables=tables)
    games.prepare(home / "one", tables=ASV_TABLES)
    games.prepare(home / "two", tables=KS_TABLES)
    parts = [digests(games.folder(home / place)) for place in ("one", "two", "three")]
    assert parts[0] == parts[1] == parts[2]
    whole = digests(games.prepare(home / "whole"))
    assert digests(games.prepare(home / "one")) == whole
    assert games.prepare(home / "one", tables=KS_TABLES) == games.folder(home / "one")
    assert digests(games.folder(home / "one")) == whole


def test_added_tables_leave_the_others_alone(home) -> None:
    corpus = games.prepare(home, tables=KS_TABLES)
    files = [corpus / f"tables/{name}.parquet" for name in KS_TABLES]
    files += sorted((corpus / "audio").iterdir())
    before = [path.stat() for path in files]
    games.prepare(home, tables=ASV_TABLES)
    assert [path.stat() for path in files] == before
    assert games.status(home, tables=KS_TABLES + ASV_TABLES).prepared


def test_a_failed_addition_takes_nothing_away(home, monkeypatch) -> None:
    corpus = games.prepare(home, tables=KS_TABLES)

    def gone(*_: object) -> Path:
        assert games.status(home, tables=KS_TABLES).prepared  # others read it meanwhile
        raise MissingError("no package")

    monkeypatch.setattr(debian, "fetch", gone)
    with pytest.raises(MissingError, match="no package"):
        games.prepare(home, tables=ASV_TABLES)
    assert games.prepare(home, tables=KS_TABLES) == corpus
    assert not games.status(home, tables=ASV_TABLES).prepared


def test_an_interrupted_addition_resumes(home, monkeypatch) -> None:
    games.prepare(home, tables=KS_TABLES)
    decoded: list[str] = []
    decode = clip_sound._decode
    write_digests = corpus_files.write_digests

    def interrupted(_: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(clip_sound, "_decode", lambda item: decoded.append(item.id) or decode(item))
    monkeypatch.setattr(corpus_files, "write_digests", interrupted)
    with pytest.raises(KeyboardInterrupt):
        games.prepare(home, tables=ASV_TABLES)
    assert games.status(home, tables=KS_TABLES).prepared
    assert not games.status(home, tables=ASV_TABLES).prepared
    monkeypatch.setattr(corpus_files, "write_digests", write_digests)
    corpus = games.prepare(home, tables=ASV_TABLES)
    assert sorted(decoded) == sorted(f"drascula-{number}" for number in range(12, 20))
    fresh = games.prepare(home / "fresh", tables=KS_TABLES + ASV_TABLES)
    assert digests(corpus) == digests(fresh)


def test_a_damaged_part_is_made_again(home) -> None:
    corpus = games.prepare(home, tables=KS_TABLES)
    made = digests(corpus)
    (corpus / "audio/drascula-3.wav").unlink()
    (corpus / "tables/quick/ks/dev.parquet").unlink()
    assert not games.status(home, tables=KS_TABLES).prepared
    assert digests(games.prepare(home, tables=KS_TABLES)) == made


def test_a_part_shares_only_its_clips(home) -> None:
    corpus = games.prepare(home)
    old = corpus.rename(corpus.with_name("games-v1-000000000000"))
    part = games.prepare(home, tables=["quick/ks/ood"])
    assert names(part, "audio") == {"drascula-9", "drascula-10", "drascula-11"}
    assert (part / "audio/drascula-9.wav").samefile(old / "audio/drascula-9.wav")


# Another process that prepares some tables of the small corpus.
PREPARE = """
import sys
from pathlib import Path
import pytest
from small_games import use_small_games
from bench.corpora.embedded import games

with pytest.MonkeyPatch.context() as patch:
    use_small_games(patch, Path(sys.argv[1]))
    print("ready", flush=True)
    sys.stdin.readline()
    for table in sys.argv[3:]:
        games.prepare(Path(sys.argv[2]), tables=[table])
        assert games.status(Path(sys.argv[2]), tables=[table]).prepared
"""


def test_processes_add_their_tables_at_once(home, tmp_path) -> None:
    orders = [[*KS_TABLES, *ASV_TABLES], [*ASV_TABLES, *KS_TABLES[::-1]]]
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", PREPARE, str(tmp_path / f"rows-{n}"), str(home), *order],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for n, order in enumerate(orders)
    ]
    assert all(worker.stdout.readline() == "ready\n" for worker in workers)
    for worker in workers:
        worker.stdin.write("\n")
        worker.stdin.flush()
    assert [worker.wait(timeout=600) for worker in workers] == [0, 0]
    fresh = games.prepare(home / "fresh", tables=KS_TABLES + ASV_TABLES)
    assert digests(games.folder(home)) == digests(fresh)


def test_a_task_needs_the_tables_of_its_card() -> None:
    card = task_card("asv", "quick")
    assert needed_tables("games", games, [card]) == {
        "tables": ["open/asv/test", "quick/asv/dev", "quick/asv/ood", "quick/asv/train"]
    }
    assert needed_tables("voices", voices, [card]) == {}
    rows = [row for path in table_files.ROWS.iterdir() for row in table_files.read_rows(path)]
    committed = {name for row in rows for name in row.manifests}
    for track in ("quick", "open"):
        cards = [task_card(task, track) for task in task_names(track)]
        assert set(needed_tables("games", games, cards)["tables"]) <= committed


def test_a_run_prepares_the_tables_of_its_task(home) -> None:
    prepare_corpora(task_card("ks", "quick"), Session(home=home))
    assert names(games.folder(home), "tables") == set(KS_TABLES)


def test_a_plan_adds_tables_from_packages_that_are_here(home, monkeypatch) -> None:
    card, spec = task_card("ks", "quick"), RunSpec("fbank", "ks", "quick")
    games.prepare(home, tables=ASV_TABLES)
    asked: list[Path | None] = []

    def fetch(item: debian.Package, _: Path, deb_dir: Path | None) -> Path:
        asked.append(deb_dir)
        if len(asked) == 1:
            raise MissingError("no package here")
        return Path(item.name)

    monkeypatch.setattr(debian, "fetch", fetch)
    with pytest.raises(MissingError, match="data prepare"):
        planned_tables(card, Session(home=home), spec)
    tables, is_prepared = planned_tables(card, Session(home=home), spec)
    assert is_prepared and [len(table.utterances) for table in tables.values()] == [3] * 4
    assert set(asked) == {home / "packages"}  # a folder of packages: nothing is downloaded
    assert corpus_folder.read_mark(games.folder(home))["tables"] == sorted(ASV_TABLES + KS_TABLES)
