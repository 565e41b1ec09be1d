"""Copy a trained upstream into this repository: `python -m tools.ship RUN`.

For maintainers of the house family. Users evaluate a card of their own with `eval --card FILE`.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

import yaml

from bench.errors import MissingError, UsageError, UserError
from bench.paths import write_text
from bench.registry import ROOT
from upstreams.recipes.training.export import card_text

UPSTREAMS = ROOT / "upstreams"
LICENSE = "Apache-2.0 (weights trained here; the corpus has its own notices)"
MAX_BYTES = 10_000_000


def ship(run: Path, upstreams: Path = UPSTREAMS) -> list[Path]:
    """Copy card, weights and log of a finished run into the project's folders.

    Args:
        run: the folder of the run; the log gets its name.
        upstreams: the project's folder of upstreams.

    Returns:
        the files written.

    Raises:
        MissingError: a run without a card.
        UsageError: several cards, or weights too large for a repository.
    """
    cards = sorted(run.glob("*.yaml"))
    if not cards:
        raise MissingError(f"{run}: no card: the run has not ended")
    if len(cards) > 1:
        raise UsageError(
            f"{run}: one card expected, found {', '.join(path.name for path in cards)}"
        )
    weights = cards[0].with_suffix(".safetensors")
    if weights.stat().st_size > MAX_BYTES:
        raise UsageError(
            f"{weights}: {weights.stat().st_size} bytes, at most {MAX_BYTES} are shipped"
        )
    card = yaml.safe_load(cards[0].read_text())
    card["license"] = LICENSE
    card["checkpoint"]["shipped"] = True
    written = [
        upstreams / "cards" / cards[0].name,
        upstreams / "weights" / weights.name,
        upstreams / "recipes" / "logs" / f"{run.resolve().name}.jsonl",
    ]
    write_text(written[0], card_text(card))
    shutil.copyfile(weights, written[1])
    shutil.copyfile(run / "log.jsonl", written[2])
    return written


def main() -> int:
    """Ship one run."""
    parser = argparse.ArgumentParser(prog="python -m tools.ship", description=__doc__)
    parser.add_argument("run", type=Path, help="folder of a run of 'slim-superb compress'")
    try:
        files = ship(parser.parse_args().run)
    except UserError as error:
        sys.stderr.write(f"ship: {error}\n")
        return error.exit_code
    sys.stdout.writelines(f"{path}\n" for path in files)
    return 0


if __name__ == "__main__":
    sys.exit(main())
