"""Compare the records of a bundle with the cards of this checkout; yield one line a problem."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean

from bench.config import Checkpoint, Recipe, UpstreamCard
from bench.identity import PROTOCOL, card_digest
from bench.load.catalog import parse_upstream_name
from bench.metrics.metric import METRICS
from bench.probe.choice import smallest_as_good
from bench.records.bundle import BundleCard
from bench.records.record import GridPoint, Record, SelectionResult
from bench.registry import task_card, task_names
from bench.run.run_features import explored_steps


def record_problems(
    about: BundleCard, records: Mapping[Path, Record], remarks: list[str]
) -> Iterator[str]:
    """Check each record by itself.

    Args:
        about: `bundle.yaml`.
        records: by file.
        remarks: receives what only the open division may do, of a bundle of that division.
    """
    for path, record in records.items():
        for problem in _claim_problems(about, path, record):
            yield f"{path.name}: {problem}"
        if record.track != about.track or record.task not in task_names(about.track):
            continue
        for problem in _closed_problems(record):
            if about.division == "open":
                remarks.append(f"{path.name}: {problem}")
            else:
                yield f"{path.name}: {problem} (closed division)"


def _claim_problems(about: BundleCard, path: Path, record: Record) -> Iterator[str]:
    """Check that a record is of the row that the bundle claims, and in its place."""
    for what, value, expected in (
        ("upstream", record.upstream, about.upstream),
        ("track", record.track, about.track),
        ("protocol", record.protocol, PROTOCOL),
        ("status", record.status, "ok"),
        ("source", record.source, "measured"),
        ("error", record.error, None),
        ("left_out", record.inputs.left_out, 0),
    ):
        if value != expected:
            yield f"{what} {str(value)[:60]!r}, {expected!r} expected"
    yield from _time_problems(record)
    if record.restriction:
        yield f"{record.restriction}: no result"
    stem = f"{record.task}-s{record.seed}"
    stem += "-shuffled" if record.labels_shuffled else ""
    if path.stem != stem:
        yield f"holds {stem}, by its content: records/{stem}.json expected"
    if record.task not in task_names(about.track):
        yield f"no task {record.task[:60]!r} on track {about.track}"
        return
    yield from _against_card(record)


def _time_problems(record: Record) -> Iterator[str]:
    """Check date and seconds of a run, which only its sender knows, for what cannot be."""
    where = record.provenance
    try:
        started = datetime.fromisoformat(where.started)
        is_written_so = where.started == started.isoformat(timespec="seconds")
        if not is_written_so or started.tzinfo is None:
            yield f"started {where.started[:40]!r}: a date as 2026-01-31T12:00:00+00:00 expected"
        elif started > datetime.now(UTC):
            yield f"started {where.started}, which is in the future"
    except ValueError:
        yield f"started {where.started[:40]!r} is no ISO 8601 date"
    if min([where.seconds, *where.seconds_by_stage.values()]) < 0:
        yield "seconds below 0"


def _against_card(record: Record) -> Iterator[str]:
    """Compare a record with its task card: versions, conditions, metrics, selection."""
    card = task_card(record.task, record.track)
    if record.task_version != card.version:
        yield f"task version {record.task_version}, {card.version} expected"
    if record.labels != card.labels:
        yield f"labels {record.labels[:60]!r}, {card.labels!r} expected"
    pairs = [(score.condition, score.metric) for score in record.scores]
    wanted = {(c, m) for c in record.predictions_sha256 for m in card.metrics}
    if len(pairs) != len(set(pairs)):
        yield "a score twice"
    missing = sorted(set(card.conditions) - record.predictions_sha256.keys())
    if missing:
        yield f"no predictions of condition {', '.join(missing)}"
    if set(pairs) != wanted:
        condition, metric = min(set(pairs) ^ wanted)
        yield f"scores and predictions do not fit: {metric[:40]} on {condition[:40]}"
    if (main := pairs[0][1]) != card.metrics[0]:
        yield f"scores begin with {main[:40]!r}, {card.metrics[0]!r} expected"
    if record.selection.metric != card.selects_by:
        yield f"selected by {record.selection.metric[:40]!r}, {card.selects_by!r} expected"
        return
    yield from selection_problems(record)


def _closed_problems(record: Record) -> Iterator[str]:
    """Check for the head and the learning rates of the task card, as the closed division has."""
    card = task_card(record.task, record.track)
    if record.inputs.task_card_sha256 != card_digest(card):
        yield "made by another task card than this checkout's: its head and recipe are not known"
    yield from rate_problems(record, card.recipe)


def set_problems(
    about: BundleCard, records: Mapping[Path, Record], card: UpstreamCard
) -> Iterator[str]:
    """Check the records, at least one, together: one model, that of the card, each run once."""
    runs: dict[tuple[str, int, bool], Path] = {}
    heads: dict[tuple[str, str], Path] = {}
    first = next(iter(records.values()))
    for path, record in records.items():
        run = (record.task, record.seed, record.labels_shuffled)
        if run in runs:
            yield f"{path.name} and {runs[run].name}: one task and seed twice"
        runs[run] = path
        if record.head.sha256 is not None and record.selection.step:  # 0: nothing is trained
            other = heads.setdefault((record.task, record.head.sha256), path)
            if other != path:
                yield f"{path.name}: has the head of {other.name}: no two trainings give one head"
        for name in ("family", "weights", "tap"):
            if getattr(record, name) != getattr(first, name):
                yield f"{path.name}: {name} differs from the other records'"
        if record.inputs.upstream_sha256 != first.inputs.upstream_sha256:
            yield f"{path.name}: made by another upstream than the other records"
        if record.cost.macs_per_second != first.cost.macs_per_second:
            yield f"{path.name}: MACs a second differ from the other records'"
    upstream = parse_upstream_name(about.upstream)
    expected = card.provenance if upstream.untrained_seed is None else "untrained"
    expected = "none" if card.checkpoint is None else expected
    if first.weights not in (expected, "user"):
        yield f"weights {first.weights!r}, {expected!r} expected of {about.upstream}"
    if first.weights == "published" and card.checkpoint is not None:
        yield from _published_problems(card.checkpoint, str(first.inputs.checkpoint_sha256))
    if first.family != card.family:
        yield f"family {first.family[:40]!r}, the card says {card.family!r}"


def _published_problems(source: Checkpoint, file_sha256: str) -> Iterator[str]:
    """Check that weights recorded as published come from a file that the card vouches for."""
    if not source.vouched:
        yield (
            f"weights 'published', but the card pins no digest to compare the file "
            f"{file_sha256[:16]} with: add its sha256 to the card with a page that shows it, or "
            f"send records of --weights FILE, as 'user'"
        )
    elif file_sha256 not in source.vouched:
        pinned = ", ".join(sorted(digest[:16] for digest in source.vouched))
        yield f"weights 'published', but of the file {file_sha256[:16]}; the card's is {pinned}"


def rate_problems(record: Record, recipe: Recipe) -> Iterator[str]:
    """Check that the learning rates tried are the recipe's."""
    choice = record.selection
    explores = explored_steps(recipe, len(recipe.lr_grid)) > 0
    rates = tuple(point.lr for point in (choice.explored if explores else choice.grid))
    if not recipe.steps and not any(rates):  # nothing is trained: a point is a hidden state
        return
    if rates != recipe.lr_grid:
        what = "explored learning rates" if explores else "learning rates"
        yield f"{what} {rates}, {recipe.lr_grid} expected"
    elif choice.explored and not explores:
        yield "explored learning rates, which the card's recipe does not"
    expected = [recipe.selection_seeds] * len(choice.explored) + [0] * len(choice.grid)
    for point, count in zip((*choice.explored, *choice.grid), expected, strict=True):
        if len(point.by_seed) != count:
            seeds = f"{len(point.by_seed)} seeds, {count} expected"
            yield f"learning rate {point.lr:g}: dev scores of {seeds}"
            return
    is_by_error = recipe.one_standard_error
    chosen = _within_error(choice) if is_by_error else _best_rates(choice)
    if choice.explored and choice.lr not in chosen:
        rule = "smallest within one standard error of the best" if is_by_error else "best"
        yield f"learning rate {choice.lr:g} is not the one that dev chose, the {rule}"


