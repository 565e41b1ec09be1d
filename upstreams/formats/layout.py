"""Published layouts of an encoder's weights: which one a file has, and its tensors under our names.

A layout is a file in `upstreams/layouts` with a function `find`; it is tried on every file of
weights, so adding one touches no list. Its names are a plain dict made from the configuration:
what is missing, unexpected or of another shape can then be told in the file's own words.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from bench.errors import InvalidDataError
from upstreams.encoder.config import EncoderConfig
from upstreams.encoder.state import State, shapes

SHOWN = 3  # tensors named in an error
DTYPES = (torch.float32, torch.float16)
FOLDER = "upstreams.formats.layouts"

# Recent torch spells weight normalisation as a parametrisation; a file has one of the two.
_PARAMETRIZED = {
    ".parametrizations.weight.original0": ".weight_g",
    ".parametrizations.weight.original1": ".weight_v",
}

Names = Callable[[EncoderConfig], dict[str, str]]


@dataclass(frozen=True)
class Published:
    """What a file holds, in the words of its layout.

    Attributes:
        layout: whose, for messages.
        tensors: names to tensors, as published.
        names: a configuration to our names and the published ones.
        extras: beginnings of names that are known and not part of the encoder.
        stated: what the file itself says of its shape, by fields of `EncoderConfig`. Some of it
            (where the norms are, how many heads) cannot be seen in any tensor.
    """

    layout: str
    tensors: Mapping[str, Any]
    names: Names
    extras: tuple[str, ...] = ()
    stated: Mapping[str, Any] | None = None


def find_layout(data: Any) -> Published:
    """The layout that a file of weights has, told by its contents.

    Raises:
        InvalidDataError: not a mapping, or of no layout known here.
    """
    if not isinstance(data, Mapping):
        raise InvalidDataError("checkpoint: expected a mapping from names to tensors")
    tried = []
    package = importlib.import_module(FOLDER)
    for module in pkgutil.iter_modules(package.__path__):
        found = importlib.import_module(f"{FOLDER}.{module.name}").find(data)
        if isinstance(found, Published):
            return found
        tried.append(module.name)
    raise InvalidDataError(
        f"checkpoint: a layout not known here ({', '.join(tried)} are); its names begin with "
        f"{_some([str(key)[:60] for key in data]) or 'nothing'}"
    )


def import_encoder(data: Any, config: EncoderConfig) -> tuple[EncoderConfig, State]:
    """An encoder's state from a file of any layout, strictly.

    The mask embedding of pre-training plays no part here, and Hugging Face gave HuBERT Large biases
    of its convolutions that the authors' file does not have: where a file leaves these out, the
    encoder has none.

    Args:
        data: what the file holds.
        config: what the card says.

    Returns:
        The configuration, and the state.

    Raises:
        InvalidDataError: no layout known here, the file states another shape than the card, or
            tensors are missing, unexpected or misshaped.
    """
    found = find_layout(data)
    check_stated(found, config)
    names = found.names(config)
    if "mask_embedding" in names and names["mask_embedding"] not in found.tensors:
        config = replace(config, mask_embedding=0)
    biases = {theirs for ours, theirs in names.items() if ours.endswith(".conv.bias")}
    if biases and biases.isdisjoint(found.tensors):
        config = replace(config, conv_bias=False)
    return config, take(found.tensors, found.names(config), config, found.extras)


def check_stated(found: Published, config: EncoderConfig) -> None:
    """Compare what a file says of itself with what the card says.

    Raises:
        InvalidDataError: they differ.
    """
    for key, value in (found.stated or {}).items():
        if value is None:
            continue
        ours: Any = getattr(config, key)
        if key in ("heads", "ffn"):
            ours = ours[0] if len(set(ours)) == 1 else ours
        if type(value) is not type(ours) or value != ours:
            raise InvalidDataError(
                f"checkpoint: its own configuration ({found.layout}) says {key} "
                f"{str(value)[:60]}, the card {ours}"
            )


@dataclass(frozen=True)
class Table:
    """How a layout spells names: our names, with or without `.weight`, to the published ones.

    Attributes:
        fixed: outside the layers and the front end.
        layer: within a layer.
        layers: what stands before a layer's number.
        conv, norm: of a block of the front end.
    """

    fixed: Mapping[str, str]
    layer: Mapping[str, str]
    layers: str
    conv: str
    norm: str

    def names(self, config: EncoderConfig) -> dict[str, str]:
        """Our names to the published ones; without what the layout has no name for."""
        found = {name: self._spell(name) for name in shapes(config)}
        return {ours: theirs for ours, theirs in found.items() if theirs is not None}

    def _spell(self, name: str) -> str | None:
        """The published name of one of our tensors, None where there is none."""
        if name.startswith("extractor."):
            _, index, part, kind = name.split(".")
            spot = self.conv if part == "conv" else self.norm
            return f"feature_extractor.conv_layers.{index}.{spot}.{kind}"
        table, start, rest = self.fixed, "", name
        if name.startswith("layers."):
            _, index, rest = name.split(".", 2)
            table, start = self.layer, f"{self.layers}{index}."
        if rest in table:
            return start + table[rest]
        part, _, kind = rest.rpartition(".")
        return f"{start}{table[part]}.{kind}" if part in table else None


def without_prefix(data: Mapping[Any, Any], prefixes: Sequence[str]) -> dict[Any, Any]:
    """A task model's names without the prefix of the encoder in it.

    Raises:
        InvalidDataError: a name is there with and without.
    """
    plain: dict[Any, Any] = {}
    for key, value in data.items():
        name = key
        for prefix in prefixes:
            if isinstance(key, str) and key.startswith(prefix):
                name = key.removeprefix(prefix)
        if name in plain:
            raise InvalidDataError(f"checkpoint: {name} is there twice, with and without a prefix")
        plain[name] = value
    return plain


def plain_spelling(data: Mapping[str, Any]) -> dict[str, Any]:
    """The same tensors with weight normalisation in its older spelling (weight_g, weight_v).

    Raises:
        InvalidDataError: a tensor is there in both spellings.
    """
    renamed: dict[str, Any] = {}
    for key, value in data.items():
        new = key
        for recent, older in _PARAMETRIZED.items():
            if key.endswith(recent):
                new = key.removesuffix(recent) + older
        if new in renamed:
            raise InvalidDataError(f"checkpoint: {new} is there twice, in two spellings")
        renamed[new] = value
    return renamed


def _some(names: Sequence[str]) -> str:
    """The first few names, and how many more."""
    rest = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def take(
    data: Any, names: Mapping[str, str], config: EncoderConfig, extras: Sequence[str] = ()
) -> State:
    """Take an encoder's state out of a published state dict, strictly.

    Args:
        data: names to tensors, as published.
        names: our names to the published ones.
        config: gives the shapes expected.
        extras: beginnings of names that are known and not part of the encoder.

    Raises:
        InvalidDataError: missing, unexpected or misshaped tensors, another dtype, NaN or infinity,
            or more weights than the file has bytes for.
    """
    if not isinstance(data, Mapping) or not all(isinstance(key, str) for key in data):
        raise InvalidDataError("checkpoint: expected a mapping from names to tensors")
    tensors = plain_spelling(data)
    expected = shapes(config)
    foreign = [ours for ours in expected if ours not in names]
    if foreign:
        raise InvalidDataError(f"checkpoint: files of this layout have no {_some(foreign)}")
    missing = [theirs for theirs in names.values() if theirs not in tensors]
    known = set(names.values())
    unexpected = [key for key in tensors if key not in known and not key.startswith(tuple(extras))]
    if missing:
        raise InvalidDataError(f"checkpoint: missing tensors: {_some(missing)}")
    if unexpected:
        raise InvalidDataError(f"checkpoint: unexpected tensors: {_some(unexpected)}")
    state: State = {}
    for ours, shape in expected.items():
        state[ours] = _fitting(names[ours], tensors[names[ours]], shape, ours)
    _check_storage(state.values())
    for ours, tensor in state.items():
        if not bool(torch.isfinite(tensor).all()):
            raise InvalidDataError(f"checkpoint: {names[ours]}: holds NaN or infinite weights")
        state[ours] = tensor.to(torch.float32)
    return state


def _check_storage(tensors: Iterable[Tensor]) -> None:
    """Refuse views that are larger than what they look at, before anything is made of them.

    A small file can name tensors of any size: with a stride of zero, or by looking at the same
    numbers many times.

    Raises:
        InvalidDataError: as told.
    """
    needed, held = 0, {}
    for tensor in tensors:
        storage = tensor.untyped_storage()
        held[storage.data_ptr()] = storage.nbytes()
        needed += tensor.numel() * tensor.element_size()
    if needed > sum(held.values()):
        raise InvalidDataError(
            f"checkpoint: its tensors overlap: {needed} bytes of weights in "
            f"{sum(held.values())} bytes of data"
        )


def _fitting(name: str, tensor: Any, shape: tuple[int, ...], ours: str) -> Tensor:
    """One tensor of the kind and shape expected, as it is in the file.

    Raises:
        InvalidDataError: it is not.
    """
    if not isinstance(tensor, Tensor) or tensor.dtype not in DTYPES:
        found = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
        raise InvalidDataError(f"checkpoint: {name}: expected float32 or float16, found {found}")
    if tensor.layout != torch.strided or tensor.device.type != "cpu":
        raise InvalidDataError(
            f"checkpoint: {name}: expected a plain tensor in memory, found layout "
            f"{tensor.layout} on {tensor.device}"
        )
    if ours == "predict.bias" and tensor.dim() == 4:
        tensor = tensor.flatten(0, 1).squeeze(0)  # published as (1, 1, N, D)
    if tuple(tensor.shape) != shape:
        raise InvalidDataError(
            f"checkpoint: {name}: expected shape {shape}, found {tuple(tensor.shape)}"
        )
    fitting: Tensor = tensor
    return fitting
