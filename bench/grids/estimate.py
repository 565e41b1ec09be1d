"""The time and disk that a grid takes: from earlier records, manifests and upstreams' shapes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from bench.api import Utterance
from bench.conditions.catalogue import TEST_ONLY
from bench.errors import UserError
from bench.features.inventory import shards
from bench.features.store import bytes_per_utterance
from bench.grids.cells import GridCell, RunGrid
from bench.load.catalog import UpstreamName, find_entry, parse_upstream_name
from bench.load.loader import Loaded, load_upstream
from bench.records.record import MAX_RECORD_BYTES
from bench.registry import ROOT
from bench.run.plan import planned_tables
from bench.run.run_features import Features, features_of
from bench.run.spec import Resolved
from bench.schema import parse_json, read_bytes
from bench.session import Session

# Seconds on a CPU of stages that no record tells.
GUESSED_SECONDS = {"upstream": 300.0, "head": 120.0, "predict": 5.0, "score": 15.0}
TEST_SHARE = 0.2  # of a corpus that a test set is, about
RESULTS = ROOT / "leaderboard" / "results"
Timings = dict[tuple[str, str, str], list[float]]


def read_timings(track: str, out: Path) -> Timings:
    """Return seconds by (stage, upstream, task) and by (stage, "", task), as records tell them.

    Records are those beside the grid and those of the project. Files that are no records are
    passed over: an estimate is not worth an error.
    """
    timings: Timings = {}
    for path in [
        path for root in (out, RESULTS) for path in sorted((root / track).glob("*/*.json"))
    ]:
        try:
            record = parse_json(read_bytes(path, MAX_RECORD_BYTES))
            task, upstream = record["task"], record["upstream"]
            for stage, seconds in record["provenance"]["seconds_by_stage"].items():
                for name in (upstream, ""):
                    timings.setdefault((stage, name, task), []).append(float(seconds))
        except (UserError, ValueError, KeyError, TypeError, AttributeError):
            continue
    return timings


def seconds_of(grid: RunGrid, cell: GridCell, timings: Timings) -> tuple[float, bool]:
    """Return the seconds that a cell takes, and whether all its stages were measured.

    A stage takes as long as with the same upstream and task, else as with any upstream on the task,
    else as guessed. For the pass, the longest time counts: with stored features it was short.
    """
    upstream, seconds, is_measured = parse_upstream_name(cell.upstream).text(), {}, True
    for stage, guess in GUESSED_SECONDS.items():
        measured = timings.get((stage, upstream, cell.task)) or timings.get((stage, "", cell.task))
        mean = max if stage == "upstream" else fmean
        seconds[stage] = mean(measured or [guess])
        is_measured &= bool(measured)
    tests = len(grid.spec.seeds) * (seconds["predict"] + seconds["score"])
    under_condition = TEST_SHARE * seconds["upstream"] + tests
    clean = seconds["upstream"] + seconds["head"] + tests
    return clean + len(grid.conditions[cell.task]) * under_condition, is_measured


def disk_data(grid: RunGrid) -> dict[str, Any]:
    """Return the disk that a grid's features take, whatever of it is done.

    Upstreams are built with random weights, which have the size of any others; nothing is
    downloaded. Where a corpus is not prepared, the sizes are the published ones.

    Returns:
        `total`: bytes of all features that the grid keeps, under conditions too; `there`: bytes
        of them that are kept already; `unknown`: a text for each upstream whose size cannot be
        computed, with the reason.
    """
    stored: dict[str, int] = {}
    for shard in shards(grid.session.features):
        stored[shard.upstream] = stored.get(shard.upstream, 0) + shard.size_bytes
    total, there, unknown = 0, 0, []
    for upstream in grid.spec.upstreams:
        name = parse_upstream_name(upstream)
        try:
            loaded = _random_upstream(name, grid.session)
            size = sum(_bytes(grid, loaded).values())
        except UserError as error:
            unknown.append(f"{upstream} ({error})")
            continue
        total += size
        there += min(size, stored.get(name.text(), 0))
    return {"total": total, "there": there, "unknown": unknown}


def disk_line(data: dict[str, Any]) -> str:
    """Return the disk for people."""
    sizes = f"  disk: {data['total'] / 1e9:.2f} GB of features, {data['there'] / 1e9:.2f} GB there"
    return sizes + "".join(f"; not known for {text}" for text in data["unknown"])


def _random_upstream(name: UpstreamName, session: Session) -> Loaded:
    """Build an upstream of the same shape that needs no file of weights.

    Raises:
        UserError: it cannot be built without its file.
    """
    card = find_entry(name.text(), session.cards).card
    has_weights = name.kind is not None or card.provenance != "none"
    needs_seed = name.untrained_seed is None and has_weights
    return load_upstream((name.untrained() if needs_seed else name).text(), session)


def _bytes(grid: RunGrid, loaded: Loaded) -> dict[tuple[str, str], int]:
    """Return the bytes of each sound, by mode and key: tasks share them.

    Raises:
        MissingError: a corpus that has no published size and is not prepared.
    """
    sizes = dict[tuple[str, str], int]()
    for task, card in grid.cards.items():
        run = grid.run_of(GridCell(loaded.name.text(), task))
        tables, _ = planned_tables(card, grid.session, run)
        features = features_of(Resolved(run, card, loaded, tables, card.labels), grid.session)
        sounds = {name.removesuffix(TEST_ONLY) for name in grid.conditions[task]}
        _add_bytes(sizes, "", features.wanted(), features)
        for name in sounds:
            _add_bytes(sizes, name, tables["clean"].utterances, features)
    return sizes


def _add_bytes(
    sizes: dict[tuple[str, str], int], name: str, items: Sequence[Utterance], features: Features
) -> None:
    """Add the bytes of utterances, each sound once; a pass that keeps frames keeps means too."""
    upstream, mode = features.resolved.loaded.upstream, features.store.mode
    for item in items:
        sizes[mode, f"{name} {item.key}"] = bytes_per_utterance(upstream, mode, item.num_samples)
        if mode == "frames":
            means = bytes_per_utterance(upstream, "pooled", item.num_samples)
            sizes["pooled", f"{name} {item.key}"] = means
