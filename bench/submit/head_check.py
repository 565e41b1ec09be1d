"""Compare what a record says of its upstream's states and its head with both; a line a problem.

The head is not trained again: its size follows from the task card, D and the labels, its layer
weights from the file in the bundle, and a step must be one at which dev was scored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bench.config import Recipe
from bench.errors import InvalidDataError
from bench.features.passes import num_states
from bench.identity import card_digest
from bench.load.loader import Loaded
from bench.records.record import GridPoint, Record
from bench.registry import task_card
from bench.run.artifacts import head_file, load_head, make_probe, spec_of
from bench.run.run_features import explored_steps
from bench.run.spec import resolve_run

TOLERANCE = 1e-5  # of a layer weight: softmax in float32 differs between machines in its last bits


def head_problems(
    records: Mapping[Path, Record], loaded: Loaded, home: Path, remarks: list[str]
) -> Iterator[str]:
    """Check tap, head size, layer weights and steps of each record.

    Args:
        records: by file.
        loaded: the upstream of the row; the values of its weights do not matter.
        home: folder of corpora.
        remarks: receives what rests on the sender's word.

    Raises:
        MissingError: a corpus is not prepared.
    """
    for path, record in records.items():
        for problem in _problems(path, record, loaded, home, remarks):
            yield f"{path.name}: {problem}"


def _problems(
    path: Path, record: Record, loaded: Loaded, home: Path, remarks: list[str]
) -> Iterator[str]:
    card = task_card(record.task, record.track)
    upstream, head = loaded.upstream, record.head
    if record.tap != upstream.tap:
        yield f"tap {record.tap[:40]!r}, {upstream.tap!r} expected of {record.upstream}"
    count = num_states(upstream, card.features)
    if len(head.layer_weights) != count:
        yield f"{len(head.layer_weights)} layer weights, {count} expected"
        return
    if record.inputs.upstream_card_sha256 != card_digest(loaded.card):
        yield f"made by another card than upstreams/cards/{loaded.card.name}.yaml"
    if record.inputs.task_card_sha256 != card_digest(card):  # refused in the closed division
        remarks.append(
            f"{path.name}: another task card: head, layer weights and steps are as its sender says"
        )
        return
    yield from step_problems(record, card.recipe)
    resolved = resolve_run(spec_of(record), card, loaded, home)
    params = sum(p.numel() for p in make_probe(resolved).head.parameters())
    if head.params != params:
        yield f"a head of {head.params:,} parameters, {params:,} by its task card"
        return
    if not head_file(path).exists():
        remarks.append(
            f"{path.name}: no trained head: its layer weights are as its sender says, and its "
            "predictions cannot be run again"
        )
        return
    try:
        weights = load_head(resolved, path, record).weighted_sum.weights().tolist()
    except InvalidDataError as error:
        yield str(error)
        return
    if any(abs(a - b) > TOLERANCE for a, b in zip(weights, head.layer_weights, strict=True)):
        shown = ", ".join(f"{weight:.3f}" for weight in weights)
        yield f"layer weights are not those of its head, {shown}"


def step_problems(record: Record, recipe: Recipe) -> Iterator[str]:
    """Check that dev was scored at the steps at which each learning rate was best."""
    part = explored_steps(recipe, len(recipe.lr_grid))
    for points, steps in ((record.selection.grid, recipe.steps), (record.selection.explored, part)):
        every = steps if recipe.selection_seeds else recipe.eval_every  # the last step is used
        yield from _late_or_between(points, steps, every)


def _late_or_between(points: Sequence[GridPoint], steps: int, every: int) -> Iterator[str]:
    """Yield a line for each point at whose step dev was not scored."""
    for point in points:
        is_last = point.step == steps  # step 0 of a task that trains nothing
        is_scored = is_last or (0 < point.step < steps and point.step % every == 0)
        has_diverged = point.value is None and point.step == 0
        if not is_scored and not has_diverged:
            yield (
                f"learning rate {point.lr:g}: best at step {point.step}; dev was scored every "
                f"{every} steps up to {steps}"
            )
