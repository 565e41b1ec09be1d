"""A look at a folder of recordings: its layout, what it has, and the task card that fits it."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bench.corpora.own.card import CLASS_TASKS, CardPlace, OwnTaskCard, SplitRule
from bench.corpora.own.corpus import READERS
from bench.corpora.own.layouts import kaldi_folders, sound_endings, walk
from bench.corpora.own.patterns import guess_pattern
from bench.corpora.own.rows import DataRow, RawRow, check_rows, slot_matches, split_of
from bench.corpora.own.splits import SPLITS, describe, with_splits
from bench.corpora.own.tables import COLUMNS, ENDINGS, HUB
from bench.errors import InvalidDataError, UsageError, UserError
from bench.paths import check_file, user_path, write_text
from bench.schema import make_model
from bench.sound.audio import open_sound

MAX_CLASSES = 200  # of a column that is taken for labels
HEADER = "# Written by 'slim-superb task init'. Every key is explained in docs/own-data.md.\n"


@dataclass(frozen=True)
class Survey:
    """A task card for some data, and what was seen.

    Attributes:
        place: the card, and the folder that its paths are relative to.
        lines: what was seen, for people.
    """

    place: CardPlace
    lines: list[str]

    def text(self) -> str:
        """Return the card as YAML, without keys that have their defaults."""
        content = self.place.card.model_dump(mode="json", exclude_defaults=True)
        rule = self.place.card.splits
        content |= {"splits": rule.model_dump()} if rule else {}
        content |= {"on_bad_row": self.place.card.on_bad_row}
        return HEADER + yaml.safe_dump(content, sort_keys=False, allow_unicode=True)

    def write(self, file: Path) -> None:
        """Write the card.

        Raises:
            UsageError: the file exists.
            MissingError: no space or no permission.
        """
        if file.exists():
            raise UsageError(f"{file}: exists; remove it, or name another file with --out")
        write_text(file, self.text())


def survey(
    data: str, folder: Path, *, task: str | None, name: str | None, columns: Mapping[str, str]
) -> Survey:
    """Look at some data and return the task card that fits them.

    Args:
        data: folder, table, or `hf:ORG/NAME`.
        folder: of the card to be written.
        task: kind of task; None guesses it from what the data have.
        name: of the task; None makes it of the folder's name and the kind.
        columns: column by field, where names in a table do not say it.

    Raises:
        MissingError: no such data.
        InvalidDataError: no layout that is known.
        UsageError: the data have no target for the task.
    """
    try:
        return _survey(data, folder, _layout(data, task), task, name, columns)
    except UsageError as error:  # a table beside sounds may be about something else
        if columns or not Path(data).is_dir():
            raise
        seen = _layout(data, task, tables=False)
        if seen["layout"] != "files":
            raise
        seen["remarks"] = [*seen["remarks"], f"tables in the folder are not used ({error})"]
        return _survey(data, folder, seen, task, name, columns)


def _survey(
    data: str,
    folder: Path,
    seen: dict[str, Any],
    task: str | None,
    name: str | None,
    columns: Mapping[str, str],
) -> Survey:
    """Return the card for data in one layout; errors as `survey`."""
    remarks = seen.pop("remarks", [])
    seen |= {"columns": dict(columns)} if columns else {}
    values = {"data": _relative(data, folder), **seen}
    probe = make_model(OwnTaskCard, {"name": "probe", "task": "asr", **values}, "task init")
    raw = [row for row in READERS[probe.layout](CardPlace(probe, folder))]
    rows = [row for row in raw if isinstance(row, RawRow)]
    if not rows:
        problems = [str(getattr(row, "what", row)) for row in raw]
        raise InvalidDataError(f"{data}: no usable row ({'; '.join(problems[:2]) or 'empty'})")
    kind = task or _guess_task(rows)
    values |= _targets(rows, kind, values)
    values |= {"task": kind, "name": name or _name(data, kind)}
    rule = _split_rule(rows, kind)
    values |= {"splits": rule} if rule else {}
    card = make_model(OwnTaskCard, values, "task init")
    place = CardPlace(card, folder)
    if card.columns != probe.columns:  # a column was found that is the target
        raw = [row for row in READERS[card.layout](place)]
    return Survey(place, [*_lines(raw, place), *remarks])


def _relative(data: str, folder: Path) -> str:
    """Return the path of data as the card says it: relative where they lie near the card."""
    if data.startswith(HUB) and not Path(data.removeprefix(HUB)).exists():
        return data
    path = user_path(data.removeprefix(HUB)).resolve()
    relative = os.path.relpath(path, folder.resolve())
    return str(path) if relative.startswith("../../..") else Path(relative).as_posix()


def _layout(data: str, task: str | None, *, tables: bool = True) -> dict[str, Any]:
    """Return the keys of a card that say the layout, and remarks; `tables`: look for tables too.

    Raises:
        MissingError: no such data.
        InvalidDataError: no layout that is known.
    """
    root = user_path(data.removeprefix(HUB))
    if data.startswith(HUB):
        return {"layout": "datasets"}
    if not root.is_dir():
        check_file(root, "folder or table")
        if root.suffix not in ENDINGS:
            raise InvalidDataError(f"{root}: expected a folder, or one of {', '.join(ENDINGS)}")
        return {"layout": "table"}
    if kaldi := kaldi_folders(root):
        return {"layout": "kaldi", **_named_parts(kaldi, root)}
    if any((root / sign).exists() for sign in ("dataset_dict.json", "state.json")):
        return {"layout": "datasets"}
    files = walk(root)
    sounds = [path for path in files if path.suffix.lower() in sound_endings()]
    if any(path.suffix == ".parquet" for path in files) and not sounds:
        return {"layout": "datasets"}
    beside = {path.stem: path for path in files if path.suffix in ENDINGS and path.parent == root}
    chosen = _chosen_tables(beside) if tables else {}
    if chosen:
        return {"layout": "table", **_named_parts(chosen, root), **_audio_folder(chosen, root)}
    if not sounds:
        raise InvalidDataError(f"{root}: no sound, table, wav.scp or data set in it")
    names = [path.relative_to(root).with_suffix("").as_posix() for path in sounds]
    pattern, remarks = guess_pattern(names, task)
    return {"layout": "files", "pattern": pattern, "remarks": remarks}


def _chosen_tables(tables: Mapping[str, Path]) -> dict[str, Path]:
    """Return the only table of a folder, or those that are named after splits."""
    if len(tables) == 1:
        return dict(tables)
    return {name: path for name, path in tables.items() if split_of(name)}


def _named_parts(parts: Mapping[str, Path], root: Path) -> dict[str, Any]:
    """Return the key `tables` for several parts, and for one that is not `data` itself."""
    if len(parts) == 1:
        return {}
    splits = {split_of(name): path.relative_to(root).as_posix() for name, path in parts.items()}
    listed = {split: splits[split] for split in SPLITS if split in splits}
    if not listed:
        raise InvalidDataError(f"{root}: {', '.join(parts)}: no name of a split among these")
    return {"tables": listed}


def _audio_folder(tables: Mapping[str, Path], root: Path) -> dict[str, str]:
    """Return the key `audio` where the paths of a table are relative to a folder beside it."""
    from bench.corpora.own.tables import named_columns, table_rows

    table = next(iter(tables.values()))
    row = next((row for _, row in table_rows(table) if isinstance(row, dict)), {})
    column = named_columns(row, {}).get("path")
    if column is None or (root / row[column]).exists():
        return {}
    bases = [path for path in sorted(root.iterdir()) if (path / row[column]).is_file()]
    return {"audio": bases[0].name} if bases else {}


def _guess_task(rows: Sequence[RawRow]) -> str:
    """Return the kind of task that the fields of rows allow.

    Raises:
        UsageError: no field is a target.
    """
    fields = {name for row in rows for name, text in row.fields.items() if text.strip()}
    if "label" in fields:
        return "ks"
    if "text" in fields:
        return "slu" if any(slot_matches(row.fields.get("text", ""))[1] for row in rows) else "asr"
    if "speaker" in fields:
        return "sid"
    columns = ", ".join(sorted(fields - COLUMNS.keys())) or "none"
    raise UsageError(
        f"no label, text or speaker was recognised (columns: {columns}); name one, as in --task ks "
        "--column label=NAME"
    )


def _targets(rows: Sequence[RawRow], task: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys that say which column is the target, where its name does not.

    Raises:
        UsageError: no column can be the target.
    """
    field = {"ks": "label", "ic": "label", "sid": "speaker", "asv": "speaker"}.get(task, "text")
    if any(row.fields.get(field, "").strip() for row in rows):
        return {}
    used = {*COLUMNS, *(name for names in COLUMNS.values() for name in names)}
    counts = {
        column: len({row.fields.get(column, "") for row in rows})
        for column in rows[0].fields
        if column not in used
    }
    likely = [c for c, count in counts.items() if 2 <= count <= min(MAX_CLASSES, len(rows) // 2)]
    if task == "ic" and likely:
        return {"labels": tuple(likely)}
    if task == "ks" and len(likely) == 1:
        return {"columns": {**values.get("columns", {}), "label": likely[0]}}
    if values["layout"] == "kaldi" and task == "ks":
        return {"columns": {"label": "text"}}
    seen = ", ".join(counts) or "none"
    raise UsageError(
        f"task {task} needs a {field}: none was recognised (other columns: {seen}); name it, as in "
        f"--column {field}=NAME"
    )


def _name(data: str, task: str) -> str:
    """Return a name for the task."""
    path = Path(data.removeprefix(HUB).rstrip("/"))
    stem = (path.resolve() if path.exists() else path).stem
    clean = re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-_.")[:60]
    return f"{clean or 'data'}-{task}"


def _split_rule(rows: Sequence[RawRow], task: str) -> SplitRule | None:
    """Return how missing splits are made; None where the data have all."""
    given = {split_of(row.fields.get("split", "")) for row in rows if row.fields.get("split")}
    if given >= set(SPLITS):
        return None
    pool = [row for row in rows if split_of(row.fields.get("split", "")) in (None, "train")]
    speakers = {row.fields.get("speaker", "").strip() for row in pool}
    needed = (2 if task == "asv" else 1) * (len(set(SPLITS) - given) + (not given))
    enough = "" not in speakers and len(speakers) >= max(needed, 3)
    by_speaker = task == "asv" or (task != "sid" and enough)
    return SplitRule(by="speaker" if by_speaker else "utterance")


def _lines(raw: Sequence[Any], place: CardPlace) -> list[str]:
    """Return what was seen: files, rates, seconds, classes, speakers, splits, bad rows."""
    listing = check_rows(raw, place.card)
    lines = [f"task {place.card.task}, layout {place.card.layout}", *_sound_lines(listing.rows)]
    try:
        ready = with_splits(listing.rows, place)
        bad, notes = [*listing.bad, *ready.bad], [*listing.notes, *ready.notes]
        lines += [*describe(ready.rows, place.card), *notes]
    except InvalidDataError as error:
        bad = listing.bad
        lines += [*listing.notes, f"not usable yet: {error}"]
    if place.card.task in (*CLASS_TASKS, "asv"):
        counts = Counter(str(row.target) for row in listing.rows)
        shown = ", ".join(sorted(counts)[:12]) + (", ..." if len(counts) > 12 else "")
        lines.append(f"targets: {shown}")
    lines += [f"bad row {item.where}: {item.what}" for item in bad[:10]]
    return [*lines, f"{len(bad)} bad rows in all"] if bad else lines


def _sound_lines(rows: Sequence[DataRow]) -> list[str]:
    """Return number, rates, channels and seconds of the sounds, from their headers."""
    rates, unreadable, seconds = Counter[str](), 0, 0.0
    for row in rows:
        try:
            with row.sound.opened() as path, open_sound(path) as file:
                end_s = row.end_s or file.frames / file.samplerate
                rates[
                    f"{file.samplerate} Hz {'mono' if file.channels == 1 else 'stereo or more'}"
                ] += 1
                seconds += end_s - row.start_s
        except UserError:
            unreadable += 1
    listed = ", ".join(f"{count} of {rate}" for rate, count in rates.most_common())
    lines = [f"{len(rows)} utterances, {seconds:.1f} s: {listed}"]
    return [*lines, f"{unreadable} cannot be read as sound"] if unreadable else lines
