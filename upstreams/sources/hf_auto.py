"""Models that only transformers can run: AutoModel with `output_hidden_states=True`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.api import Upstream, UpstreamSource
from bench.errors import InvalidDataError, UsageError
from bench.sound.torchaudio_guard import import_torchaudio
from upstreams.formats.checkpoint import read_checkpoint
from upstreams.sources.adapter import Adapter, message_of
from upstreams.sources.hf_folder import ADAPTER, UNLIMITED_BYTES, check_size, weight_files


class _Auto(nn.Module):
    """A transformers model that gives all of its hidden states for a waveform (1, S)."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.inner = model

    def forward(self, wavs: Tensor) -> tuple[Tensor, ...]:
        """Return the hidden states (1, T, D); the last one is the model's `last_hidden_state`."""
        output = self.inner(wavs, output_hidden_states=True, return_dict=True)
        *states, last = output.hidden_states
        final = output.last_hidden_state  # after the final norm, where `hidden_states` is before it
        return (*states, final if final.shape == last.shape else last)


def auto_model(folder: Path, normalize: bool, source: UpstreamSource) -> Upstream:
    """Load any model that takes waveforms, run by transformers.

    Args:
        folder: with configuration and weights.
        normalize: scale each utterance to zero mean and unit variance first.
        source: says if weights are random, and their seed.

    Raises:
        UsageError: transformers is not installed, or the folder has an adapter and peft is not.
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
        left_out: tuple[str, ...] = ()
        if source.untrained:
            model = _random(config, source.seed)
        elif (folder / ADAPTER).exists():
            model, left_out = _with_adapter(folder, config)
        else:
            model, left_out = _pretrained(folder, config)
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
    upstream.left_out = left_out
    return upstream


def _with_adapter(folder: Path, config: Any) -> tuple[Any, tuple[str, ...]]:
    """Load a model and merge the PEFT adapter of its folder.

    Raises:
        UsageError: peft is not installed.
        InvalidDataError: the adapter changes nothing, or has no safetensors file.
    """
    try:
        from peft import PeftModel
    except ImportError as error:
        raise UsageError(
            f"{folder}: has a PEFT adapter ({ADAPTER}): pip install slim-superb[peft], or merge it "
            "(merge_and_unload) and save the model without it"
        ) from error
    weights = folder / "adapter_model.safetensors"
    if not weights.is_file():
        raise InvalidDataError(f"{folder}: {ADAPTER} without {weights.name}")
    kind = _adapted_class(config, read_checkpoint(weights))
    model, left_out = _pretrained(folder, config, kind)
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    merged = PeftModel.from_pretrained(model, str(folder)).merge_and_unload()
    after = dict(merged.named_parameters())
    if before.keys() == after.keys() and all(torch.equal(after[n], before[n]) for n in before):
        raise InvalidDataError(f"{folder}: its adapter changes no weight of the model")
    return getattr(merged, merged.base_model_prefix, merged), left_out


def _adapted_class(config: Any, adapter: Mapping[str, Any]) -> Any:
    """Return the class to which an adapter was attached: a task model, or the encoder alone."""
    import transformers

    name = next(iter(config.architectures or ()), "")
    task = getattr(transformers, name, None)
    prefix = getattr(task, "base_model_prefix", "")
    if prefix and any(f"model.{prefix}." in key for key in adapter):
        return task
    return None


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


def _pretrained(folder: Path, config: Any, kind: Any = None) -> tuple[Any, tuple[str, ...]]:
    """Load a model with the folder's weights; return it and the parts of the files left out.

    Args:
        folder: of the files.
        config: of the model.
        kind: its class; None for the encoder that transformers finds for the configuration.

    Raises:
        InvalidDataError: tensors are missing or of another shape.
    """
    if kind is None:
        with torch.device("meta"):
            kind = type(_built(config))
    state: dict[str, Any] = {}
    for file in weight_files(folder):
        state |= read_checkpoint(file)
    # Weights come as tensors: with the folder's name, transformers would attach an adapter itself.
    model, notes = kind.from_pretrained(
        None, config=config, state_dict=state, output_loading_info=True, dtype=torch.float32
    )
    wrong = sorted(map(str, [*notes["missing_keys"], *notes["mismatched_keys"]]))
    if wrong:
        raise InvalidDataError(
            f"{folder}: weights missing or of another shape: {', '.join(wrong[:3])}"
        )
    return model, tuple(dict.fromkeys(key.partition(".")[0] for key in notes["unexpected_keys"]))
