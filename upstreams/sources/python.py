"""A Python class named in a card: `builder: module:attr`, called with the card's `args`.

It returns a `bench.api.Upstream`, or anything that can be called with a waveform (1, S) and returns
what `upstreams.sources.adapter.as_states` reads. Where the card names a checkpoint, the builder
gets its path as `checkpoint`. The module is an installed one, or lies beside the card.

Importing a module runs it: this happens only with consent (`bench.load.catalog`).
"""

from __future__ import annotations

import hashlib
import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from bench.api import Upstream, UpstreamSource
from bench.errors import InvalidDataError, UsageError, did_you_mean
from upstreams.sources.adapter import Adapter, options

MAX_SOURCES = 2_000


@contextmanager
def _importable(folder: Path | None) -> Iterator[None]:
    """Let modules beside the card be found, after all others."""
    if folder is None:
        yield
        return
    sys.path.append(str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def load(source: UpstreamSource) -> Upstream:
    """Import the builder and call it.

    Raises:
        UsageError: no such module or attribute, or a variant.
        InvalidDataError: it raised, or gave something that cannot be called.
    """
    if source.variant is not None or source.untrained:
        raise UsageError("an upstream of a builder has no variants and no untrained control")
    given = options(source.config, "builder", normalize_wav=False)
    assert source.builder is not None  # bench.load.loader comes here for nothing else
    arguments = dict(source.args)
    if source.checkpoint is not None:
        arguments["checkpoint"] = source.checkpoint
    with _importable(source.folder):
        module, builder = _find(source.builder)
        try:
            made = builder(**arguments)
        except Exception as error:
            raise InvalidDataError(
                f"{source.builder} raised {type(error).__name__}: {_line(error)}"
            ) from error
        if not isinstance(made, Upstream):
            if not callable(made):
                raise InvalidDataError(
                    f"{source.builder}: expected an Upstream or something that can be called with "
                    f"(1, S), found {type(made).__name__}"
                )
            made = Adapter(made, source.builder, normalize_wav=given["normalize_wav"])
    upstream: Upstream = made
    upstream.identity = f"{source.builder} {_source_sha256(module)}"
    return upstream


def _find(target: str) -> tuple[ModuleType, Any]:
    """The module and the attribute of `module:attr`.

    Raises:
        UsageError: malformed, or not there.
        InvalidDataError: the module cannot be imported.
    """
    name, colon, attribute = target.partition(":")
    if not colon or not name or not attribute:
        raise UsageError(f"builder {target!r}: expected module:attr")
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and name.startswith(error.name):
            raise UsageError(
                f"builder {target!r}: no module named {error.name!r}, neither installed nor beside "
                f"the card"
            ) from error
        raise InvalidDataError(f"builder {target!r}: {_line(error)}") from error
    except Exception as error:
        raise InvalidDataError(
            f"builder {target!r}: importing {name} raised {type(error).__name__}: {_line(error)}"
        ) from error
    if not hasattr(module, attribute):
        public = [item for item in vars(module) if not item.startswith("_")]
        raise UsageError(f"builder {target!r}: {did_you_mean(attribute, public)}")
    return module, getattr(module, attribute)


def _source_sha256(module: ModuleType) -> str:
    """Identity of the code: every Python file of the top-level package, or the one module's."""
    top = sys.modules[module.__name__.partition(".")[0]]
    roots = [Path(root) for root in getattr(top, "__path__", ())]
    files = sorted(path for root in roots for path in root.rglob("*.py"))[:MAX_SOURCES]
    if not files and top.__file__ is not None:
        files = [Path(top.__file__)]
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.name}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def _line(error: BaseException) -> str:
    return (" ".join(str(error).split()) or "without a message")[:160]
