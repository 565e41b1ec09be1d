"""The command line: collect the commands, parse, call one.

Every exception is one line on stderr and an exit code; `--verbose` adds the traceback. The details
of a defect of this project are written to a file, for a report.
"""

from __future__ import annotations

import argparse
import os
import pkgutil
import platform
import shlex
import sys
import tempfile
import textwrap
import time
import traceback
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import bench.commands
from bench import DISTRIBUTION, progress, stopping
from bench.commands._options import add_output_options, set_output
from bench.errors import UsageError, UserError, did_you_mean, explain, printable
from bench.paths import home
from bench.progress import fail, show, warn

# OpenMP's threads spin while they wait: where another process computes too, two of them are ten
# times slower than one. Torch reads this when it is first imported, which happens after this file.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

ROOT = Path(__file__).resolve().parent.parent
CLOSED_PIPE = 141  # as of a program that SIGPIPE ends
HELP_COLUMNS = 80
NAME_COLUMNS = 20
# Titles in the help, in its order, for the `GROUP` of a command; a command without one comes last.
GROUPS = {
    "evaluate": "evaluate upstreams",
    "compare": "compare models",
    "bring": "bring a model and data",
    "make": "make compressed models",
    "publish": "publish results",
    "": "commands",
}
EPILOG = """\
exit codes:
  0 done                            1 some cells of a grid failed
  2 wrong usage                     3 missing data, weights, space or memory
  4 invalid data or a failed check  5 done with random weights, because those
  70 a defect of this program         of the upstream cannot be reached
  130 interrupted                   141 the reader of the output ended

environment:
  SLIM_SUPERB_HOME  folder of corpora, weights and features"""


class _VersionAction(argparse.Action):
    """Option that prints the version and exits; nothing is computed unless it is used."""

    def __init__(self, option_strings: Sequence[str], dest: str, **options: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, **options)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        """Print name, version and commit."""
        show(version_line())
        parser.exit()


def version_line() -> str:
    """Return name and version of the installed distribution; in a checkout, its commit too."""
    from importlib.metadata import PackageNotFoundError, version

    from bench.records.checkout import checkout_state

    try:
        line = f"{DISTRIBUTION} {version(DISTRIBUTION)}"
    except PackageNotFoundError:
        line = f"{DISTRIBUTION} (not installed)"
    commit, dirty = checkout_state(ROOT)
    if commit is None:
        return line
    return f"{line}, commit {commit[:12]}{' with changes' if dirty else ''}"


def _command_modules(package: ModuleType) -> dict[str, ModuleType]:
    """Import the modules of a package whose names do not begin with `_`, by command."""
    return {
        item.name.replace("_", "-"): import_module(f"{package.__name__}.{item.name}")
        for item in pkgutil.iter_modules(package.__path__)
        if not item.name.startswith("_")
    }


def _command_list(commands: Mapping[str, ModuleType]) -> str:
    """Return the commands with their one-line helps, by group, for the help of the program."""
    lines = []
    for group, title in GROUPS.items():
        members = [name for name in commands if getattr(commands[name], "GROUP", "") == group]
        lines += ["", f"{title}:"] if members else []
        for name in members:
            lines += textwrap.wrap(
                commands[name].HELP,
                width=HELP_COLUMNS,
                initial_indent=f"  {name}".ljust(NAME_COLUMNS),
                subsequent_indent=" " * NAME_COLUMNS,
            )
    return "\n".join(lines)


