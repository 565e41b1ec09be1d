"""Transformers folders and hub repositories: `hf:FOLDER`, `hf:ORG/MODEL`.

HuBERT, wav2vec 2.0 and WavLM, of any size, become our own encoder through the importer. Any other
model that takes waveforms (`input_values`) is run by transformers' AutoModel with
`output_hidden_states=True`. Code in the folder is never run (`trust_remote_code` stays off), and
weights are read as data.

Whether the waveform is normalised says `preprocessor_config.json` (`do_normalize`), or, where the
folder has none, the card (`config: {normalize_wav: true}`). It is normalised as in training, by a
layer norm without parameters (eps 1e-5; transformers' own extractor has 1e-7).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from bench.api import SAMPLE_RATE_HZ, Upstream, UpstreamSource
from bench.errors import InvalidDataError, UsageError
from bench.torchaudio_guard import import_torchaudio
from upstreams.encoder.config import encoder_config
from upstreams.encoder.state import build, num_parameters, random_state
from upstreams.formats.checkpoint import read_checkpoint
from upstreams.formats.layout import import_encoder
from upstreams.sources.adapter import Adapter, options

MAX_JSON_BYTES = 16 << 20
MAX_SHARDS = 200
# Larger than any published speech encoder (2 B parameters, 48 layers), far below what hurts.
MAX_LAYERS = 256
MAX_NUMBER = 1_000_000_000
MAX_WIDTH = 65_536
MIN_BYTES_PER_PARAMETER = 0.4  # 4-bit weights; a file much smaller than that holds another model
OWN = ("hubert", "wav2vec2", "wavlm")
WEIGHTS = ("model.safetensors", "pytorch_model.bin")


def load(source: UpstreamSource) -> Upstream:
    """Load the model of a folder.

    Raises:
        UsageError: a variant, an unknown option, or nothing says whether to normalise.
        InvalidDataError: a configuration or weights that do not hold.
    """
    if source.variant is not None:
        raise UsageError(f"variant {source.variant!r}: a Transformers folder has no variants")
    assert source.place is not None  # bench.load.model_files found the folder
    folder = Path(source.place)
    given = options(source.config, "hf", normalize_wav=None)
    config = _read_json(folder / "config.json")
    _check_numbers(config, folder / "config.json")
    normalize = _normalizes(folder, given["normalize_wav"])
    if config.get("model_type") in OWN:
        return _own_encoder(folder, config, normalize, source)
    return _auto_model(folder, normalize, source)


def _read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        InvalidDataError: missing, too large, or no object.
    """
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise InvalidDataError(f"{path}: more than {MAX_JSON_BYTES} bytes")
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidDataError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:120]
        raise InvalidDataError(f"{path}: not valid JSON ({reason})") from error
    if not isinstance(data, dict):
        raise InvalidDataError(f"{path}: expected an object, found {type(data).__name__}")
    return data


def _check_numbers(config: Mapping[str, Any], path: Path) -> None:
    """Refuse a configuration whose numbers no model has, before anything is built from it.

    Raises:
        InvalidDataError: naming the key.
    """
    for key, value in config.items():
        values = value if isinstance(value, list) else [value]
        if isinstance(value, dict):
            _check_numbers(value, path)
        if len(values) > 10_000:
            raise InvalidDataError(f"{path}: {key!r} has {len(values)} items")
        for item in values:
            if isinstance(item, bool) or not isinstance(item, (int, float)):
                continue
            limit = MAX_LAYERS if "layer" in key else MAX_NUMBER
            limit = MAX_WIDTH if "size" in key or "dim" in key else limit
            if "vocab" in key:
                limit = MAX_NUMBER
            if not abs(item) <= limit:
                raise InvalidDataError(f"{path}: {key!r} is {item}, at most {limit} expected")


