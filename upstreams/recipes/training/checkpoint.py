"""Files of a training run that can be continued: its checkpoint, its best state, its identity."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from bench.errors import InvalidDataError, UsageError
from bench.paths import atomic_path

CHECKPOINT = "checkpoint.pt"
BEST = "best.pt"


def write_state(path: Path, content: Mapping[str, Any]) -> None:
    """Write a state, atomically."""
    with atomic_path(path) as temporary:
        torch.save(dict(content), temporary)


def read_state(path: Path, identity: str, device: torch.device) -> dict[str, Any]:
    """Read a state of the run with this identity.

    Raises:
        UsageError: the file belongs to another run.
        InvalidDataError: the file is damaged.
    """
    try:
        content: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        same = content["identity"] == identity
    except Exception as error:  # torch's reader raises many classes on a damaged file
        raise InvalidDataError(f"{path}: damaged; remove it to start again") from error
    if not same:
        raise UsageError(
            f"{path}: made by another configuration or other data; choose another --out, or "
            f"remove it to start again"
        )
    return content


def identity(*parts: object) -> str:
    """Return the sha256 hex digest of JSON-able parts, all that a run depends on."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
