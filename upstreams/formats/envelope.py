"""Find an encoder's tensors in a file of weights, whatever was wrapped around them.

Frameworks nest the state dict under their own keys (`state_dict`, `model`, ...) and put prefixes
before its names (`module.`, `hubert.`, `w2v_encoder.w2v_model.`). A layout names one tensor that
each of its files has, the marker. Its place shows the mapping and the prefix of the encoder.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.errors import InvalidDataError

MAX_DEPTH = 4  # of mappings in each other
# Parts of names that torch.compile, DataParallel and FSDP insert at any place.
_WRAPPERS = re.compile(
    r"(?:(?<=\.)|^)(?:_orig_mod|module|_fsdp_wrapped_module|_checkpoint_wrapped_module)\."
)
# Words in the places of encoders that were not trained for use: teachers and running averages.
_ASIDE = re.compile(r"(?:^|[._ ])(teacher|ema|target|momentum|offline)(?:$|[._ ])")
_ADAPTER = re.compile(r"\.lora_[AB]\.|\.base_layer\.|\.modules_to_save\.")


@dataclass(frozen=True)
class Located:
    """An encoder's tensors in a file.

    Attributes:
        tensors: by their names without the prefix.
        place: keys of the mappings around them, and the prefix.
        outside: the other tensors of the same mapping.
    """

    tensors: Mapping[str, Any]
    place: str
    outside: Mapping[str, Any]


def locate(data: Mapping[Any, Any], marker: str) -> Located | None:
    """Find the encoder that has a tensor `marker`.

    A teacher or a running average (by its place) is only taken where nothing else fits.

    Args:
        data: content of the file.
        marker: name of a tensor that every encoder of the layout has.

    Returns:
        None where no name ends with `marker`.

    Raises:
        InvalidDataError: several encoders with different weights, a name occurs twice, or weights
            of an adapter that is not merged.
    """
    encoders = list(_encoders(data, marker, ""))
    chosen = [item for item in encoders if not _ASIDE.search(item.place)] or encoders
    for other in chosen[1:]:
        if not _same(chosen[0].tensors, other.tensors):
            places = ", ".join(repr(item.place) for item in chosen[:3])
            raise InvalidDataError(
                f"checkpoint: holds {len(chosen)} encoders, under {places}: save one of them alone"
            )
    return chosen[0] if chosen else None


def _encoders(data: Mapping[Any, Any], marker: str, place: str) -> Iterator[Located]:
    """Yield the encoders in a mapping and in those inside it."""
    if place.count(" ") >= MAX_DEPTH:
        return
    if any(isinstance(key, str) and key.endswith(marker) for key in data):
        tensors = unwrapped(data)
        for name in tensors:
            prefix = name.removesuffix(marker)
            if name.endswith(marker) and (not prefix or prefix.endswith(".")):
                yield _under(tensors, prefix, f"{place}{prefix}".strip())
        return
    for key, value in data.items():
        if isinstance(value, Mapping):
            yield from _encoders(value, marker, f"{place}{str(key)[:60]} ")


def unwrapped(data: Mapping[Any, Any]) -> dict[str, Any]:
    """Return a state dict without the wrappers' parts of its names.

    Raises:
        InvalidDataError: a key is no text, a name occurs twice, or an adapter is not merged.
    """
    names: dict[str, Any] = {}
    for key, value in data.items():
        if not isinstance(key, str):
            raise InvalidDataError("checkpoint: expected a mapping from names to tensors")
        name = _WRAPPERS.sub("", key)
        if name in names:
            raise InvalidDataError(f"checkpoint: {name} is there twice, with and without a prefix")
        names[name] = value
    adapter = next((name for name in names if _ADAPTER.search(name)), None)
    if adapter is not None:
        raise InvalidDataError(
            f"checkpoint: {adapter} belongs to an adapter that is not merged: "
            "call merge_and_unload() and save the model again"
        )
    return names


def _under(tensors: Mapping[str, Any], prefix: str, place: str) -> Located:
    """Return the tensors whose names begin with a prefix."""
    inside = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
    outside = {name: t for name, t in tensors.items() if not name.startswith(prefix)}
    return Located(_unmasked(inside), place, outside)


def _unmasked(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tensors with `NAME_orig` and `NAME_mask` multiplied, as torch's pruning runs them.

    Raises:
        InvalidDataError: a mask has another shape than its weight.
    """
    whole: dict[str, Any] = {}
    for key, value in tensors.items():
        name, _, part = key.rpartition("_")
        other = tensors.get(f"{name}_{'mask' if part == 'orig' else 'orig'}")
        if part not in ("orig", "mask") or not isinstance(other, Tensor):
            whole[key] = value
        elif part == "orig" and isinstance(value, Tensor):
            if other.shape != value.shape:
                raise InvalidDataError(f"checkpoint: {name}_mask has another shape than {key}")
            whole[name] = value * other.to(value.dtype)
    return whole


def _same(one: Mapping[str, Any], two: Mapping[str, Any]) -> bool:
    """Return whether two state dicts have equal tensors."""
    return one.keys() == two.keys() and all(
        isinstance(tensor, Tensor) and isinstance(two[name], Tensor)
        and torch.equal(tensor, two[name])
        for name, tensor in one.items()
    )  # fmt: skip
