"""Models that only transformers can run: AutoModel with `output_hidden_states=True`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.api import Upstream, UpstreamSource
from bench.errors import InvalidDataError, UsageError
from bench.sound.torchaudio_guard import import_torchaudio
from upstreams.sources.adapter import Adapter, message_of
from upstreams.sources.hf_folder import UNLIMITED_BYTES, check_size, weight_files


class _Auto(nn.Module):
    """A transformers model that gives all of its hidden states for a waveform (1, S)."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.inner = model

    def forward(self, wavs: Tensor) -> Any:
        """Return the model's output, with `hidden_states`."""
        return self.inner(wavs, output_hidden_states=True, return_dict=True)


def auto_model(folder: Path, normalize: bool, source: UpstreamSource) -> Upstream:
    """Load any model that takes waveforms, run by transformers.

    Args:
        folder: with configuration and weights.
        normalize: scale each utterance to zero mean and unit variance first.
        source: says if weights are random, and their seed.

    Raises:
        UsageError: transformers is not installed.
        InvalidDataError: transformers does not know the model, its input is not a waveform, or the
            weights do not fit.
    """
    transformers = _transformers()
    files = [] if source.untrained else weight_files(folder)
    logging.disable(logging.WARNING)  # advice on training
    try:
        config = transformers.AutoConfig.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
        with torch.device("meta"):
            shape = _built(config)
        params = sum(parameter.numel() for parameter in shape.parameters())
        num_bytes = sum(file.stat().st_size for file in files) if files else UNLIMITED_BYTES
        check_size(params, num_bytes, folder / "config.json")
        if shape.main_input_name != "input_values":
            raise InvalidDataError(
                f"{folder}: the model takes {shape.main_input_name!r}; only models of waveforms "
                f"('input_values') can be run"
            )
        model = _random(config, source.seed) if source.untrained else _pretrained(folder, config)
    except (InvalidDataError, UsageError):
        raise
    except Exception as error:  # transformers raises many classes
        raise InvalidDataError(
            f"{folder}: transformers cannot load it ({message_of(error)})"
        ) from error
    finally:
        logging.disable(logging.NOTSET)
    upstream = Adapter(_Auto(model), f"hf:{folder.name}", normalize_wav=normalize)
    upstream.identity = f"{type(model).__name__} transformers {transformers.__version__}"
    return upstream


def _transformers() -> Any:
    """Import transformers without its log messages on other libraries."""
    import_torchaudio()  # speech models of transformers import it; its extension may not load
    logging.disable(logging.ERROR)
    try:
        import transformers
        from transformers.models.auto import modeling_auto
    except ImportError as error:
        raise UsageError("hf: models need 'pip install slim-superb[hf]'") from error
    finally:
        logging.disable(logging.NOTSET)
    del modeling_auto  # imported to have its log messages now
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    return transformers


def _random(config: Any, seed: int) -> Any:
    """Build the model with random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _built(config)


def _built(config: Any) -> Any:
    """Build the architecture of a configuration with transformers' initial weights."""
    import transformers

    from_config: Any = transformers.AutoModel.from_config
    return from_config(config, trust_remote_code=False)


def _pretrained(folder: Path, config: Any) -> Any:
    """Load the model with the folder's weights.

    Raises:
        InvalidDataError: tensors are missing or of another shape.
    """
    import transformers

    model, notes = transformers.AutoModel.from_pretrained(
        folder,
        config=config,
        local_files_only=True,
        trust_remote_code=False,
        output_loading_info=True,
        dtype=torch.float32,
    )
    wrong = sorted(map(str, [*notes["missing_keys"], *notes["mismatched_keys"]]))
    if wrong:
        raise InvalidDataError(
            f"{folder}: weights missing or of another shape: {', '.join(wrong[:3])}"
        )
    return model
