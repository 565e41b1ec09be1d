"""What a grid is asked to do: a YAML file, or the same as options."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from bench.config import Precision
from bench.schema import Frozen, make_model, read_card
from bench.session import STORE_GB

HUB = "hf:"  # begins the name of a dataset on a hub, which is no path
PATHS = ("data", "noise_dir", "deb_dir")
LISTS = ("upstreams", "tasks", "seeds", "lrs", "cards")


class GridSpec(Frozen):
    """A grid of runs.

    Attributes:
        upstreams: names (`bench.names`).
        tasks: names on the track.
        track: of all of them.
        seeds: of heads; those of a task are trained together.
        lrs: learning rates that are runs of their own; none of them means the card's grid, of which
            dev chooses.
        conditions: names and sets with commas between them, scored with every head; or None.
        limit: utterances a split, for a trial; no result.
        chunks: parts of an upstream's pass, so that several workers share it.
        device, precision: of the upstream's pass.
        gpu_share: of one GPU that a worker takes, where the device is CUDA.
        threads: CPU threads of a worker; part of the rounding of results.
        memory_gb: that a worker may take, in units of 10^9 bytes.
        store_gb: budget of kept features.
        data: folder of official corpora (track superb).
        noise_dir, deb_dir: as of `slim-superb eval`.
        cards: cards outside this project. Paths are relative to the grid's file.
    """

    upstreams: tuple[str, ...] = Field(min_length=1)
    tasks: tuple[str, ...] = Field(min_length=1)
    track: str = "quick"
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1)
    lrs: tuple[float, ...] = ()
    conditions: str | None = None
    limit: int | None = Field(default=None, ge=2)
    chunks: int = Field(default=1, ge=1, le=1_000)
    device: str = "cpu"
    precision: Precision = "float32"
    gpu_share: float = Field(default=1.0, gt=0, le=1)
    threads: int = Field(default=1, ge=1)
    memory_gb: float = Field(default=2.0, gt=0)
    store_gb: float = Field(default=STORE_GB, ge=0)
    data: str | None = None
    noise_dir: str | None = None
    deb_dir: str | None = None
    cards: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _each_once(self) -> GridSpec:
        for key in LISTS:
            values = getattr(self, key)
            if len({str(value) for value in values}) < len(values):
                raise ValueError(f"{key!r} names something twice")
        return self

    def digest(self) -> str:
        """Identity of the grid (sha256)."""
        return hashlib.sha256(json.dumps(self.model_dump(), sort_keys=True).encode()).hexdigest()

    @property
    def on_gpu(self) -> bool:
        """Whether workers need one."""
        return self.device.startswith("cuda")


def read_grid(path: Path) -> GridSpec:
    """A grid from its file; the paths in it are relative to that file.

    Raises:
        InvalidDataError: no such file, or not YAML.
        UsageError: not a grid.
    """
    spec, folder = read_card(path, GridSpec), path.resolve().parent

    def absolute(given: str) -> str:
        return given if given.startswith(HUB) else str(folder / Path(given).expanduser())

    paths = {key: getattr(spec, key) for key in PATHS}
    found = {key: absolute(given) for key, given in paths.items() if given}
    return spec.model_copy(update=found | {"cards": tuple(map(absolute, spec.cards))})


def make_grid_spec(**given: Any) -> GridSpec:
    """A grid from options; None means not given.

    Raises:
        UsageError: it does not hold.
    """
    values = {key: value for key, value in given.items() if value is not None}
    return make_model(GridSpec, values, "grid")
