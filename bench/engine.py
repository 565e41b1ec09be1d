"""The engine of an upstream: device, precision, reading processes. Imports torch only on use."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.errors import MissingError

if TYPE_CHECKING:
    from bench.config import Precision


@dataclass(frozen=True)
class Engine:
    """Device, precision and batching of an upstream pass.

    Attributes:
        device: `cpu`, or `cuda` with or without a number.
        precision: `float32` is the reference; `bf16` is autocast; `tf32` exists on CUDA only.
        compile: use `torch.compile`.
        workers: processes that read sound; 0 reads in a thread.
        bucket_seconds: audio in a bucket; 0 passes utterances one at a time.
    """

    device: str = "cpu"
    precision: Precision = "float32"
    compile: bool = False
    workers: int = 0
    bucket_seconds: float = 0.0

    def check(self) -> Engine:
        """Return self where this machine can run it.

        Raises:
            MissingError: torch finds no such device, or the device lacks the precision.
        """
        if self.on_gpu:
            import torch

            if not torch.cuda.is_available():
                raise MissingError(
                    f"--device {self.device}: torch {torch.__version__} finds no GPU"
                )
        elif self.precision == "tf32":
            raise MissingError(
                "precision tf32 is CUDA's: add --device cuda, or use float32 or bf16"
            )
        return self

    @property
    def on_gpu(self) -> bool:
        """True for a CUDA GPU."""
        return self.device.startswith("cuda")

    @property
    def suffix(self) -> str:
        """The settings that decide the last bits of features, for the name of their folder.

        The reference, float32 on the CPU, has an empty suffix. Buckets and workers change no bit.
        """
        parts = [str(self.precision)] if self.precision != "float32" else []
        parts += ["cuda"] if self.on_gpu else []
        parts += ["compiled"] if self.compile else []
        return "".join(f"-{part}" for part in parts)

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the precision as a context manager."""
        if self.precision != "bf16":
            return nullcontext()
        import torch

        return torch.autocast(self.device.partition(":")[0], dtype=torch.bfloat16)
