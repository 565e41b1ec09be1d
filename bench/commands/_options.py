"""Options that several commands share."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import UsageError

if TYPE_CHECKING:
    from bench.load.loader import Loaded
    from bench.session import Session
    from bench.terminal.table import TerminalTable

DEFAULT_TRACK = "quick"
NAME_HELP = (
    "NAME[@VARIANT][+untrained[:SEED]] ('list upstreams'), or a model from anywhere: hf:FOLDER, "
    "hf:ORG/MODEL, onnx:FILE, pt2:FILE, s3prl:NAME, torchscript:FILE; @int8 or @bf16-weights "
    "modifies any"
)


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the output; every command has them."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument("-q", "--quiet", action="store_true", help="warnings only, no progress")
    group.add_argument("-v", "--verbose", action="store_true", help="more: how long stages take")
    parser.add_argument(
        "--wide", action="store_true", help="tables with all columns, wider than the terminal"
    )


def set_output(options: argparse.Namespace) -> None:
    """Set the amount of output on stderr, and the width of tables."""
    from bench.progress import NORMAL, QUIET, VERBOSE, log_to_stderr, set_level, set_wide

    set_wide(options.wide)
    set_level(QUIET if options.quiet else VERBOSE if options.verbose else NORMAL)
    if options.verbose:
        log_to_stderr()


def add_formats(parser: argparse.ArgumentParser) -> None:
    """Add the options of the format of a table."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--json", action="store_true", help="print JSON")
    group.add_argument("--csv", action="store_true", help="print CSV")


def show_formats(
    options: argparse.Namespace, table: TerminalTable, data: Sequence[Mapping[str, Any]]
) -> None:
    """Show a table in the format of the options of `add_formats`.

    Args:
        options: of the command line.
        table: for people.
        data: one mapping a line, for programs.
    """
    import csv
    import io
    import json

    from bench.progress import show_text
    from bench.terminal.table import show_table

    if options.json:
        show_text(json.dumps(data, indent=2))
    elif options.csv:
        out = io.StringIO()
        writer = csv.DictWriter(out, list(data[0]) if data else [], lineterminator="\n")
        writer.writeheader()
        writer.writerows(data)
        show_text(out.getvalue().rstrip("\n"))
    else:
        show_table(table)


def add_upstream(parser: argparse.ArgumentParser) -> None:
    """Add the upstream and the options of its files."""
    parser.add_argument("upstream", nargs="?", help=NAME_HELP + "; default: that of --card")
    parser.add_argument("--weights", type=Path, help="checkpoint file, instead of downloading it")
    parser.add_argument("--strict", action="store_true", help="missing weights are an error")
    add_card(parser)
    add_consent(parser)


def add_consent(parser: argparse.ArgumentParser) -> None:
    """Add the consent to run code that a card or an archive names."""
    parser.add_argument(
        "--allow-code",
        action="store_true",
        help="run the code of a card, or an archive (torchscript:, pt2:): trust it like a program",
    )


def add_card(parser: argparse.ArgumentParser) -> None:
    """Add the option of cards outside this project."""
    parser.add_argument(
        "--card",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="a card outside this project; its name can then be used (may be repeated)",
    )


def add_task_card(parser: argparse.ArgumentParser) -> None:
    """Add the option of task cards outside this project."""
    parser.add_argument(
        "--task-card",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="a task over your own data (track own), or a folder of them; see docs/own-data.md",
    )


def remember_task_cards(options: argparse.Namespace) -> list[str]:
    """Make the tasks of `--task-card` known by name; return the names.

    Raises:
        UserError: no such file, or an invalid card.
    """
    if not options.task_card:
        return []
    from bench.corpora.own.card import remember

    return [name for place in options.task_card for name in remember(place)]


def set_task(options: argparse.Namespace) -> None:
    """Set task, track and upstream from the words of a command and its cards.

    One word is the upstream where `--task-card` names the task, else the task.

    Raises:
        UsageError: no task or several, a task card with the track of another, or one word without
            a card that says what the other is.
        UserError: as `remember_task_cards`.
    """
    from bench.registry import OWN_TRACK

    names = remember_task_cards(options)
    if names and options.track not in (None, OWN_TRACK):
        raise UsageError(f"--track {options.track}: a task card is of track {OWN_TRACK}")
    options.track = OWN_TRACK if names else options.track or DEFAULT_TRACK
    if not names and not options.card and options.upstream and options.task is None:
        raise UsageError(
            "expected an upstream and a task, such as 'house_whisper_ofa ks'; "
            f"found {options.upstream!r}"
        )
    if options.task is None and (not names or options.upstream in names):
        options.task, options.upstream = options.upstream, None
    if options.task is None and len(names) == 1:
        options.task = names[0]
    if options.task is None:
        expected = " or ".join(names) or "its name ('list tasks'), or --task-card FILE"
        raise UsageError(f"expected a task: {expected}")


def upstream_name(options: argparse.Namespace) -> str:
    """Return the upstream's name: the one given, or that of the only `--card`.

    Raises:
        UsageError: no name, and no card or several cards.
    """
    if options.upstream is not None:
        return str(options.upstream)
    if len(options.card) != 1:
        raise UsageError("expected an upstream: its name, or --card FILE")
    from bench.load.catalog import user_card

    return user_card(options.card[0]).name


def control_lines(loaded: str, asked: str) -> list[str]:
    """Return the last line of a result where random weights stood in for the published ones.

    Args:
        loaded: name of the upstream in the result.
        asked: the name that the user gave.
    """
    from bench.errors import CONTROL_CODE
    from bench.load.catalog import parse_upstream_name

    are_controls = [parse_upstream_name(n).untrained_seed is not None for n in (loaded, asked)]
    if are_controls != [True, False]:
        return []
    return [
        f"UNTRAINED CONTROL: made with random weights, because those of {asked} cannot be reached: "
        f"no result of {asked} (exit code {CONTROL_CODE})"
    ]


def load_named(options: argparse.Namespace) -> Loaded:
    """Load the upstream that the options name.

    Raises:
        UserError: as `bench.load.loader.load_upstream`.
    """
    from bench.load.loader import load_upstream

    return load_upstream(upstream_name(options), session_of(options))


def session_of(options: argparse.Namespace) -> Session:
    """Return the session of a command, from the options that it has.

    Raises:
        UsageError: a budget or a number of workers below zero.
    """
    from bench.engine import Engine
    from bench.features.engine_options import device_of, engine_of
    from bench.session import Session

    values = vars(options)
    names = ("out", "weights", "strict", "allow_code", "data", "noise_dir", "deb_dir", "store_gb")
    settings = {name: values[name] for name in names if values.get(name) is not None}
    engine = Engine()
    if "precision" in values:
        engine = engine_of(options)
    elif "device" in values:
        engine = device_of(options)
    return Session(cards=values.get("card") or (), engine=engine, **settings)
