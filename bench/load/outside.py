"""Digests of what decides a model from outside this project, beside its state.

They cover the files that were given to it, the Python modules that made it, and what its objects
hold in no parameter and no persistent buffer: other tensors, arrays, numbers. What they miss (a
file that code opens by a name of its own, a library) shows in the fingerprint
(`bench.load.fingerprint`).
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import sys
import sysconfig
import types
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.api import Upstream
from bench.errors import InvalidDataError
from bench.identity import key_of
from bench.load.modifiers import plain_tensors
from bench.paths import file_sha256, user_path
from bench.registry import ROOT

MAX_FILES = 10_000  # of a folder in `args`, and of a package
MAX_DEPTH = 20  # of objects in objects
MODULE_FIELDS = frozenset(vars(nn.Module()))  # of torch's own bookkeeping
LIBRARIES = [Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "purelib", "platlib")]

_IMPORTED: set[str] = set()  # modules that earlier loads imported from the folders of their cards


@contextmanager
def imports_of(folder: Path) -> Iterator[set[str]]:
    """Collect the names of the modules that a block imports from a card's folder.

    Modules that an earlier block imported from a card's folder are imported again: so the code that
    runs is that of the files as they are now, two folders may have modules of one name, and the
    names are the same for every load.
    """
    folder = folder.resolve()
    while _IMPORTED:
        sys.modules.pop(_IMPORTED.pop(), None)
    importlib.invalidate_caches()
    before, names = dict(sys.modules), set[str]()
    # Python takes old bytecode for a file that was changed to one of equal size within a second.
    writes_none, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        yield names
    finally:
        sys.dont_write_bytecode = writes_none
        for name, module in list(sys.modules.items()):
            if before.get(name) is not module:
                file = _file_of(module)
                names |= {name} if file and file.is_relative_to(folder) else set()
        _IMPORTED.update(name for name in names if is_of_user(sys.modules[name]))


def code_digest(target: str, imported: set[str]) -> str:
    """Return the digest of the Python code behind `module:attr`.

    It covers the package of the module, the modules that it imported from the card's folder, and
    all modules that these refer to, except installed ones and those of Python and of this project.

    Raises:
        InvalidDataError: a package with more than `MAX_FILES` files.
    """
    top = target.partition(":")[0].partition(".")[0]
    files: dict[str, Path] = {}
    for root in getattr(sys.modules.get(top), "__path__", ()):
        files |= {f"{top}/{name}": path for name, path in _files(Path(root), "*.py").items()}
    has_package, seen = bool(files), set[str]()
    queue = [target.partition(":")[0], *sorted(imported)]
    while queue:
        name = queue.pop()
        module = sys.modules.get(name)
        file = _file_of(module)
        if name in seen or module is None or file is None:
            continue
        seen.add(name)
        if not (has_package and name.partition(".")[0] == top):
            files[name] = file
        queue += [other for other in _referred(module) if is_of_user(sys.modules.get(other))]
    return key_of([target, {name: file_sha256(path) for name, path in sorted(files.items())}])


def _referred(module: types.ModuleType) -> set[str]:
    """Return the names of the modules that a module's globals are, or come from."""
    values = list(vars(module).values())
    return {
        value.__name__
        if isinstance(value, types.ModuleType)
        else str(getattr(value, "__module__", None))
        for value in values
    }


def _file_of(module: types.ModuleType | None) -> Path | None:
    """Return the file of a module; None where it has none."""
    file = getattr(module, "__file__", None)
    path = Path(file).resolve() if isinstance(file, str) else None
    return path if path is not None and path.is_file() else None


def is_of_user(module: types.ModuleType | None) -> bool:
    """Return whether a module is neither installed nor one of Python or of this project."""
    file = _file_of(module)
    if file is None:
        return module is not None and module.__name__ == "__main__"  # the cells of a notebook
    ours = (ROOT / "bench", ROOT / "upstreams", ROOT / "downstreams")
    return not any(file.is_relative_to(folder) for folder in (*LIBRARIES, *ours))


def files_digest(args: Any, folder: Path) -> str | None:
    """Return the digest of all files and folders that a card's `args` name; None without any.

    Args:
        args: any JSON value; every text in it may be a path.
        folder: of the card; a path may be relative to it, or to the current folder.

    Raises:
        InvalidDataError: a folder with more than `MAX_FILES` files.
    """
    digests: dict[str, list[dict[str, str]]] = {}
    for text in _texts(args):
        places = {base.joinpath(user_path(text)).resolve() for base in (Path(), folder)}
        contents = [
            {name: file_sha256(path) for name, path in _files(place, "*").items()}
            for place in sorted(places)
            if place.exists()
        ]
        if any(contents):
            digests[text] = contents
    return key_of(digests) if digests else None


def _texts(value: Any) -> Iterator[str]:
    """Yield every text in a JSON value that can be a path."""
    if isinstance(value, str) and 0 < len(value) < 1024 and "\0" not in value:
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for item in value:
            yield from _texts(item)


def _files(place: Path, pattern: str) -> dict[str, Path]:
    """Return a file, or the files in a folder, by their names in it.

    Raises:
        InvalidDataError: more than `MAX_FILES`.
    """
    if not place.is_dir():
        return {"": place} if place.is_file() else {}
    files: dict[str, Path] = {}
    for path in place.rglob(pattern):
        if path.is_file():
            files[path.relative_to(place).as_posix()] = path
        if len(files) > MAX_FILES:
            raise InvalidDataError(
                f"{place}: more than {MAX_FILES} files, all of which may decide the model: name "
                f"the files that it needs"
            )
    return dict(sorted(files.items()))


