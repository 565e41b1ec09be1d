"""Digests of what a run depends on."""

from __future__ import annotations

import hashlib
import json


def identity(*parts: object) -> str:
    """Return the sha256 hex digest of JSON-able parts."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