def selection_problems(record: Record) -> Iterator[str]:
    """Check that dev chose from the learning rates tried, whichever they were."""
    choice = record.selection
    if choice.explored:
        yield from _explored_problems(record)
    if (choice.value, choice.lr) not in _best(choice.grid, choice.metric):
        yield f"learning rate {choice.lr:g} is not the one that dev chose from the grid"
    elif choice.step not in {point.step for point in choice.grid if point.lr == choice.lr}:
        yield f"step {choice.step} is not the one at which that learning rate was best"
    if abs(sum(record.head.layer_weights) - 1.0) > 1e-3:
        yield f"layer weights sum to {sum(record.head.layer_weights):.4f}, 1 expected"


def _explored_problems(record: Record) -> Iterator[str]:
    """Check means over seeds, and that only the rate that dev chose was trained in full."""
    choice = record.selection
    for point in choice.explored:
        scores = [score for score in point.by_seed if score is not None]
        mean = fmean(scores) if scores and len(scores) == len(point.by_seed) else None
        if point.by_seed and point.value != mean:
            yield f"learning rate {point.lr:g}: dev {point.value}, the mean of its seeds {mean}"
    chosen = _best_rates(choice) | _within_error(choice)
    full = [point.lr for point in choice.grid]
    if len(full) != 1 or full[0] not in chosen:
        shown = ", ".join(f"{lr:g}" for lr in full) or "none"
        yield f"trained in full: {shown}, which is not the one that dev chose from the explored"


def _best_rates(choice: SelectionResult) -> set[float]:
    """Return the explored learning rates with the best dev score."""
    return {lr for _, lr in _best(choice.explored, choice.metric)}


def _within_error(choice: SelectionResult) -> set[float]:
    """Return the smallest rate within one standard error of the best; {} if all diverged."""
    higher = METRICS[choice.metric].higher_is_better
    if all(point.value is None for point in choice.explored):
        return set()
    return {smallest_as_good(choice.explored, higher_is_better=higher).lr}


def _best(points: Sequence[GridPoint], metric: str) -> list[tuple[float, float]]:
    """Return dev score and learning rate of the best points, all that tie; [] if all diverged."""
    scored = [(point.value, point.lr) for point in points if point.value is not None]
    if not scored:
        return []
    best = (max if METRICS[metric].higher_is_better else min)(value for value, _ in scored)
    return [item for item in scored if item[0] == best]
