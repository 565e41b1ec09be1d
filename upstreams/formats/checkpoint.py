"""Reading of checkpoints as data: no code in a file of weights is ever run.

Safetensors files hold tensors only. Torch's format is a pickle, which can call any function. It is
read with `torch.load(weights_only=True)`, whose unpickler builds tensors and containers and refuses
every other name. Published files also pickle configuration objects (argparse, omegaconf, fairseq).
Classes that can only hold hyper-parameters become inert stand-ins: nothing of them is imported or
called, their arguments and state are stored.
"""

from __future__ import annotations

import json
import pickle
import pickletools
import re
import struct
import sys
import zipfile
from pathlib import Path
from typing import IO, Any

import torch

from bench.errors import InvalidDataError
from bench.paths import MAX_WEIGHTS_BYTES, weights_format

MAX_PICKLE_BYTES = 64 << 20  # a pickle has names and shapes; tensors are separate members
MAX_GLOBALS = 200
MAX_DEPTH = 50
MAX_NAME = 300  # characters of a name in a pickle
LEGACY_PICKLES = 5  # magic number, version, system, content, keys; the tensors follow

# Names of the standard library and of numpy in published files that hold configuration or
# (MelHuBERT) numpy's random state, never weights. None is imported: all names become `Inert`.
INERT_NAMES = frozenset(
    {
        "argparse.Namespace",
        "datetime.date",
        "datetime.datetime",
        "datetime.timedelta",
        "functools.partial",
        "pathlib.PosixPath",
        "pathlib.PurePosixPath",
        "pathlib.PureWindowsPath",
        "pathlib.WindowsPath",
        "pathlib._local.PosixPath",
        "types.SimpleNamespace",
        "typing.Any",
        "typing.Dict",
        "typing.List",
        "typing.Optional",
        "typing.Union",
        "builtins.bool",
        "builtins.dict",
        "builtins.float",
        "builtins.int",
        "builtins.list",
        "builtins.object",
        "builtins.str",
        "numpy.dtype",
        "numpy.core.multiarray.scalar",
        "numpy._core.multiarray.scalar",
        "numpy.ndarray",
        "numpy.core.multiarray._reconstruct",
        "numpy._core.multiarray._reconstruct",
    }
)
DEFAULT_DICT = "collections.defaultdict"
# Packages whose functions are pickled as well as their classes. `optimizers` is s3prl's former
# module of schedules, in DistilHuBERT's file. torch.optim's classes are named in hyper-parameters.
INERT_PACKAGES = ("fairseq.", "omegaconf.", "optimizers.", "s3prl.optimizers.", "torch.optim.")


_GLOBAL = re.compile(r"(?:Unsupported global: |unsupported )GLOBAL (\S+)")


class InertDict:
    """A stand-in for a class that extends dict: an instance is a plain dict."""

    def __new__(cls, *_: Any) -> Any:
        """Return a dict, which torch's unpickler fills."""
        return {}


class Inert:
    """A stand-in for a pickled configuration object, with its arguments and state."""

    args: tuple[Any, ...] = ()
    state: Any = None

    def __new__(cls, *args: Any) -> Inert:
        """Store the arguments; the pickled class is not called."""
        stand_in = super().__new__(cls)
        stand_in.args = args
        return stand_in

    def __setstate__(self, state: Any) -> None:
        self.state = state


def plain(value: Any, depth: int = 0) -> Any:
    """Return a configuration as plain dicts and lists, whatever its pickled classes.

    Raises:
        InvalidDataError: the configuration is nested too deeply, or contains itself.
    """
    if depth > MAX_DEPTH:
        raise InvalidDataError(f"checkpoint: its configuration is nested deeper than {MAX_DEPTH}")
    if isinstance(value, Inert):
        state = value.state
        if isinstance(state, dict):
            for key in ("_content", "_val"):  # omegaconf's containers and leaves
                if key in state:
                    return plain(state[key], depth + 1)
            return plain(state, depth + 1)
        return plain(value.args[0], depth + 1) if len(value.args) == 1 else None
    if isinstance(value, dict):
        return {str(key): plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item, depth + 1) for item in value]
    return value


def read_checkpoint(path: Path) -> Any:
    """Read a .safetensors file or a torch file: tensors on the CPU in plain containers.

    Raises:
        MissingError: no such file.
        InvalidDataError: the file is truncated, corrupt, too large or of another kind, or its
            pickle names anything but tensors, containers and the allowed configuration classes.
    """
    form = weights_format(path)
    if form == "safetensors":
        return _read_safetensors(path)
    if form in ("ctranslate2", "tflite"):
        raise InvalidDataError(f"{path}: a file of {form}, neither a safetensors nor a torch file")
    if form == "zip":
        _check_zip(path)
    else:
        with path.open("rb") as file:
            for _ in range(LEGACY_PICKLES):
                _check_pickle(path, file)
    return _read_torch(path, mapped=form == "zip")


