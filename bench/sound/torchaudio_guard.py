"""Import torchaudio without its native extension when that extension cannot be loaded.

PyPI's torchaudio 2.9 to 2.11 wheels link their native library to CUDA. Beside a CPU build of torch
the plain import therefore dies (`OSError: libc10_cuda.so`), although the Python part, which is all
that this project uses (`compliance.kaldi`, `functional`, `transforms`, `models`), needs none of it.

`torchaudio._extension` is the one module that loads the native part. When loading it fails, we put
a module of the same name into `sys.modules` that says that there is no extension, which is the
state torchaudio itself supports for builds without one, and import again. Nothing is written to
the installation.
"""

from __future__ import annotations

import importlib
import sys
from threading import Lock
from types import ModuleType
from typing import Any

# A first import that fails removes torchaudio from `sys.modules`; other threads wait meanwhile.
_ONE_AT_A_TIME = Lock()


def _without_extension() -> ModuleType:
    """A stand-in for `torchaudio._extension` that reports an absent native extension."""

    def fail_if_no_align(function: Any) -> Any:
        return function

    module = ModuleType("torchaudio._extension")
    module.__dict__.update(
        _IS_TORCHAUDIO_EXT_AVAILABLE=False,
        _IS_ALIGN_AVAILABLE=False,
        fail_if_no_align=fail_if_no_align,
    )
    return module


def import_torchaudio(submodule: str = "") -> Any:
    """Import torchaudio (or `torchaudio.SUBMODULE`), with or without its native extension.

    Raises:
        ImportError: torchaudio is not installed, or fails for another reason.
    """
    name = f"torchaudio.{submodule}" if submodule else "torchaudio"
    with _ONE_AT_A_TIME:
        if "torchaudio" not in sys.modules:
            try:
                importlib.import_module("torchaudio")
            except (OSError, RuntimeError):  # a library is missing; CUDA versions differ
                for loaded in [key for key in sys.modules if key.split(".")[0] == "torchaudio"]:
                    del sys.modules[loaded]
                sys.modules["torchaudio._extension"] = _without_extension()
        return importlib.import_module(name)
