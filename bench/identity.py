"""What decides a value: the one list, from which every key is made.

A key names a value that is kept or compared. Two values with equal keys are one value, so a key
covers everything that decides its value, and nothing else. Each function below takes exactly that;
no other module composes a key. (Digests of the content of a file or a sound are made where it is
read, and come here as text.)

    upstream    code path, configuration, variant, tap, shape, weights; content of a model's files
                and code for a model from outside this project; modifier
    features    upstream and its fingerprint, mode, engine, revision of the pass
    sound       samples; of a crop: its place; under a condition: the distortion, the utterance's id
                and the libraries that compute it
    table       ids, sounds, speakers, targets, trials
    condition   steps with parameters, content of the noise, band; of a test set: its table too
    run         protocol, revision of the pass, specification, cards, upstream, tables, engine
    heads       run, fingerprint of the upstream; also for the predictions and the cost of the run
    curve       method of the probes, revision of the pass, upstream, tables, engine
    cell        protocol, names, cards, conditions, seeds, limit, engine but torch's version

An engine is the precision, the kind of device, `torch.compile` and the version of torch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from bench.config import TaskCard, UpstreamCard
from bench.engine import Engine

if TYPE_CHECKING:
    from bench.api import Upstream, Utterance

PROTOCOL = "2026.2"  # of every record: raised when scores of all tasks may change
PASS_REVISION = 2  # raised when the upstream pass computes other last bits
FOLDER_DIGITS = 24  # of a key, in the name of a folder or a file

# Keys of cards for readers: a better wording is not another experiment. Nor are learning rates that
# are used only on request.
WORDS = {"title", "notes", "paper", "license", "deviations", "source", "labels"}
WORDS |= {"reported", "macs_rule", "differs", "lr_presets"}
# Keys that only help to find a file: the tap's other name, the file's page, other sources and
# approximate size, other files with the same weights (a record has the digest of the one used), the
# commands that train it again.
FINDING = {"page", "mirrors", "size_mb", "known_sha256", "made_by"}
NOT_HASHED: Any = {"checkpoint": FINDING}
EXCLUDED: Any = dict.fromkeys(sorted(WORDS | {"paper_tap"}), True) | NOT_HASHED
# Keys that are newer than the first records: omitted where a card does not use them.
LATER: dict[str, Any] = {"builder": None, "args": {}}


def key_of(content: Any) -> str:
    """Return the sha256 of a JSON value, whatever the order of its mappings."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def card_digest(card: TaskCard | UpstreamCard) -> str:
    """Return the sha256 of a card without the keys for readers."""
    content = card.model_dump(mode="json", exclude=EXCLUDED)
    if isinstance(card, UpstreamCard) and card.checkpoint is not None and card.checkpoint.made_by:
        content["checkpoint"]["shipped"] = True  # it was, when its records were made
    return key_of({key: value for key, value in content.items() if LATER.get(key, ...) != value})


