"""Files of item counts: what each utterance or trial of a test set adds to a record's scores.

Every interval and test can be made of them, without predictions or corpora. The file lies apart
from the record: `<task>-s<seed>.items` in a tree of the same shape.

A file is a safetensors file, compressed by zlib. Tensors are named by test set and metric; all
test sets of one record that is compared with another are in the order of the same manifest:

- `clean/speakers`: (n,) number of each utterance's speaker; absent where speakers are unknown;
- `clean/cer/numerators`, `clean/cer/denominators`: (n,) counts of a rate, such as edits and
  characters; in a file of few counts an entry may be a speaker instead of an utterance;
- `clean/enrolments`, `clean/tests`: (n,) numbers of the speakers of each trial (of the utterances
  where speakers are unknown), `clean/targets`: (n,) 1 for one speaker, `clean/ranks`: (n,) place
  of its score among the distinct scores, from 0 for the smallest: error rates of detection depend
  on nothing else;
- `clean/conditions`: names of distortions of this test set, lines of UTF-8, and
  `clean/changes`: (C, 1 + G) the task's main metric under each of them, and then its change without
  each speaker in turn, scaled as in `bench.metrics.jackknife`.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import InvalidDataError, one_line
from bench.metrics.detection import TRIAL_RATES, Floats
from bench.metrics.items import Items, TrialItems
from bench.metrics.jackknife import Influences, has_speakers, jackknife_or_none
from bench.paths import atomic_path, runs_folder

MAX_BYTES = 8_000_000  # packed, and unpacked
Key = tuple[str, str]  # test set or condition, metric


@dataclass(frozen=True, eq=False)
class ItemFile:
    """The content of a file.

    Attributes:
        items: counts by test set and metric.
        conditions: the main metric under distortions, by name.
    """

    items: Mapping[Key, Items | TrialItems]
    conditions: Mapping[str, Influences] = field(default_factory=dict)


def items_path(folder: Path, track: str, upstream: str, run: str) -> Path:
    """Return where the items of one run lie below `folder`; `run` is the record's stem."""
    return runs_folder(folder, track, upstream) / f"{run}.items"


def write_items(file: ItemFile, path: Path) -> None:
    """Write a file atomically; the same content gives the same bytes.

    Raises:
        MissingError: no space or no permission.
    """
    from safetensors.numpy import save

    tensors: dict[str, NDArray[Any]] = {}
    for (test, metric), items in file.items.items():
        if isinstance(items, TrialItems):
            tensors |= {f"{test}/{name}": part for name, part in _trial_tensors(items).items()}
            tensors[f"{test}/{metric}"] = np.zeros(0, np.uint8)
        else:
            if has_speakers(items.clusters):
                tensors[f"{test}/speakers"] = _codes(items.clusters)
            tensors[f"{test}/{metric}/numerators"] = _smallest(items.numerators)
            tensors[f"{test}/{metric}/denominators"] = _smallest(items.denominators)
    tensors |= _changes(file.conditions)
    with atomic_path(path) as temporary:
        temporary.write_bytes(zlib.compress(save(tensors), level=9))


def _codes(labels: NDArray[Any]) -> NDArray[Any]:
    return _smallest(np.unique(labels, return_inverse=True)[1])


def _smallest(numbers: NDArray[Any]) -> NDArray[Any]:
    """Return numbers in the smallest type that holds them exactly."""
    whole = numbers.astype(np.int64)
    if (whole != numbers).any() or (whole < 0).any():
        return numbers.astype(np.float64)
    return whole.astype(np.min_scalar_type(int(whole.max(initial=0))))


def _trial_tensors(items: TrialItems) -> dict[str, NDArray[Any]]:
    speakers = np.concatenate([items.enrolment_speakers, items.test_speakers])
    utterances = np.concatenate([items.enrolments, items.tests])
    codes = _codes(speakers if has_speakers(speakers) else utterances)
    first, second = np.split(codes, 2)
    return {
        "enrolments": first,
        "tests": second,
        "targets": items.labels.astype(np.uint8),
        "ranks": _codes(items.scores),
    }


def _changes(parts: Mapping[str, Influences]) -> dict[str, NDArray[Any]]:
    if not parts:
        return {}
    table = np.stack([np.append(part.value, part.changes) for part in parts.values()])
    effective = next(iter(parts.values())).effective
    return {
        "clean/conditions": np.frombuffer("\n".join(parts).encode(), np.uint8),
        "clean/changes": table.astype(np.float32),
        "clean/conditions_effective": np.array([effective]),
    }


