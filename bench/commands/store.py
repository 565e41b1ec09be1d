"""`slim-superb store`: show, verify or prune the stored features."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from bench.paths import home
from bench.progress import bar, show, show_text

if TYPE_CHECKING:
    from bench.features.inventory import Shard

GROUP = "bring"
HELP = "Show, verify or prune the stored features of upstreams."
EXAMPLE = "slim-superb store prune --store-gb 5"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the sub-commands."""
    actions = parser.add_subparsers(required=True, metavar="ACTION", dest="action")
    actions.add_parser("status", help="list the store by upstream")
    actions.add_parser("verify", help="read every shard and compare it with its index")
    prune = actions.add_parser("prune", help="remove damaged features, and more by options")
    prune.add_argument("--store-gb", type=float, help="remove the least recently used")
    prune.add_argument("--upstream", help="remove all features of this upstream (name or digest)")
    prune.add_argument("--verify", action="store_true", help="read everything to find damage")


def run(options: argparse.Namespace) -> int:
    """Do the chosen action."""
    from bench.errors import UsageError
    from bench.features import inventory
    from bench.session import GB

    root = home() / "features"
    shards = inventory.shards(root)
    if options.action == "status":
        show_text(_status(shards))
        return 0
    if options.action == "verify":
        return _verify(shards)
    names = {shard.upstream for shard in shards} | {shard.path.parents[1].name for shard in shards}
    if options.upstream is not None and options.upstream not in names:
        raise UsageError(
            f"no features of {options.upstream!r}; stored: {', '.join(sorted(names)) or 'none'}"
        )
    if options.store_gb is not None and not options.store_gb >= 0:
        raise UsageError(f"--store-gb {options.store_gb}: expected 0 or more")
    removed = _prune(shards, options.upstream, verify=options.verify)
    if options.store_gb is not None:
        removed += inventory.make_room(root, 0, options.store_gb)
    show(f"removed {removed / GB:.2f} GB")
    return 0


def _status(shards: list[Shard]) -> str:
    """Return a table of upstreams and modes."""
    from tabulate import tabulate

    from bench.features.inventory import used_text
    from bench.session import GB

    grouped: dict[tuple[str, str], list[Shard]] = {}
    for shard in shards:
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
    total = sum(shard.size_bytes for shard in shards) / GB
    head = ["upstream", "mode", "utterances", "shards", "GB", "last used (UTC)", "broken"]
    return f"{tabulate(rows, headers=head, tablefmt='github')}\n\n{total:.2f} GB in all"


def _verify(shards: list[Shard]) -> int:
    """Verify every shard."""
    from bench.errors import InvalidDataError
    from bench.features import inventory

    broken = 0
    total = sum(shard.size_bytes for shard in shards)
    with bar(total=total, label="verify", unit="B", scale=True) as progress:
        for shard in shards:
            problem = inventory.verify(shard)
            progress.update(shard.size_bytes)
            if problem:
                broken += 1
                show(f"{shard.path}: {problem}")
    show(f"{len(shards) - broken} of {len(shards)} shards are undamaged")
    if broken:
        raise InvalidDataError(
            f"{broken} shards are damaged: 'slim-superb store prune --verify' removes them; their "
            "features are computed again when they are needed"
        )
    return 0


def _prune(shards: list[Shard], upstream: str | None, *, verify: bool) -> int:
    """Remove damaged shards, leftovers, and all features of one upstream; return the bytes."""
    from bench.features import inventory

    removed = 0
    for shard in shards:
        named = upstream in (shard.upstream, shard.path.parents[1].name)
        if named or (inventory.verify(shard) if verify else shard.problem):
            shard.delete()
            removed += shard.size_bytes
    for path in inventory.leftovers(home() / "features"):
        removed += path.stat().st_size
        path.unlink(missing_ok=True)
    return removed
