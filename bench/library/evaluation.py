"""Evaluate an upstream from Python: `bench.evaluate`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.conditions.catalogue import expand
from bench.conditions.scorer import score_conditions
from bench.errors import UsageError
from bench.load.catalog import parse_upstream_name
from bench.load.loader import Loaded
from bench.load.memory import load_model
from bench.records.record import Record
from bench.registry import task_card
from bench.run.run import Outcome, run_seeds
from bench.run.spec import RunSpec
from bench.session import Session


def evaluate(
    upstream: str | Any,
    tasks: str | Iterable[str],
    *,
    track: str = "quick",
    seeds: Sequence[int] = (0,),
    conditions: str | Iterable[str] | None = None,
    limit: int | None = None,
    steps: int | None = None,
    out: str | Path | None = None,
    device: str | None = None,
    force: bool = False,
    name: str | None = None,
    normalize_wav: bool | None = None,
    session: Session | None = None,
) -> list[Record]:
    """Evaluate an upstream on tasks, as `slim-superb eval` does, and return its records.

    A model in memory is copied and stays as it is. It is called with one utterance at a time:
    `model(wav)`, or `model(wav, lengths)` where it takes two arguments, with wav (1, S) float32 at
    16 kHz and lengths (1,) in samples. It returns one tensor of states (1, T, D), a list of L such
    tensors, a stack (L, 1, T, D), or an object with `hidden_states`. An altered model is another
    upstream, with features and records of its own.

    Args:
        upstream: a name, as on the command line, or a model in memory: a torch module, a function,
            a Transformers model, or what `bench.load_upstream` returned.
        tasks: one task or several, such as `"ks"` or `["ks", "sid"]`.
        track: of the tasks.
        seeds: of the heads; each has a record.
        conditions: conditions and sets, as a list or with commas between them, or `all`; None
            scores the task's own test sets only.
        limit: utterances a split, for a try; such a record is no result.
        steps: updates of a head at most, for a try; such a record is no result.
        out: folder of records; `runs` where None.
        device: `cpu`, `cuda` (every GPU) or `cuda:N`; `cpu` where None.
        force: compute finished runs again.
        name: of a model in memory, in records; its class where None.
        normalize_wav: whether each utterance is scaled to zero mean and unit variance before a
            model in memory; a Transformers model needs True or False.
        session: other folders, files and settings; `out` and `device` replace its own.

    Returns:
        the records by task, and by seed of each; they lie in `out` too.

    Raises:
        UserError: one of `bench.errors`, whose text says in one line what is wrong and what to do.
    """
    names = [tasks] if isinstance(tasks, str) else list(tasks)
    for task in names:  # an unknown one is refused before the first is computed
        task_card(task, track)
    if isinstance(seeds, int) or not seeds:
        raise UsageError(f"seeds: numbers such as (0, 1) expected, found {seeds!r}")
    if not isinstance(conditions, str | None):
        conditions = ",".join(conditions)
    session = session or Session()
    if out is not None:
        session = replace(session, out=Path(out))
    if device is not None:
        session = replace(session, engine=replace(session.engine, device=device))
    if not isinstance(upstream, str):
        is_loaded = isinstance(upstream, Loaded)
        loaded = upstream if is_loaded else load_model(upstream, name, normalize_wav=normalize_wav)
        session, upstream = replace(session, model=loaded), loaded.name.text()
    records = []
    for task in names:
        spec = RunSpec(upstream, task, track, limit=limit, steps=steps)
        records += [
            outcome.record
            for outcome in evaluate_task(spec, seeds, session, conditions=conditions, force=force)
        ]
    return records


def evaluate_task(
    spec: RunSpec,
    seeds: Sequence[int],
    session: Session,
    *,
    conditions: str | None = None,
    force: bool = False,
) -> list[Outcome]:
    """Evaluate one upstream on one task with some seeds, and score the heads under conditions.

    Args:
        spec: the run; its seed is ignored.
        seeds: of the heads; each has a record.
        session: folders, and how the upstream runs.
        conditions: as in `evaluate`.
        force: compute finished runs again.

    Raises:
        UserError: invalid input, missing files, or an unknown condition.
    """
    if conditions:  # a misspelt name is refused now, not after the training
        card = task_card(spec.task, spec.track)
        expand(conditions, card, has_noise_dir=session.noise_dir is not None)
    outcomes = run_seeds(spec, seeds, session, force=force)
    if not conditions:
        return outcomes
    # A model without a card is recorded by its digest, and loaded by the name that was given.
    of_place = parse_upstream_name(spec.upstream).kind is not None
    scoring = replace(session, upstream=spec.upstream if of_place else None)
    scored = []
    for outcome in outcomes:
        (record,) = score_conditions([outcome.path], conditions, scoring)
        scored.append(replace(outcome, record=record))
    return scored