def _normalizes(folder: Path, asked: bool | None) -> bool:
    """Whether the waveform is normalised.

    Raises:
        UsageError: nothing says it.
        InvalidDataError: another sample rate, or a feature extractor that says something else.
    """
    path = folder / "preprocessor_config.json"
    if not path.is_file():
        if asked is None:
            raise UsageError(
                f"{folder.name} has no preprocessor_config.json: save the feature extractor there, "
                f"or say in a card 'config: {{normalize_wav: true}}' or false, as in training"
            )
        if not isinstance(asked, bool):
            raise UsageError(f"config key 'normalize_wav': bool expected, found {asked!r}")
        return asked
    data = _read_json(path)
    rate, found = data.get("sampling_rate", SAMPLE_RATE_HZ), data.get("do_normalize", True)
    if rate != SAMPLE_RATE_HZ:
        raise InvalidDataError(f"{path}: sampling_rate {rate}, {SAMPLE_RATE_HZ} expected")
    if not isinstance(found, bool) or (asked is not None and asked is not found):
        raise InvalidDataError(f"{path}: do_normalize is {found!r}, the card says {asked!r}")
    return found


def _own_encoder(
    folder: Path, config: dict[str, Any], normalize: bool, source: UpstreamSource
) -> Upstream:
    """Our encoder with the folder's weights, or with random ones.

    Raises:
        InvalidDataError: a shape that our encoder does not have, or other weights.
    """
    path = folder / "config.json"
    try:
        shape = encoder_config(_section(config, normalize))
    except (KeyError, TypeError, UsageError, ValueError) as error:
        raise InvalidDataError(f"{path}: {type(error).__name__}: {error}") from error
    if source.untrained:
        _check_size(num_parameters(shape), 1 << 40, path)
        return build(shape, random_state(shape, source.seed))
    files = _weight_files(folder)
    _check_size(num_parameters(shape), sum(file.stat().st_size for file in files), path)
    state: dict[str, Any] = {}
    for file in files:
        part = read_checkpoint(file)
        if not isinstance(part, Mapping) or set(part) & set(state):
            raise InvalidDataError(f"{file}: expected tensors by name, each once")
        state |= part
    return build(*import_encoder(state, shape))


def _section(config: Mapping[str, Any], normalize: bool) -> dict[str, Any]:
    """Our encoder's configuration from transformers'.

    Raises:
        UsageError: an option that our encoder does not have.
        KeyError: a number that is not given.
    """
    expected = {
        "hidden_act": ("gelu",),
        "feat_extract_activation": ("gelu",),
        "feat_extract_norm": ("group", "layer"),
        "conv_pos_batch_norm": (False, None),
        "add_adapter": (False, None),
        "adapter_attn_dim": (None,),
    }
    for key, allowed in expected.items():
        found = config.get(key, allowed[0])
        if found not in allowed:
            raise UsageError(f"{key!r} is {found!r}, expected {allowed[0]!r}")
    layers, heads, width = (
        int(config[key]) for key in ("num_hidden_layers", "num_attention_heads", "hidden_size")
    )
    if width < 1 or heads < 1 or layers < 1 or width % heads:
        raise UsageError(f"{heads} heads do not divide a width of {width}, or {layers} layers")
    convs = zip(
        *(map(int, config[f"conv_{key}"]) for key in ("dim", "kernel", "stride")), strict=True
    )
    kind = config["model_type"]
    masked = config.get("mask_time_prob", 0.05) > 0 or config.get("mask_feature_prob", 0) > 0
    return {
        "conv_layers": [list(layer) for layer in convs],
        "extractor_mode": f"{config.get('feat_extract_norm', 'group')}_norm",
        "conv_bias": bool(config.get("conv_bias", False)),
        "feature_norm": bool(config.get("feat_proj_layer_norm", True)) or kind != "hubert",
        "embed_dim": width,
        "pos_conv_kernel": int(config.get("num_conv_pos_embeddings", 128)),
        "pos_conv_groups": int(config.get("num_conv_pos_embedding_groups", 16)),
        "num_layers": layers,
        "heads": heads,
        "head_dim": width // heads,
        "ffn": int(config["intermediate_size"]),
        "layer_norm_first": bool(config.get("do_stable_layer_norm", False)),
        "normalize_wav": normalize,
        "relative_buckets": int(config["num_buckets"]) if kind == "wavlm" else 0,
        "relative_distance": int(config.get("max_bucket_distance", 800)),
        "attention_dropout": config.get("attention_dropout", 0.1) > 0,
        "mask_embedding": width if masked else 0,
    }


def _check_size(params: int, num_bytes: int, path: Path) -> None:
    """Refuse a configuration that asks for far more than the files hold.

    Raises:
        InvalidDataError: as told.
    """
    if params * MIN_BYTES_PER_PARAMETER > num_bytes or params > 8e9:
        raise InvalidDataError(
            f"{path}: asks for {params:,} parameters; the files of weights have {num_bytes:,} bytes"
        )


