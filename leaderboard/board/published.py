"""Rows as papers report them: `published/*.yaml`. They are never averaged with measurements."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from bench.config import Family
from bench.errors import UsageError, did_you_mean
from bench.load.catalog import upstream_card, upstream_names
from bench.metrics.metric import METRICS, Metric
from bench.records.standing import Standing
from bench.schema import Frozen, read_card
from leaderboard.board.rows import BoardScore, Row, unique_keys

SOURCES = "_sources.yaml"
TRACK = "superb"


class OtherNumber(Frozen):
    """The number that other sources give for the same cell."""

    value: float
    sources: tuple[str, ...] = Field(min_length=1)


class PublishedNumber(Frozen):
    """One number with its sources.

    Attributes:
        value: the number that is shown; a fraction for rates.
        sources: empty for those of the row.
        others: other numbers for the same cell, shown as a note.
    """

    value: float = Field(allow_inf_nan=False)
    sources: tuple[str, ...] = ()
    others: tuple[OtherNumber, ...] = ()


class PublishedRow(Frozen):
    """One model as papers report it.

    Attributes:
        name: of the file.
        card: upstream card of the same model, if there is one.
        teacher: name of a card or of another published row.
        trained_on: data of the compression.
        paper: address of the paper of the model.
        sources: of every cell that names none.
        macs: of the 32 utterances, SUPERB's rule.
        scores: by `task metric`.
        notes: conflicts between sources, and other remarks.
    """

    name: str
    title: str
    family: Family
    teacher: str | None = None
    card: str | None = None
    trained_on: str = ""
    paper: str
    sources: tuple[str, ...] = Field(min_length=1)
    params: PublishedNumber | None = None
    macs: PublishedNumber | None = None
    scores: dict[str, PublishedNumber]
    notes: str = ""


class PublishedSource(Frozen):
    """A paper or page that numbers were read from."""

    title: str
    url: str
    paper: str | None = None

    @field_validator("url", "paper")
    @classmethod
    def _is_web_address(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith("https://"):
            raise ValueError("expected an address that starts with https://")
        return value


class PublishedMetric(Frozen):
    """A column of the published table.

    Attributes:
        label: of a metric that this project does not compute.
    """

    task: str
    metric: str
    title: str
    unit: str
    higher_is_better: bool
    label: str = ""


class SourcesFile(Frozen):
    """The content of `_sources.yaml`: sources and metrics that rows refer to.

    Attributes:
        score_zero: row with SUPERB score 0.
        score_one: rows whose best value of a task gives 1000.
        score_as_of: date at which those rows were read.
    """

    title: Literal["SUPERB"]
    about: str
    sources: dict[str, PublishedSource]
    metrics: tuple[PublishedMetric, ...]
    score_zero: str
    score_one: tuple[str, ...]
    score_as_of: str = ""


def read_published(folder: Path) -> tuple[SourcesFile | None, tuple[PublishedRow, ...]]:
    """Read all rows, by name; none from a folder without `_sources.yaml`.

    Raises:
        UsageError: a misspelt key, an unknown source or metric, a name unlike the file's.
        InvalidDataError: not a YAML mapping.
    """
    if not (folder / SOURCES).exists():
        return None, ()
    about = read_card(folder / SOURCES, SourcesFile)
    rows = []
    for path in sorted(folder.glob("[!_]*.yaml")):
        row = read_card(path, PublishedRow)
        if row.name != path.stem:
            raise UsageError(f"{path}: key 'name' is {row.name!r}, the file says {path.stem!r}")
        _check(row, about, path)
        rows.append(row)
    return about, tuple(rows)


def _check(row: PublishedRow, about: SourcesFile, path: Path) -> None:
    """Refuse sources and metrics that are not in `_sources.yaml`.

    Raises:
        UsageError: an unknown source, metric or card.
    """
    cells = _cells(row)
    named = [*row.sources, *(name for cell in cells for name in cell.sources)]
    named += [name for cell in cells for other in cell.others for name in other.sources]
    for name in named:
        if name not in about.sources:
            raise UsageError(
                f"{path}: unknown source {name!r}: {did_you_mean(name, about.sources)}"
            )
    columns = {f"{item.task} {item.metric}" for item in about.metrics}
    for name in row.scores:
        if name not in columns:
            raise UsageError(f"{path}: unknown score {name!r}: {did_you_mean(name, columns)}")
    if row.card is not None:
        upstream_card(row.card)


def definitions(about: SourcesFile) -> dict[tuple[str, str], Metric]:
    """Return all metrics of the table by (task, metric), also PER, MTWV and DER."""

    def refuse(*_: Any) -> Any:
        raise UsageError("a reported metric has no predictions to score")

    return {
        (item.task, item.metric): METRICS.get(item.metric)
        or Metric(item.metric, item.label, item.unit, item.higher_is_better, refuse, refuse)
        for item in about.metrics
    }


def reported_rows(about: SourcesFile, rows: tuple[PublishedRow, ...]) -> tuple[Row, ...]:
    """Return the published rows as rows of the board, by size and name."""
    ordered = sorted(rows, key=lambda row: (row.params.value if row.params else 1e12, row.name))
    keys = unique_keys([f"{TRACK} reported {row.name}" for row in ordered])
    return tuple(_row(row, about, key) for row, key in zip(ordered, keys, strict=True))


def _row(row: PublishedRow, about: SourcesFile, key: str) -> Row:
    scores = {}
    for name, cell in row.scores.items():
        task, metric = name.split(" ")
        scores[task, metric, "clean"] = BoardScore(cell.value, about=_sources(cell, row, metric))
    sources = sorted({name for cell in _cells(row) for name in (cell.sources or row.sources)})
    trained = f"Trained on {row.trained_on}. " if row.trained_on else ""
    return Row(
        key=key,
        name=row.title,
        kind="reported",
        role="",
        card_name=row.card or row.name,
        card=upstream_card(row.card) if row.card in upstream_names() else None,
        family=row.family,
        teacher=row.teacher or "",
        weights="as reported",
        tap="as reported",
        protocol="SUPERB",
        params=round(row.params.value) if row.params else None,
        macs_per_second=None,
        macs_superb=row.macs.value if row.macs else None,
        cost=None,
        rtf=None,
        scores=scores,
        standing=Standing(upstream=row.title, track=TRACK),
        paper=row.paper,
        note=f"{trained}{_cost_note(row)}{row.notes}".strip(),
        sources=tuple((f"{name}: {about.sources[name].title}", about.sources[name].url)
                      for name in sources),
    )  # fmt: skip


def _cells(row: PublishedRow) -> list[PublishedNumber]:
    return [*row.scores.values(), *(cell for cell in (row.params, row.macs) if cell)]


def _sources(cell: PublishedNumber, row: PublishedRow, metric: str) -> str:
    """Return the sources of a cell, and other numbers with theirs."""
    scale = 1.0 if metric == "mtwv" else 100.0
    text = f"source {', '.join(cell.sources or row.sources)}"
    for other in cell.others:
        text += f"; {other.value * scale:.6g} in {', '.join(other.sources)}"
    return text


def _cost_note(row: PublishedRow) -> str:
    """Return the sources of parameters and MACs if they differ from the row's or disagree."""
    parts = []
    for what, cell, scale, unit in (("Parameters", row.params, 1e6, "M"),
                                    ("MACs", row.macs, 1e9, "G")):  # fmt: skip
        if cell is not None and (cell.others or cell.sources):
            text = f"{what}: {cell.value / scale:.6g} {unit} in source "
            text += ", ".join(cell.sources or row.sources)
            for other in cell.others:
                text += f", {other.value / scale:.6g} {unit} in {', '.join(other.sources)}"
            parts.append(text + ". ")
    return "".join(parts)
