"""A checkpoint is data: read a file of weights without running anything that is in it.

Safetensors files hold tensors only. Torch's own format is a pickle, which can call any function;
it is read with `torch.load(weights_only=True)`, whose unpickler builds tensors and containers and
refuses every other name. Published files also pickle configuration objects (argparse, omegaconf,
fairseq): for an allow-list of such names, and for no other, an inert stand-in keeps what was in
them.
"""

from __future__ import annotations

import json
import pickle
import pickletools
import re
import struct
import zipfile
from pathlib import Path
from typing import IO, Any

import torch

from bench.errors import InvalidDataError, MissingError

MAX_BYTES = 4 << 30  # the largest published file read here has 1.2 GB
MAX_PICKLE_BYTES = 64 << 20  # names and shapes only; tensors lie beside them
MAX_GLOBALS = 200
MAX_DEPTH = 50
MAX_NAME = 300  # characters of what a pickle names
LEGACY_PICKLES = 5  # magic number, version, system, what was saved, keys; then come the tensors

# Names that published files mention and that hold configuration, never weights. Nothing of these
# packages is imported: all become `Inert`.
INERT_NAMES = frozenset(
    {
        "argparse.Namespace",
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
# `optimizers` is s3prl's former module of schedules, pickled into DistilHuBERT's file.
# Lightning names its callbacks by their classes; MelHuBERT's runner keeps numpy's random state.
INERT_PACKAGES = (
    "fairseq.",
    "omegaconf.",
    "optimizers.",
    "s3prl.optimizers.",
    "pytorch_lightning.",
)


def _plain_dict(*_: Any) -> dict[Any, Any]:
    """What a pickled `collections.defaultdict` becomes (omegaconf's metadata has some)."""
    return {}


_GLOBAL = re.compile(r"(?:Unsupported global: |unsupported )GLOBAL (\S+)")


class Inert:
    """Stands for a pickled configuration object: keeps arguments and state, does nothing."""

    args: tuple[Any, ...] = ()
    state: Any = None

    def __new__(cls, *args: Any) -> Inert:
        """Keep the arguments of the constructor that is not called."""
        made = super().__new__(cls)
        made.args = args
        return made

    def __setstate__(self, state: Any) -> None:
        self.state = state


def plain(value: Any, depth: int = 0) -> Any:
    """Configuration as plain dicts and lists, whatever class it was pickled from.

    Raises:
        InvalidDataError: nested too deeply, or within itself.
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
    """What a .safetensors file or a torch file holds: tensors on the CPU in plain containers.

    Raises:
        MissingError: no such file.
        InvalidDataError: truncated or corrupt, too large, of another kind, or a pickle that names
            anything but tensors, containers and the configuration classes known here.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(16)
    except FileNotFoundError as error:
        raise MissingError(f"{path}: no such file of weights") from error
    except OSError as error:
        raise InvalidDataError(f"{path}: cannot be read ({error.strerror})") from error
    if size > MAX_BYTES:
        raise InvalidDataError(f"{path}: {size} bytes, at most {MAX_BYTES} expected")
    if len(head) >= 9 and head[8:9] == b"{":
        return _read_safetensors(path, size, head)
    is_zip = head[:4] == b"PK\x03\x04"
    if is_zip:
        _check_zip(path)
    elif head[:1] == b"\x80":
        with path.open("rb") as file:
            for _ in range(LEGACY_PICKLES):
                _check_pickle(path, file)
    else:
        raise InvalidDataError(f"{path}: neither a safetensors nor a torch file")
    return _read_torch(path, mapped=is_zip)


def _read_safetensors(path: Path, size: int, head: bytes) -> Any:
    """The tensors of a safetensors file.

    Raises:
        InvalidDataError: truncated or corrupt.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    (length,) = struct.unpack("<Q", head[:8])
    if length + 8 > size:
        raise InvalidDataError(f"{path}: truncated: its header alone has {length} bytes")
    try:
        return load_file(path, device="cpu")
    except (SafetensorError, json.JSONDecodeError, ValueError) as error:
        raise InvalidDataError(f"{path}: truncated or corrupt ({_line(error)})") from error


def _check_zip(path: Path) -> None:
    """Refuse an archive that is incomplete, or that says it holds more than it may.

    Raises:
        InvalidDataError: as told.
    """
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
    if sum(member.file_size for member in members) > MAX_BYTES:
        raise InvalidDataError(f"{path}: unpacks to more than {MAX_BYTES} bytes")
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
    """Refuse a pickle that names something at great length; `file` is left after it.

    Torch looks at its own message about a name by expressions whose time grows with the square of
    the name's length: 20 kB took seconds, a megabyte would take hours.

    Raises:
        InvalidDataError: a name that is none, or no pickle.
    """
    try:
        for opcode, argument, _ in pickletools.genops(file):
            if opcode.name == "GLOBAL" and len(str(argument)) > MAX_NAME:
                raise InvalidDataError(
                    f"{path}: refused: it names something of {len(str(argument))} characters"
                )
    except (ValueError, EOFError, OverflowError, MemoryError) as error:
        raise InvalidDataError(
            f"{path}: truncated or corrupt ({_line(error)}); fetch it again"
        ) from error


def _read_torch(path: Path, *, mapped: bool) -> Any:
    """A torch file; a name on the allow-list becomes inert and the file is read again.

    Args:
        path: the file.
        mapped: map the tensors rather than read them, so that reading again costs nothing.

    Raises:
        InvalidDataError: corrupt, or it names anything else.
    """
    inert: list[str] = []
    while True:
        try:
            with torch.serialization.safe_globals([(_stand_in(name), name) for name in inert]):
                return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
        except pickle.UnpicklingError as error:
            found = _GLOBAL.search(str(error))
            if not found:
                raise InvalidDataError(f"{path}: refused: {_line(error)}") from error
            name = _full_name(found.group(1))
            allowed = name in (DEFAULT_DICT, *INERT_NAMES) or name.startswith(INERT_PACKAGES)
            if not allowed or name in inert or len(inert) >= MAX_GLOBALS:
                raise InvalidDataError(
                    f"{path}: refused: it would run {name!r} when loaded; "
                    f"a file of weights holds tensors only"
                ) from error
            inert.append(name)
        except Exception as error:
            # Whatever a corrupt file provokes inside torch's reader: it is not a file of weights.
            raise InvalidDataError(
                f"{path}: truncated or corrupt ({_line(error)}); fetch it again"
            ) from error


def _stand_in(name: str) -> Any:
    """What is built in place of an allowed name."""
    return _plain_dict if name == DEFAULT_DICT else Inert


def _full_name(name: str) -> str:
    """The name as the pickle has it: torch leaves out `builtins.` in its message."""
    return name if "." in name else f"builtins.{name}"


def _line(error: BaseException) -> str:
    """The beginning of an error's message, in one line, without torch's advice around it."""
    text = str(error).rpartition("WeightsUnpickler error:")[2].partition("Check the doc")[0]
    return (" ".join(text.split()) or type(error).__name__)[:160]
