"""An archive is read to its last byte; a record and its files are those of its digests."""

import gzip
import io
import tarfile
from pathlib import Path

import pytest

from bench.errors import InvalidDataError
from bench.records.archive import pack, unpack
from bench.records.bundle import opened, write_sums
from bench.records.record import read_record, write_record
from bench.registry import ROOT

RECORD = ROOT / "leaderboard/results/quick/random_features/ks-s0.json"
FILES = {"bundle.yaml": b"upstream: a\n", "records/ks-s0.json": b"{}\n" * 40}


@pytest.fixture
def packed(tmp_path):
    """A good archive, and a function that reads another one: its files or the refusal."""
    for name, content in FILES.items():
        path = tmp_path / "bundle" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    archive, count = tmp_path / "a.tar.gz", iter(range(10**6))
    pack(tmp_path / "bundle", archive)

    def read(content):
        archive.write_bytes(content)
        folder = tmp_path / str(next(count))
        folder.mkdir()
        try:
            unpack(archive, folder, lambda name, where: None)
        except InvalidDataError as error:
            assert "\n" not in str(error)
            return str(error)
        paths = [path for path in folder.rglob("*") if path.is_file()]
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}

    whole = archive.read_bytes()
    assert read(whole) == FILES
    return whole, read


def test_every_single_bit_is_found_or_changes_nothing(packed):
    """A few bits give the same content: those of gzip's header, and other codes of equal bytes."""
    whole, read = packed
    unnoticed = 0
    for bit in range(8 * len(whole)):
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        result = read(bytes(content))
        if isinstance(result, dict):
            assert result == FILES
            unnoticed += 1
    assert unnoticed < 0.15 * 8 * len(whole)


def tar(content):
    return gzip.decompress(content)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda whole: whole + b"x", "bytes after the end"),
        (lambda whole: whole + bytes(8), "bytes after the end"),
        (lambda whole: whole + whole, "bytes after the end"),
        (lambda whole: whole + gzip.compress(b""), "bytes after the end"),
        (lambda whole: gzip.compress(tar(whole) + tar(whole)), "more than one archive"),
        (lambda whole: gzip.compress(tar(whole) + b"x"), "more than one archive"),
        (lambda whole: gzip.compress(tar(whole)[:-1024].rstrip(b"\0")), "unexpected end of data"),
        (lambda whole: gzip.compress(tar(whole)[:1536]), "unexpected end of data"),
        (lambda whole: whole[:-1], "ends early"),
        (lambda whole: whole[:-8] + bytes(8), "incorrect data check"),
        (lambda whole: b"", "ends early"),
    ],
)
def test_what_is_not_one_whole_archive_is_refused(packed, change, expected):
    whole, read = packed
    result = read(change(whole))
    assert isinstance(result, str) and expected in result, result


def test_a_damaged_header_in_the_middle_does_not_end_the_archive(packed):
    """Its checksum is right where the damage came before the compression."""
    whole, read = packed
    with tarfile.open(fileobj=io.BytesIO(tar(whole))) as archive:
        second = archive.getmembers()[1].offset
    content = bytearray(tar(whole))
    content[second] ^= 1
    assert "more than one archive" in read(gzip.compress(bytes(content)))


@pytest.mark.parametrize("kind", ["altered", "added", "missing", "unlisted"])
def test_a_bundle_has_the_files_of_its_sums(tmp_path, kind):
    for name, content in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    write_sums(tmp_path)
    with opened(tmp_path):
        pass
    sums = tmp_path / "SHA256SUMS"
    if kind == "altered":
        (tmp_path / "bundle.yaml").write_text("upstream: b\n")
    elif kind == "added":
        (tmp_path / "cost.json").write_text("{}")
    elif kind == "missing":
        (tmp_path / "bundle.yaml").unlink()
    else:
        sums.unlink()
    expected = "no SHA256SUMS" if kind == "unlisted" else "is missing, added or altered"
    with pytest.raises(InvalidDataError, match=expected), opened(tmp_path):
        pass


def test_a_folder_that_is_no_bundle_is_not_walked(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "rglob", lambda *_: pytest.fail("a million files"))
    with pytest.raises(InvalidDataError, match="no SHA256SUMS"), opened(tmp_path):
        pass


def test_a_record_is_the_text_of_its_digest(tmp_path):
    path = tmp_path / "ks-s0.json"
    write_record(read_record(RECORD), path)
    whole = path.read_bytes()
    assert read_record(path) == read_record(RECORD)
    for bit in range(0, 8 * len(whole), 29):
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        with pytest.raises(InvalidDataError):
            read_record(path)
    path.write_bytes(whole.replace(b'"seed": 0', b'"seed": 7'))
    with pytest.raises(InvalidDataError, match="damaged: its text is not that of"):
        read_record(path)
