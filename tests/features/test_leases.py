"""One of several processes does a thing; a dead one's lease is taken over, a live one's is not."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.errors import MissingError
from bench.features import leases
from bench.features.leases import acquire, held, holder, lease_file, live_names


def test_only_one_has_a_lease_until_it_is_given_back(tmp_path):
    lease = acquire(tmp_path, "cell a/b")
    assert lease.is_held()
    assert acquire(tmp_path, "cell a/b") is None
    assert acquire(tmp_path, "cell a_b") is not None
    assert holder(tmp_path, "cell a/b")["pid"] == os.getpid()
    lease.release()
    assert holder(tmp_path, "cell a/b") is None
    assert acquire(tmp_path, "cell a/b") is not None


def test_a_dead_process_of_this_machine_holds_nothing(tmp_path):
    code = (
        "import sys, os, pathlib; from bench.features.leases import acquire; "
        "acquire(pathlib.Path(sys.argv[1]), 'x'); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert lease_file(tmp_path, "x").exists()
    assert live_names(tmp_path) == set()
    assert acquire(tmp_path, "x") is not None


def elsewhere(folder, name):
    path = lease_file(folder, name)
    path.write_text(json.dumps({"name": name, "token": "t", "machine": "far", "pid": 1}))
    return path


def test_another_machine_holds_what_it_touches(tmp_path):
    path = elsewhere(tmp_path, "x")
    assert acquire(tmp_path, "x") is None
    old = time.time() - leases.SECONDS_TO_LIVE - 5
    os.utime(path, (old, old))
    lease = acquire(tmp_path, "x")
    assert lease.is_held()


def test_a_lease_that_was_lost_is_not_given_back_for_its_new_holder(tmp_path):
    lease = acquire(tmp_path, "x")
    path = elsewhere(tmp_path, "x")
    assert not lease.is_held()
    lease.release()
    assert path.exists()


def test_a_number_used_again_by_another_process_is_not_the_holder(tmp_path):
    lease = acquire(tmp_path, "x")
    found = json.loads(lease.path.read_text())
    lease.path.write_text(json.dumps(found | {"born": "1"}))
    assert acquire(tmp_path, "x") is not None
    assert found["machine"].startswith(socket.gethostname())


def test_held_waits_and_gives_back(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(leases, "SECONDS_BETWEEN_LOOKS", 0.0)
    first = acquire(tmp_path, "x")
    monkeypatch.setattr(time, "sleep", lambda seconds: first.release())
    with held(tmp_path, ["x", "a"]) as both:
        assert [lease.is_held() for lease in both] == [True, True]
    assert live_names(tmp_path) == set()
    assert "waiting for another process" in capsys.readouterr().err


def test_many_threads_of_processes_never_hold_together(tmp_path):
    code = (
        "import sys, pathlib\nfrom bench.features.leases import held\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "for _ in range(20):\n"
        "    with held(folder, ['count']):\n"
        "        file = folder / 'count'\n"
        "        file.write_text(str(int(file.read_text()) + 1))\n"
    )
    (tmp_path / "count").write_text("0")
    hasty = "from bench.features import leases\nleases.SECONDS_BETWEEN_LOOKS = 0.002\n"
    command = [sys.executable, "-c", hasty + code, str(tmp_path)]
    running = [subprocess.Popen(command, stderr=subprocess.DEVNULL) for _ in range(3)]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    assert (tmp_path / "count").read_text() == "60"


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere; see below")
def test_a_shut_folder_is_named(tmp_path):
    (tmp_path / "shut").mkdir(mode=0o500)
    with pytest.raises(MissingError, match="no permission to write"):
        acquire(tmp_path / "shut", "x")


def test_a_folder_mounted_read_only_is_named_by_leases_and_runs(tmp_path):
    """Root cannot write there either; a mount of its own needs a namespace of its own."""
    code = (
        "import sys, pathlib, pytest\n"
        f"sys.path[:0] = [{str(Path(__file__).parents[1] / 'helpers')!r}]\n"
        "from toy_track import evaluate, make_toy\n"
        "from bench.errors import UserError\n"
        "from bench.features.leases import acquire\n"
        "base, shut = map(pathlib.Path, sys.argv[1:])\n"
        "toy = make_toy(base, pytest.MonkeyPatch())\n"
        "toy.out = shut / 'runs'\n"
        "for task in (lambda: acquire(shut, 'x'), lambda: evaluate(toy)):\n"
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
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        )
    except FileNotFoundError:
        pytest.skip("no unshare here")
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("no mount namespaces here")
    lines = done.stdout.splitlines()
    assert len(lines) == 2, done.stderr[-1_000:]
    assert all(line.startswith("3 ") and "shut" in line and "writ" in line for line in lines), lines
