"""Find effects by name, and read the steps of a condition. Imports no effect before it is used."""

from __future__ import annotations

import importlib
import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import UsageError, did_you_mean

DRAW_KEYS = ({"from", "to"}, {"from", "to", "step"}, {"one_of"})
PLAIN = (float, int, bool, str)  # types of a parameter that is not a noise source


def effect_names() -> list[str]:
    """Return the name of every effect: the modules of this folder."""
    files = Path(__file__).parent.glob("*.py")
    return sorted(path.stem for path in files if not path.stem.startswith("_"))


def effect_module(name: str) -> Any:
    """Return the module of one effect.

    Raises:
        UsageError: no such effect (with near names).
    """
    if name not in effect_names():
        raise UsageError(f"unknown effect {name!r}: {did_you_mean(name, effect_names())}")
    return importlib.import_module(f"bench.distortions.{name}")


def parameters(effect: str) -> dict[str, inspect.Parameter]:
    """Return the keyword parameters of an effect, with their types."""
    signature = inspect.signature(effect_module(effect).distort, eval_str=True)
    return {
        name: item for name, item in signature.parameters.items() if item.kind is item.KEYWORD_ONLY
    }


@dataclass(frozen=True)
class EffectStep:
    """One effect with its parameters as written; a mapping is drawn for each utterance."""

    effect: str
    params: tuple[tuple[str, Any], ...]

    def sources(self) -> list[str]:
        """Return the names of the noise sources that the step may use, as written."""
        types = parameters(self.effect)
        values = [v for key, v in self.params if types[key].annotation not in PLAIN]
        options = [value["one_of"] if isinstance(value, dict) else [value] for value in values]
        return [source for some in options for source in some]


def read_step(data: Mapping[str, Any]) -> EffectStep:
    """Check the parameters of one step against the signature of its effect.

    Args:
        data: the name of an effect under `effect`, and its parameters.

    Raises:
        UsageError: no such effect or parameter, a missing parameter, or a value of another type.
    """
    params = {key: value for key, value in data.items() if key != "effect"}
    effect = str(data.get("effect"))
    expected = parameters(effect)
    for name, value in params.items():
        if name not in expected:
            raise UsageError(f"unknown parameter {name!r}: {did_you_mean(name, expected)}")
        _check_value(name, value, expected[name].annotation)
    for name, item in expected.items():
        if item.default is item.empty and name not in params:
            raise UsageError(f"effect {effect!r} lacks the parameter {name!r}")
    return EffectStep(effect, tuple(sorted(params.items())))


def _check_value(name: str, value: Any, kind: Any) -> None:
    """Refuse a value that is not of its parameter's type, or a malformed draw."""
    if isinstance(value, dict):
        if set(value) not in DRAW_KEYS:
            raise UsageError(f"{name}: expected {{from, to[, step]}} or {{one_of}}")
        if "one_of" not in value and kind not in (float, int):
            raise UsageError(f"{name}: expected {{one_of}}, only a number has {{from, to}}")
        values = value.get("one_of", list(value.values()))
        if not isinstance(values, list) or not values or any(type(v) is dict for v in values):
            raise UsageError(f"{name}: one_of: expected a list of values")
        for item in values:
            _check_value(name, item, kind)
    elif kind in (float, int):
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not math.isfinite(value):
            raise UsageError(f"{name}: expected a finite number, found {value!r}")
    elif kind is bool:
        if not isinstance(value, bool):
            raise UsageError(f"{name}: expected true or false, found {value!r}")
    elif not isinstance(value, str):
        raise UsageError(f"{name}: expected text, found {value!r}")
