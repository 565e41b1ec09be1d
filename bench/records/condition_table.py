"""The conditions of a record as a table: one line a condition, and nothing written twice.

A cell that follows from others is not written where what follows is the same number bit for bit. In
the tree of committed records the identity of each condition's test set, which is equal for all
upstreams, lies once a track beside them (`conditions.json`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError, model_validator

from bench.config import Sha256
from bench.errors import InvalidDataError
from bench.paths import write_text
from bench.schema import Frozen

COLUMNS = ("condition", "sha256", "predictions_sha256", "checkout", "scores")
SCORE_COLUMNS = ("metric", "value", "numerator", "denominator", "n", "low", "high", "chance")
FOLLOWS = "="
MAX_BYTES = 4_000_000
Row = tuple[Any, Any, Any, Any, Any]  # cells are checked as fields of what they become, not twice
Digests = Mapping[str, str]  # sha256 by condition, of one task
_DIGESTS_FILE = TypeAdapter(dict[str, dict[str, Sha256]])


class ConditionTable(Frozen):
    """The conditions of a record, as on disk.

    Attributes:
        checkouts: commit and dirty flag of every checkout that scored some of them.
        columns: of a row. `sha256` is null where it is in `conditions.json`; `checkout` counts in
            `checkouts`, from 0.
        score_columns: of a score. `value` is "=" where it is numerator / denominator, `chance`
            where it is that of the clean test set.
        rows: one a condition.
    """

    checkouts: tuple[tuple[str | None, bool | None], ...] = ()
    columns: tuple[str, ...] = COLUMNS
    score_columns: tuple[str, ...] = SCORE_COLUMNS
    rows: tuple[Row, ...] = ()

    @model_validator(mode="after")
    def _readable(self) -> ConditionTable:
        if (self.columns, self.score_columns) != (COLUMNS, SCORE_COLUMNS):
            raise ValueError(f"columns {COLUMNS} and {SCORE_COLUMNS} expected")
        return self

    def text(self) -> str:
        """Return the table as JSON, a line a row."""
        data = self.model_dump(mode="json")
        rows = data.pop("rows")
        lines = [f'    "{key}": {json.dumps(value)}' for key, value in data.items()]
        packed = [json.dumps(row, separators=(",", ":"), allow_nan=False) for row in rows]
        lines.append('    "rows": [\n      ' + ",\n      ".join(packed) + "\n    ]")
        return "{\n" + ",\n".join(lines) + "\n  }"

    def entries(self, clean: Mapping[str, float], digests: Digests) -> Iterator[dict[str, Any]]:
        """Yield every condition with all that it says, by field of `ConditionResult`.

        A number that cannot be computed is NaN, which no record may hold.

        Args:
            clean: chance on the clean test set, by metric.
            digests: what rows without a sha256 have.

        Raises:
            KeyError: a condition without a sha256.
            ValueError, TypeError, ArithmeticError: a cell of another shape or type.
        """
        for condition, sha256, predictions_sha256, checkout, rows in self.rows:
            if checkout not in range(len(self.checkouts)):
                raise ValueError(f"no checkout {checkout!r}")
            commit, dirty = self.checkouts[checkout]
            yield {
                "condition": condition,
                "sha256": digests[condition] if sha256 is None else sha256,
                "predictions_sha256": predictions_sha256,
                "commit": commit,
                "dirty": dirty,
                "scores": tuple(_score(row, condition, clean) for row in rows),
            }


def condition_table(
    entries: Sequence[Mapping[str, Any]], clean: Mapping[str, float], digests: Digests
) -> ConditionTable:
    """Make the table of a record's conditions; the inverse of `ConditionTable.entries`.

    Args:
        entries: conditions by field; a score's own condition is that of its row.
        clean: chance on the clean test set, by metric.
        digests: sha256 by condition that need not be written.
    """
    checkouts: dict[tuple[str | None, bool | None], int] = {}
    rows = []
    for item in entries:
        checkout = checkouts.setdefault((item["commit"], item["dirty"]), len(checkouts))
        shared = digests.get(item["condition"]) == item["sha256"]
        rows.append(
            (
                item["condition"],
                None if shared else item["sha256"],
                item["predictions_sha256"],
                checkout,
                tuple(_score_row(score, clean) for score in item["scores"]),
            )
        )
    return ConditionTable(checkouts=tuple(checkouts), rows=tuple(rows))


def _value(numerator: float | None, denominator: float | None) -> float:
    return numerator / denominator if numerator is not None and denominator else math.nan


def _score_row(score: Mapping[str, Any], clean: Mapping[str, float]) -> tuple[Any, ...]:
    """Make a row of a score. Numbers are compared by `repr`, which tells -0.0 from 0.0."""
    cells = {name: score[name] for name in SCORE_COLUMNS}
    value = _value(score["numerator"], score["denominator"])
    if repr(value) == repr(score["value"]):
        cells["value"] = FOLLOWS
    if repr(clean.get(score["metric"])) == repr(score["chance"]):
        cells["chance"] = FOLLOWS
    return tuple(cells.values())


def _score(row: Sequence[Any], condition: str, clean: Mapping[str, float]) -> dict[str, Any]:
    metric, value, numerator, denominator, n, low, high, chance = row
    return {
        "condition": condition,
        "metric": metric,
        "value": _value(numerator, denominator) if value == FOLLOWS else value,
        "numerator": numerator,
        "denominator": denominator,
        "n": n,
        "low": low,
        "high": high,
        "chance": clean.get(metric, math.nan) if chance == FOLLOWS else chance,
    }


def digests_path(record: Path) -> Path:
    """Return where the committed records of a track keep the digests of their conditions."""
    return record.parent.parent / "conditions.json"


def read_digests(path: Path, task: str) -> Digests:
    """Read the sha256 of a task's conditions; empty where there is no file.

    Raises:
        InvalidDataError: unreadable, too large, or not digests by task and condition.
    """
    try:
        about = path.stat()
        if about.st_size > MAX_BYTES:
            raise InvalidDataError(f"{path}: {about.st_size} bytes, at most {MAX_BYTES} expected")
        return _read_digests(path, about.st_mtime_ns, about.st_size).get(task, {})
    except FileNotFoundError:
        return {}
    except (OSError, ValidationError) as error:
        raise InvalidDataError(f"{path}: not sha256 by task and condition") from error


@lru_cache(maxsize=8)
def _read_digests(path: Path, time_ns: int, size: int) -> dict[str, dict[str, str]]:
    """Read a file once for all records beside it; time and size tell when it has changed."""
    return _DIGESTS_FILE.validate_json(path.read_bytes(), strict=True)


def add_digests(path: Path, task: str, digests: Digests) -> Digests:
    """Add conditions to the file; those that it has stay as they are.

    Args:
        path: of the file.
        task: of the conditions.
        digests: sha256 by condition.

    Returns:
        all of the task's.

    Raises:
        InvalidDataError: the file is no such file.
        MissingError: no space or no permission.
    """
    known = read_digests(path, task)
    merged = {**digests, **known}
    if merged != known:
        every = json.loads(path.read_bytes()) if path.exists() else {}
        text = json.dumps(every | {task: merged}, indent=1, sort_keys=True)
        write_text(path, text + "\n")
    return merged
