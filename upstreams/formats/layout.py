"""Published layouts of an encoder's weights: recognise the layout of a file, convert its names.

A layout is a module in `upstreams/formats/layouts` with a function `find`, which is tried on every
file of weights; no list has to be changed to add one. Layouts with `IS_SPECIAL` are tried first.
`upstreams.formats.envelope` finds the encoder under wrappers and prefixes. A layout maps our names
to its own with a plain dict made from the configuration, so that errors can use the names of the
file.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bench.errors import InvalidDataError
from upstreams.encoder.config import EncoderConfig
from upstreams.encoder.state import State, shapes

SHOWN = 3  # tensors named in an error
DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
FOLDER = "upstreams.formats.layouts"

# Recent torch names weight normalisation as a parametrisation; a file has one of the spellings.
_PARAMETRIZED = {
    ".parametrizations.weight.original0": ".weight_g",
    ".parametrizations.weight.original1": ".weight_v",
}

Names = Callable[[EncoderConfig], dict[str, str]]


@dataclass(frozen=True)
class Published:
    """The content of a file whose layout was recognised.

    Attributes:
        layout: name of the layout, for messages.
        tensors: published names to tensors.
        names: returns, for a configuration, our names to the published ones.
        extras: prefixes of names that are allowed and not part of the encoder.
        outside: the tensors beside the encoder: heads of task models, and others.
        stated: the shape that the file states, by fields of `EncoderConfig`. Some of it (place of
            the norms, number of heads) does not follow from the tensors.
    """

    layout: str
    tensors: Mapping[str, Any]
    names: Names
    extras: tuple[str, ...] = ()
    outside: Mapping[str, Any] = field(default_factory=dict)
    stated: Mapping[str, Any] | None = None


def find_layout(data: Any) -> Published:
    """Recognise the layout of a file of weights from its content.

    Raises:
        InvalidDataError: the content is not a mapping, or no layout fits.
    """
    if not isinstance(data, Mapping):
        raise InvalidDataError("checkpoint: expected a mapping from names to tensors")
    tried = []
    for layout in _layouts():
        published = layout.find(data)
        if isinstance(published, Published):
            return published
        tried.append(layout.__name__.rpartition(".")[2])
    raise InvalidDataError(
        f"checkpoint: unknown layout (known are {', '.join(tried)}); its names begin with "
        f"{_some([str(key)[:60] for key in data]) or 'nothing'}"
    )


def _layouts() -> list[Any]:
    """Return the modules of all layouts, special ones first."""
    package = importlib.import_module(FOLDER)
    names = [module.name for module in pkgutil.iter_modules(package.__path__)]
    modules = [importlib.import_module(f"{FOLDER}.{name}") for name in names]
    return sorted(modules, key=lambda module: not getattr(module, "IS_SPECIAL", False))


class Imported(NamedTuple):
    """An encoder from a file, the arguments of `upstreams.encoder.state.build`.

    Attributes:
        config: the shape, without parts that the file does not have.
        state: the tensors.
        left_out: first parts of the names in the file that are not of the encoder.
    """

    config: EncoderConfig
    state: State
    left_out: tuple[str, ...]


def import_encoder(data: Any, config: EncoderConfig) -> Imported:
    """Take an encoder's state out of a file of any layout, strictly.

    Three parts may be absent from a file, and the encoder then does not have them: the mask
    embedding of pre-training, which is not used, the biases of convolutions, which the file of
    HuBERT Large has in Hugging Face's layout but not in the authors', and the gain of the
    positional convolution, where `remove_weight_norm` multiplied it into the weight.

    Args:
        data: content of the file.
        config: shape of the encoder by the card.

    Raises:
        InvalidDataError: unknown layout, the file states another shape than the card, or tensors
            are missing, unexpected or of another shape.
    """
    published = find_layout(data)
    _check_stated(published, config)
    names = published.names(config)
    # torchaudio's models for pre-training have the mask embedding beside the encoder.
    beside = {name: published.outside[name] for name in names.values() if name in published.outside}
    twice = next((name for name in beside if name in published.tensors), None)
    if twice is not None:
        raise InvalidDataError(f"checkpoint: {twice} is there twice, with and without a prefix")
    tensors = {**published.tensors, **beside}
    if "mask_embedding" in names and names["mask_embedding"] not in tensors:
        config = replace(config, mask_embedding=0)
    biases = {theirs for ours, theirs in names.items() if ours.endswith(".conv.bias")}
    if biases and biases.isdisjoint(tensors):
        config = replace(config, conv_bias=False)
    folded = replace(config, pos_conv_gain=False)
    if published.names(folded).get("pos_conv.weight") in tensors:
        config = folded
    state = take(tensors, published.names(config), config, published.extras)
    others = [name for name in published.outside if name not in beside]
    others += [name for name in tensors if published.extras and name.startswith(published.extras)]
    left_out = dict.fromkeys(name.partition(".")[0] for name in others)
    return Imported(config, state, tuple(left_out))


def _check_stated(published: Published, config: EncoderConfig) -> None:
    """Compare the shape that a file states with the card's."""
    for key, value in (published.stated or {}).items():
        if value is None:
            continue
        ours: Any = getattr(config, key)
        if key in ("heads", "ffn"):
            ours = ours[0] if len(set(ours)) == 1 else ours
        if type(value) is not type(ours) or value != ours:
            raise InvalidDataError(
                f"checkpoint: its own configuration ({published.layout}) says {key} "
                f"{str(value)[:60]}, the card {ours}"
            )


