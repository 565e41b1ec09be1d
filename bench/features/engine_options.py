"""Options of the commands that run an upstream and train heads."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING

from bench.errors import UsageError
from bench.session import STORE_GB

if TYPE_CHECKING:
    from bench.engine import Engine


def add_engine(parser: argparse.ArgumentParser) -> None:
    """Add the options of the engine and of the feature store."""
    add_device(parser)
    group = parser.add_argument_group("precision and storage")
    group.add_argument(
        "--store-gb",
        type=float,
        default=STORE_GB,
        metavar="GB",
        help=f"budget of stored features (default {STORE_GB:g}); beyond it they stream",
    )
    group.add_argument(
        "--precision",
        choices=["float32", "tf32", "bf16"],
        default="float32",
        help="of the upstream pass (default float32, the reference)",
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add the options of the device, for commands that read the precision from a record."""
    group = parser.add_argument_group("computation")
    group.add_argument(
        "--device",
        default="cpu",
        help="cpu (default), cuda (every GPU, see CUDA_VISIBLE_DEVICES) or cuda:N (one)",
    )
    group.add_argument(
        "--compile", action="store_true", help="torch.compile the upstream, on one device"
    )
    group.add_argument(
        "--workers",
        type=int,
        default=0,
        metavar="N",
        help="utterances computed at once, each by one thread (default: one a core)",
    )


def engine_of(options: argparse.Namespace) -> Engine:
    """Return the engine of the options of `add_engine`.

    Raises:
        UsageError: a budget or a number of workers below zero.
    """
    if not options.store_gb >= 0:
        raise UsageError(f"--store-gb {options.store_gb}: expected 0 or more")
    return replace(device_of(options), precision=options.precision)


def device_of(options: argparse.Namespace) -> Engine:
    """Return the engine of the options of `add_device`, in float32.

    Raises:
        UsageError: a number of workers below zero.
    """
    from bench.engine import Engine

    if options.workers < 0:
        raise UsageError(f"--workers {options.workers}: expected 0 or more")
    return Engine(
        device=options.device,
        compile=options.compile,
        workers=options.workers,
    )


def seeds_of(options: argparse.Namespace) -> tuple[int, ...]:
    """Return the requested seeds, in order.

    Raises:
        UsageError: not a list of different numbers.
    """
    if options.seeds is None:
        return (options.seed,)
    try:
        seeds = tuple(int(part) for part in options.seeds.split(","))
    except ValueError:
        seeds = ()
    if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise UsageError(f"--seeds {options.seeds}: expected different numbers such as 0,1,2")
    return seeds
