"""A Python class named in a card: `builder: module:attr`, called with the card's `args`.

It returns a `bench.api.Upstream`, or a callable from a waveform (1, S) to an output that
`upstreams.sources.adapter.as_states` accepts. If the card names a checkpoint, the builder gets its
path as `checkpoint`. The module is installed, or is in the folder of the card.

Importing a module runs it: this needs the user's consent (`bench.load.catalog`).
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.api import Upstream, UpstreamSource
from bench.errors import InvalidDataError, UsageError, did_you_mean, message_of
from upstreams.sources.adapter import Adapter, options


@contextmanager
def _importable(folder: Path | None) -> Iterator[None]:
    """Make modules in the folder of the card importable, after all others."""
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
        UsageError: no such module or attribute, a variant, or `+untrained`.
        InvalidDataError: the builder raised an error, or returned an object that is not callable.
    """
    if source.variant is not None or source.untrained:
        raise UsageError("an upstream of a builder has no variants and no untrained control")
    settings = options(source.config, "builder", normalize_wav=False)
    assert source.builder is not None  # bench.load.loader calls this only for builders
    arguments = dict(source.args)
    if source.checkpoint is not None:
        arguments["checkpoint"] = source.checkpoint
    with _importable(source.folder):
        builder = _import_builder(source.builder)
        try:
            model = builder(**arguments)
        except Exception as error:
            raise InvalidDataError(
                f"{source.builder} raised {type(error).__name__}: {message_of(error)}"
            ) from error
        if not isinstance(model, Upstream):
            if not callable(model):
                raise InvalidDataError(
                    f"{source.builder}: expected an Upstream or a callable of (1, S), "
                    f"found {type(model).__name__}"
                )
            model = Adapter(model, source.builder, normalize_wav=settings["normalize_wav"])
    upstream: Upstream = model
    return upstream


def _import_builder(target: str) -> Any:
    """Import `module:attr`, and return the attribute."""
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
        raise InvalidDataError(f"builder {target!r}: {message_of(error)}") from error
    except Exception as error:
        raise InvalidDataError(
            f"builder {target!r}: importing {name} raised {type(error).__name__}: "
            f"{message_of(error)}"
        ) from error
    if not hasattr(module, attribute):
        public = [item for item in vars(module) if not item.startswith("_")]
        raise UsageError(f"builder {target!r}: {did_you_mean(attribute, public)}")
    return getattr(module, attribute)
