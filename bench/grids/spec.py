"""The description of a grid: a YAML file, or the same as options of the command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from bench.config import Precision
from bench.engine import DEVICE_PATTERN, Engine
from bench.identity import key_of
from bench.paths import user_path
from bench.schema import Frozen, make_model, read_card
from bench.session import STORE_GB, Session

HUB = "hf:"  # begins the name of a dataset on a hub, which is no path
PATHS = ("data", "noise_dir", "deb_dir")
LISTS = ("upstreams", "tasks", "seeds", "lrs", "cards", "task_cards")


class GridSpec(Frozen):
    """The description of a grid of runs. Paths in its file are relative to the file.

    Attributes:
        upstreams: names (`bench.load.catalog`).
        tasks: names of tasks of the track.
        track: name of the track.
        seeds: of the heads; those of a task are trained together.
        lrs: learning rates, each a run of its own; empty for the card's, of which dev chooses.
        conditions: names of conditions and sets with commas between them, scored with every head.
        limit: utterances a split, for a trial that gives no result.
        steps: updates of a head at most, for a trial that gives no result.
        device, precision: of the upstream's pass.
        gpu_share: share of one GPU that a worker takes, where the device is CUDA.
        threads: CPU threads of a worker; no result depends on their number.
        memory_gb: memory that a worker needs, in units of 10^9 bytes.
        store_gb: budget of kept features, in units of 10^9 bytes.
        data: folder of official corpora (track superb).
        noise_dir: folder of noise corpora.
        deb_dir: folder of Debian packages, for machines without apt.
        cards: files of cards outside this project.
        task_cards: files or folders of task cards of users (track own).
    """

    upstreams: tuple[str, ...] = Field(min_length=1)
    tasks: tuple[str, ...] = Field(min_length=1)
    track: str = "quick"
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1)
    lrs: tuple[float, ...] = ()
    conditions: str | None = None
    limit: int | None = Field(default=None, ge=2)
    steps: int | None = Field(default=None, ge=1, exclude_if=lambda steps: steps is None)
    device: str = Field(default="cpu", pattern=f"^({DEVICE_PATTERN})$")
    precision: Precision = "float32"
    gpu_share: float = Field(default=1.0, gt=0, le=1)
    threads: int = Field(default=1, ge=1)
    memory_gb: float = Field(default=2.0, gt=0)
    store_gb: float = Field(default=STORE_GB, ge=0)
    data: str | None = None
    noise_dir: str | None = None
    deb_dir: str | None = None
    cards: tuple[str, ...] = ()
    task_cards: tuple[str, ...] = Field(default=(), exclude_if=lambda places: not places)

    @model_validator(mode="after")
    def _each_once(self) -> GridSpec:
        for key in LISTS:
            values = getattr(self, key)
            if len({str(value) for value in values}) < len(values):
                raise ValueError(f"{key!r} names something twice")
        return self

    def digest(self) -> str:
        """Return the identity of the grid (sha256)."""
        return key_of(self.model_dump())

    def session(self, out: Path) -> Session:
        """Return where and how the runs of the grid are done, with a folder of records."""
        folders: dict[str, Any] = {
            key: Path(place) for key in PATHS if (place := getattr(self, key))
        }
        return Session(
            out=out,
            engine=Engine(self.device, self.precision, workers=self.threads),
            store_gb=self.store_gb,
            cards=[Path(card) for card in self.cards],
            strict=True,
            **folders,
        )

    @property
    def on_gpu(self) -> bool:
        """Return whether workers need a GPU."""
        return self.device.startswith("cuda")


def read_grid(path: Path) -> GridSpec:
    """Read a grid's file and make its paths absolute.

    Raises:
        InvalidDataError: no such file, or not YAML.
        UsageError: an unknown key, or a value that its key cannot have.
    """
    spec, folder = read_card(path, GridSpec), path.resolve().parent

    def absolute(place: str) -> str:
        return place if place.startswith(HUB) else str(folder / user_path(place))

    paths = {key: absolute(place) for key in PATHS if (place := getattr(spec, key))}
    lists = {key: tuple(map(absolute, getattr(spec, key))) for key in ("cards", "task_cards")}
    return spec.model_copy(update=paths | lists)


def make_grid_spec(**options: Any) -> GridSpec:
    """Make a grid from options; None means that an option is not used.

    Raises:
        UsageError: a value that its option cannot have.
    """
    values = {key: value for key, value in options.items() if value is not None}
    return make_model(GridSpec, values, "grid")
