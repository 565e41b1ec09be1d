"""The cells of a grid, and their state on disk: records, locks, errors and marks of what is done.

A cell is one upstream on one task with all seeds and, after them, all conditions. Its state lies
beside the records, so workers come and go on any machine that sees the folder. The names of files
hold the digests of cards, conditions and protocol: other cards are other cells.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

from filelock import FileLock

from bench.conditions.catalogue import expand
from bench.config import TaskCard
from bench.corpora.own.card import remember
from bench.errors import DEFECT_CODE, UserError, explain
from bench.features.locks import acquire, holder_of, this_process
from bench.grids.spec import GridSpec
from bench.identity import PROTOCOL, card_digest, cell_key, engine_settings
from bench.load.catalog import find_entry, parse_upstream_name
from bench.load.loader import load_upstream
from bench.paths import runs_folder, user_path, write_text
from bench.records.failure import Failure
from bench.records.record import read_record
from bench.run.provenance import project_state
from bench.run.spec import RunSpec, run_card
from bench.schema import parse_json
from bench.session import Session

CellStatus = Literal["done", "failed", "running", "waiting"]
MAX_TRIES = 3
# Settings of the engine that machines of one grid share; they may have different versions of torch.
SHARED_SETTINGS = ("precision", "device", "compile")


class GridCell(NamedTuple):
    """One upstream on one task: what a worker does at a time.

    Attributes:
        upstream: its name, as the grid spells it.
        task: its name.
        lr: one learning rate; None for the card's own, of which dev chooses.
    """

    upstream: str
    task: str
    lr: float | None = None

    def text(self) -> str:
        """Return the cell's name for people."""
        return f"{self.upstream}: {self.task}" + (f" lr{self.lr:g}" if self.lr is not None else "")


