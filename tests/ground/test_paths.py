"""Writing is all or nothing, and a full or locked disk is one clear line."""

import errno
from pathlib import Path

import numpy as np
import pytest

from bench.errors import MissingError
from bench.paths import atomic_path, disk_errors, home, write_text


def failing(code):
    def replace(*_):
        raise OSError(code, "simulated")

    return replace


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (errno.ENOSPC, "file.txt: no space left on the disk"),
        (errno.EROFS, "file.txt: the file system is read-only"),
        (errno.EACCES, "file.txt: no permission"),
        (errno.EIO, "file.txt: the disk .* does not answer"),
        (errno.EFBIG, "file.txt: larger than files may be here"),
    ],
)
def test_disk_trouble_is_one_line_and_leaves_no_part(tmp_path, monkeypatch, code, message):
    target = tmp_path / "file.txt"
    target.write_text("old")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", failing(code))
        with pytest.raises(MissingError, match=message):
            write_text(target, "new")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_full_disk_under_numpys_writer_is_one_line(tmp_path):
    """Its error has no number."""
    with Path("/dev/full").open("wb") as file:
        with pytest.raises(OSError, match="requested and") as caught:
            np.zeros(100_000).tofile(file)
        assert caught.value.errno is None
    target = tmp_path / "a.npy"
    message = r"a\.npy: no space left on the disk"
    with pytest.raises(MissingError, match=message), disk_errors(target):
        raise caught.value


def test_an_interrupted_write_leaves_the_old_file(tmp_path):
    target = tmp_path / "folder" / "file.txt"
    write_text(target, "old")
    with pytest.raises(KeyboardInterrupt), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert target.read_text() == "old"
    assert list(target.parent.iterdir()) == [target]


def test_trouble_in_the_home_names_its_variable(tmp_path, monkeypatch):
    monkeypatch.setenv("SLIM_SUPERB_HOME", str(tmp_path))
    monkeypatch.setattr(Path, "replace", failing(errno.EROFS))
    with pytest.raises(MissingError, match=r"read-only.*set SLIM_SUPERB_HOME"):
        write_text(tmp_path / "file.txt", "new")


def test_home_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("SLIM_SUPERB_HOME", str(tmp_path / "a"))
    assert home() == tmp_path / "a"
    monkeypatch.delenv("SLIM_SUPERB_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
    assert home() == tmp_path / "b" / "slim-superb"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert home() == Path.home() / ".cache" / "slim-superb"
