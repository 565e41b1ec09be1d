"""Where the cells of a grid stand: markers, errors, leases and records, and nothing in memory.

All of it lies beside the records, so workers may come and go, on any machine that sees the folder.
A marker's name holds the digests of the cards and the protocol: other cards are other cells.
"""

from __future__ import annotations

import hashlib
import json
import traceback
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from bench.conditions.catalogue import catalogue
from bench.errors import UserError
from bench.features.leases import Lease, acquire, live_names
from bench.grids.graph import Graph, Kind, Place
from bench.names import parse_upstream_name, runs_folder
from bench.paths import write_text
from bench.records.record import PROTOCOL, Failure, read_failure, read_record
from bench.registry import task_card
from bench.run.spec import card_digest, limited_card

Status = Literal["done", "failed", "running", "blocked", "ready", "waiting"]
STATUSES: tuple[Status, ...] = ("done", "failed", "running", "blocked", "ready", "waiting")
# What the cell before says where a record is not there to which a condition could be added.
NO_RECORD: dict[Kind, tuple[Status, ...]] = {
    "predict": ("failed", "running", "blocked", "ready", "waiting"),
    "score": ("blocked", "waiting"),
}
MAX_TRIES = 3
CRASH_CODE = 1


@dataclass
class State:
    """The state of a grid on disk.

    Attributes:
        graph: of cells.
        out: folder of records.
        known: cells that were seen done; done stays done.
    """

    graph: Graph
    out: Path
    known: set[Place] = field(default_factory=set)
    _names: dict[int, str] = field(default_factory=dict, init=False, repr=False)

    @property
    def folder(self) -> Path:
        """Of markers, errors and leases; grids of one folder of records share it."""
        return self.out / ".grid"

    @property
    def cancel_file(self) -> Path:
        """There while the grid is cancelled."""
        return self.folder / f"{self.graph.spec.digest()[:16]}.cancel"

    @cached_property
    def _cards(self) -> dict[str, str]:
        spec = self.graph.spec
        cards = {task: task_card(task, spec.track) for task in spec.tasks}
        if spec.limit is not None:
            cards = {task: limited_card(card) for task, card in cards.items()}
        return {task: card_digest(card) for task, card in cards.items()}

    def _identity(self, place: Place) -> str:
        """What a cell is, as text that changes whenever its result could."""
        spec, cell = self.graph.spec, self.graph.cells[place.cell]
        parts: list[Any] = [
            PROTOCOL,
            spec.upstreams[place.upstream],
            spec.track,
            cell.text(),
            spec.limit,
        ]
        parts += [[self._cards[task] for task in cell.tasks], spec.precision]
        parts += [spec.seeds if cell.kind in ("features", "train") else None]
        parts += [spec.chunks if cell.kind == "features" else None]
        parts += (
            [catalogue().conditions[cell.condition.removesuffix("@test-only")].sha256()]
            if (cell.condition)
            else []
        )
        return json.dumps(parts)

    def file(self, place: Place, ending: str) -> Path:
        """A file of one cell: `done`, `error` or `tries`."""
        name = hashlib.sha256(self._identity(place).encode()).hexdigest()[:32]
        return self.folder / name[:2] / f"{name}.{ending}.json"

    def record_path(self, place: Place) -> Path:
        """Where the record of a cell of one seed lies."""
        spec, cell = self.graph.spec, self.graph.cells[place.cell]
        parts = [f"{cell.tasks[0]}-s{cell.seed}"]
        parts += [f"lr{cell.lr:g}"] if cell.lr is not None else []
        parts += [f"limit{spec.limit}"] if spec.limit is not None else []
        upstream = self._called(place.upstream)
        return runs_folder(self.out, spec.track, upstream) / f"{'-'.join(parts)}.json"

    def _called(self, upstream: int) -> str:
        """What records call an upstream: known once it was loaded, as typed until then."""
        if upstream not in self._names:
            name = _read(self._name_file(upstream)).get("name")
            if name is None:
                return parse_upstream_name(self.graph.spec.upstreams[upstream]).text()
            self._names[upstream] = str(name)
        return self._names[upstream]

    def _name_file(self, upstream: int) -> Path:
        typed = [self.graph.spec.upstreams[upstream], self.graph.spec.cards]
        name = hashlib.sha256(json.dumps(typed).encode()).hexdigest()[:32]
        return self.folder / "names" / f"{name}.json"

    def call(self, upstream: int, name: str) -> None:
        """Remember what an upstream that was loaded is called in records.

        `hf:folder` is `hf:folder-1a2b3c4d` there, `@random:7` the subnet that was drawn.
        """
        if self._called(upstream) != name:
            write_text(self._name_file(upstream), json.dumps({"name": name}))
            self._names[upstream] = name

    def is_done(self, place: Place) -> bool:
        """Whether a cell needs nothing more: its marker is there, or the record that it serves."""
        if place in self.known:
            return True
        cell = self.graph.cells[place.cell]
        marker = self.file(place, "done")
        found = marker.exists()
        if found and cell.kind == "score":  # a record that was taken away is wanted again
            found = Path(_read(marker).get("record", "")).exists()
        if found or self._is_recorded(place):
            self.known.add(place)
            return True
        return False

    def _is_recorded(self, place: Place) -> bool:
        """Whether a run of before the grid already gave the record of a cell."""
        cell = self.graph.cells[place.cell]
        if cell.seed is None:
            return False
        path = self.record_path(place)
        if not path.exists():
            return False
        try:
            record = read_record(path)
        except UserError:
            return False
        same = record.protocol == PROTOCOL
        same &= record.inputs.task_card_sha256 == self._cards[cell.tasks[0]]
        scored = {item.condition for item in record.conditions}
        return same and (cell.condition is None or cell.condition in scored)

    def scan(self) -> dict[Place, Status]:
        """Where every cell stands."""
        leased = live_names(self.folder / "leases")
        found: dict[Place, Status] = {}
        for place in self.graph.order():
            cell = self.graph.cells[place.cell]
            needs = [Place(place.upstream, needed) for needed in cell.needs]
            if cell.condition is not None and found[needs[0]] in NO_RECORD[cell.kind]:
                # Conditions are added to a record: where it is not, no file need be looked for,
                # which is most of a large grid most of the time.
                is_lost = found[needs[0]] in ("failed", "blocked")
                found[place] = "blocked" if is_lost else "waiting"
            elif self.is_done(place):
                found[place] = "done"
            elif self._identity(place) in leased:
                found[place] = "running"
            elif self.file(place, "error").exists():
                found[place] = "failed"
            elif any(found[needed] in ("failed", "blocked") for needed in needs):
                found[place] = "blocked"
            else:
                waits = any(found[needed] != "done" for needed in needs)
                found[place] = "waiting" if waits else "ready"
        self._imply_done(found)
        return found

    def _imply_done(self, found: dict[Place, Status]) -> None:
        """What only cells that are done build on need not be done either."""
        wanted: set[Place] = set()
        for place in reversed(list(self.graph.order())):
            cell = self.graph.cells[place.cell]
            if found[place] == "done" or (cell.kind != "score" and place not in wanted):
                found[place] = "done"
            else:
                wanted.update(Place(place.upstream, needed) for needed in cell.needs)

    def claim(self, place: Place) -> Lease | None:
        """Take a cell, unless somebody has it or it is done; counts the try.

        A cell in which workers died `MAX_TRIES` times fails: it may need more memory than there is.
        """
        lease = acquire(self.folder / "leases", self._identity(place))
        if lease is None:
            return None
        tries = int(_read(self.file(place, "tries")).get("tries", 0))
        if self.is_done(place) or self.file(place, "error").exists():
            lease.release()
            return None
        if tries >= MAX_TRIES:
            self.fail(place, f"{tries} workers died in it, perhaps for want of memory", CRASH_CODE)
            lease.release()
            return None
        write_text(self.file(place, "tries"), json.dumps({"tries": tries + 1}))
        return lease

    def finish(self, place: Place, lease: Lease, seconds: float) -> None:
        """Mark a cell as done and give it back."""
        cell = self.graph.cells[place.cell]
        if lease.is_held():
            said: dict[str, Any] = {"cell": self.graph.text(place), "seconds": seconds}
            said |= {"record": str(self.record_path(place))} if cell.kind == "score" else {}
            write_text(self.file(place, "done"), json.dumps(said))
            self.known.add(place)
            self.forget(place)
        lease.release()

    def fail(
        self, place: Place, reason: str, code: int, error: BaseException | None = None
    ) -> None:
        """Write down why a cell failed; the rest of the grid goes on."""
        from bench.run.provenance import project_state

        cell = self.graph.cells[place.cell]
        trace = "".join(traceback.format_exception(error)) if error else None
        commit, dirty = project_state()
        failure = Failure(
            track=self.graph.spec.track,
            upstream=parse_upstream_name(self.graph.spec.upstreams[place.upstream]).text(),
            cell=self.graph.text(place),
            stage=cell.kind,
            tasks=cell.tasks,
            seed=cell.seed,
            lr=cell.lr,
            condition=cell.condition,
            error=" ".join(reason.split()),
            exit_code=code,
            traceback=None if isinstance(error, UserError) else trace,
            commit=commit,
            dirty=dirty,
            failed=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        write_text(self.file(place, "error"), failure.model_dump_json(indent=2) + "\n")

    def forget(self, place: Place) -> None:
        """Take away errors and tries: the cell may be tried again."""
        self.file(place, "error").unlink(missing_ok=True)
        self.file(place, "tries").unlink(missing_ok=True)

    def failure(self, place: Place) -> Failure | None:
        """What `fail` wrote; None when it is gone or damaged."""
        try:
            return read_failure(self.file(place, "error"))
        except UserError:
            return None


def count(found: dict[Place, Status]) -> Counter[str]:
    """Cells by status."""
    return Counter(found.values())


def _read(path: Path) -> dict[str, Any]:
    """A small JSON file; empty when it is not there or damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
