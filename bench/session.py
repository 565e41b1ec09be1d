"""The session of a command: folders, files and settings in one object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import paths
from bench.engine import Engine

GB = 1_000_000_000  # bytes
STORE_GB = 50.0


@dataclass(frozen=True)
class Session:
    """Folders, files and settings that loading, running and scoring share.

    Attributes:
        home: folder of corpora, weights and features.
        out: folder of records and predictions.
        engine: how upstreams run.
        store_gb: budget of stored features, in units of 10^9 bytes; beyond it features stream.
        weights: file of weights instead of the card's.
        cards: upstream cards outside this project.
        allow_code: run the code that those cards or an archive name (`bench.load.catalog`).
        strict: weights that cannot be reached are an error; the untrained control is not loaded.
        data: folder of official corpora (track superb).
        noise_dir: folder of noise corpora.
        deb_dir: folder of Debian packages, for systems without apt.
        upstream: name that loads the upstream of a record whose own name cannot be loaded (a model
            without a card is recorded by its digest).
        model: a model in memory, a `bench.load.loader.Loaded`: its name in records loads it.
    """

    home: Path = field(default_factory=paths.home)
    out: Path = Path("runs")
    engine: Engine = field(default_factory=Engine)
    store_gb: float = STORE_GB
    weights: Path | None = None
    cards: Sequence[Path] = ()
    allow_code: bool = False
    strict: bool = False
    data: Path | None = None
    noise_dir: Path | None = None
    deb_dir: Path | None = None
    upstream: str | None = None
    model: Any = None

    @property
    def features(self) -> Path:
        """Folder of the feature store."""
        return self.home / "features"