def _weight_files(folder: Path) -> list[Path]:
    """The files of weights: one, or the shards that an index names.

    Raises:
        InvalidDataError: none, or an index that names anything but files of this folder.
    """
    for name in WEIGHTS:
        if (folder / name).is_file():
            return [folder / name]
        index = folder / f"{name}.index.json"
        if not index.is_file():
            continue
        shards = _read_json(index).get("weight_map")
        if not isinstance(shards, dict) or not shards:
            raise InvalidDataError(f"{index}: no 'weight_map'")
        names = sorted({str(value) for value in shards.values()})
        for shard in names:
            if shard != Path(shard).name or shard in (".", "..") or "\\" in shard:
                raise InvalidDataError(f"{index}: names {shard!r}, a path outside the folder")
            if not (folder / shard).is_file():
                raise InvalidDataError(f"{index}: names {shard!r}, which is not there")
        if len(names) > MAX_SHARDS:
            raise InvalidDataError(f"{index}: {len(names)} shards, at most {MAX_SHARDS} expected")
        return [folder / shard for shard in names]
    raise InvalidDataError(f"{folder}: no weights ({' or '.join(WEIGHTS)}, whole or sharded)")


class _Auto(nn.Module):
    """A transformers model that gives all of its hidden states for (1, S)."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.inner = model

    def forward(self, wavs: Tensor) -> Any:
        """The model's output, with `hidden_states`."""
        return self.inner(wavs, output_hidden_states=True, return_dict=True)


def _auto_model(folder: Path, normalize: bool, source: UpstreamSource) -> Upstream:
    """Any other model that takes waveforms, run by transformers.

    Raises:
        InvalidDataError: not a model that transformers knows, not of waveforms, or weights that do
            not fit.
    """
    import torch

    transformers = _transformers()
    files = [] if source.untrained else _weight_files(folder)
    logging.disable(logging.WARNING)  # advice on training; what matters is checked below
    try:
        config = transformers.AutoConfig.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
        with torch.device("meta"):
            shape = _built(config)
        params = sum(parameter.numel() for parameter in shape.parameters())
        num_bytes = sum(file.stat().st_size for file in files) if files else 1 << 40
        _check_size(params, num_bytes, folder / "config.json")
        if shape.main_input_name != "input_values":
            raise InvalidDataError(
                f"{folder}: the model takes {shape.main_input_name!r}; only models of waveforms "
                f"('input_values') can be run"
            )
        model = _random(config, source.seed) if source.untrained else _pretrained(folder, config)
    except (InvalidDataError, UsageError):
        raise
    except Exception as error:  # of many classes: configurations, readers, shapes
        reason = " ".join(str(error).split())[:160]
        raise InvalidDataError(f"{folder}: transformers cannot load it ({reason})") from error
    finally:
        logging.disable(logging.NOTSET)
    upstream = Adapter(_Auto(model), f"hf:{folder.name}", normalize_wav=normalize)
    upstream.identity = f"{type(model).__name__} transformers {transformers.__version__}"
    return upstream


def _transformers() -> Any:
    """The library, imported without its remarks on other libraries.

    Raises:
        UsageError: it is not installed.
    """
    import_torchaudio()  # transformers' models of speech import it, and its extension may not load
    logging.disable(logging.ERROR)
    try:
        import transformers
        from transformers.models.auto import modeling_auto
    except ImportError as error:
        raise UsageError("hf: models need 'pip install slim-superb[hf]'") from error
    finally:
        logging.disable(logging.NOTSET)
    del modeling_auto  # imported for its remarks
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    return transformers


def _random(config: Any, seed: int) -> Any:
    """The model with random weights."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _built(config)


def _built(config: Any) -> Any:
    """The architecture that a configuration names, with transformers' own initial weights."""
    import transformers

    make: Any = transformers.AutoModel.from_config
    return make(config, trust_remote_code=False)


def _pretrained(folder: Path, config: Any) -> Any:
    """The model with the folder's weights, all of them there.

    Raises:
        InvalidDataError: tensors missing or misshaped.
    """
    import torch
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
        raise InvalidDataError(f"{folder}: weights missing or misshaped: {', '.join(wrong[:3])}")
    return model
