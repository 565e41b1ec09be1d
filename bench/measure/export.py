"""Export an upstream to ONNX, and verify the file against the module that it came from.

The graph takes one utterance (1, S) of any length and gives every hidden state (1, T, D), in the
module's order: `slim-superb eval onnx:FILE ...` reads it back. A file that does not give the
module's states is not kept.
"""

from __future__ import annotations

import logging
import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bench.api import SAMPLE_RATE_HZ, Upstream, UpstreamSource
from bench.errors import InvalidDataError, UsageError
from bench.load.weights import one_line
from bench.paths import atomic_path
from bench.registry import BORDER, resolve

OPSET = 18
TRACED_SAMPLES = 16_000
SECONDS = (0.3137, 1.0, 4.21)  # of the inputs that are compared, beside the shortest
TOLERANCE = 1e-4  # largest norm of a difference over the norm of the state


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        path: the file.
        size_bytes: its size.
        states: L.
        lengths: samples of the inputs that were compared.
        worst: largest relative difference of a state from the module's.
    """

    path: Path
    size_bytes: int
    states: int
    lengths: tuple[int, ...]
    worst: float


def export_onnx(upstream: Upstream, path: Path) -> Exported:
    """Write an upstream of the encoder family as an ONNX file.

    Args:
        upstream: frozen, on the CPU.
        path: ends in `.onnx`.

    Raises:
        UsageError: another ending, another kind of upstream, or a package is missing.
        InvalidDataError: it cannot be traced, or the file gives other states.
        MissingError: the file cannot be written.
    """
    if path.suffix != ".onnx":
        raise UsageError(f"{path}: an ONNX file ends in .onnx")
    form = resolve(BORDER["onnx form"])(upstream).eval()
    program = _traced(form, upstream.num_layers)
    with atomic_path(path) as temporary:
        # The exporter goes by the ending when it decides where weights lie.
        inside = temporary.with_suffix(".onnx")
        try:
            program.save(str(inside), external_data=False)
            worst, lengths = _compare(upstream, inside)
            inside.replace(temporary)
        finally:
            inside.unlink(missing_ok=True)
    return Exported(path, path.stat().st_size, upstream.num_layers, lengths, worst)


def _traced(form: torch.nn.Module, num_layers: int) -> Any:
    """The graph, for any number of samples.

    Raises:
        UsageError: a package is missing.
        InvalidDataError: the module cannot be traced.
    """
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            return torch.onnx.export(
                form,
                (torch.zeros(1, TRACED_SAMPLES),),
                input_names=["wavs"],
                output_names=[f"state_{index}" for index in range(num_layers)],
                dynamic_shapes={"wavs": {1: torch.export.Dim("samples")}},
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
    except ImportError as error:
        raise UsageError("export needs onnx and onnxscript: slim-superb[onnx]") from error
    except Exception as error:  # of many classes: tracing, decomposition, translation
        raise InvalidDataError(f"this upstream cannot be exported ({one_line(error)})") from error
    finally:
        logging.disable(logging.NOTSET)


def _compare(upstream: Upstream, path: Path) -> tuple[float, tuple[int, ...]]:
    """The largest relative difference between the file's states and the module's.

    Raises:
        InvalidDataError: it is too large.
    """
    source = UpstreamSource(config={}, place=str(path))
    again: Upstream | None = None
    with suppress(UsageError):
        again = resolve(BORDER["source loader"].format(kind="onnx"))(source)
    if again is None:
        raise UsageError("export verifies with onnxruntime: pip install slim-superb[onnx]")
    lengths = (upstream.min_samples, *(round(s * SAMPLE_RATE_HZ) for s in SECONDS))
    worst = 0.0
    for num_samples in lengths:
        generator = torch.Generator().manual_seed(num_samples)
        wavs = 0.1 * torch.randn(1, num_samples, generator=generator)
        with torch.no_grad():
            expected, frames = upstream(wavs, torch.tensor([num_samples]))
            found, _ = again(wavs, torch.tensor([num_samples]))
        for index, (state, reference) in enumerate(zip(found, expected, strict=True)):
            same_shape = state.shape == reference.shape
            share = float((state - reference).norm() / reference.norm()) if same_shape else 1.0
            if not share <= TOLERANCE:
                raise InvalidDataError(
                    f"the exported graph differs from the module by {share:.1e} in state {index} "
                    f"at {num_samples} samples ({int(frames[0])} frames); nothing is kept"
                )
            worst = max(worst, share)
    return worst, lengths
