"""One process holds a lock at a time; a dead process holds none."""

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench import stopping
from bench.errors import MissingError
from bench.features.inventory import in_use, using
from bench.features.locks import LOCKS, acquire, held, holder_of, lock_file, this_process

ROOT = Path(__file__).parents[2]


def start(code, folder, **options):
    """Start a process that runs Python code with a folder as its argument."""
    command = [sys.executable, "-c", code, str(folder)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, env=environment, text=True, **options)


HOLD = (
    "import sys, pathlib, time; from bench.features.locks import held\n"
    "with held(pathlib.Path(sys.argv[1]), ['x']):\n"
    "    print('held', flush=True); time.sleep(60)\n"
)


def test_only_one_holds_a_lock_until_it_is_released(tmp_path):
    path = lock_file(tmp_path, "cell a/b")
    lock = acquire(path, holder=this_process())
    assert acquire(path) is None
    assert acquire(lock_file(tmp_path, "cell a_b")) is not None
    assert holder_of(path) == this_process() == f"process {os.getpid()} on {os.uname().nodename}"
    lock.release()
    assert holder_of(path) == ""
    assert acquire(path) is not None
    assert holder_of(tmp_path / "never") == "" and not (tmp_path / "never").exists()


def test_a_killed_process_holds_nothing(tmp_path, capsys):
    process = start(HOLD, tmp_path, stdout=subprocess.PIPE)
    assert process.stdout.readline() == "held\n"
    path = lock_file(tmp_path, "x")
    assert holder_of(path).startswith(f"process {process.pid} on ")
    assert acquire(path) is None
    process.kill()
    process.wait()
    assert holder_of(path) == ""
    with held(tmp_path, ["x"]):
        assert holder_of(path) == this_process()
    assert capsys.readouterr().err == ""


def test_held_waits_with_a_message_and_can_be_stopped(tmp_path, monkeypatch, capsys):
    lock = acquire(lock_file(tmp_path, "x"), holder="process 5 on elsewhere")
    with monkeypatch.context() as patch:
        patch.setattr(time, "sleep", lambda seconds: lock.release())
        with held(tmp_path, ["x", "a"]):
            assert holder_of(lock_file(tmp_path, "a")) == this_process()
    assert "waiting for process 5 on elsewhere, which holds 'x'" in capsys.readouterr().err
    assert holder_of(lock_file(tmp_path, "a")) == ""
    acquire(lock_file(tmp_path, "x"))

    def stopped():
        raise stopping.Stopped

    with monkeypatch.context() as patch:
        patch.setattr(stopping, "check", stopped)
        lock = acquire(lock_file(tmp_path, "y"))
        with pytest.raises(stopping.Stopped), held(tmp_path, ["a", "y"]):
            pass
        assert lock.is_locked and holder_of(lock_file(tmp_path, "a")) == ""


def test_processes_never_hold_a_lock_together(tmp_path):
    code = (
        "import sys, pathlib\nfrom bench.features import locks\n"
        "locks.SECONDS_BETWEEN_TRIES = 0.002\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "for _ in range(20):\n"
        "    with locks.held(folder, ['count']):\n"
        "        file = folder / 'count'\n"
        "        file.write_text(str(int(file.read_text()) + 1))\n"
    )
    (tmp_path / "count").write_text("0")
    processes = [start(code, tmp_path, stderr=subprocess.DEVNULL) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert (tmp_path / "count").read_text() == "60"


def test_features_in_use_by_other_processes_are_named(tmp_path):
    code = (
        "import sys, pathlib, time; from bench.features.inventory import using\n"
        "with using(pathlib.Path(sys.argv[1]), 'b' * 64):\n"
        "    print('used', flush=True); time.sleep(60)\n"
    )
    process = start(code, tmp_path, stdout=subprocess.PIPE)
    assert process.stdout.readline() == "used\n"
    with using(tmp_path, "a" * 64):
        assert in_use(tmp_path) == {"b" * 24}
    process.kill()
    process.wait()
    assert in_use(tmp_path) == set()
    (left,) = (tmp_path / LOCKS).iterdir()  # of the killed process, and still new
    for when in (0, 2**33):  # old, and of a clock that was set back
        left.touch()
        os.utime(left, (when, when))
        assert in_use(tmp_path) == set() and not left.exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere; see below")
def test_a_shut_folder_is_named(tmp_path):
    (tmp_path / "shut").mkdir(mode=0o500)
    with pytest.raises(MissingError, match=r"x\.lock: no permission"):
        acquire(tmp_path / "shut" / "x.lock")


def test_a_file_system_without_locks_is_refused(tmp_path, monkeypatch):
    def refuses(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuses)
    with pytest.raises(MissingError, match=r"its file system has no locks \(flock\): choose"):
        acquire(tmp_path / "x.lock")


def test_a_folder_mounted_read_only_is_named_by_locks_and_runs(tmp_path):
    """Root cannot write there either; a mount of its own needs a namespace of its own."""
    code = (
        "import sys, pathlib, pytest\n"
        f"sys.path[:0] = [{str(ROOT / 'tests' / 'helpers')!r}]\n"
        "from toy_track import evaluate, make_toy\n"
        "from bench.errors import UserError\n"
        "from bench.features.locks import acquire\n"
        "base, shut = map(pathlib.Path, sys.argv[1:])\n"
        "toy = make_toy(base, pytest.MonkeyPatch())\n"
        "toy.out = shut / 'runs'\n"
        "for task in (lambda: acquire(shut / 'x.lock'), lambda: evaluate(toy)):\n"
        "    try:\n        task()\n"
        "    except UserError as error:\n        print(f'{error.exit_code} {error}')\n"
    )
    shut = tmp_path / "shut"
    shut.mkdir()
    mounted = 'mount -t tmpfs -o ro tmpfs "$2" || exit 77; exec "$0" -c "$3" "$1" "$2"'
    map_root = [] if os.geteuid() == 0 else ["--map-root-user"]
    command = ["unshare", "--mount", *map_root, "sh", "-c", mounted, sys.executable]
    try:
        done = subprocess.run(
            [*command, str(tmp_path), str(shut), code],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
    except FileNotFoundError:
        pytest.skip("no unshare here")
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("no mount namespaces here")
    lines = done.stdout.splitlines()
    assert len(lines) == 2, done.stderr[-1_000:]
    for line in lines:
        assert line.startswith("3 ") and "shut" in line and "read-only" in line, lines
