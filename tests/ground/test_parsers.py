"""Every command line explains itself: helps, usages, completion."""

import argparse
import os
import subprocess
import sys

import pytest

from bench.cli import _parser, leaf_parsers, main
from bench.commands.completion import COMPLETERS, SHELLS, attach

LEAVES = {leaf.prog: leaf for leaf in leaf_parsers(_parser())}


def test_every_argument_of_every_command_has_a_help_text():
    for prog, leaf in LEAVES.items():
        for action in leaf._actions:
            assert action.help, f"{prog}: {action.option_strings or action.dest}"


def test_every_command_has_the_options_of_the_output():
    for prog, leaf in LEAVES.items():
        assert {"--wide", "--quiet", "--verbose"} <= leaf._option_string_actions.keys(), prog


@pytest.mark.parametrize(
    ("words", "usage", "hint"),
    [
        (["eval", "fbank", "ks", "--trak", "open"], "usage: slim-superb eval ", "--track"),
        (["subnets", "list", "x", "--max-param=1"], "usage: slim-superb subnets list", ""),
        (["list", "tracks", "extra"], "usage: slim-superb list", "extra"),
        (["store", "status", "-z"], "usage: slim-superb store status", "-z"),
    ],
)
def test_an_unknown_argument_shows_the_usage_of_its_command(words, usage, hint, capsys):
    if words[0] == "subnets":  # a prefix is enough for argparse
        words = [*words[:-1], "--maximum=1"]
    with pytest.raises(SystemExit) as ended:
        main(words)
    error = capsys.readouterr().err
    assert ended.value.code == 2 and error.startswith(usage) and hint in error


def test_without_a_command_the_help_is_shown(capsys):
    assert main([]) == 0
    assert capsys.readouterr().out.startswith("usage: slim-superb")


def test_names_are_completed_in_every_command():
    parser = _parser()
    attach(parser)
    actions = [action for leaf in leaf_parsers(parser) for action in leaf._actions]
    assert {a.dest for a in actions if hasattr(a, "completer")} == COMPLETERS.keys()
    none = argparse.Namespace()
    assert "house_whisper_distil" in COMPLETERS["upstream"](prefix="ho", parsed_args=none)
    assert "fbank;ge2e" in COMPLETERS["upstreams"](prefix="fbank;g", parsed_args=none)
    quick = argparse.Namespace(track="quick")
    assert "ks,sid" in COMPLETERS["tasks"](prefix="ks,", parsed_args=quick)
    assert "distorted-seen" in COMPLETERS["conditions"](prefix="", parsed_args=none)


def test_the_shell_is_answered(tmp_path):
    """As the script of `argcomplete` asks: the line in the environment, the answer in a file."""
    line = "slim-superb eval house_wa"
    answer = tmp_path / "answer"
    environment = {
        "_ARGCOMPLETE": "1", "_ARGCOMPLETE_STDOUT_FILENAME": str(answer), "COMP_LINE": line,
        "COMP_POINT": str(len(line)), "_ARGCOMPLETE_IFS": "\n", "_ARGCOMPLETE_SHELL": "bash",
    }  # fmt: skip
    subprocess.run([sys.executable, "-m", "bench"], env={**os.environ, **environment}, check=False)
    assert answer.read_text().split() == ["house_wave"]


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_for_every_shell(shell, capsys):
    assert main(["completion", shell]) == 0
    assert "slim-superb" in capsys.readouterr().out