def loose_digest(upstream: Upstream) -> str | None:
    """Return the digest of what an upstream holds in no parameter and no persistent buffer.

    Tensors, arrays and numbers are found in attributes, containers, objects, closures and defaults
    of functions, and in modules that are not registered. Texts are passed over: they come from code
    and arguments, or are paths of this machine.
    """
    sha, count = hashlib.sha256(), 0
    for path, value in _loose_values(upstream):
        content = content_of(value)
        assert content is not None  # as in _loose_values
        sha.update(f"\n{path} ".encode() + content)
        count += 1
    return sha.hexdigest() if count else None


def loose_tensors(upstream: Upstream) -> list[Tensor]:
    """Return the tensors that an upstream holds in no parameter and no persistent buffer."""
    return [value for _, value in _loose_values(upstream) if isinstance(value, Tensor)]


def _loose_values(upstream: Upstream) -> Iterator[tuple[str, Any]]:
    """Yield what `loose_digest` covers, with the path to it."""
    seen: set[int] = set()
    keep: list[Any] = []  # what is made here must live on: `seen` holds addresses
    stack: list[tuple[str, Any, int]] = [("", upstream, 0)]
    while stack:
        path, value, depth = stack.pop()
        if content_of(value) is not None:
            if depth:
                yield path, value
            continue
        if id(value) in seen or depth > MAX_DEPTH:
            continue
        seen.add(id(value))
        parts = _parts(value, is_registered=_is_registered(upstream, value))
        keep.append(parts)
        stack += [(f"{path}.{name}", part, depth + 1) for name, part in sorted(parts, key=_name)]


def _name(part: tuple[str, Any]) -> str:
    return part[0]


def _is_registered(upstream: Upstream, value: Any) -> bool:
    """Return whether a value is a module whose state is in the upstream's `state_dict`."""
    return isinstance(value, nn.Module) and any(value is part for part in upstream.modules())


def content_of(value: Any) -> bytes | None:
    """Return the content of a tensor, an array or a number; None for any other value."""
    if isinstance(value, bool | int | float | complex | np.generic):
        return repr(value).encode()
    if isinstance(value, Tensor):
        parts = [_tensor_bytes(part) for _, part in plain_tensors(value)]
        return f"{value.dtype} {tuple(value.shape)}\n".encode() + b"".join(parts)
    if isinstance(value, np.ndarray) and value.dtype != object:
        return f"{value.dtype} {value.shape}\n".encode() + value.tobytes()
    return None


def _tensor_bytes(tensor: Tensor) -> bytes:
    """Return the bytes of a tensor's numbers; of a quantised one after its scales."""
    plain = (tensor.to_dense() if tensor.layout != torch.strided else tensor).detach().cpu()
    plain = plain.dequantize() if plain.is_quantized else plain
    return plain.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def _parts(value: Any, *, is_registered: bool) -> list[tuple[str, Any]]:
    """Return the values that a value holds, by name."""
    if isinstance(value, nn.Module):
        return _module_parts(value, is_registered=is_registered)
    if isinstance(value, Mapping):
        return [(repr(key), item) for key, item in value.items()]
    if isinstance(value, list | tuple):
        return [(f"{index:08d}", item) for index, item in enumerate(value)]
    if isinstance(value, functools.partial):
        return [("func", value.func), ("args", value.args), ("keywords", value.keywords)]
    if isinstance(value, types.MethodType):
        return [("self", value.__self__), ("func", value.__func__)]
    if isinstance(value, types.FunctionType):
        return _function_parts(value) if is_of_user(sys.modules.get(value.__module__)) else []
    if isinstance(value, type | types.ModuleType) or not hasattr(value, "__dict__"):
        return []
    # Objects of Python itself, such as loggers, have counters and caches.
    file = _file_of(sys.modules.get(type(value).__module__))
    is_python = file is None or file.parent == LIBRARIES[0] or file.parent.parent == LIBRARIES[0]
    return [] if is_python else list(vars(value).items())


def _module_parts(module: nn.Module, *, is_registered: bool) -> list[tuple[str, Any]]:
    """Return what a module holds beside its registered state, or all of it."""
    fields = vars(module)
    parts = [(name, item) for name, item in fields.items() if name not in MODULE_FIELDS]
    parts += [(f"module {name}", part) for name, part in module.named_children()]
    tensors = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
    for name, tensor in tensors:
        if not is_registered or name in module._non_persistent_buffers_set:
            parts.append((f"tensor {name}", tensor))
    if is_registered:  # such as the packed weights of torch's quantised layers
        state = module.state_dict()
        parts += [(f"state {name}", item) for name, item in state.items() if not _is_plain(item)]
    return parts


def _is_plain(item: Any) -> bool:
    """Return whether an item of a `state_dict` is a tensor that `upstream_digest` covers."""
    return isinstance(item, Tensor) and not item.is_quantized


def _function_parts(function: types.FunctionType) -> list[tuple[str, Any]]:
    """Return the values that a function refers to: closure, defaults, and globals by name."""
    code = function.__code__
    cells = zip(code.co_freevars, function.__closure__ or (), strict=True)
    parts: list[tuple[str, Any]] = []
    for name, cell in cells:
        try:
            parts.append((f"closure {name}", cell.cell_contents))
        except ValueError:  # a cell without a value yet
            continue
    parts += [("defaults", function.__defaults__ or ()), ("kw", function.__kwdefaults__ or {})]
    used = function.__globals__
    parts += [(f"global {name}", used[name]) for name in code.co_names if name in used]
    return parts