def _parser(
    package: ModuleType = bench.commands, prog: str = DISTRIBUTION
) -> argparse.ArgumentParser:
    """Build a parser with one sub-command for each module of a package."""
    commands = _command_modules(package)
    summary = (package.__doc__ or "").partition("\n")[0]
    parser = CommandParser(
        prog=prog,
        usage=f"{prog} [-h] [--version] COMMAND ...",
        description=f"{summary}\n{_command_list(commands)}",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_VersionAction, help="show the version and exit")
    # Listed in the description, because argparse cannot group sub-commands.
    subparsers = parser.add_subparsers(
        prog=prog, required=True, metavar="COMMAND", help=argparse.SUPPRESS
    )
    for name, module in commands.items():
        command = subparsers.add_parser(
            name,
            description=module.HELP,
            epilog=f"example:\n  {module.EXAMPLE}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.configure(command)
        for leaf in leaf_parsers(command):
            add_output_options(leaf)
            leaf.set_defaults(function=module.run, parser=leaf)
    return parser


class CommandParser(argparse.ArgumentParser):
    """Parser whose errors show a stranger's words as text that cannot control a terminal."""

    def error(self, message: str) -> NoReturn:
        """End the program with usage and message."""
        super().error(printable(message))


def leaf_parsers(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    """Return a parser without sub-commands, or those below it that have none."""
    below = [
        child
        for action in parser._actions
        if isinstance(action, argparse._SubParsersAction)
        for child in action.choices.values()
    ]
    return [leaf for child in below for leaf in leaf_parsers(child)] or [parser]


def _parse(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """Parse a command line; an error shows the usage of the command that it is about.

    Where the parser ends the program after a help text, the text is flushed.
    """
    try:
        options, unknown = parser.parse_known_args(words)
        if unknown:
            _refuse_unknown(getattr(options, "parser", parser), unknown)
        return options
    except SystemExit:
        sys.stdout.flush()
        raise


def _refuse_unknown(command: argparse.ArgumentParser, unknown: Sequence[str]) -> NoReturn:
    """End the program with the usage of a command and near names of an unknown option."""
    options = [name for action in command._actions for name in action.option_strings]
    first = unknown[0].partition("=")[0]
    near = did_you_mean(first, options) if first.startswith("-") else ""
    hint = f" ({near})" if near.startswith("did you mean") else ""
    command.error(f"unknown argument: {' '.join(unknown)}{hint}")


def _check_command(words: Sequence[str], commands: Mapping[str, ModuleType]) -> None:
    """Refuse an unknown command, and words that cannot be a path.

    Raises:
        UsageError: a word has a NUL character, or the first one that is no option names no command
            (with near names).
    """
    broken = next((word for word in words if "\0" in word), None)
    if broken is not None:
        raise UsageError(f"{broken!r}: an argument must not have a NUL character")
    name = next((word for word in words if not word.startswith("-")), None)
    if name is not None and name not in commands:
        raise UsageError(f"unknown command {name!r}: {did_you_mean(name, commands)}")


def _check_package() -> None:
    """Refuse to run on another top-level package `bench` (frappe-bench installs one).

    Raises:
        UserError: `bench` is not the folder of this file.
    """
    folder = Path(bench.__file__ or "").resolve().parent
    if folder != Path(__file__).resolve().parent:
        raise UserError(f"'bench' is imported from {folder}, which is not Slim-SUPERB's")


def main(
    arguments: Sequence[str] | None = None,
    *,
    package: ModuleType = bench.commands,
    prog: str = DISTRIBUTION,
) -> int:
    """Run one command and return its exit code; every exception is one line on stderr.

    Args:
        arguments: words of the command line; those of the process where None.
        package: holds the commands, one module each.
        prog: name of the program in messages.
    """
    words = sys.argv[1:] if arguments is None else arguments
    is_verbose = False
    try:
        _check_command(words, _command_modules(package))
        parser = _parser(package, prog)
        if not words:
            parser.print_help()
            return 0
        options = _parse(parser, words)
        is_verbose = options.verbose
        _check_package()
        set_output(options)
        code: int = options.function(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        warn("")  # ends the line of the "^C" that a terminal shows
        warn(f"{prog}: interrupted; the same command goes on from here")
        return stopping.EXIT_CODE
    except Exception as error:
        if progress.output_is_closed(error):
            return CLOSED_PIPE
        explained = explain(error)
        line = f"{prog}: {explained.line}"
        if is_verbose:
            for frame in "".join(traceback.format_exception(error)).splitlines():
                fail(frame)
        elif explained.is_defect:
            line += f"; {_write_report(error, words)}"
        fail(line)
        return explained.exit_code
    return code


def _write_report(error: Exception, words: Sequence[str]) -> str:
    """Write the details of a defect to a file in the home or the temporary folder; say where."""
    report = (
        f"{version_line()}\n{platform.platform()}, Python {platform.python_version()}\n"
        f"{shlex.join(words)}\n\n{''.join(traceback.format_exception(error))}"
    )
    name = f"report-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
    for in_home in (True, False):
        try:
            path = (home() / "reports" if in_home else Path(tempfile.gettempdir())) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(report, encoding="utf-8", errors="backslashreplace")
        except (OSError, UserError):
            continue
        return f"please report it with {path}"
    return "please report it with what --verbose prints"


def program(*, package: ModuleType = bench.commands, prog: str = DISTRIBUTION) -> int:
    """Run the command of this process: as `main`, with its signals and streams."""
    if "_ARGCOMPLETE" in os.environ:  # the shell asks what may come next
        from bench.commands.completion import complete

        complete(_parser(package, prog))
    stopping.install_interrupts()
    progress.open_streams()
    try:
        return main(package=package, prog=prog)
    finally:
        progress.close_output()


if __name__ == "__main__":
    sys.exit(program())
