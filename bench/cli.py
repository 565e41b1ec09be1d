"""The command line: find the commands, parse, call one; an error is one line and an exit code."""

from __future__ import annotations

import argparse
import os
import pkgutil
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType

import bench.commands
from bench.commands._options import add_verbosity, set_verbosity
from bench.errors import UserError

# OpenMP's threads spin while they wait: where something else runs too, two of them are ten times
# slower than one. Read when torch is first imported, which no command has done yet.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

INTERRUPTED = 130


def _parser(
    package: ModuleType = bench.commands, prog: str = "slim-superb"
) -> argparse.ArgumentParser:
    """Build a parser with one sub-command for each module of a package."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description=(package.__doc__ or "").partition("\n")[0],
        epilog="exit codes: 0 done, 1 some cells of a grid failed, 2 usage, 3 missing data or "
        "weights, 4 invalid data or a failed check, 130 interrupted\n"
        "folders: SLIM_SUPERB_HOME (corpora, weights, features)",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for found in pkgutil.iter_modules(package.__path__):
        if found.name.startswith("_"):
            continue
        module = import_module(f"{package.__name__}.{found.name}")
        command = commands.add_parser(
            found.name.replace("_", "-"),
            help=module.HELP,
            description=module.HELP,
            epilog=f"example:\n  {module.EXAMPLE}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.configure(command)
        add_verbosity(command)
        command.set_defaults(function=module.run)
    return parser


def _assert_own_package() -> None:
    """Refuse to run on somebody else's top-level package `bench` (frappe-bench installs one)."""
    found = Path(bench.__file__ or "").resolve().parent
    if found != Path(__file__).resolve().parent:
        raise UserError(f"'bench' is imported from {found}, which is not Slim-SUPERB's")


def main(
    arguments: Sequence[str] | None = None,
    *,
    package: ModuleType = bench.commands,
    prog: str = "slim-superb",
) -> int:
    """Run one command and return its exit code; a user's error is one line on stderr.

    Args:
        arguments: words of the command line; those of the process where None.
        package: holds the commands, one module each.
        prog: name of the program in messages.
    """
    options = _parser(package, prog).parse_args(arguments)
    try:
        _assert_own_package()
        set_verbosity(options)
        code: int = options.function(options)
    except UserError as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"\n{prog}: interrupted; the same command goes on from here", file=sys.stderr)
        return INTERRUPTED
    return code


if __name__ == "__main__":
    sys.exit(main())