@dataclass(frozen=True)
class NameTable:
    """The names of a layout: maps our names, with or without `.weight`, to the published ones.

    Attributes:
        fixed: names outside the layers and the front end.
        layer: names within a layer.
        layers: prefix before the number of a layer.
        conv, norm: names of convolution and norm in a block of the front end.
    """

    fixed: Mapping[str, str]
    layer: Mapping[str, str]
    layers: str
    conv: str
    norm: str

    def names(self, config: EncoderConfig) -> dict[str, str]:
        """Return our names to the published ones, without tensors that the layout does not have."""
        names = {name: self._spell(name) for name in shapes(config)}
        return {ours: theirs for ours, theirs in names.items() if theirs is not None}

    def _spell(self, name: str) -> str | None:
        """Return the published name of one of our tensors, None if the layout does not have it."""
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


def plain_spelling(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tensors with weight normalisation in the older spelling (weight_g, weight_v).

    Raises:
        InvalidDataError: a tensor occurs in both spellings.
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
    """Return the first few names and the number of the others."""
    rest = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def take(
    data: Any, names: Mapping[str, str], config: EncoderConfig, extras: Sequence[str] = ()
) -> State:
    """Take an encoder's state out of a published state dict, strictly.

    Args:
        data: published names to tensors.
        names: our names to the published ones.
        config: gives the expected shapes.
        extras: prefixes of names that are allowed and not part of the encoder.

    Raises:
        InvalidDataError: tensors are missing, unexpected, of another shape or dtype, not finite, or
            overlap in memory.
    """
    if not isinstance(data, Mapping) or not all(isinstance(key, str) for key in data):
        raise InvalidDataError("checkpoint: expected a mapping from names to tensors")
    tensors = plain_spelling(data)
    expected = shapes(config)
    foreign = [ours for ours in expected if ours not in names]
    if foreign:
        raise InvalidDataError(f"checkpoint: files of this layout have no {_some(foreign)}")
    missing = [name for name in names.values() if name not in tensors]
    theirs = set(names.values())
    unexpected = [key for key in tensors if key not in theirs and not key.startswith(tuple(extras))]
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
    """Refuse tensors that overlap in memory, before they are copied.

    A small file can describe tensors of any size with a stride of zero, or with many views of the
    same numbers.
    """
    needed, stored = 0, {}
    for tensor in tensors:
        storage = tensor.untyped_storage()
        stored[storage.data_ptr()] = storage.nbytes()
        needed += tensor.numel() * tensor.element_size()
    if needed > sum(stored.values()):
        raise InvalidDataError(
            f"checkpoint: its tensors overlap: {needed} bytes of weights in "
            f"{sum(stored.values())} bytes of data"
        )


def _fitting(name: str, tensor: Any, shape: tuple[int, ...], ours: str) -> Tensor:
    """Return one tensor of the file after checking its kind and shape."""
    if not isinstance(tensor, Tensor) or tensor.dtype not in DTYPES:
        kind = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
        raise InvalidDataError(f"checkpoint: {name}: expected floating-point weights, found {kind}")
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
