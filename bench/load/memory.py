"""A model in memory becomes an upstream with an identity of its own.

It is copied, so that the program's model stays as it is, and frozen. Its identity covers its
weights, what its objects hold beside them, and the code of its classes and functions; its
fingerprint is taken like that of every upstream. So a model that was altered never gets the
features or the records of what it was.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import sys
import types
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from torch import Tensor, nn

from bench.api import UpstreamSource
from bench.config import UpstreamCard
from bench.engine import one_thread
from bench.errors import UsageError
from bench.identity import key_of, upstream_digest
from bench.load.catalog import MEMORY, UpstreamName
from bench.load.downloads import short_reason
from bench.load.loader import Loaded
from bench.load.outside import MAX_DEPTH, content_of, is_of_user, loose_digest
from bench.paths import plain_name
from bench.registry import BORDER, resolve

HOOKS = ("_forward_pre_hooks", "_forward_hooks")


@one_thread()
def load_model(model: Any, name: str | None = None, *, normalize_wav: bool | None = None) -> Loaded:
    """Load a model in memory.

    Args:
        model: a torch module, a function, a Transformers model or a `bench.api.Upstream`; called as
            `upstreams.sources.memory` says.
        name: for records, where the beginning of its digest follows; its class where None.
        normalize_wav: scale each utterance to zero mean and unit variance first. None is False,
            except for a Transformers model, for which it must be given.

    Raises:
        UsageError: it cannot be called or copied.
        InvalidDataError: its output is no hidden states.
    """
    label = plain_name(name or str(getattr(model, "__name__", type(model).__name__))) or "model"
    place = f"{MEMORY}:{label}"
    load = BORDER["source loader"].format(kind=MEMORY)
    card = UpstreamCard(name=label, title=f"{label}, in memory", family="other", source=place)
    options = {"normalize_wav": normalize_wav}
    source = UpstreamSource(options, args={"model": _copied(model, place)}, place=place)
    upstream = resolve(load)(source).freeze()
    outside = {"code": model_code_digest(upstream), "loose": loose_digest(upstream)}
    digest = upstream_digest(upstream, card, load, None, outside)
    return Loaded(
        upstream=upstream,
        name=UpstreamName(f"{place}-{digest[:8]}"),
        card=card,
        provenance="user",
        checkpoint_sha256=None,
        warning=None,
        digest=digest,
    )


def _copied(model: Any, place: str) -> Any:
    """Return a deep copy on the CPU.

    Raises:
        UsageError: it cannot be copied.
    """
    parts = list(model.modules()) if isinstance(model, nn.Module) else []
    # Torch copies no result of a computation, such as the weight that a norm of weights computes.
    results = [v for part in parts for v in vars(part).values() if isinstance(v, Tensor)]
    memo = {id(v): v.detach().clone() for v in results if not v.is_leaf}
    try:
        copied = copy.deepcopy(model, memo)
    except Exception as error:  # of any class: it may be anybody's object
        raise UsageError(f"{place}: cannot be copied ({short_reason(error)})") from error
    return copied.cpu() if isinstance(copied, nn.Module) else copied


def model_code_digest(model: nn.Module) -> str:
    """Return the digest of the code of a model: its classes, hooks, functions, and what they use.

    Code of installed packages and of this project counts by name and version. Other code counts by
    its bytecode, constants and class attributes; so a cell of a notebook counts, which has no file.
    """
    parts: list[str] = []
    seen: dict[int, Any] = {}  # by address: what is seen must live on
    stack: list[Any] = [model]
    while stack:
        value = stack.pop()
        if id(value) in seen or isinstance(value, str | bytes | Tensor):
            continue
        seen[id(value)] = value
        if isinstance(value, type | types.FunctionType):
            name = f"{value.__module__}.{value.__qualname__}"
            module = sys.modules.get(value.__module__)
            if module is not None and not is_of_user(module):
                top = sys.modules.get(value.__module__.partition(".")[0])
                parts.append(f"{name} {getattr(top, '__version__', '')}")
                continue
            parts.append(f"{name} {_own_digest(value)}")
        stack += _used_by(value)
    return key_of(sorted(parts))


def _own_digest(value: type | types.FunctionType) -> str:
    """Return the digest of a function's bytecode and of the data that it or a class refers to."""
    sha = hashlib.sha256()
    names = dict(vars(value)) if isinstance(value, type) else _referred(value)
    for code in _codes(value.__code__) if isinstance(value, types.FunctionType) else ():
        constants = [item for item in code.co_consts if not isinstance(item, types.CodeType)]
        texts = [sorted(map(repr, c)) if isinstance(c, frozenset) else c for c in constants]
        fields = [code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars, texts]
        sha.update(code.co_code + repr(fields).encode())
    for name, item in sorted(names.items()):
        data = _data(item)
        if data is not None and not name.startswith("__"):
            sha.update(f"\n{name} ".encode() + data)
    return sha.hexdigest()


def _data(value: Any, depth: int = 0) -> bytes | None:
    """Return the content of numbers, texts and tensors, and of containers of such."""
    if isinstance(value, str | bytes | types.NoneType):
        return repr(value).encode()
    if isinstance(value, Mapping):
        value = list(value.items())
    if isinstance(value, list | tuple) and depth < MAX_DEPTH:
        items = [_data(item, depth + 1) for item in value]
        return b"[" + b",".join(item or b"?" for item in items) + b"]"
    return content_of(value)


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """Yield the code of a function and of the functions in it."""
    yield code
    for item in code.co_consts:
        if isinstance(item, types.CodeType):
            yield from _codes(item)


def _used_by(value: Any) -> list[Any]:
    """Return the objects whose code a value may run."""
    if isinstance(value, nn.Module):
        hooks = [hook for name in HOOKS for hook in getattr(value, name).values()]
        fields = [item for name, item in vars(value).items() if name not in HOOKS]
        return [type(value), *hooks, *fields]
    if isinstance(value, type):
        return [*value.__mro__[1:], *vars(value).values()]
    if isinstance(value, types.FunctionType):
        return list(_referred(value).values())
    if isinstance(value, types.MethodType):
        return [value.__func__, value.__self__]
    if isinstance(value, staticmethod | classmethod):
        return [value.__func__]
    if isinstance(value, property):
        return [value.fget]
    if isinstance(value, functools.partial):
        return [value.func, value.args, value.keywords]
    if isinstance(value, Mapping):
        return list(value.values())
    if isinstance(value, list | tuple):
        return list(value)
    is_module = isinstance(value, types.ModuleType)
    if not is_module and is_of_user(sys.modules.get(type(value).__module__)):
        return [type(value), *getattr(value, "__dict__", {}).values()]
    return []


def _referred(function: types.FunctionType) -> dict[str, Any]:
    """Return by name what a function refers to: closure, defaults, globals, parts of modules."""
    names = {name for code in _codes(function.__code__) for name in code.co_names}
    used = {name: function.__globals__[name] for name in names & function.__globals__.keys()}
    for module in [item for item in used.values() if isinstance(item, types.ModuleType)]:
        if is_of_user(module):
            parts = vars(module)
            used |= {f"{module.__name__}.{name}": parts[name] for name in names & parts.keys()}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):  # a cell without a value yet
            used[f"closure {name}"] = cell.cell_contents
    defaults = (function.__defaults__, function.__kwdefaults__)
    return used | {"defaults": defaults}
