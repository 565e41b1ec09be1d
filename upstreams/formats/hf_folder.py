"""Files of a Transformers folder: its JSON files and its weights, checked before use."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.api import SAMPLE_RATE_HZ
from bench.errors import InvalidDataError, UsageError, message_of, one_line

MAX_JSON_BYTES = 16 << 20
MAX_SHARDS = 200
# Above every published speech encoder (2 B parameters, 48 layers), far below what exhausts memory.
MAX_LAYERS = 256
MAX_NUMBER = 1_000_000_000
MAX_WIDTH = 65_536
MAX_PARAMETERS = 8_000_000_000
MIN_BYTES_PER_PARAMETER = 0.4  # 4-bit weights; a much smaller file belongs to another model
UNLIMITED_BYTES = 1 << 40  # for random weights, which have no files to compare with
ADAPTER = "adapter_config.json"  # of a PEFT adapter, which lies beside the base model's files
EXTRACTORS = ("preprocessor_config.json", "processor_config.json")
WEIGHTS = ("model.safetensors", "pytorch_model.bin")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        InvalidDataError: the file is missing, too large, or not a JSON object.
    """
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise InvalidDataError(f"{path}: more than {MAX_JSON_BYTES} bytes")
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidDataError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise InvalidDataError(f"{path}: not valid JSON ({one_line(str(error), 120)})") from error
    if not isinstance(data, dict):
        raise InvalidDataError(f"{path}: expected an object, found {type(data).__name__}")
    return data


def normalizes(folder: Path, stated: bool | None) -> bool:
    """Return if the waveform is normalised, by the folder or else by the card.

    Args:
        folder: has a feature extractor's file, or none.
        stated: `normalize_wav` of the card, or None.

    Raises:
        UsageError: neither states it.
        InvalidDataError: the file is not valid, or the card contradicts it.
    """
    path = next((folder / name for name in EXTRACTORS if (folder / name).is_file()), None)
    if path is None:
        if stated is None:
            raise UsageError(
                f"{folder.name} has no preprocessor_config.json: save the feature extractor there, "
                f"or write 'config: {{normalize_wav: true}}' (or false, as in training) in a card"
            )
        if not isinstance(stated, bool):
            raise UsageError(f"config key 'normalize_wav': bool expected, found {stated!r}")
        return stated
    data = read_json(path)
    data = data.get("feature_extractor", data)  # nested in a processor's file since transformers 5
    if not isinstance(data, dict):
        raise InvalidDataError(f"{path}: 'feature_extractor' is no object")
    rate, normalize = data.get("sampling_rate", SAMPLE_RATE_HZ), data.get("do_normalize", True)
    if rate != SAMPLE_RATE_HZ:
        raise InvalidDataError(f"{path}: sampling_rate {rate}, {SAMPLE_RATE_HZ} expected")
    if data.get("feature_size", 1) != 1:
        raise InvalidDataError(
            f"{path}: feature_size {data['feature_size']}: an extractor of mel frames, but the "
            f"model hears waveforms: save its own extractor there"
        )
    if not isinstance(normalize, bool):
        raise InvalidDataError(f"{path}: do_normalize: true or false expected, found {normalize!r}")
    if stated is not None and stated is not normalize:
        raise InvalidDataError(f"{path}: do_normalize is {normalize}, the card says {stated!r}")
    return normalize


def check_numbers(config: Mapping[str, Any], path: Path) -> None:
    """Refuse a configuration with impossible numbers, before a model is built from it.

    Raises:
        InvalidDataError: a number or a list is too large; the message names the key.
    """
    for key, value in config.items():
        values = value if isinstance(value, list) else [value]
        if isinstance(value, dict):
            check_numbers(value, path)
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


def check_size(params: int, num_bytes: int, path: Path) -> None:
    """Refuse a configuration that needs far more weights than the files have.

    Raises:
        InvalidDataError: the files have less than `MIN_BYTES_PER_PARAMETER`, or the model is larger
            than `MAX_PARAMETERS`.
    """
    if params * MIN_BYTES_PER_PARAMETER > num_bytes or params > MAX_PARAMETERS:
        raise InvalidDataError(
            f"{path}: asks for {params:,} parameters; the files of weights have {num_bytes:,} bytes"
        )


def weight_files(folder: Path) -> list[Path]:
    """Return the files of weights: one, or the shards that an index names.

    Raises:
        InvalidDataError: there are none, or the index names a file outside the folder or one that
            does not exist.
    """
    for name in WEIGHTS:
        if (folder / name).is_file():
            return [folder / name]
        index = folder / f"{name}.index.json"
        if not index.is_file():
            continue
        shards = read_json(index).get("weight_map")
        if not isinstance(shards, dict) or not shards:
            raise InvalidDataError(f"{index}: no 'weight_map'")
        names = sorted({str(value) for value in shards.values()})
        for shard in names:
            if shard != Path(shard).name or shard in (".", "..") or "\\" in shard:
                raise InvalidDataError(f"{index}: names {shard!r}, a path outside the folder")
            if not (folder / shard).is_file():
                raise InvalidDataError(f"{index}: names {shard!r}, which does not exist")
        if len(names) > MAX_SHARDS:
            raise InvalidDataError(f"{index}: {len(names)} shards, at most {MAX_SHARDS} expected")
        return [folder / shard for shard in names]
    raise InvalidDataError(f"{folder}: no weights ({' or '.join(WEIGHTS)}, whole or sharded)")


def folder_extractor(folder: Path) -> Any:
    """Build the feature extractor of a folder; no code of the folder runs.

    Raises:
        UsageError: there is none.
        InvalidDataError: it cannot be built, or is for another sampling rate.
    """
    import transformers

    path = next((folder / name for name in EXTRACTORS if (folder / name).is_file()), None)
    if path is None:
        raise UsageError(
            f"{folder.name} has no preprocessor_config.json: the model hears features, so save its "
            f"feature extractor there (extractor.save_pretrained)"
        )
    check_numbers(read_json(path), path)
    try:
        extractor = transformers.AutoFeatureExtractor.from_pretrained(  # type: ignore[no-untyped-call]
            folder, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # transformers raises many classes
        raise InvalidDataError(f"{path}: no feature extractor ({message_of(error)})") from error
    if extractor.sampling_rate != SAMPLE_RATE_HZ:
        raise InvalidDataError(
            f"{path}: sampling_rate {extractor.sampling_rate}, {SAMPLE_RATE_HZ} expected"
        )
    return extractor
