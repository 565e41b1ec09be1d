"""Run parts of a bundle again from the weights: a whole task, or some test utterances."""

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
from bench.engine import Engine, one_thread
from bench.errors import InvalidDataError, UsageError
from bench.features.store import FeatureStore
from bench.load.loader import load_upstream
from bench.metrics.metric import METRICS
from bench.probe.fit import predict
from bench.records.record import ConditionScore, Record, read_record
from bench.registry import task_card
from bench.reports.run_report import score_text
from bench.run.artifacts import load_head
from bench.run.evaluate import read_predictions
from bench.run.run import run
from bench.run.spec import RunSpec, resolve_run
from bench.seeds import derive_seed
from bench.session import Session

MIN_COSINE = 0.999  # of two embeddings of one utterance; precision and processor change it
MIN_AGREEMENT = 0.99  # share of predictions that must be the same


def draw_seed() -> int:
    """Return a seed that the sender of the bundle cannot have predicted."""
    return secrets.randbelow(1_000_000_000)


@dataclass(frozen=True)
class Rerun:
    """The outcome of a rerun.

    Attributes:
        agreements: lines for the reviewer: results that agree with the recorded ones.
        problems: lines for which the bundle is refused.
    """

    agreements: tuple[str, ...]
    problems: tuple[str, ...]


@one_thread()
def rerun(
    bundle: Path, what: str, home: Path, seed: int | None = None, engine: Engine | None = None
) -> Rerun:
    """Run a part of a bundle again, and compare with its record.

    Args:
        bundle: folder of the bundle.
        what: `TASK` for a whole run of its first seed, `TASK:N` for N random test utterances.
        home: folder of corpora, weights and features.
        seed: chooses the utterances; None draws one. Nothing in the bundle chooses them, because
            the sender could then decide which.
        engine: how the upstream runs; its precision is replaced by the record's, or by float32
            where the device lacks that.

    Raises:
        UsageError: no plain record of the task in the bundle, or N is no number from 1 to 999,999.
        MissingError: the weights cannot be reached, or no such device.
    """
    task, colon, number = what.partition(":")
    if colon and not (number.isdecimal() and 0 < int(number) < 1_000_000):
        raise UsageError(f"--rerun {what!r}: expected TASK or TASK:N")
    paths = sorted((bundle / "records").glob(f"{task}-s*.json"))
    records = {path: read_record(path) for path in paths}
    plain = [path for path in paths if not records[path].labels_shuffled]
    if not plain:
        raise UsageError(f"--rerun {what!r}: the bundle has no plain record of {task!r}")
    path = min(plain, key=lambda path: records[path].seed)
    engine = _as_recorded(engine or Engine(), records[path]).check()
    if colon:
        drawn = draw_seed() if seed is None else seed
        return _some(path, records[path], int(number), home, drawn, engine)
    return _all(records[path], home, engine)


def _as_recorded(engine: Engine, record: Record) -> Engine:
    precision = record.provenance.precision
    if precision == "tf32" and not engine.device.startswith("cuda"):
        precision = "float32"  # a CPU has no tf32, which is less precise
    return replace(engine, precision=precision)


def _spec(record: Record) -> RunSpec:
    return RunSpec(record.upstream, record.task, record.track, record.seed)


def _all(record: Record, home: Path, engine: Engine) -> Rerun:
    """Run the whole task; its intervals must overlap the recorded ones.

    Another machine rounds differently, and a training at a large learning rate can then end far
    away: one last bit decided whether KS of `ge2e` on track quick reached 54.8 or 63.3 %.
    """
    with tempfile.TemporaryDirectory(prefix="slim-superb-") as out:
        session = Session(home=home, out=Path(out), strict=True, engine=engine)
        outcome = run(_spec(record), session)
    agreements: list[str] = []
    problems: list[str] = []
    for score in record.scores:
        again = outcome.record.score(score.condition, score.metric)
        line = (
            f"rerun {record.task}: {METRICS[score.metric].label} on {score.condition} is "
            f"{score_text(again)}, recorded {score_text(score)}"
        )
        (agreements if _overlap(score, again) else problems).append(line)
    return Rerun(tuple(agreements), tuple(problems))


def _overlap(one: ConditionScore, two: ConditionScore) -> bool:
    """Return whether two intervals overlap; True for a metric without intervals."""
    if one.low is None or one.high is None or two.low is None or two.high is None:
        return True
    return one.low <= two.high and two.low <= one.high


def _some(path: Path, record: Record, number: int, home: Path, seed: int, engine: Engine) -> Rerun:
    """Run random utterances of the clean test set through upstream and trained head."""
    loaded = load_upstream(record.upstream, Session(strict=True))
    resolved = resolve_run(_spec(record), task_card(record.task, record.track), loaded, home)
    utterances = list(resolved.tables["clean"].utterances)
    chosen = random.Random(derive_seed("rerun", seed)).sample(
        utterances, min(number, len(utterances))
    )
    probe = load_head(resolved, path, record)
    with tempfile.TemporaryDirectory(prefix="slim-superb-") as folder:
        store = FeatureStore(Path(folder), loaded.key, resolved.card.features, engine=engine)
        store.extract(loaded.upstream, chosen, lambda item: None)
        again = predict(probe, store.read(chosen))
    recorded, _ = read_predictions(path.with_suffix("") / "predictions" / "clean.jsonl")
    return compare(record.task, chosen, again, recorded)


def compare(
    task: str, utterances: Sequence[Utterance], again: Sequence[Any], recorded: dict[str, Any]
) -> Rerun:
    """Compare predictions with the recorded ones; return one line.

    Args:
        task: name, for the line.
        utterances: those that were predicted.
        again: predictions of `utterances`, in their order.
        recorded: predictions by utterance id.

    Raises:
        InvalidDataError: an utterance has no recorded prediction.
    """
    differing = []
    for item, prediction in zip(utterances, again, strict=True):
        if item.id not in recorded:
            raise InvalidDataError(f"rerun {task}: no recorded prediction of {item.id!r}")
        if not _same(prediction, recorded[item.id]):
            differing.append(item.id)
    count = len(again)
    if len(differing) > (1.0 - MIN_AGREEMENT) * count:
        line = f"{len(differing)} of {count} predictions differ from the recorded ones"
        return Rerun((), (f"rerun {task}: {line}, first {differing[0]!r}",))
    same = count - len(differing)
    return Rerun((f"rerun {task}: {same} of {count} predictions are the recorded ones",), ())


def _same(one: Any, two: Any) -> bool:
    """Return whether labels or texts are equal, or embeddings nearly parallel."""
    if not (isinstance(one, list) and isinstance(two, list)):
        return bool(one == two)
    if len(one) != len(two):
        return False
    dot = sum(a * b for a, b in zip(one, two, strict=True))
    length = math.sqrt(sum(a * a for a in one) * sum(b * b for b in two))
    return length > 0 and dot / length >= MIN_COSINE
