"""Models that only transformers can run: AutoModel with `output_hidden_states=True`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.api import Upstream, UpstreamSource
from bench.errors import InvalidDataError, UsageError, message_of
from bench.sound.torchaudio_guard import import_torchaudio
from upstreams.formats.checkpoint import read_checkpoint
from upstreams.formats.envelope import unwrapped
from upstreams.formats.hf_folder import (
    ADAPTER,
    UNLIMITED_BYTES,
    check_size,
    normalizes,
    weight_files,
)
from upstreams.sources.adapter import Adapter
from upstreams.sources.hf_features import all_states, with_extractor

HEARD = ("input_values", "input_features")  # names of inputs that are sound
# Encoder-decoders whose AutoModel lacks the part that hears sound.
SPOKEN = {"speecht5": "SpeechT5ForSpeechToText"}


class AllStates(nn.Module):
    """A transformers model that gives all of its hidden states for a waveform (1, S)."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.inner = model

    def forward(self, wavs: Tensor) -> tuple[Tensor, ...]:
        """Return the hidden states (1, T, D)."""
        return all_states(self.inner(wavs, output_hidden_states=True, return_dict=True))


def auto_model(folder: Path, stated: bool | None, source: UpstreamSource) -> Upstream:
    """Load any model of sound, run by transformers; of an encoder-decoder the encoder alone.

    Args:
        folder: with configuration and weights.
        stated: by the card, whether waveforms are normalised; None if it says nothing.
        source: says if weights are random, and their seed.

    Raises:
        UsageError: transformers is not installed, the folder has an adapter and peft is not, or
            nothing says how the sound is prepared.
        InvalidDataError: transformers does not know the model, it does not hear sound, or the
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
            encoder = _encoder_of(_built(config), folder)
        params = sum(parameter.numel() for parameter in encoder.parameters())
        num_bytes = sum(file.stat().st_size for file in files) if files else UNLIMITED_BYTES
        check_size(params, num_bytes, folder / "config.json")
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
    upstream = _upstream(_encoder_of(model, folder), folder, stated)
    upstream.identity = f"{type(model).__name__} transformers {transformers.__version__}"
    upstream.left_out = left_out
    return upstream


def _upstream(encoder: Any, folder: Path, stated: bool | None) -> Upstream:
    """Return an encoder as an upstream, with what its folder says of its input.

    Raises:
        UsageError: nothing says how the sound is prepared.
        InvalidDataError: the file of the feature extractor is not valid, or the encoder does not
            run on sound.
    """
    if encoder.main_input_name == "input_features" or hasattr(encoder.config, "num_mel_bins"):
        if stated is not None:
            raise UsageError("config key 'normalize_wav': the model has a feature extractor")
        return with_extractor(encoder, folder)
    normalize = normalizes(folder, stated)
    return Adapter(AllStates(encoder), f"hf:{folder.name}", normalize_wav=normalize)


def _encoder_of(model: Any, folder: Path) -> Any:
    """Return the part of a model that hears sound: its encoder, or the model itself.

    Raises:
        InvalidDataError: there is no such part.
    """
    part = model.get_encoder() if hasattr(model, "get_encoder") else model
    for encoder in (part, model):
        if getattr(encoder, "main_input_name", None) in HEARD:
            return encoder
    raise InvalidDataError(
        f"{folder}: {type(model).__name__} takes {model.main_input_name!r}; only models of sound "
        f"({' or '.join(HEARD)}) can be run"
    )


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

    if config.model_type in SPOKEN:
        return getattr(transformers, SPOKEN[config.model_type])(config)
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
        state |= unwrapped(read_checkpoint(file))
    # Weights come as tensors: with the folder's name, transformers would attach an adapter itself.
    model, notes = kind.from_pretrained(
        None,
        config=config,
        state_dict=state,
        output_loading_info=True,
        dtype=torch.float32,
        ignore_mismatched_sizes=True,  # they are refused below, by name
    )
    encoder = _encoder_of(model, folder)
    prefix = next(f"{name}." for name, part in model.named_modules() if part is encoder).lstrip(".")
    missing = {str(key) for key in notes["missing_keys"] if str(key).startswith(prefix)}
    misshapen = {key[0] if isinstance(key, tuple) else str(key) for key in notes["mismatched_keys"]}
    wrong = sorted(missing | misshapen)
    if wrong:
        raise InvalidDataError(
            f"{folder}: weights missing or of another shape: {', '.join(wrong[:3])}; its files "
            f"have {', '.join(sorted(state)[:3])}: save it by the model's save_pretrained"
        )
    unknown = {key: state[key] for key in notes["unexpected_keys"] if key in state}
    has_root = any(key.startswith(f"{model.base_model_prefix}.") for key in state)
    root = f"{model.base_model_prefix}." if has_root else ""
    if unheard := _inside(encoder, root + prefix.removeprefix(root), unknown):
        raise InvalidDataError(
            f"{folder}: the model of its config.json does not run {', '.join(unheard[:3])}: "
            f"correct the configuration, or merge the adapter and save the model again"
        )
    unused = [name for name, _ in model.named_parameters() if not name.startswith(prefix)]
    return model, tuple(dict.fromkeys(map(_part_name, [*notes["unexpected_keys"], *unused])))


def _inside(encoder: Any, prefix: str, tensors: Mapping[str, Any]) -> list[str]:
    """Return the names of weights that belong into a part of the encoder, which lacks them.

    Vectors, and tables that the encoder computes itself, are in files of older versions.

    Args:
        encoder: of transformers.
        prefix: before its names in the file.
        tensors: by their names in the file, those that the model did not take.
    """
    parts = {name.partition(".")[0] for name, _ in encoder.named_parameters()}
    computed = {f"{prefix}{name}" for name, _ in encoder.named_buffers()}
    return sorted(
        key
        for key, tensor in tensors.items()
        if key.startswith(prefix)
        and key.removeprefix(prefix).partition(".")[0] in parts
        and key not in computed
        and tensor.dim() > 1
    )


def _part_name(key: str) -> str:
    """Return the part that a tensor's name begins with, such as `lm_head` or `model.decoder`."""
    first, second, *_ = [*key.split("."), ""]
    return f"{first}.{second}" if second in ("encoder", "decoder") else first
