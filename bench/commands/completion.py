"""`slim-superb completion`: complete command lines with the Tab key, by the library `argcomplete`.

The shell runs the program with `_ARGCOMPLETE` in its environment. Names of upstreams, tasks,
tracks, conditions and recipes are completed from the cards.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable
from typing import Any

from bench import DISTRIBUTION

GROUP = "bring"
HELP = "Print what makes a shell complete command lines of this program."
EXAMPLE = 'slim-superb completion bash    # with eval "$(...)" in ~/.bashrc'
SHELLS = ("bash", "zsh", "fish")
SETUP = {
    "bash": 'eval "$(slim-superb completion bash)"    # a line for ~/.bashrc',
    "zsh": 'eval "$(slim-superb completion zsh)"     # a line for ~/.zshrc, after compinit',
    "fish": "slim-superb completion fish | source    # a line for ~/.config/fish/config.fish",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    lines = "; ".join(f"{shell}: {text}" for shell, text in SETUP.items())
    parser.add_argument("shell", choices=SHELLS, help=lines)


def run(options: argparse.Namespace) -> int:
    """Print the script of a shell."""
    from argcomplete.shell_integration import shellcode

    sys.stdout.write(shellcode([DISTRIBUTION], shell=options.shell) + "\n")
    return 0


def complete(parser: argparse.ArgumentParser) -> None:
    """Answer the shell with what may come next, and end the process.

    Args:
        parser: of the whole program.
    """
    import argcomplete

    attach(parser)
    argcomplete.autocomplete(parser, always_complete_options="long")


def attach(parser: argparse.ArgumentParser) -> None:
    """Give every argument that takes a name its completer, in all commands."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                attach(child)
        elif action.dest in COMPLETERS:
            vars(action)["completer"] = COMPLETERS[action.dest]


def _listed(names: Callable[[argparse.Namespace], Iterable[str]]) -> Callable[..., list[str]]:
    """Return a completer of the last of the names that commas or semicolons join."""

    def completer(prefix: str, parsed_args: argparse.Namespace, **_: Any) -> list[str]:
        start = max(prefix.rfind(","), prefix.rfind(";")) + 1
        return [prefix[:start] + name for name in names(parsed_args)]

    return completer


def _upstreams(options: argparse.Namespace) -> Iterable[str]:
    from bench.load.catalog import upstream_names
    from bench.load.packages import installed

    return [*upstream_names(), *installed()]


def _tasks(options: argparse.Namespace) -> Iterable[str]:
    from bench.registry import task_names, track_names

    track = getattr(options, "track", None)
    tracks = [track] if track in track_names() else track_names()
    return sorted({task for one in tracks for task in task_names(one)})


def _tracks(options: argparse.Namespace) -> Iterable[str]:
    from bench.registry import track_names

    return track_names()


def _conditions(options: argparse.Namespace) -> Iterable[str]:
    from bench.conditions.catalogue import catalogue

    return [*catalogue().sets, *catalogue().conditions]


def _recipes(options: argparse.Namespace) -> Iterable[str]:
    from bench.make.recipe import recipe_names

    return recipe_names()


# By the name of the argument, which is the same in every command.
COMPLETERS = {
    "upstream": _listed(_upstreams),
    "upstreams": _listed(_upstreams),
    "names": _listed(_upstreams),
    "teacher": _listed(_upstreams),
    "task": _listed(_tasks),
    "tasks": _listed(_tasks),
    "track": _listed(_tracks),
    "condition": _listed(_conditions),
    "conditions": _listed(_conditions),
    "recipe": _listed(_recipes),
}
