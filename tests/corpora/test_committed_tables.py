"""The committed tables of the games, and clips that differ from them."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from small_games import line

from bench.corpora.embedded import games
from bench.corpora.games import table_files
from bench.corpora.games.table_files import TEXT, CommittedClip, CommittedRow
from bench.corpora.package import debian
from bench.corpora.package.reader import GameLine
from bench.errors import InvalidDataError
from bench.sound.manifests import Trial, read_table, read_trials

FILES = table_files.files()


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Return a function that prepares a corpus of three clips from the given lines."""
    lines = {name: line(name) for name in ("drascula-1", "drascula-2", "drascula-3")}
    clips = {
        name: CommittedClip(table_files.identity(item), 16_000, "ok")
        for name, item in lines.items()
    }
    clips["drascula-3"] = replace(clips["drascula-3"], verdict="decoy")
    rows = [
        CommittedRow("drascula-1", "drascula-1", 0, 16_000, 0, 3, TEXT, ("open/asr/test",)),
        CommittedRow(
            *("drascula-2-p00-02", "drascula-2", 800, 8_000, 0, 2),
            {"text": TEXT, "slots": [["person", "YOU"]]},
            ("open/asr/test", "quick/asr/test"),
        ),
    ]
    trials = [Trial(1, "drascula-1", "drascula-2-p00-02"), Trial(1, "drascula-1", "drascula-1")]
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows/asr.tsv.gz").touch()
    monkeypatch.setattr(table_files, "ROWS", tmp_path / "rows")
    monkeypatch.setattr(table_files, "read_clips", lambda: clips)
    monkeypatch.setattr(table_files, "read_rows", lambda path: rows)
    monkeypatch.setattr(table_files, "read_trials", lambda: {"open/asr/test": trials})
    monkeypatch.setattr(debian, "fetch", lambda item, *_: Path(item.name))
    monkeypatch.setattr(debian, "read", lambda item, path: {})

    def prepare(changed: dict[str, GameLine]) -> Path:
        monkeypatch.setattr(games, "_lines", lambda files: lines | changed)
        return games.prepare(tmp_path / "home")

    return prepare


def test_rows_become_manifests(small, caplog) -> None:
    corpus = small({})
    rows = read_table(corpus, "open/asr/test")
    assert [row.id for row in rows] == ["drascula-1", "drascula-2-p00-02"]
    assert rows[0].target == "WHO ARE YOU"
    assert rows[1].target == {"text": "WHO ARE", "slots": [["person", "YOU"]]}
    assert (rows[1].start, rows[1].num_samples) == (800, 8_000)
    assert rows[1].path == corpus / "audio/drascula-2.wav"
    assert read_table(corpus, "quick/asr/test") == rows[1:]
    assert len(read_trials(corpus, "open/asr/test")) == 2
    assert games.validate(corpus) == []
    assert "not verified: decoy: 1" in (corpus / "notices/README.md").read_text()
    assert "differ" not in caplog.text


@pytest.mark.parametrize(
    "changed",
    [
        line("drascula-2", "Who is she?"),
        replace(line("drascula-2"), audio=line("drascula-9").audio),
        replace(line("drascula-2"), audio=b""),
    ],
)
def test_a_clip_that_differs_is_dropped_from_every_table(small, caplog, changed) -> None:
    corpus = small({"drascula-2": changed})
    assert "1 of 3 clips differ" in caplog.text
    assert [row.id for row in read_table(corpus, "open/asr/test")] == ["drascula-1"]
    assert not (corpus / "tables/quick").exists()
    assert read_trials(corpus, "open/asr/test") == [Trial(1, "drascula-1", "drascula-1")]
    assert not (corpus / "audio/drascula-2.wav").exists()
    assert "- changed: 1" in (corpus / "notices/README.md").read_text()


def test_a_clip_of_another_length_is_dropped(small, monkeypatch, caplog) -> None:
    clips = table_files.read_clips()
    longer = clips | {"drascula-1": replace(clips["drascula-1"], num_samples=16_001)}
    monkeypatch.setattr(table_files, "read_clips", lambda: longer)
    corpus = small({})
    assert "1 of 3 clips differ" in caplog.text
    assert [row.id for row in read_table(corpus, "open/asr/test")] == ["drascula-2-p00-02"]
    assert read_trials(corpus, "open/asr/test") == []


def test_rows_lie_within_their_clips() -> None:
    clips = table_files.read_clips()
    for path in table_files.ROWS.iterdir():
        rows = table_files.read_rows(path)
        assert [row.id for row in rows] == sorted({row.id for row in rows})
        for row in rows:
            assert row.manifests
            assert 0 <= row.start < row.start + row.num_samples <= clips[row.clip].num_samples
            if row.manifests != ("unlabelled/train",):
                assert clips[row.clip].verdict == "ok"


def test_trials_name_rows_of_their_manifest() -> None:
    rows = table_files.read_rows(table_files.ROWS / "asv.tsv.gz")
    for name, trials in table_files.read_trials().items():
        ids = {row.id for row in rows if name in row.manifests}
        assert ids == {end for trial in trials for end in trial[1:]}


def test_the_tables_are_small_and_hold_no_script() -> None:
    assert sum(path.stat().st_size for path in FILES) < 1_000_000
    for path in table_files.ROWS.iterdir():
        for row in table_files.read_rows(path):
            texts = row.target.values() if isinstance(row.target, dict) else [row.target]
            for text in texts:
                assert not isinstance(text, str) or re.fullmatch(r"\{text\}|[\w-]+", text)


@pytest.mark.parametrize("content", [b"", b"not gzip", FILES[0].read_bytes()[:500]])
def test_a_broken_table_is_refused(tmp_path, content) -> None:
    path = tmp_path / "table.tsv.gz"
    path.write_bytes(content)
    with pytest.raises(InvalidDataError, match="not a compressed table"):
        table_files.read_fields(path)
