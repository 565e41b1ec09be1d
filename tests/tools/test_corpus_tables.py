"""The committed tables of the games are those that the rules in `tools/corpus` make."""

from __future__ import annotations

import gzip
from dataclasses import replace

import pytest

from bench import paths
from bench.corpora.embedded import games
from bench.corpora.games import table_files
from bench.corpora.package.clip_sound import ClipSound
from bench.corpora.package.reader import GameLine
from bench.errors import InvalidDataError
from tools.corpus import alignment, table_writer
from tools.corpus.gzip_table import write_fields


@pytest.mark.corpus
def test_the_builder_makes_the_committed_tables(tmp_path) -> None:
    corpus = games.prepare(paths.home())
    lines = games.read_lines(paths.home() / "packages", None)
    sounds = games.decode(lines.values(), corpus)  # finds all clips in the corpus
    table_writer.write(lines, sounds, alignment.read(), tmp_path)
    written = {path.relative_to(tmp_path): path for path in tmp_path.rglob("*.gz")}
    committed = {path.relative_to(table_files.FOLDER): path for path in table_files.files()}
    assert set(written) == set(committed)
    for name, path in written.items():  # another zlib may compress to other bytes
        assert gzip.decompress(path.read_bytes()) == gzip.decompress(committed[name].read_bytes())


def test_the_same_content_gives_the_same_bytes(tmp_path) -> None:
    one, two = tmp_path / "one.tsv.gz", tmp_path / "two.tsv.gz"
    for path in (one, two):
        write_fields(path, [("a", 1), ("b", 2)])
    assert one.read_bytes() == two.read_bytes()
    assert one.read_bytes()[4:8] == bytes(4)  # no time of writing
    assert table_files.read_fields(one) == [["a", "1"], ["b", "2"]]


def test_a_line_without_its_alignment_is_refused(tmp_path) -> None:
    line = GameLine("queen-JOE00411", "queen", "JOE", "Something new.", b"bytes", "mp3")
    sounds = {line.id: ClipSound(line.id, 16_000, "key", silent=False)}
    other = {line.id: alignment.Alignment("0" * 24, "ok", ((0, 160), (160, 320)))}
    for table in ({}, other):
        with pytest.raises(InvalidDataError, match="tables --align"):
            table_writer.write({line.id: line}, sounds, table, tmp_path)


def test_written_tables_are_read_back(tmp_path, monkeypatch) -> None:
    """A silent clip and the second of two equal ones are left out."""
    lines, sounds, alignments = {}, {}, {}
    for number, key in enumerate(("a", "b", "a", "silent")):
        line = GameLine(f"queen-{number}1", "queen", "JOE", "Hello Joe.", key.encode(), "mp3")
        lines[line.id] = line
        sounds[line.id] = ClipSound(line.id, 32_000, key, silent=key == "silent")
        spans = ((0, 16_000), (16_000, 32_000))
        alignments[line.id] = alignment.Alignment(table_files.identity(line), "ok", spans)
    alignments["queen-11"] = replace(alignments["queen-11"], verdict="decoy")
    table_writer.write(lines, sounds, alignments, tmp_path)
    monkeypatch.setattr(table_files, "CLIPS", tmp_path / "clips.tsv.gz")
    clips = table_files.read_clips()
    assert {name: clip.verdict for name, clip in clips.items()} == {
        "queen-01": "ok",
        "queen-11": "decoy",
    }
    (row,) = table_files.read_rows(tmp_path / "rows/asr.tsv.gz")
    assert (row.id, row.target) == ("queen-01", table_files.TEXT)
    assert row.manifests == ("open/asr/train", "quick/asr/train")
    (row,) = table_files.read_rows(tmp_path / "rows/ic.tsv.gz")
    assert row.target == "greet"
    rows = table_files.read_rows(tmp_path / "rows/unlabelled.tsv.gz")
    assert [row.id for row in rows] == ["queen-01", "queen-11"]
