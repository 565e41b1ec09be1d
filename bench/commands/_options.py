"""Options that every command about an upstream has, in one place."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import UsageError

if TYPE_CHECKING:
    from bench.load.loader import Loaded
    from bench.session import Session

NAME_HELP = (
    "NAME[@VARIANT][+untrained[:SEED]] ('list upstreams'), or a model from anywhere: hf:FOLDER, "
    "hf:ORG/MODEL, onnx:FILE, s3prl:NAME, torchscript:FILE; @int8 or @bf16-weights modifies any"
)


def add_verbosity(parser: argparse.ArgumentParser) -> None:
    """How much is said on stderr; every command has it."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument("-q", "--quiet", action="store_true", help="warnings only, no progress")
    group.add_argument("-v", "--verbose", action="store_true", help="more: how long stages take")


def set_verbosity(options: argparse.Namespace) -> None:
    """Say as much as was asked for."""
    from bench.progress import NORMAL, QUIET, VERBOSE, set_level

    set_level(QUIET if options.quiet else VERBOSE if options.verbose else NORMAL)
    if options.verbose:
        import logging

        logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")


def add_upstream(parser: argparse.ArgumentParser) -> None:
    """The upstream, and where it may come from."""
    parser.add_argument("upstream", nargs="?", help=NAME_HELP + "; default: that of --card")
    parser.add_argument("--weights", type=Path, help="checkpoint file, instead of downloading it")
    parser.add_argument("--strict", action="store_true", help="missing weights are an error")
    parser.add_argument(
        "--card",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="a card outside this project; its name can then be used (may be repeated)",
    )
    parser.add_argument(
        "--allow-code",
        action="store_true",
        help="run the code that a card names, or a TorchScript archive: trust it like a program",
    )


def upstream_name(options: argparse.Namespace) -> str:
    """The upstream asked for: by name, or the one card given.

    Raises:
        UsageError: neither, or several cards and no name.
    """
    if options.upstream is not None:
        return str(options.upstream)
    if len(options.card) != 1:
        raise UsageError("an upstream is needed: its name, or --card FILE")
    from bench.load.catalog import card_name

    return card_name(options.card[0])


def load_asked(options: argparse.Namespace) -> Loaded:
    """Load the upstream that the options name.

    Raises:
        UserError: as `bench.load.loader.load_upstream`.
    """
    from bench.load.loader import load_upstream

    return load_upstream(upstream_name(options), session_of(options))


def session_of(options: argparse.Namespace) -> Session:
    """Return where and how work is done, from the options that a command has.

    Raises:
        UsageError: a budget or a number of workers below zero.
    """
    from bench.engine import Engine
    from bench.features.engine_options import device_of, engine_of
    from bench.session import Session

    given = vars(options)
    names = ("out", "weights", "strict", "allow_code", "data", "noise_dir", "deb_dir", "store_gb")
    settings = {name: given[name] for name in names if given.get(name) is not None}
    engine = Engine()
    if "precision" in given:
        engine = engine_of(options)
    elif "device" in given:
        engine = device_of(options)
    return Session(cards=given.get("card") or (), engine=engine, **settings)
