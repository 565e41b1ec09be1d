"""Modules that a model holds without registering them: in lists, methods, closures and objects."""

from __future__ import annotations

import functools
import types
from collections.abc import Mapping
from typing import Any

from torch import nn

MAX_DEPTH = 6  # of objects in objects
_FIELDS = frozenset(vars(nn.Module()))  # of torch's own bookkeeping


def unregistered_modules(model: Any, *, through_functions: bool) -> list[nn.Module]:
    """Return the modules that a model holds in no registered place, none inside another.

    Such modules stay in training mode when the model is switched to evaluation, and their
    parameters are not the model's.

    Args:
        model: a module, a function, a method, or any object that is called.
        through_functions: look into closures and globals of functions. A copy of a model shares
            them with the original, which must stay as it is.
    """
    seen: set[int] = set()
    if isinstance(model, nn.Module):
        seen.update(map(id, model.modules()))
    modules: list[nn.Module] = []
    stack: list[tuple[Any, int]] = [(model, 0)]
    visited: set[int] = set()
    while stack:
        value, depth = stack.pop()
        if id(value) in visited or depth > MAX_DEPTH:
            continue
        visited.add(id(value))
        if isinstance(value, types.FunctionType) and not through_functions:
            continue
        if isinstance(value, nn.Module) and id(value) not in seen:
            modules.append(value)
            seen.update(map(id, value.modules()))
        stack += [(part, depth + 1) for part in _parts(value)]
    return modules


def _parts(value: Any) -> list[Any]:
    """Return the values that a value holds; a module's children are among them."""
    if isinstance(value, nn.Module):
        return [*value.children(), *(x for key, x in vars(value).items() if key not in _FIELDS)]
    if isinstance(value, Mapping):
        return list(value.values())
    if isinstance(value, list | tuple | set):
        return list(value)
    if isinstance(value, functools.partial):
        return [value.func, *value.args, *value.keywords.values()]
    if isinstance(value, types.MethodType):
        return [value.__self__]
    if isinstance(value, types.FunctionType):
        return [*_cells(value), *(value.__defaults__ or ()), *_globals(value)]
    if isinstance(value, type | types.ModuleType) or not hasattr(value, "__dict__"):
        return []
    return list(vars(value).values())


def _cells(function: types.FunctionType) -> list[Any]:
    """Return the values of a function's closure."""
    cells = []
    for cell in function.__closure__ or ():
        try:
            cells.append(cell.cell_contents)
        except ValueError:  # a cell without a value yet
            continue
    return cells


def _globals(function: types.FunctionType) -> list[Any]:
    """Return the modules of torch among the globals that a function refers to."""
    used = function.__globals__
    values = [used[name] for name in function.__code__.co_names if name in used]
    return [value for value in values if isinstance(value, nn.Module)]
