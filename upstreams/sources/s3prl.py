"""Any upstream of s3prl: `s3prl:NAME`; only the code of its expert is imported.

`s3prl.hub` imports all experts, and two of them fail with torchaudio 2.9. NAME is the folder of an
expert (`distiller`, `hubert`), which needs a file of weights (`--weights`, or `checkpoint` in a
card), or a function of a `hubconf.py` (`fbank`, `tera`); these files are parsed, not imported. A
card's `config` gives keyword arguments of the expert.

Checkpoints are read as data: while an expert is built, `torch.load` is replaced by the reader of
`upstreams.formats.checkpoint`, because some experts load pickles that may run code.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from bench.api import Upstream, UpstreamSource
from bench.errors import (
    InvalidDataError,
    MissingError,
    UsageError,
    UserError,
    did_you_mean,
    message_of,
)
from bench.sound.torchaudio_guard import import_torchaudio
from upstreams.formats.checkpoint import read_checkpoint
from upstreams.formats.layout import find_layout
from upstreams.sources.adapter import Adapter


class _Expert(nn.Module):
    """An expert of s3prl, called with one waveform."""

    def __init__(self, expert: Any) -> None:
        super().__init__()
        self.expert = expert

    def forward(self, wavs: Tensor) -> Any:
        """Return the output of the expert for (1, S)."""
        return self.expert(list(wavs))


def load(source: UpstreamSource) -> Upstream:
    """Build an expert and wrap it.

    Raises:
        UsageError: no such expert, a variant, or `+untrained`.
        MissingError: there is no file of weights, or the download of s3prl failed.
        InvalidDataError: the expert cannot be imported, or building it failed.
    """
    if source.variant is not None or source.untrained:
        raise UsageError("s3prl: an expert has no variants and no untrained control")
    assert source.place is not None  # the name
    folder, entry = _find_expert(source.place)
    module = _import(f"s3prl.upstream.{folder}.{'hubconf' if entry else 'expert'}")
    arguments = dict(source.config)
    if entry is None and source.checkpoint is None:
        raise MissingError(
            f"s3prl:{source.place}: an expert needs a file of weights: --weights FILE, or "
            f"'checkpoint' in a card"
        )
    with _reading_data_only():
        try:
            if source.checkpoint is None:
                expert = getattr(module, str(entry))(**arguments)
            else:
                expert_class = _import(f"s3prl.upstream.{folder}.expert").UpstreamExpert
                expert = expert_class(str(source.checkpoint), **arguments)
        except UserError:
            raise
        except OSError as error:
            raise MissingError(
                f"s3prl:{source.place}: its weights cannot be fetched ({message_of(error)}); give "
                f"them with --weights FILE"
            ) from error
        except (Exception, SystemExit) as error:  # some experts end the program
            raise InvalidDataError(
                f"s3prl:{source.place}: the expert cannot be built "
                f"({type(error).__name__}: {message_of(error)}){_other_way(source.checkpoint)}"
            ) from error
    upstream = Adapter(_Expert(expert), f"s3prl:{source.place}")
    upstream.identity = f"s3prl {version('s3prl')} {folder} {entry}"
    return upstream


def _other_way(checkpoint: Path | None) -> str:
    """Return a hint for a file of a layout that this project reads, such as a raw one of fairseq.

    Experts of s3prl read only files that s3prl has converted.
    """
    with suppress(UserError):
        if checkpoint is not None:
            layout = find_layout(read_checkpoint(checkpoint)).layout
            return (
                f"; the file has the layout {layout}: a card with 'load: "
                f"upstreams.importers.hubert:load' reads it (docs/checkpoints.md)"
            )
    return ""


def _find_expert(name: str) -> tuple[str, str | None]:
    """Return the folder of an expert, and the function of its `hubconf.py` if `name` is one."""
    spec = importlib.util.find_spec("s3prl")
    if spec is None or not spec.submodule_search_locations:
        raise UsageError("s3prl is not installed")
    root = Path(spec.submodule_search_locations[0]) / "upstream"
    entries: dict[str, str] = {}
    for path in sorted(root.glob("*/hubconf.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                entries.setdefault(node.name, path.parent.name)
    folders = {path.parent.name for path in root.glob("*/expert.py")}
    if name in entries and not name.endswith(("_local", "_url", "_custom")):
        return entries[name], name
    if name in folders:
        return name, None
    raise UsageError(f"s3prl has no upstream {name!r}: {did_you_mean(name, [*folders, *entries])}")


def _import(name: str) -> Any:
    """Import one module of s3prl, after adding names that torchaudio 2.9 has removed."""
    torchaudio = import_torchaudio()
    if not hasattr(torchaudio, "set_audio_backend"):  # it did nothing in the last versions
        torchaudio.set_audio_backend = lambda *_: None
    if "torchaudio.sox_effects" not in sys.modules:
        stand_in = ModuleType("torchaudio.sox_effects")  # experts import it, few call it
        stand_in.apply_effects_tensor = _no_sox  # type: ignore[attr-defined]
        sys.modules["torchaudio.sox_effects"] = torchaudio.sox_effects = stand_in
    logging.getLogger("s3prl").setLevel(logging.ERROR)
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:  # old modules fail in many ways
        raise InvalidDataError(
            f"{name} cannot be imported ({type(error).__name__}: {message_of(error)})"
        ) from error


def _no_sox(*_: Any, **__: Any) -> Any:
    raise InvalidDataError(
        "this upstream applies sox effects, which torchaudio no longer has: it cannot run"
    )


@contextmanager
def _reading_data_only() -> Iterator[None]:
    """Make `torch.load` read tensors and plain containers only, whatever its arguments."""
    original = torch.load

    def load_data(path: Any, *_: Any, **__: Any) -> Any:
        with _torch_load(original):  # the reader calls torch.load
            return read_checkpoint(Path(path))

    with _torch_load(load_data):
        yield


@contextmanager
def _torch_load(function: Any) -> Iterator[None]:
    """Replace `torch.load` by `function` inside the context."""
    before = torch.load
    setattr(torch, "load", function)  # noqa: B010
    try:
        yield
    finally:
        setattr(torch, "load", before)  # noqa: B010
