"""`slim-superb store`: the kept features."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from bench.paths import home

if TYPE_CHECKING:
    from bench.features.inventory import Shard

GROUP = "bring"
HELP = "Show, verify or prune the kept features of upstreams."
EXAMPLE = "slim-superb store prune --store-gb 5"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the sub-commands."""
    actions = parser.add_subparsers(required=True, metavar="ACTION", dest="action")
    actions.add_parser("status", help="what lies in the store, by upstream")
    actions.add_parser("verify", help="read every shard and compare it with its index")
    prune = actions.add_parser("prune", help="remove what is broken, and more if asked to")
    prune.add_argument("--store-gb", type=float, help="least recently used first, down to this")
    prune.add_argument("--upstream", help="all features of this upstream (name or digest)")
    prune.add_argument("--verify", action="store_true", help="read everything to find what broke")


def run(options: argparse.Namespace) -> int:
    """Do one of the three."""
    from bench.errors import UsageError
    from bench.features import inventory

    root = home() / "features"
    found = inventory.shards(root)
    if options.action == "status":
        print(_status(found))
        return 0
    if options.action == "verify":
        return _verify(found)
    known = {shard.upstream for shard in found} | {shard.path.parents[1].name for shard in found}
    if options.upstream is not None and options.upstream not in known:
        raise UsageError(
            f"no features of {options.upstream!r}; there are: {', '.join(sorted(known)) or 'none'}"
        )
    if options.store_gb is not None and not options.store_gb >= 0:
        raise UsageError(f"--store-gb {options.store_gb}: expected 0 or more")
    removed = _prune(found, options.upstream, verify=options.verify)
    if options.store_gb is not None:
        removed += inventory.make_room(root, 0, options.store_gb)
    print(f"removed {removed / inventory.GB:.2f} GB")
    return 0


def _status(found: list[Shard]) -> str:
    """A table of upstreams and modes."""
    from tabulate import tabulate

    from bench.features.inventory import GB, used_text

    grouped: dict[tuple[str, str], list[Shard]] = {}
    for shard in found:
        grouped.setdefault((shard.upstream, shard.mode), []).append(shard)
    rows = [
        [
            upstream,
            mode,
            sum(shard.utterances for shard in group),
            len(group),
            f"{sum(shard.size_bytes for shard in group) / GB:.3f}",
            used_text(max(shard.used for shard in group)),
            sum(bool(shard.problem) for shard in group) or "",
        ]
        for (upstream, mode), group in sorted(grouped.items())
    ]
    total = sum(shard.size_bytes for shard in found) / GB
    head = ["upstream", "mode", "utterances", "shards", "GB", "last used (UTC)", "broken"]
    return f"{tabulate(rows, headers=head, tablefmt='github')}\n\n{total:.2f} GB in all"


def _verify(found: list[Shard]) -> int:
    """Check every shard; exit code 4 when one is broken."""
    from bench.errors import InvalidDataError
    from bench.features import inventory
    from bench.progress import bar

    broken = 0
    total = sum(shard.size_bytes for shard in found)
    with bar(total=total, label="verify", unit="B", scale=True) as progress:
        for shard in found:
            problem = inventory.verify(shard)
            progress.update(shard.size_bytes)
            if problem:
                broken += 1
                print(f"{shard.path}: {problem}")
    print(f"{len(found) - broken} of {len(found)} shards are whole")
    if broken:
        raise InvalidDataError(
            f"{broken} shards are broken: 'slim-superb store prune --verify' removes them; they "
            "are made again when they are needed"
        )
    return 0


def _prune(found: list[Shard], upstream: str | None, *, verify: bool) -> int:
    """Remove broken shards, leftovers, and everything of one upstream; bytes removed."""
    from bench.features import inventory

    removed = 0
    for shard in found:
        named = upstream in (shard.upstream, shard.path.parents[1].name)
        if named or (inventory.verify(shard) if verify else shard.problem):
            shard.delete()
            removed += shard.size_bytes
    for path in inventory.leftovers(home() / "features"):
        removed += path.stat().st_size
        path.unlink(missing_ok=True)
    return removed
