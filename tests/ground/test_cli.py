"""The command line as a user meets it: fast help, one clear line for a mistake, an exit code."""

import subprocess
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench.cli import GROUPS, ROOT, main
from bench.records.checkout import checkout_state, git
from bench.run import provenance

COMMANDS = sorted(
    path.stem.replace("_", "-") for path in (ROOT / "bench" / "commands").glob("[!_]*.py")
)


@pytest.fixture
def call(capsys, monkeypatch, tmp_path):
    """Run a command in this process, with an empty home; return its exit code and what it wrote."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("SLIM_SUPERB_HOME", str(tmp_path / "home"))

    def run(*arguments):
        capsys.readouterr()
        try:
            code = main([*map(str, arguments)])
        except SystemExit as end:
            code = end.code
        said = capsys.readouterr()
        return SimpleNamespace(returncode=code, stdout=said.out, stderr=said.err)

    return run


def refused(done, code, *words):
    """One line on stderr, no traceback, nothing on stdout."""
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("slim-superb: "), done.stderr
    for word in words:
        assert word in last, last


@pytest.mark.parametrize("word", ["house_whisper_distil", "ks"])
def test_one_word_without_a_card_is_told_that_two_are_needed(call, word):
    refused(call("eval", word), 2, "an upstream and a task", repr(word))


def test_help_groups_every_command(call):
    for command in COMMANDS:
        module = import_module(f"bench.commands.{command.replace('-', '_')}")
        assert GROUPS[module.GROUP]
    done = call("--help")
    assert done.returncode == 0 and all(command in done.stdout for command in COMMANDS)
    text = done.stdout
    assert max(map(len, text.splitlines())) <= 80
    titles = [line.rstrip(":") for line in text.splitlines() if line.rstrip(":") in GROUPS.values()]
    assert titles == [title for group, title in GROUPS.items() if group]


def test_version_of_the_distribution_and_commit(call):
    done = call("--version")
    assert done.returncode == 0
    name, number, *rest = done.stdout.split()
    assert (name, number.strip(",")) == ("slim-superb", version("slim-superb"))
    commit = git(ROOT, "rev-parse", "--short=12", "HEAD")
    assert rest[:2] == ([] if commit is None else ["commit", commit])


def test_an_environment_inside_another_checkout_has_no_commit(tmp_path):
    git(tmp_path, "init", "-q")
    git(tmp_path, "-c", "user.name=a", "-c", "user.email=a", "commit", "-qm", "b", "--allow-empty")
    (tmp_path / "site-packages").mkdir()
    assert checkout_state(tmp_path)[0] == git(tmp_path, "rev-parse", "HEAD")
    assert checkout_state(tmp_path / "site-packages") == (None, None)


def test_variables_of_git_name_no_other_repository(tmp_path, monkeypatch):
    """Git sets them for its hooks, whatever code a hook calls."""
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "-q")
    git(other, "-c", "user.name=a", "-c", "user.email=a", "commit", "-qm", "b", "--allow-empty")
    expected = checkout_state(ROOT)
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    assert checkout_state(ROOT) == expected
    assert checkout_state(tmp_path) == (None, None)


def test_an_installed_package_says_its_version(tmp_path, monkeypatch):
    """Also where the environment lies in the checkout of another project."""
    git(tmp_path, "init", "-q")
    git(tmp_path, "-c", "user.name=a", "-c", "user.email=a", "commit", "-qm", "b", "--allow-empty")
    place = tmp_path / "site-packages"
    (place / "bench").mkdir(parents=True)
    about = place / "slim_superb-7.8.9.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: slim-superb\nVersion: 7.8.9\n")
    monkeypatch.syspath_prepend(str(place))
    monkeypatch.setattr(provenance, "ROOT", place)
    assert provenance.project_state() == ("installed, version 7.8.9", None)
    monkeypatch.setattr(provenance, "ROOT", tmp_path / "copied")  # a copy that was not installed
    assert provenance.project_state() == (None, None)


def test_help_imports_nothing_heavy():
    """Half a second is the promise; what is not imported takes no time on any machine."""
    code = (
        "import sys\n"
        "from bench.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(*(name for name in sys.modules if '.' not in name), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stderr.split())
    assert "bench" in loaded
    assert not loaded & {"torch", "numpy", "scipy", "datasets", "pyarrow", "pydantic"}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_an_example(command, call):
    done = call(command, "--help")
    assert done.returncode == 0
    assert f"example:\n  slim-superb {command}" in done.stdout


@pytest.mark.parametrize("what", ["upstreams", "tasks", "tracks"])
def test_lists(what, call):
    done = call("list", what)
    assert done.returncode == 0
    assert {"upstreams": "lighthubert_small", "tasks": "asr", "tracks": "quick"}[
        what
    ] in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["evaluate", "fbank", "asr"], ["unknown command 'evaluate'", "did you mean 'eval'"]),
        (["eval", "lighthubert_smal", "asr"], ["unknown upstream", "'lighthubert_small'"]),
        (["eval", "fbank", "asrr"], ["unknown task", "did you mean 'asr'"]),
        (["eval", "fbank", "slurp"], ["unknown task", "--track superb"]),
        (["eval", "fbank"], ["expected an upstream and a task", "found 'fbank'"]),
        (["eval", "fbank", "asr", "--track", "opn"], ["unknown track", "did you mean 'open'"]),
        (["eval", "fbank+trained", "asr"], ["expected NAME"]),
        (["eval", "fbank@colour=red", "ks"], ["colour"]),
        (["eval", "fbank", "ks", "--seed", "-1"], ["seed -1"]),
        (["eval", "fbank", "ks", "--lr", "0"], ["lr 0"]),
        (["cost", "nosuch"], ["unknown upstream"]),
        (["cost", "lighthubert_small@embed=255"], ["255", "256"]),
        (["cost", "lighthubert_small@layers=13"], ["13", "10"]),
        (["cost", "lighthubert_small@heads=4-4"], ["heads"]),
        (["cost", "lighthubert_small@randm:7"], ["randm"]),
    ],
)
def test_a_mistake_is_one_clear_line(arguments, words, call):
    refused(call(*arguments), 2, *words)


def test_wrong_options_are_a_usage_error(call):
    assert call("eval").returncode == 2
    assert call("list", "models").returncode == 2
    assert call("eval", "fbank", "ks", "--seed", "zero").returncode == 2


def test_strict_makes_missing_weights_an_error(call, monkeypatch):
    monkeypatch.delenv("SLIM_SUPERB_WEIGHTS", raising=False)
    done = call("eval", "lighthubert_small", "ks", "--strict")
    refused(done, 3, "lighthubert_small")
    for hint in ("WEIGHTS", "SLIM_SUPERB_WEIGHTS"):
        assert hint in done.stderr


def test_a_weights_file_that_is_none_is_an_error(call, tmp_path):
    bad = tmp_path / "bad.pt"
    bad.write_bytes(b"not a checkpoint")
    done = call("eval", "lighthubert_small", "ks", "--weights", bad)
    refused(done, 4, "bad.pt")
    done = call("eval", "lighthubert_small", "ks", "--weights", tmp_path / "no.pt")
    refused(done, 3, "no.pt")


def test_no_apt_and_no_packages(call, tmp_path, monkeypatch):
    """Neither apt-get nor --deb-dir: a line that says what to do."""
    monkeypatch.setenv("PATH", str(tmp_path))
    refused(call("data", "prepare"), 3, "--deb-dir")


def test_a_folder_without_the_packages(call, tmp_path):
    done = call("data", "prepare", "--deb-dir", tmp_path)
    refused(done, 3, "flight-of-the-amazon-queen")


def test_a_corrupt_package(call, tmp_path):
    for name in ("flight-of-the-amazon-queen_1.0.0-9_all.deb", "drascula_1.0+ds4-2_all.deb"):
        (tmp_path / name).write_bytes(b"!<arch>\nnonsense")
    done = call("data", "prepare", "--deb-dir", tmp_path)
    refused(done, 4, ".deb")


def test_score_of_a_file_that_is_no_record(call, tmp_path):
    path = tmp_path / "record.json"
    path.write_text("{}")
    refused(call("score", path), 4, "not a record")
    refused(call("score", tmp_path / "none.json"), 3, "no such file")


def test_another_package_called_bench_is_noticed(tmp_path):
    """frappe-bench installs a top-level `bench` too; being run with it must not go unnoticed."""
    other = tmp_path / "bench"
    other.mkdir()
    (other / "__init__.py").write_text("")
    code = (
        "import importlib.util, sys; import bench.cli as cli; import bench; "
        f"bench.__file__ = {str(other / '__init__.py')!r}; sys.exit(cli.main(['list', 'tracks']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=Path.cwd()
    )
    refused(done, 2, "not Slim-SUPERB's")


def test_words_that_could_control_a_terminal_or_cut_a_path_are_shown_as_text(capsys):
    with pytest.raises(SystemExit) as end:
        main(["eval", "fbank", "ks", "--colour", "\x1b[31mred"])
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert "\x1b" not in said and "unknown argument: --colour \\u001b[31mred" in said
    assert main(["board", "--out", "site\0"]) == 2
    assert "'site\\x00': an argument must not have a NUL" in capsys.readouterr().err