def _read_safetensors(path: Path) -> Any:
    """Read the tensors of a safetensors file."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
    if length + 8 > path.stat().st_size:
        raise InvalidDataError(f"{path}: truncated: its header alone has {length} bytes")
    try:
        return load_file(path, device="cpu")
    except (SafetensorError, json.JSONDecodeError, ValueError) as error:
        raise InvalidDataError(f"{path}: truncated or corrupt ({_line(error)})") from error


def _check_zip(path: Path) -> None:
    """Refuse an archive that is incomplete or too large."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise InvalidDataError(
            f"{path}: truncated or corrupt ({_line(error)}); fetch it again"
        ) from error
    if any(member.filename.endswith("/constants.pkl") for member in members):
        raise InvalidDataError(f"{path}: a TorchScript archive is a program, not a file of weights")
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise InvalidDataError(f"{path}: compressed inside; torch writes its archives plainly")
    if sum(member.file_size for member in members) > MAX_WEIGHTS_BYTES:
        raise InvalidDataError(f"{path}: unpacks to more than {MAX_WEIGHTS_BYTES} bytes")
    pickles = [member.file_size for member in members if member.filename.endswith(".pkl")]
    if max(pickles, default=0) > MAX_PICKLE_BYTES:
        raise InvalidDataError(f"{path}: its pickle has more than {MAX_PICKLE_BYTES} bytes")
    try:
        with zipfile.ZipFile(path) as archive:
            for member in members:
                if member.filename.endswith(".pkl"):
                    with archive.open(member) as file:
                        _check_pickle(path, file)
    except (zipfile.BadZipFile, OSError, EOFError, RuntimeError, ValueError) as error:
        raise InvalidDataError(
            f"{path}: truncated or corrupt ({_line(error)}); fetch it again"
        ) from error


def _check_pickle(path: Path, file: IO[bytes]) -> None:
    """Refuse a pickle with very long names; `file` is then at the end of the pickle.

    Torch matches its error message about a name with regular expressions whose time grows with the
    square of the length: 20 kB took seconds, a megabyte would take hours.
    """
    try:
        for opcode, argument, _ in pickletools.genops(file):
            if opcode.name == "GLOBAL" and len(str(argument)) > MAX_NAME:
                raise InvalidDataError(
                    f"{path}: refused: its pickle has a name of {len(str(argument))} characters"
                )
    except (ValueError, EOFError, OverflowError, MemoryError) as error:
        raise InvalidDataError(
            f"{path}: truncated or corrupt ({_line(error)}); fetch it again"
        ) from error


def _read_torch(path: Path, *, mapped: bool) -> Any:
    """Read a torch file; after each refused name on the allow-list, add it as inert and read again.

    Args:
        path: the file.
        mapped: map the tensors into memory, so that reading again costs nothing.
    """
    inert: list[str] = []
    while True:
        try:
            with torch.serialization.safe_globals([(_stand_in(name), name) for name in inert]):
                return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
        except pickle.UnpicklingError as error:
            match = _GLOBAL.search(str(error))
            if not match:
                raise InvalidDataError(f"{path}: refused: {_line(error)}") from error
            name = _full_name(match.group(1))
            if not _holds_configuration(name) or name in inert or len(inert) >= MAX_GLOBALS:
                raise InvalidDataError(
                    f"{path}: refused: it would run {name!r} when loaded; "
                    f"a file of weights holds tensors only"
                ) from error
            inert.append(name)
        except Exception as error:
            # Torch's reader raises many kinds of errors on a corrupt file.
            raise InvalidDataError(
                f"{path}: truncated or corrupt ({_line(error)}); fetch it again"
            ) from error


def _stand_in(name: str) -> Any:
    """Return the class that replaces an allowed name.

    A pickle does not state if a class extends dict; a name such as `AttributeDict` does.
    """
    return InertDict if name.endswith(("Dict", "defaultdict", ".Box", ".Munch")) else Inert


def _holds_configuration(name: str) -> bool:
    """Return whether a pickled name becomes an inert stand-in.

    True for names on the lists above, and for a class (capital letter) of any package beside
    torch, numpy and the standard library: people's own configurations, Lightning's, and others.
    """
    package, _, last = name.partition(".")[0], *name.rpartition(".")[1:]
    is_foreign = package not in (*sys.stdlib_module_names, "torch", "numpy", "builtins")
    is_listed = name in (DEFAULT_DICT, *INERT_NAMES) or name.startswith(INERT_PACKAGES)
    return is_listed or (is_foreign and last[:1].isupper())


def _full_name(name: str) -> str:
    """Return the name as in the pickle: torch omits `builtins.` in its message."""
    return name if "." in name else f"builtins.{name}"


def _line(error: BaseException) -> str:
    """Return the start of an error's message in one line, without torch's advice around it."""
    text = str(error).rpartition("WeightsUnpickler error:")[2].partition("Check the doc")[0]
    return (" ".join(text.split()) or type(error).__name__)[:160]
