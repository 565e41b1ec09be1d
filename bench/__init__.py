"""The harness: contracts, protocol, conditions, costs, records and the command line.

For Python programs: `bench.evaluate`, `bench.compare`, `bench.load_upstream` and `bench.Session`
(docs/python.md).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.library.comparison import compare as compare
    from bench.library.evaluation import evaluate as evaluate
    from bench.load.loader import load_upstream as load_upstream
    from bench.session import Session as Session

DISTRIBUTION = "slim-superb"
# For Python programs, imported on use: a command's help must not wait for torch.
PUBLIC = {
    "Session": "bench.session",
    "compare": "bench.library.comparison",
    "evaluate": "bench.library.evaluation",
    "load_upstream": "bench.load.loader",
}


def __getattr__(name: str) -> Any:
    """Import a public name on its first use."""
    if name not in PUBLIC:
        raise AttributeError(f"module 'bench' has no attribute {name!r}")
    return getattr(importlib.import_module(PUBLIC[name]), name)


def __dir__() -> list[str]:
    """Return the public names beside the module's own, for completion."""
    return sorted({*globals(), *PUBLIC})
