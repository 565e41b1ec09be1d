"""Run what a bundle claims again, from the weights: a whole task, or some test utterances."""

from __future__ import annotations

import math
import random
import secrets
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.api import Utterance
from bench.conditions.scorer import load_head
from bench.engine import Engine
from bench.errors import InvalidDataError, UsageError
from bench.features.store import FeatureStore
from bench.load.loader import load_upstream
from bench.probe.fit import predict
from bench.records.record import Record, read_record
from bench.registry import task_card
from bench.run.evaluate import read_predictions
from bench.run.run import run
from bench.run.spec import RunSpec, resolve_run
from bench.seeds import derive_seed
from bench.session import Session

CLOSE = 0.999  # cosine of two embeddings of one utterance; half precision and threads move the rest
AGREE = 0.99  # share of labels or texts that must be the same


def draw_seed() -> int:
    """A seed that nobody knew when the bundle was made."""
    return secrets.randbelow(1_000_000_000)


@dataclass(frozen=True)
class Rerun:
    """What came out.

    Attributes:
        found: lines for the reviewer: what was compared, and how near it came.
        problems: lines that refuse the bundle.
    """

    found: tuple[str, ...]
    problems: tuple[str, ...]


def rerun(
    bundle: Path, what: str, home: Path, seed: int | None = None, engine: Engine | None = None
) -> Rerun:
    """Compare with what comes out of the weights here.

    Args:
        bundle: folder of the bundle.
        what: `TASK` for a whole run of its first seed, `TASK:N` for N random test utterances.
        home: folder of corpora, weights and features.
        seed: decides which utterances; nothing in the bundle does, or its sender would choose them.
            None draws one.
        engine: how the upstream runs, but for the precision, which is the record's, or float32
            where this device lacks it.

    Raises:
        UsageError: no such task in the bundle, or a number that is none.
        MissingError: the weights cannot be reached, or no such device.
    """
    task, colon, number = what.partition(":")
    if colon and not (number.isdecimal() and 0 < int(number) < 1_000_000):
        raise UsageError(f"--rerun {what!r}: expected TASK or TASK:N")
    paths = sorted((bundle / "records").glob(f"{task}-s*.json"))
    records = {path: read_record(path) for path in paths}
    plain = [path for path in paths if not _is_special(records[path])]
    if not plain:
        raise UsageError(f"--rerun {what!r}: the bundle has no plain record of {task!r}")
    path = min(plain, key=lambda path: records[path].seed)
    engine = _as_recorded(engine or Engine(), records[path]).check()
    if colon:
        drawn = draw_seed() if seed is None else seed
        return _some(path, records[path], int(number), home, drawn, engine)
    return _all(records[path], home, engine)


def _is_special(record: Record) -> bool:
    """Whether a record is a control or a ceiling, which `_spec` would not run."""
    return record.labels_shuffled or record.ceiling


def _as_recorded(engine: Engine, record: Record) -> Engine:
    precision = record.provenance.precision
    if precision == "tf32" and not engine.device.startswith("cuda"):
        precision = "float32"  # finer, and what a CPU has
    return replace(engine, precision=precision)


def _spec(record: Record) -> RunSpec:
    return RunSpec(record.upstream, record.task, record.track, record.seed)


def _all(record: Record, home: Path, engine: Engine) -> Rerun:
    """The whole task: intervals that meet the recorded ones.

    Another machine rounds otherwise, and a training at a large learning rate can then end
    elsewhere: by a last bit, KS of `ge2e` on track quick came out at 54.8 or 63.3 %.
    """
    with tempfile.TemporaryDirectory(prefix="slim-superb-") as out:
        session = Session(home=home, out=Path(out), strict=True, engine=engine)
        made = run(_spec(record), session).record
    found: list[str] = []
    problems: list[str] = []
    for score in record.scores:
        again = made.score(score.condition, score.metric)
        line = (
            f"rerun {record.task}: {score.metric} on {score.condition} is "
            f"{again.value:.4f} [{again.low:.4f}, {again.high:.4f}], "
            f"recorded {score.value:.4f} [{score.low:.4f}, {score.high:.4f}]"
        )
        meet = score.low <= again.high and again.low <= score.high
        (found if meet else problems).append(line)
    return Rerun(tuple(found), tuple(problems))


def _some(path: Path, record: Record, number: int, home: Path, seed: int, engine: Engine) -> Rerun:
    """Random utterances of the clean test set, through upstream and trained head again."""
    loaded = load_upstream(record.upstream, Session(strict=True))
    resolved = resolve_run(_spec(record), task_card(record.task, record.track), loaded, home)
    utterances = list(resolved.tables["clean"].utterances)
    chosen = random.Random(derive_seed("rerun", seed)).sample(
        utterances, min(number, len(utterances))
    )
    probe = load_head(resolved, path.with_suffix("") / "head.safetensors")
    with tempfile.TemporaryDirectory(prefix="slim-superb-") as folder:
        store = FeatureStore(Path(folder), loaded.digest, resolved.card.features, engine=engine)
        store.extract(loaded.upstream, chosen, lambda item: None)
        again = predict(probe, store.read(chosen))
    recorded, _ = read_predictions(path.with_suffix("") / "predictions" / "clean.jsonl")
    return compare(record.task, chosen, again, recorded)


def compare(
    task: str, utterances: Sequence[Utterance], again: Sequence[Any], recorded: dict[str, Any]
) -> Rerun:
    """How many predictions are the recorded ones; one line.

    Raises:
        InvalidDataError: an utterance without a recorded prediction.
    """
    differing = []
    for item, found in zip(utterances, again, strict=True):
        if item.id not in recorded:
            raise InvalidDataError(f"rerun {task}: no recorded prediction of {item.id!r}")
        if not _same(found, recorded[item.id]):
            differing.append(item.id)
    count = len(again)
    if len(differing) > (1.0 - AGREE) * count:
        return Rerun(
            (),
            (
                f"rerun {task}: {len(differing)} of {count} predictions differ from the "
                f"recorded ones, first {differing[0]!r}",
            ),
        )
    same = count - len(differing)
    return Rerun((f"rerun {task}: {same} of {count} predictions are the recorded ones",), ())


def _same(one: Any, two: Any) -> bool:
    """Equal labels or texts, or embeddings that point the same way."""
    if not (isinstance(one, list) and isinstance(two, list)):
        return bool(one == two)
    if len(one) != len(two):
        return False
    dot = sum(a * b for a, b in zip(one, two, strict=True))
    length = math.sqrt(sum(a * a for a in one) * sum(b * b for b in two))
    return length > 0 and dot / length >= CLOSE