@dataclass
class RunGrid:
    """A grid with the cards that its names stand for, and its state on disk.

    Attributes:
        spec: its file or options.
        session: where and how its runs are done.
        cards: of the tasks, by name.
        conditions: digests of the conditions of each task, by name.
        first: number of the first cells that count; None for all.
        seen_done: cells that were seen done; a process does not look at them again.
        digests: of users' models, by the name of the upstream.
    """

    spec: GridSpec
    session: Session
    cards: dict[str, TaskCard]
    conditions: dict[str, dict[str, str]]
    first: int | None = None
    seen_done: set[GridCell] = field(default_factory=set)
    digests: dict[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Return the folder of marks, errors and locks, which grids with the same records share."""
        return self.session.out / ".grid"

    @property
    def cancel_file(self) -> Path:
        """Return the file that exists while the grid is cancelled."""
        return self.folder / f"{self.spec.digest()[:16]}.cancel"

    def cells(self) -> list[GridCell]:
        """Return the cells in the order of work, upstream after upstream.

        Tasks that keep frames come first: their pass also gives the means that tasks with pooled
        features need of the same utterances.
        """
        tasks = sorted(self.cards, key=lambda task: self.cards[task].features == "pooled")
        rates, names = self.spec.lrs or (None,), self.spec.upstreams
        cells = [GridCell(name, task, lr) for name in names for task in tasks for lr in rates]
        return cells[: self.first]

    def file(self, cell: GridCell, ending: str) -> Path:
        """Return a file of one cell: `done`, `error`, `tries` or `lock`."""
        card, conditions = self.cards[cell.task], self.conditions[cell.task]
        spec, engine = self.spec, engine_settings(self.session.engine)
        rest = [spec.track, spec.seeds, spec.limit, [engine[name] for name in SHARED_SETTINGS]]
        rest += [spec.steps] if spec.steps is not None else []
        name = cell_key(cell, card, conditions, rest)
        return self.folder / name[:2] / f"{name}.{ending}"

    def run_of(self, cell: GridCell) -> RunSpec:
        """Return the run of a cell, without its seed."""
        spec = self.spec
        return RunSpec(
            cell.upstream, cell.task, spec.track, lr=cell.lr, limit=spec.limit, steps=spec.steps
        )

    def record_paths(self, cell: GridCell) -> list[Path]:
        """Return the records of a cell, if records spell its upstream like the grid.

        There is one a seed, and one alone of a task that trains nothing.
        """
        folder = runs_folder(
            self.session.out, self.spec.track, parse_upstream_name(cell.upstream).text()
        )
        run = self.run_of(cell)
        seeds = self.cards[cell.task].recipe.distinct_seeds(self.spec.seeds)
        names = [replace(run, seed=seed).run_name() for seed in seeds]
        return [folder / f"{name}.json" for name in names]

    def is_done(self, cell: GridCell) -> bool:
        """Return whether all records of a cell are there, made by the grid or before it."""
        if cell not in self.seen_done:
            if not self._marked_records(cell) and not self._is_recorded(cell):
                return False
            if not self._is_of_present_model(cell, self.done_records(cell)):
                return False
            self.seen_done.add(cell)
        return True

    def done_records(self, cell: GridCell) -> list[Path]:
        """Return the records of a cell that is done."""
        return self._marked_records(cell) or self.record_paths(cell)

    def _marked_records(self, cell: GridCell) -> list[Path]:
        """Return the records that the mark of a cell names; none if one of them is gone."""
        paths = [Path(path) for path in _read(self.file(cell, "done")).get("records", [])]
        return paths if all(path.exists() for path in paths) else []

    def _is_recorded(self, cell: GridCell) -> bool:
        """Return whether records of the present card and protocol hold all conditions."""
        paths = self.record_paths(cell)
        if not all(path.exists() for path in paths):
            return False
        try:
            records = [read_record(path) for path in paths]
        except UserError:
            return False
        engine = engine_settings(self.session.engine)
        return all(
            record.protocol == PROTOCOL
            and all(record.provenance.engine()[name] == engine[name] for name in SHARED_SETTINGS)
            and record.inputs.task_card_sha256 == card_digest(self.cards[cell.task])
            and self.conditions[cell.task].keys() <= {item.condition for item in record.conditions}
            for record in records
        )

    def _is_of_present_model(self, cell: GridCell, paths: Sequence[Path]) -> bool:
        """Return whether records are of a user's model as its files are now.

        Cards of this project pin their weights, and a model that is not on this machine cannot be
        compared here: both count as present.
        """
        entry = find_entry(cell.upstream, self.session.cards)
        place = (entry.card.source or "").partition(":")[2]
        if entry.ours or not (entry.folder / user_path(place)).exists():
            return True
        try:
            if cell.upstream not in self.digests:
                self.digests[cell.upstream] = load_upstream(cell.upstream, self.session).digest
            digests = {read_record(path).inputs.upstream_sha256 for path in paths}
        except UserError:
            return True
        return digests == {self.digests[cell.upstream]}

    def scan(self) -> dict[GridCell, CellStatus]:
        """Return the status of every cell, in the order of work."""
        return {cell: self._status(cell) for cell in self.cells()}

    def _status(self, cell: GridCell) -> CellStatus:
        if self.is_done(cell):
            return "done"
        if self.file(cell, "error").exists():
            return "failed"
        return "running" if holder_of(self.file(cell, "lock")) else "waiting"

    def claim(self, cell: GridCell) -> FileLock | None:
        """Lock a cell and count the try; return None where it is done, failed or locked.

        A cell in which workers died `MAX_TRIES` times fails: it may need more memory than there is.
        """
        lock = acquire(self.file(cell, "lock"), holder=this_process())
        if lock is None:
            return None
        tries = int(_read(self.file(cell, "tries")).get("tries", 0))
        if not self.is_done(cell) and not self.file(cell, "error").exists():
            if tries < MAX_TRIES:
                write_text(self.file(cell, "tries"), json.dumps({"tries": tries + 1}))
                return lock
            reason = f"{tries} workers died in it, perhaps because memory was short"
            self.fail(cell, "run", reason)
        lock.release()
        return None

    def finish(self, cell: GridCell, paths: Sequence[Path], seconds: float) -> None:
        """Mark a cell as done by its records."""
        mark = {"cell": cell.text(), "seconds": seconds, "records": [str(path) for path in paths]}
        write_text(self.file(cell, "done"), json.dumps(mark))
        self.forget(cell)

    def fail(self, cell: GridCell, stage: str, reason: str, error: Exception | None = None) -> None:
        """Write the record of a failure; the rest of the grid goes on."""
        explained = None if error is None else explain(error)
        is_defect = explained is None or explained.is_defect
        trace = "".join(traceback.format_exception(error)) if error and is_defect else None
        commit, dirty = project_state()
        failure = Failure(
            track=self.spec.track,
            upstream=parse_upstream_name(cell.upstream).text(),
            cell=cell.text(),
            stage=stage,
            tasks=(cell.task,),
            lr=cell.lr,
            error=" ".join(reason.split()),
            exit_code=explained.exit_code if explained else DEFECT_CODE,
            traceback=trace,
            commit=commit,
            dirty=dirty,
            failed=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        write_text(self.file(cell, "error"), failure.model_dump_json(indent=2) + "\n")

    def forget(self, cell: GridCell) -> None:
        """Remove the error and the count of tries, so that the cell may be tried again."""
        self.file(cell, "error").unlink(missing_ok=True)
        self.file(cell, "tries").unlink(missing_ok=True)


def open_grid(spec: GridSpec, out: Path, first: int | None = None) -> RunGrid:
    """Read the cards of a grid whose records lie in `out`; `first` as in `RunGrid`.

    Raises:
        UsageError: an unknown upstream, task or condition, or a malformed name.
    """
    session = spec.session(out)
    for place in spec.task_cards:
        remember(Path(place))
    for upstream in spec.upstreams:
        find_entry(upstream, session.cards)
    run = RunSpec(spec.upstreams[0], spec.tasks[0], spec.track, limit=spec.limit, steps=spec.steps)
    cards = {task: run_card(replace(run, task=task)) for task in spec.tasks}
    conditions: dict[str, dict[str, str]] = {task: {} for task in spec.tasks}
    if spec.conditions is not None:
        for task, card in cards.items():
            chosen = expand(spec.conditions, card, has_noise_dir=spec.noise_dir is not None)
            conditions[task] = {condition.name: condition.sha256() for condition in chosen}
    return RunGrid(spec, session, cards, conditions, first)


def _read(path: Path) -> dict[str, Any]:
    """Return a small JSON file; empty where it is not there or damaged."""
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
