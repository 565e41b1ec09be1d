"""Write a new upstream as files: weights and a card."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.make.recipe import RecipeCard
from bench.trainer import RecipeTrainer


@dataclass(frozen=True)
class Export:
    """The new upstream as files.

    Attributes:
        name: of the upstream.
        card: the recipe.
        teacher: the name of the teacher's card.
        facts: what the outcome depends on.
        trainer: writes the files.
        folder: of the run.
    """

    name: str
    card: RecipeCard
    teacher: str | None
    facts: dict[str, Any]
    trainer: RecipeTrainer
    folder: Path

    def final(self) -> Path:
        """Write the trained upstream; return its card."""
        return self._write(self.name, self.folder, length_text(self.trainer))

    def intermediate(self, hours: float) -> None:
        """Write the upstream of `hours` of audio to a folder of its own."""
        self._write(f"{self.name}-{hours:g}h", self.folder / f"at-{hours:g}h", f"{hours:g} h")

    def origin(self) -> dict[str, Any]:
        """Return what a record says of the model and its training."""
        return {
            "upstream": self.name,
            "title": self.card.title,
            "family": self.card.family,
            "teacher": self.teacher or "",
            "recipe": self.card.name,
            "seed": self.facts["seed"],
            "length": presented_text(length_text(self.trainer)),
            "subset": self.card.subset or "",
        }

    def _write(self, name: str, folder: Path, length: str) -> Path:
        card, seed = self.card, self.facts["seed"]
        title = f"{card.title}, training seed {seed}" if seed else card.title
        about = {"name": name, "title": title, "family": card.family}
        if self.teacher is not None:
            about["teacher"] = self.teacher
        if card.paper is not None:
            about["paper"] = card.paper
        about["notes"] = (
            f"{card.notes.strip()} Made by 'slim-superb compress {card.name} --seed {seed}': "
            f"{presented_text(length)}; run {self.trainer.identity[:12]}, "
            f"data {self.facts['data'][:12]}."
        ).strip()
        path = folder / f"{name}.yaml"
        self.trainer.write(path, about)
        return path


def length_text(trainer: RecipeTrainer) -> str:
    """Return the length of a run as text."""
    return f"{trainer.total:g} {trainer.unit}"


def presented_text(length: str) -> str:
    """Return the length of a run in words."""
    return f"{length} of audio presented" if length.endswith(" h") else length
