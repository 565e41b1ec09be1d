"""Whatever goes wrong in a command is one line and an exit code, and Ctrl-C loses nothing."""

import errno
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest
import torch

from bench import cli, stopping
from bench.engine import Engine
from bench.errors import DEFECT_CODE, MissingError, UsageError

PROGRAM = [sys.executable, "-m", "bench"]
RESULTS = Path(__file__).resolve().parents[1] / "golden/results"  # few: a board in no time


def run_with(error, *words, monkeypatch):
    """Run a command that raises an error; return the exit code."""

    def run(options):
        raise error

    command = ModuleType("a_command")
    command.HELP = command.EXAMPLE = "fails"
    command.configure, command.run = (lambda parser: None), run
    monkeypatch.setattr(cli, "_command_modules", lambda package: {"fail": command})
    return cli.main(["fail", *words])


def one_line_of(captured):
    """Return the one line that a command wrote."""
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("slim-superb: ")
    return line


def shell(command, **environment):
    """Run a line of bash in which $SS is the program."""
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "SS": " ".join(PROGRAM), **environment},
    )


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (UsageError("no such card"), 2, "no such card"),
        (MemoryError(), 3, "out of memory"),
        (RuntimeError("can't start new thread"), 3, "out of memory or processes"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 3, "out of memory"),
        (torch.OutOfMemoryError("CUDA out of memory"), 3, "out of memory"),
        (NotADirectoryError(errno.ENOTDIR, "", "/a/b"), 3, "/a/b: a part of the path is a file"),
        (FileExistsError(errno.EEXIST, "", "/a"), 3, "/a: is in the way"),
        (OSError(errno.ELOOP, "", "/a"), 3, "/a: a link that leads to itself"),
        (OSError(errno.ENAMETOOLONG, "", "/" + "a" * 999), 3, "/aaa"),
        (OSError(errno.EFBIG, ""), 3, "ulimit -f"),
        (OSError(errno.EMFILE, "", "/a"), 3, "ulimit -n"),
        (OSError(errno.EHOSTDOWN, "Host is down", b"/a"), 3, "/a: Host is down"),
        (UnicodeEncodeError("utf-8", "b\udce9.wav", 1, 2, "surrogates not allowed"), 4, "b\\udce9"),
        (ZeroDivisionError("a\nb"), DEFECT_CODE, "ZeroDivisionError"),
        (KeyError("a"), DEFECT_CODE, "please report"),
    ],
)
def test_every_exception_is_one_line(error, code, words, monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("SLIM_SUPERB_HOME", str(tmp_path))
    assert run_with(error, monkeypatch=monkeypatch) == code
    assert words in one_line_of(capsys.readouterr())
    assert run_with(error, "-v", monkeypatch=monkeypatch) == code
    assert "Traceback" in capsys.readouterr().err


def test_a_defect_writes_a_report(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("SLIM_SUPERB_HOME", str(tmp_path / "home"))
    run_with(KeyError("a"), monkeypatch=monkeypatch)
    line = one_line_of(capsys.readouterr())
    (report,) = (tmp_path / "home" / "reports").iterdir()
    assert line.endswith(str(report)) and "test_top_level.py" in line
    assert "Traceback" in report.read_text() and "slim-superb" in report.read_text()
    (tmp_path / "file").touch()  # a home that cannot be: the report goes to the temporary folder
    monkeypatch.setenv("SLIM_SUPERB_HOME", str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    run_with(KeyError("a"), monkeypatch=monkeypatch)
    (report,) = tmp_path.glob("report-*.txt")
    assert one_line_of(capsys.readouterr()).endswith(str(report))


def test_an_error_of_the_operating_system_needs_no_report(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("SLIM_SUPERB_HOME", str(tmp_path))
    run_with(OSError(errno.EIO, "", "/a"), monkeypatch=monkeypatch)
    assert "report" not in one_line_of(capsys.readouterr())
    assert list(tmp_path.iterdir()) == []


@contextmanager
def places(folder):
    """Yield paths at which no folder can be, by kind."""
    (folder / "file").touch()
    (folder / "dangling").symlink_to(folder / "not mounted")
    (folder / "loop").symlink_to(folder / "loop")
    yield {
        "a file": folder / "file",
        "below a file": folder / "file" / "below",
        "a link to nothing": folder / "dangling",
        "below a link to nothing": folder / "dangling" / "below",
        "a loop": folder / "loop",
        "a device": Path(os.devnull),
        "a long name": folder / ("a" * 300),
    }


KINDS = [
    *("a file", "below a file", "a link to nothing", "below a link to nothing", "a loop"),
    *("a device", "a long name"),
]


@pytest.mark.parametrize("kind", KINDS[:-1])
def test_a_home_that_is_no_folder(kind, monkeypatch, capsys, tmp_path):
    with places(tmp_path) as paths:
        monkeypatch.setenv("SLIM_SUPERB_HOME", str(paths[kind]))
        assert cli.main(["store", "status"]) == 2
        assert "set SLIM_SUPERB_HOME" in one_line_of(capsys.readouterr())


def test_a_cache_that_is_no_folder(monkeypatch, capsys, tmp_path):
    monkeypatch.delenv("SLIM_SUPERB_HOME", raising=False)
    for variable, value in (
        ("XDG_CACHE_HOME", "~nosuchuser"),
        ("XDG_CACHE_HOME", str(tmp_path / "dangling")),
    ):
        (tmp_path / "dangling").unlink(missing_ok=True)
        (tmp_path / "dangling").symlink_to("nothing")
        monkeypatch.setenv(variable, value)
        assert cli.main(["store", "status"]) == 2
        assert "set SLIM_SUPERB_HOME" in one_line_of(capsys.readouterr())
    monkeypatch.setenv("SLIM_SUPERB_HOME", "~nosuchuser/x")
    assert cli.main(["store", "status"]) == 2
    assert "~nosuchuser/x" in one_line_of(capsys.readouterr())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "command",
    [["eval", "fbank", "ks"], ["board", "--results", str(RESULTS)], ["listen", "white-10db"]],
    ids=["eval", "board", "listen"],
)
def test_an_output_that_is_no_folder(command, kind, capsys, tmp_path):
    with places(tmp_path) as paths:
        assert cli.main([*command, "--out", str(paths[kind])]) == 3
        line = capsys.readouterr().err.splitlines()[-1]
        assert "/dev/null" in line if kind == "a device" else str(tmp_path) in line


@pytest.mark.parametrize("device", ["mps", "meta", "garbage", "", "cuda:", "cuda:-1", "cpu:0"])
def test_an_unknown_device(device):
    with pytest.raises(UsageError, match=r"expected cpu, cuda .*or cuda:N"):
        Engine(device).check()


def test_a_gpu_that_is_not_there():
    with pytest.raises(MissingError, match="GPU"):
        Engine("cuda:99").check()


@pytest.mark.parametrize(
    ("command", "code", "error"),
    [
        ("$SS --help | true", 0, ""),
        ("$SS list tracks | true", 141, ""),
        ("$SS --help >/dev/full", 0, ""),
        ("$SS list tracks >/dev/full", 3, "no space left"),
        ("$SS list tracks 2>&-", 0, ""),
        ("$SS list tracks >&- 2>&- <&-", 0, ""),
        ("$SS nonsense 2>&-", 2, ""),
        ("$SS nonsense 2>/dev/full", 2, ""),
        ("$SS nonsense 2> >(true)", 2, ""),
    ],
)
def test_closed_and_full_streams(command, code, error):
    done = shell(command)
    assert done.returncode == code, done.stderr
    assert error in done.stderr and len(done.stderr.splitlines()) == bool(error)


def test_a_closed_progress_pipe_does_not_stop_the_work(tmp_path):
    code = (
        "import sys, time; from bench import progress; progress.open_streams();"
        "bar = progress.bar(total=3, label='a', unit='b')\n"
        "for n in range(3): progress.say('x'); time.sleep(.1); bar.update(1)\n"
        "bar.close(); print('done')"
    )
    done = shell(f'{{ {sys.executable} -c "{code}" 2>&1 >{tmp_path}/out; }} | head -1')
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out").read_text() == "done\n"


@pytest.mark.parametrize("seconds", [0.03, 0.06, 0.1, 0.2, 0.4])
def test_ctrl_c_while_the_program_starts(seconds):
    code = (  # as the installed script
        "import sys; from bench.__main__ import main;"
        "print('python is up', flush=True); sys.exit(main())"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, "list", "conditions"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "python is up\n"
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=20)
    assert process.returncode in (0, 130) and "Traceback" not in error


def test_ctrl_c_during_an_import_ends_the_process(tmp_path):
    """A compiled module that is imported in part crashes, or cannot be imported again."""
    (tmp_path / "stopped.py").write_text("import signal; signal.raise_signal(signal.SIGINT)")
    code = (
        "from bench import stopping; stopping.install_interrupts(); import stopped; print('lost')"
    )
    path = os.pathsep.join([str(tmp_path), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


WORK = """
import sys, time
from bench import cli, stopping
def work(*_, **__):
    with stopping.deferred():
        print("at work", flush=True)
        end = time.monotonic() + 10
        while time.monotonic() < end:
            if {checks}: stopping.check()
            time.sleep(0.01)
    return 0
cli.main = work
try: cli.program()
except KeyboardInterrupt: print("stored"); sys.exit(130)
"""


@pytest.mark.parametrize(("checks", "signals", "out"), [(True, 1, "stored\n"), (False, 2, "")])
def test_the_first_ctrl_c_asks_and_the_second_ends(checks, signals, out):
    process = subprocess.Popen(
        [sys.executable, "-c", WORK.format(checks=checks)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "at work\n"
    begin = time.monotonic()
    for _ in range(signals):
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
    said, error = process.communicate(timeout=20)
    assert (process.returncode, said) == (130, out), error
    assert "Ctrl-C again ends at once" in error and "Traceback" not in error
    assert time.monotonic() - begin < 5


def test_ctrl_c_outside_of_such_loops_raises(monkeypatch):
    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(stopping, "_interrupts", 0)
    try:
        stopping.install_interrupts()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert not stopping.requested()
    finally:
        signal.signal(signal.SIGINT, before)


def test_where_ctrl_c_is_ignored_it_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        stopping.install_interrupts()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