def upstream_digest(
    upstream: Upstream, card: UpstreamCard, load: str, variant: str | None, outside: Any = None
) -> str:
    """Return the sha256 of what turns sound into features: code path, configuration, weights.

    Args:
        upstream: the module. Buffers that are not persistent do not count: it computes them again.
        card: gives `config` and `args`.
        load: `module:attr` of the function that built it.
        variant: in its canonical spelling.
        outside: digests of files, code and other state of a model from outside this project
            (`bench.load.outside`), by name; None without such.
    """
    import torch

    from bench.api import Upstream

    shape: dict[str, Any] = {
        "load": load,
        "config": card.config,
        "variant": variant,
        "states": [upstream.num_layers, upstream.hidden_size, upstream.stride],
    }
    if upstream.tap != Upstream.tap:
        shape["tap"] = upstream.tap
    beside = {"identity": upstream.identity, "args": card.args or None, **(outside or {})}
    shape |= {key: value for key, value in beside.items() if value is not None}
    digest = hashlib.sha256(json.dumps(shape, sort_keys=True).encode())
    for key, tensor in sorted(upstream.state_dict().items()):
        if not isinstance(tensor, torch.Tensor) or tensor.is_quantized:
            continue  # packed weights of a module from outside (`bench.load.outside.loose_digest`)
        digest.update(f"\n{key} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def modified_digest(digest: str, modifier: str, version: str) -> str:
    """Return the digest of a modified upstream; `version` is that of the method."""
    return hashlib.sha256(f"{digest} {modifier} {version}".encode()).hexdigest()


def engine_settings(engine: Engine) -> dict[str, str]:
    """Return the settings of an engine that decide values, by name.

    Buckets and workers decide none.
    """
    import torch

    return {
        "precision": engine.precision,
        "device": "cuda" if engine.on_gpu else "cpu",
        "compile": "on" if engine.compile else "off",
        "torch": str(torch.__version__),
    }


def features_key(digest: str, fingerprint: Sequence[float] = ()) -> str:
    """Return the key of an upstream in the feature store.

    Args:
        digest: of the upstream.
        fingerprint: of its states (`bench.load.fingerprint`); empty where none was taken.
    """
    return key_of([digest, list(fingerprint)]) if fingerprint else digest


def features_folder(key: str, mode: str, engine: Engine) -> PurePath:
    """Return the folder of features in the store.

    Args:
        key: of `features_key`.
        mode: `pooled` or `frames`.
        engine: how the upstream runs. The reference, float32 on the CPU, has no words for it.
    """
    torch = engine_settings(engine)["torch"]
    name = f"{mode}{engine.suffix}-torch{torch}-r{PASS_REVISION}"
    return PurePath(key[:FOLDER_DIGITS], name)


def moments_key(revision: int, sounds: Iterable[str]) -> str:
    """Return the key of the moments of features; `sounds` are keys, in order."""
    return key_of([revision, list(sounds)])[:FOLDER_DIGITS]


def crop_key(sound: str, offset: int, size: int) -> str:
    """Return the key of a part of a sound, in samples."""
    return hashlib.sha256(f"{sound} {offset} {size}".encode()).hexdigest()


def distorted_key(
    distortion: str, libraries: Mapping[str, str], identifier: str, sound: str
) -> str:
    """Return the key of a distorted sound.

    Args:
        distortion: of `distortion_digest`.
        libraries: versions of those that compute it, by name.
        identifier: of the utterance, which seeds all draws.
        sound: key of the clean sound.
    """
    content = [distortion, dict(libraries), identifier, sound]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def table_digest(utterances: Iterable[Utterance], trials: Iterable[Sequence[Any]] = ()) -> str:
    """Return the sha256 of a manifest's ids, sounds, speakers, targets and trials, not paths."""
    sha = hashlib.sha256()
    for item in utterances:
        fields = [item.id, item.key, item.num_samples, item.speaker, item.target]
        fields += [item.part] if item.part else []
        sha.update(json.dumps(fields, sort_keys=True).encode())
    for trial in trials:
        sha.update(json.dumps(list(trial)).encode())
    return sha.hexdigest()


def noise_digest(name: str, contents: Sequence[tuple[str, str]]) -> str:
    """Return the sha256 of a folder of noise; `contents` are names and digests of its files."""
    return hashlib.sha256(json.dumps([name, contents]).encode()).hexdigest()


def noise_union_digest(parts: Iterable[str]) -> str:
    """Return the sha256 of several sources of noise together, from those of each."""
    return hashlib.sha256("".join(parts).encode()).hexdigest()


def condition_digest(base: str, version: int, steps: Any, other: Any) -> str:
    """Return the sha256 of a condition of the catalogue.

    Args:
        base: name without `@test-only`; it seeds all draws.
        version: of the catalogue.
        steps: effects with their parameters, in order.
        other: table or corpus with its tables, for a condition that is another test set.
    """
    return key_of([base, version, steps, other])


def distortion_digest(condition: str, noises: Mapping[str, str], band_hz: float | None) -> str:
    """Return the sha256 of a condition with its noise and the band of the corpus."""
    content = [condition, dict(sorted(noises.items())), band_hz]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def condition_set_digest(table: str, distortion: str, *, test_only: bool) -> str:
    """Return the sha256 of a distorted test set; `test_only`: enrolments stay clean."""
    return hashlib.sha256(json.dumps([table, distortion, test_only]).encode()).hexdigest()


def run_key(spec: Mapping[str, Any], inputs: Mapping[str, Any], engine: Mapping[str, str]) -> str:
    """Return the key of a run: its record's `provenance.spec`.

    Args:
        spec: the fields of `bench.run.spec.RunSpec`, with the name of the loaded upstream.
        inputs: the fields of `bench.records.origin.Inputs`. The fingerprint is compared with a
            tolerance, not by key: another machine rounds differently.
        engine: of `engine_settings`.
    """
    digests = {name: value for name, value in inputs.items() if name != "fingerprint"}
    versions = {"protocol": PROTOCOL, "pass": PASS_REVISION}
    return key_of({**versions, "spec": spec, "inputs": digests, "engine": engine})


def heads_key(run: str, fingerprint: Sequence[float]) -> str:
    """Return the key of what a run keeps while it is not done: heads, predictions, cost."""
    return key_of([run, list(fingerprint)])[:FOLDER_DIGITS]


def curve_key(
    method: int, upstream: str, tables: Mapping[str, str], engine: Mapping[str, str]
) -> str:
    """Return the key of a layer curve.

    Args:
        method: revision of the probes.
        upstream: digest.
        tables: digests by split.
        engine: of `engine_settings`.
    """
    return key_of([method, PASS_REVISION, upstream, tables, engine])


def decoding_key(run: str, model: str, lexicon: str, search: Mapping[str, Any]) -> str:
    """Return the key of predictions with a language model, from the digests of its files."""
    return key_of([run, model, lexicon, search])


def cell_key(cell: Sequence[Any], card: TaskCard, conditions: Mapping[str, str], rest: Any) -> str:
    """Return the key of a cell of a grid.

    Args:
        cell: names of upstream and task, and a learning rate.
        card: of the task.
        conditions: digests by name.
        rest: track, seeds, limit, precision and kind of device. (Not the version of torch: the
            machine that shows a grid may have another than its workers.)
    """
    parts = [PROTOCOL, *cell, card_digest(card), sorted(conditions.items()), rest]
    return key_of(parts)[:32]


def pass_lock(folder: PurePath) -> str:
    """Return the name of the lock of an upstream pass into a folder of the store."""
    return f"pass {folder.parent.name} {folder.name}"


def use_lock(key: str, process: str) -> str:
    """Return the name of the lock of a process that uses an upstream's features."""
    return f"use {key[:FOLDER_DIGITS]} {process}"


def curve_lock(curve: PurePath) -> str:
    """Return the name of the lock of a layer curve, from the path of its file."""
    return f"layers {curve.parents[2].name}/{curve.parents[1].name}/{curve.stem}"


def run_lock(record: PurePath) -> str:
    """Return the name of the lock of a run, from the path of its record."""
    return f"run {record.parent.parent.name}/{record.parent.name}/{record.stem}"
