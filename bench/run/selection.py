"""The choice of one learning rate for all head seeds of an upstream, by seeds of the recipe's own.

The rate is then the same in a run of one head seed as in a run of several. The scores of all rates
lie in a file beside the records, so that they are computed once.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from bench.errors import InvalidDataError
from bench.features.locks import LOCKS, held
from bench.features.tensor_file import read_sealed, write_sealed
from bench.identity import engine_settings
from bench.probe.fit import Fitted
from bench.progress import warn
from bench.run.run_features import Features, explored_steps
from bench.run.spec import Resolved, resolve_run
from bench.run.stages import train_points
from bench.seeds import derive_seed


def _selectors(run: Resolved, home: Path) -> list[Resolved]:
    """Return runs with the recipe's own seeds; none where each run chooses by itself."""
    count = run.card.recipe.selection_seeds if len(run.learning_rates()) > 1 else 0
    seeds = [derive_seed("selection", index) for index in range(count)]
    return [resolve_run(replace(run.spec, seed=s), run.card, run.loaded, home) for s in seeds]


def _file(features: Features, selector: Resolved, record: Path) -> Path:
    """Return the file of the scores of all rates, beside the records that share them."""
    key = selector.heads_key(engine_settings(features.store.engine))
    return record.with_name(f"{selector.card.name}-selection") / f"{key}.sealed"


def shared_rates(features: Features, record: Path, home: Path) -> list[Fitted]:
    """Return a point a learning rate, with the mean of dev over heads of the recipe's own seeds.

    A rate at which one of these heads diverged has no score. One process trains the heads, while
    others that need them wait.

    Args:
        features: of the runs.
        record: file of the record of one of the runs.
        home: folder of corpora.

    Returns:
        the points, without weights; none where each run chooses by itself.
    """
    selectors = _selectors(features.resolved, home)
    if not selectors:
        return []
    file = _file(features, selectors[0], record)
    with held(file.parent / LOCKS, [file.stem]):
        try:
            if file.exists():
                return [Fitted(**point) for point in read_sealed(file)]
        except InvalidDataError as error:
            warn(f"{error}; the learning rate is chosen again")
        return _score_rates(features, selectors, file)


def _score_rates(features: Features, selectors: Sequence[Resolved], file: Path) -> list[Fitted]:
    """Train the heads of the recipe's own seeds at every rate; write and return the points."""
    recipe, rates = selectors[0].card.recipe, selectors[0].learning_rates()
    part = recipe.model_copy(update={"steps": explored_steps(recipe, len(rates))})
    training = file.parent / "training" / file.stem
    folders = [training / f"head{index}" for index in range(len(selectors))]
    by_seed = train_points(features, selectors, folders, part, rates)
    points = [_mean(heads) for heads in zip(*by_seed, strict=True)]
    write_sealed([vars(point) for point in points], file)
    shutil.rmtree(training, ignore_errors=True)
    return points


def _mean(heads: Sequence[Fitted]) -> Fitted:
    """Return the mean of the dev scores of heads that differ in their seeds only."""
    scores = tuple(head.value for head in heads)
    finite = [score for score in scores if score is not None]
    value = fmean(finite) if len(finite) == len(scores) else None
    step = max(head.step for head in heads)
    return Fitted(heads[0].lr, step, value, None, explored=True, by_seed=scores)


def forget_rates(features: Features, record: Path, home: Path) -> None:
    """Remove the file of the scores of all rates, so that the next run computes them again."""
    for selector in _selectors(features.resolved, home)[:1]:
        _file(features, selector, record).unlink(missing_ok=True)
