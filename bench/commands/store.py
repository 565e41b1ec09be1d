"""`slim-superb store`: show, verify or prune the stored features."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from bench.paths import home
from bench.progress import bar, say, show

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
        return _status(shards)
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


def _status(shards: list[Shard]) -> int:
    """Show a table of upstreams and modes."""
    from bench.features.inventory import used_text
    from bench.session import GB
    from bench.terminal.table import StyledCell, TableColumn, TerminalTable, show_table

    grouped: dict[tuple[str, str], list[Shard]] = {}
    for shard in shards:
        grouped.setdefault((shard.upstream, shard.mode), []).append(shard)
    rows = []
    for (upstream, mode), group in sorted(grouped.items()):
        broken = sum(bool(shard.problem) for shard in group)
        rows.append(
            (
                upstream,
                mode,
                f"{sum(shard.utterances for shard in group):,}",
                str(len(group)),
                f"{sum(shard.size_bytes for shard in group) / GB:.3f}",
                used_text(max(shard.used for shard in group)),
                StyledCell(str(broken), "error") if broken else "",
            )
        )
    columns = (
        TableColumn("upstream"),
        TableColumn("mode", priority=1),
        TableColumn("utterances", is_number=True, priority=2),
        TableColumn("shards", is_number=True, priority=3),
        TableColumn("GB", is_number=True),
        TableColumn("last used (UTC)", priority=1),
        TableColumn("broken", is_number=True),
    )
    show_table(TerminalTable(columns, rows))
    say(f"{sum(shard.size_bytes for shard in shards) / GB:.2f} GB in all")
    return 0


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
