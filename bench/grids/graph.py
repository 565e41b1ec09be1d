"""Cards to a graph of cells: pure, from names and cards alone.

Cells of one upstream are alike for all upstreams, so the graph is kept as one list of cells and the
upstreams that it stands for: a million cells are a few thousand objects.

The order is that of work. Every upstream's clean scores come first, upstream after upstream, so
that rows of the board fill one by one; conditions follow. Tasks that share a corpus share a pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from bench.config import TaskCard
from bench.grids.spec import GridSpec

Kind = Literal["features", "train", "predict", "score"]
KINDS: tuple[Kind, ...] = ("features", "train", "predict", "score")


@dataclass(frozen=True)
class Cell:
    """One thing to do for one upstream.

    Attributes:
        kind: what; each builds on the one before it in `KINDS`.
        tasks: a pass serves all tasks of a corpus, everything else is of one.
        seed: of the head; None for what is of all seeds.
        lr: one learning rate, or None for the card's grid.
        condition: beyond the task's own test sets; None for those.
        chunk: of the pass, or of nothing.
        needs: places of the cells before it, in the graph's list.
    """

    kind: Kind
    tasks: tuple[str, ...]
    seed: int | None = None
    lr: float | None = None
    condition: str | None = None
    chunk: int = 0
    needs: tuple[int, ...] = ()

    def text(self) -> str:
        """For people, and the cell's identity among those of its upstream."""
        parts = [self.kind, "+".join(self.tasks)]
        parts += [f"lr{self.lr:g}"] if self.lr is not None else []
        parts += [f"s{self.seed}"] if self.seed is not None else []
        parts += [self.condition] if self.condition else []
        parts += [f"part{self.chunk}"] if self.kind == "features" and self.chunk else []
        return " ".join(parts)


class Place(NamedTuple):
    """One cell of the whole graph: which upstream, and which of the list's cells."""

    upstream: int
    cell: int


@dataclass(frozen=True)
class Graph:
    """All cells of a grid.

    Attributes:
        spec: what was asked for.
        cells: of one upstream, those before come first; first those of clean scores.
        clean: how many of them are.
    """

    spec: GridSpec
    cells: tuple[Cell, ...]
    clean: int

    def __len__(self) -> int:
        return len(self.cells) * len(self.spec.upstreams)

    def order(self) -> Iterator[Place]:
        """Every cell, in the order of work."""
        for part in (range(self.clean), range(self.clean, len(self.cells))):
            for upstream in range(len(self.spec.upstreams)):
                for cell in part:
                    yield Place(upstream, cell)

    def text(self, place: Place) -> str:
        """A cell with its upstream."""
        return f"{self.spec.upstreams[place.upstream]}: {self.cells[place.cell].text()}"

    def count(self, kind: Kind) -> int:
        """Cells of one kind."""
        return sum(cell.kind == kind for cell in self.cells) * len(self.spec.upstreams)


def groups(cards: Sequence[TaskCard]) -> list[tuple[str, ...]]:
    """Tasks that share a corpus, together; in the order of the first of each."""
    found: list[tuple[set[str], list[str]]] = []
    for card in cards:
        corpora, names = set(card.corpora), [card.name]
        for other in [group for group in found if group[0] & corpora]:
            corpora, names = corpora | other[0], other[1] + names
            found.remove(other)
        found.append((corpora, names))
    order = [card.name for card in cards]
    return sorted((tuple(names) for _, names in found), key=lambda names: order.index(names[0]))


def make_graph(
    spec: GridSpec, cards: Sequence[TaskCard], conditions: Sequence[Sequence[str]]
) -> Graph:
    """The graph of a grid.

    Args:
        spec: what was asked for.
        cards: of its tasks.
        conditions: names, for each task.
    """
    cells: list[Cell] = []

    def add(cell: Cell, *needs: int) -> int:
        cells.append(replace(cell, needs=needs))
        return len(cells) - 1

    scored: list[tuple[str, float | None, int, int]] = []
    rates: tuple[float | None, ...] = spec.lrs or (None,)
    for group in groups(cards):
        passes = [add(Cell("features", group, chunk=part)) for part in range(spec.chunks)]
        for task in group:
            for lr in rates:
                trained = add(Cell("train", (task,), lr=lr), *passes)
                for seed in spec.seeds:
                    predicted = add(Cell("predict", (task,), seed, lr), trained)
                    scored.append(
                        (task, lr, seed, add(Cell("score", (task,), seed, lr), predicted))
                    )
    clean = len(cells)
    names = {card.name: own for card, own in zip(cards, conditions, strict=True)}
    for task, lr, seed, before in scored:
        for condition in names[task]:
            predicted = add(Cell("predict", (task,), seed, lr, condition), before)
            add(Cell("score", (task,), seed, lr, condition), predicted)
    return Graph(spec, tuple(cells), clean)
