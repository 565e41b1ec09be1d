"""The layer curve of an upstream on one task: what each hidden state knows (imports no torch).

One file is one (upstream, task, track): `<out>/<track>/<upstream>/layers/<task>.json`. Counts are
by speaker, so that any interval over speakers follows from them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import model_validator

from bench.config import Weights
from bench.paths import runs_folder
from bench.records.origin import Inputs, Provenance
from bench.schema import Frozen, read_model

ALL_STATES = "all"
DEV = "dev"  # the cross-validated utterances
MAX_CURVE_BYTES = 1_000_000


class StateHits(Frozen):
    """The probe of one hidden state, or of all states concatenated.

    Attributes:
        state: its number, or `all`.
        penalty: the chosen inverse strength of the L2 penalty (scikit-learn's C).
        hits: correct utterances by split, one number a speaker, in the order of
            `LayerCurve.utterances`.
    """

    state: str
    penalty: float
    hits: dict[str, tuple[int, ...]]


class LayerCurve(Frozen):
    """The accuracy of a logistic regression on each hidden state of an upstream.

    Attributes:
        weights: provenance of the upstream's weights.
        utterances: number of utterances by split and speaker. `dev` is every utterance of the
            task's train and dev tables, predicted by a fit without its speaker (or, where speakers
            are the classes, without its part of the script).
        states: one entry a hidden state, then `all`.
    """

    schema_version: Literal[1] = 1
    track: str
    task: str
    task_version: int
    upstream: str
    family: str
    weights: Weights
    tap: str
    utterances: dict[str, dict[str, int]]
    states: tuple[StateHits, ...]
    inputs: Inputs
    provenance: Provenance

    @model_validator(mode="after")
    def _counts_fit(self) -> LayerCurve:
        for state in self.states:
            if {name: len(counts) for name, counts in state.hits.items()} != {
                name: len(speakers) for name, speakers in self.utterances.items()
            }:
                raise ValueError(f"state {state.state}: one count a split and speaker expected")
        return self

    def total(self, split: str) -> int:
        """Return the number of utterances of a split."""
        return sum(self.utterances[split].values())

    def accuracy(self, state: str, split: str) -> float:
        """Return the accuracy of a state on a split, a fraction.

        Raises:
            KeyError: no such state or split.
        """
        return sum(self.state(state).hits[split]) / self.total(split)

    def state(self, name: str) -> StateHits:
        """Return one state.

        Raises:
            KeyError: no such state.
        """
        for state in self.states:
            if state.state == name:
                return state
        raise KeyError(f"{self.upstream} {self.task}: no state {name!r}")

    def best_state(self) -> StateHits:
        """Return the single state with the most hits on dev; of equal ones the lowest."""
        single = [state for state in self.states if state.state != ALL_STATES]
        return max(single, key=lambda state: sum(state.hits[DEV]))


def curve_path(root: Path, track: str, upstream: str, task: str) -> Path:
    """Return the file of a curve below a folder of runs, or of committed curves."""
    return runs_folder(root, track, upstream) / "layers" / f"{task}.json"


def read_curve(path: Path) -> LayerCurve:
    """Read one layer curve.

    Raises:
        InvalidDataError: the file cannot be read, is too large, or is no layer curve.
    """
    return read_model(path, LayerCurve, max_bytes=MAX_CURVE_BYTES, what="layer curve")