def read_items(path: Path) -> ItemFile:
    """Read the item counts of one record.

    Raises:
        InvalidDataError: unreadable, too large, or not item counts.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    raw = _unpacked(path)
    try:
        tensors = load(raw)
        return _file(tensors)
    except (SafetensorError, ValueError, KeyError, IndexError, TypeError) as error:
        raise InvalidDataError(one_line(f"{path}: not item counts: {error}")) from error


def _file(tensors: Mapping[str, NDArray[Any]]) -> ItemFile:
    items: dict[Key, Items | TrialItems] = {}
    conditions: dict[str, Influences] = {}
    for name in tensors:
        test, _, rest = name.partition("/")
        metric, _, part = rest.partition("/")
        if part == "numerators":
            items[test, metric] = _rate(tensors, test, metric)
        elif metric in TRIAL_RATES:
            items[test, metric] = _trials(tensors, test, metric)
        elif name == "clean/conditions":
            conditions = _conditions(tensors)
    return ItemFile(items, conditions)


def _rate(tensors: Mapping[str, NDArray[Any]], test: str, metric: str) -> Items:
    top, bottom = (
        tensors[f"{test}/{metric}/{part}"].astype(np.float64)
        for part in ("numerators", "denominators")
    )
    ids = np.arange(len(top))
    speakers = tensors.get(f"{test}/speakers", np.full(len(top), ""))
    finite = bool(np.isfinite(top).all())  # below 0 where an item lowers the score
    if not top.shape == bottom.shape == speakers.shape or not finite or not _counts(bottom):
        raise ValueError(f"{test}/{metric}: as many finite counts as utterances expected")
    return Items(ids, top, bottom, speakers)


def _counts(numbers: Floats) -> bool:
    return numbers.ndim == 1 and bool(np.isfinite(numbers).all() and (numbers >= 0).all())


def _trials(tensors: Mapping[str, NDArray[Any]], test: str, metric: str) -> TrialItems:
    first, second, targets, ranks = (
        tensors[f"{test}/{name}"] for name in ("enrolments", "tests", "targets", "ranks")
    )
    sizes = {part.shape for part in (first, second, targets, ranks)}
    if len(sizes) > 1 or first.ndim != 1 or not 0 < targets.sum(dtype=np.int64) < len(targets):
        raise ValueError(f"{test}: as many speakers, labels and ranks as trials expected")
    if not all(np.issubdtype(part.dtype, np.unsignedinteger) for part in (first, second, ranks)):
        raise ValueError(f"{test}: numbers of speakers and ranks expected")
    labels, scores = targets > 0, ranks.astype(np.float64)
    return TrialItems(TRIAL_RATES[metric], scores, labels, first, second, first, second)


def _conditions(tensors: Mapping[str, NDArray[Any]]) -> dict[str, Influences]:
    lines = tensors["clean/conditions"].tobytes().decode().split("\n")
    table = tensors["clean/changes"].astype(np.float64)
    (effective,) = tensors["clean/conditions_effective"]
    is_table = table.ndim == 2 and len(table) == len(lines) and bool(np.isfinite(table).all())
    if not is_table or not 1.0 <= effective <= table.shape[1]:
        raise ValueError("clean/changes: one row a name of finite numbers expected")
    return {
        line: Influences(float(row[0]), row[1:], float(effective))
        for line, row in zip(lines, table, strict=True)
    }


def all_influences(file: ItemFile, main: str) -> dict[Key, Influences]:
    """Return every score of a file with the influence of each speaker, by condition and metric.

    Scores of test sets that are too small for an interval are left out.

    Args:
        file: of a record.
        main: metric of the scores under conditions.

    Raises:
        InvalidDataError: nothing to score.
    """
    parts = {key: jackknife_or_none(items) for key, items in file.items.items()}
    return {
        **{key: part for key, part in parts.items() if part},
        **{(name, main): part for name, part in file.conditions.items()},
    }


def _unpacked(path: Path) -> bytes:
    """Return what is in a file, of `MAX_BYTES` at most.

    Raises:
        InvalidDataError: unreadable, too large, or not a whole zlib stream.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InvalidDataError(f"{path}: larger than {MAX_BYTES} bytes")
        unpacker = zlib.decompressobj()
        raw = unpacker.decompress(path.read_bytes(), MAX_BYTES)
    except OSError as error:
        raise InvalidDataError(f"{path}: cannot be read ({error.strerror})") from error
    except zlib.error as error:
        raise InvalidDataError(f"{path}: not item counts: {error}") from error
    if not unpacker.eof or unpacker.unused_data:
        raise InvalidDataError(
            f"{path}: not item counts: one whole zlib stream of at most {MAX_BYTES} bytes expected"
        )
    return raw
