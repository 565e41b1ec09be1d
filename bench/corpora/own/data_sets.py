"""Reader of Hugging Face data sets: saved by `datasets`, as Parquet files, or on the hub."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.corpora.own.card import CardPlace, OwnTaskCard
from bench.corpora.own.layouts import Rows
from bench.corpora.own.rows import RawRow
from bench.corpora.own.tables import HUB, named_columns, text_of
from bench.errors import InvalidDataError, MissingError, message_of
from bench.load.downloads import ask_hub, cause_of


@dataclass(frozen=True)
class DatasetSound:
    """The sound of a row of a data set: its bytes, or a path.

    Attributes:
        rows: the split, with undecoded audio.
        index: of the row.
        column: of the audio.
    """

    rows: Any
    index: int
    column: str

    def state(self) -> str:
        """Return the identity of the split, and the row's number."""
        return json.dumps([self.rows._fingerprint, self.index])

    @contextmanager
    def opened(self) -> Iterator[Path]:
        """Yield a file of the sound; a temporary one where the data set holds bytes.

        Raises:
            MissingError: the row has neither bytes nor a path.
        """
        sound = self.rows[self.index][self.column] or {}
        if sound.get("bytes"):
            with tempfile.NamedTemporaryFile(suffix=".sound") as file:
                file.write(sound["bytes"])
                file.flush()
                yield Path(file.name)
        elif sound.get("path"):
            yield Path(sound["path"])
        else:
            raise MissingError(f"row {self.index}: no sound")


def read_datasets(place: CardPlace) -> Rows:
    """Yield the rows of a Hugging Face data set: saved by `datasets`, Parquet files, or on the hub.

    Raises:
        MissingError: no such data set, or the hub does not answer.
        InvalidDataError: no column of audio.
    """
    for name, rows in load_splits(place).items():
        listed = dict(place.card.tables)
        split = next((ours for ours, theirs in listed.items() if theirs == name), None)
        if listed and split is None:
            yield f"split {name} is not named in 'tables'"
            continue
        yield from _dataset_rows(place, name, split or name, rows)


def _dataset_rows(place: CardPlace, name: str, split: str, rows: Any) -> Rows:
    """Yield the rows of one split."""
    import datasets

    audio = audio_column(rows, place.card.columns.get("path"))
    try:
        rows = rows.cast_column(audio, datasets.Audio(decode=False))
    except Exception as error:  # of the library or of Arrow, without a common base class
        raise InvalidDataError(f"column {audio}: no audio ({message_of(error)})") from error
    plain = rows.remove_columns([audio])
    columns = named_columns(
        plain.column_names,
        {field: column for field, column in place.card.columns.items() if field != "path"},
    )
    classes = {
        column: feature.names
        for column, feature in plain.features.items()
        if isinstance(feature, datasets.ClassLabel)
    }
    for index, row in enumerate(plain):
        values = {
            column: classes[column][value]
            if column in classes and isinstance(value, int) and value >= 0
            else text_of(value)
            for column, value in row.items()
        }
        fields = values | {ours: values[theirs] for ours, theirs in columns.items()}
        fields |= {"path": f"{name or 'row'}/{index}"} | ({"split": split} if split else {})
        yield RawRow(f"{name}[{index}]", fields, DatasetSound(rows, index, audio))


def audio_column(rows: Any, given: str | None) -> str:
    """Return the column of audio of a split.

    Raises:
        InvalidDataError: none, or several and none is named.
    """
    import datasets

    names = [n for n, feature in rows.features.items() if isinstance(feature, datasets.Audio)]
    bytes_and_path = [
        name
        for name, feature in rows.features.items()
        if isinstance(feature, dict) and set(feature) == {"bytes", "path"}
    ]
    names = [given] if given in rows.features else names or bytes_and_path
    if len(names) != 1:
        listed = ", ".join(rows.column_names)
        raise InvalidDataError(f"one column of audio expected, named in columns: path ({listed})")
    return str(names[0])


def load_splits(place: CardPlace) -> dict[str, Any]:
    """Return the splits of a data set by name; "" is the name of a single one.

    Raises:
        MissingError: no such data set, or the hub does not answer.
    """
    import datasets

    datasets.disable_progress_bars()
    card, is_hub = place.card, place.card.data.startswith(HUB)
    path = place.path(card.data.removeprefix(HUB))
    try:
        if is_hub and not path.is_dir():
            loaded = _from_hub(card)
        elif any(path.glob("dataset_dict.json")) or any(path.glob("state.json")):
            loaded = datasets.load_from_disk(str(path))
        else:
            loaded = datasets.load_dataset("parquet", data_files=_parquet_files(path))
    except MissingError:
        raise
    except Exception as error:  # the library has no common base class of errors
        raise MissingError(f"{card.data}: no data set to load ({message_of(error)})") from error
    splits = dict(loaded) if isinstance(loaded, dict) else {"": loaded}
    return {"": next(iter(splits.values()))} if len(splits) == 1 else splits


def _from_hub(card: OwnTaskCard) -> Any:
    """Return the data set of the hub that a card names.

    Raises:
        MissingError: the hub does not answer, or has no such data set.
    """
    import datasets
    from huggingface_hub.constants import HF_HUB_OFFLINE

    name = card.data.removeprefix(HUB)
    try:
        if not HF_HUB_OFFLINE:  # then its library reads what it has downloaded before
            ask_hub(name, "dataset", card.revision)
    except Exception as error:  # of any class, as `ask_hub` says
        raise MissingError(
            f"{card.data}: the data set cannot be reached ({cause_of(error)}); save it with "
            "'datasets' where there is a network, and name its folder"
        ) from error
    return datasets.load_dataset(name, card.config, revision=card.revision)


def _parquet_files(path: Path) -> dict[str, list[str]]:
    """Return the Parquet files of a folder by split, as their names begin (`test-00000-of-1`).

    Raises:
        MissingError: none.
    """
    files: dict[str, list[str]] = {}
    for file in sorted(path.rglob("*.parquet")):
        files.setdefault(file.stem.partition("-")[0], []).append(str(file))
    if not files:
        raise MissingError(f"{path}: no data set saved by 'datasets' and no Parquet file in it")
    return files
