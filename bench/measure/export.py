"""Export an upstream to ONNX, and compare the file with the module.

The graph takes one utterance (1, S) of any length and gives every hidden state (1, T, D), in the
module's order: `slim-superb eval onnx:FILE ...` reads it back. A file that gives other states than
the module is deleted.
"""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bench.api import SAMPLE_RATE_HZ, Upstream, UpstreamSource
from bench.errors import InvalidDataError, UsageError
from bench.load.downloads import short_reason
from bench.measure.check import noise
from bench.paths import atomic_path
from bench.registry import BORDER, resolve

OPSET = 18
TRACED_SAMPLES = 16_000
SECONDS = (0.3137, 1.0, 4.21)  # of the inputs that are compared, beside the shortest
TOLERANCE = 1e-4  # norm of the largest difference over the norm of the state


@dataclass(frozen=True)
class OnnxExport:
    """The result of an export.

    Attributes:
        path: of the file.
        size_bytes: of the file.
        states: L.
        lengths: samples of the inputs that were compared.
        worst: largest relative difference of a state from the module's.
    """

    path: Path
    size_bytes: int
    states: int
    lengths: tuple[int, ...]
    worst: float


def export_onnx(upstream: Upstream, path: Path) -> OnnxExport:
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
    program = _traced(form, upstream)
    with atomic_path(path) as temporary:
        # The exporter chooses the place of the weights by the ending.
        onnx_path = temporary.with_suffix(".onnx")
        try:
            program.save(str(onnx_path), external_data=False)
            worst, lengths = _compare(upstream, onnx_path)
            onnx_path.replace(temporary)
        finally:
            onnx_path.unlink(missing_ok=True)
    return OnnxExport(path, path.stat().st_size, upstream.num_layers, lengths, worst)


def _traced(form: torch.nn.Module, upstream: Upstream) -> Any:
    """Trace the module, for any number of samples that it takes.

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
                output_names=[f"state_{index}" for index in range(upstream.num_layers)],
                # Without the least number, the exporter fails once to find it and traces again.
                dynamic_shapes={"wavs": {1: torch.export.Dim("samples", min=upstream.min_samples)}},
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
    except ImportError as error:
        raise UsageError(
            "export needs onnx and onnxscript: pip install 'slim-superb[onnx]'"
        ) from error
    except Exception as error:  # of many classes: tracing, decomposition, translation
        raise InvalidDataError(
            f"this upstream cannot be exported ({short_reason(error)})"
        ) from error
    finally:
        logging.disable(logging.NOTSET)


def _compare(upstream: Upstream, path: Path) -> tuple[float, tuple[int, ...]]:
    """Compare the states of the file with those of the module.

    Returns:
        the largest relative difference, and the lengths of the inputs in samples.

    Raises:
        UsageError: onnxruntime is missing.
        InvalidDataError: the difference is larger than `TOLERANCE`.
    """
    source = UpstreamSource(config={}, place=str(path))
    try:
        exported = resolve(BORDER["source loader"].format(kind="onnx"))(source)
    except UsageError as error:
        raise UsageError(
            "export verifies with onnxruntime: pip install 'slim-superb[onnx]'"
        ) from error
    lengths = (upstream.min_samples, *(round(s * SAMPLE_RATE_HZ) for s in SECONDS))
    worst = 0.0
    for num_samples in lengths:
        wavs = noise(num_samples)[None]
        with torch.no_grad():
            expected, frames = upstream(wavs, torch.tensor([num_samples]))
            states, _ = exported(wavs, torch.tensor([num_samples]))
        for index, (state, reference) in enumerate(zip(states, expected, strict=True)):
            same_shape = state.shape == reference.shape
            share = float((state - reference).norm() / reference.norm()) if same_shape else 1.0
            if not share <= TOLERANCE:
                raise InvalidDataError(
                    f"the exported graph differs from the module by {share:.1e} in state {index} "
                    f"at {num_samples} samples ({int(frames[0])} frames); no file is written"
                )
            worst = max(worst, share)
    return worst, lengths
