"""Whisper tiny.en with its published weights, through each library; features are included."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.api import SAMPLE_RATE_HZ
from bench.load.catalog import upstream_card
from bench.load.files import find_checkpoint
from bench.load.loader import load_upstream
from bench.load.modifiers import quiet
from bench.sound.torchaudio_guard import import_torchaudio
from tools.peers.onnx_session import NAME as ONNXRUNTIME
from tools.peers.onnx_session import onnx_peers
from tools.peers.peer import Maker, Peer, Run, in_batches, ours, rows_of, with_torch
from upstreams.importers.whisper import LAYOUTS
from upstreams.sources.hf_auto import AllStates

CARD = "whisper_tiny_en"
TITLE = "Whisper tiny.en"
HEADS = 6
NUM_TOKENS = 51_864  # of the English models; the encoder uses none
OPSET = 18
WINDOW_S, SHORT_S = 30.0, 0.5
SAMPLES_PER_STATE = 320
NAMES = LAYOUTS[1]  # of transformers


def makers(context_s: float) -> dict[str, Maker]:
    """Return the makers of peers, by library.

    Args:
        context_s: `WINDOW_S` pads every sound to a window; `SHORT_S` adds half a second of silence,
            with which transformers' encoder does not run.
    """
    found: dict[str, Maker] = {
        "Slim-SUPERB": lambda _: _ours(context_s),
        "faster-whisper": lambda folder: _ctranslate2(folder, context_s),
    }
    if context_s == WINDOW_S:
        found |= {"transformers": _transformers, ONNXRUNTIME: _onnxruntime}
    return found


def _ours(context_s: float) -> Iterator[Peer]:
    for precision, modifier in (("float32", ""), ("bf16", ",bf16-weights"), ("int8", ",int8")):
        yield ours(f"{CARD}@context={context_s:g}{modifier}", precision)


def _padded(wavs: list[Tensor], context_s: float) -> Any:
    """Return sounds with silence after them (B, S), whole numbers of states long."""
    size = max(map(len, wavs)) + round(context_s * SAMPLE_RATE_HZ)
    size = min(-(-size // SAMPLES_PER_STATE) * SAMPLES_PER_STATE, int(WINDOW_S * SAMPLE_RATE_HZ))
    return np.stack([np.pad(wav.numpy(), (0, size - len(wav))) for wav in wavs])


def _cut(states: list[Tensor], wavs: list[Tensor]) -> list[Tensor]:
    """Return states (L, T, D) without the frames of silence."""
    lengths = [-(-len(wav) // SAMPLES_PER_STATE) for wav in wavs]
    return [rows[:, :length] for rows, length in zip(states, lengths, strict=True)]


def _ctranslate2(folder: Path, context_s: float) -> Iterator[Peer]:
    """Yield CTranslate2's encoder behind faster-whisper's features, as faster-whisper runs it."""
    import ctranslate2
    from faster_whisper.feature_extractor import FeatureExtractor

    place = folder / "ctranslate2"
    if not place.exists():
        place.mkdir()
        (place / "model.bin").symlink_to(find_checkpoint(upstream_card(CARD)).path.resolve())
        (place / "config.json").write_text("{}", encoding="utf-8")
        tokens = json.dumps([f"<{index}>" for index in range(NUM_TOKENS)])
        (place / "vocabulary.json").write_text(tokens, encoding="utf-8")
    features = FeatureExtractor()

    def prepare(precision: str, threads: int) -> Run:
        model = ctranslate2.models.Whisper(
            str(place), device="cpu", compute_type=precision, intra_threads=threads
        )

        def function(wavs: list[Tensor]) -> list[Tensor]:
            mels = [features(sound, padding=0) for sound in _padded(wavs, context_s)]
            batch = ctranslate2.StorageView.from_array(np.stack(mels))
            states = torch.from_numpy(np.array(model.encode(batch, to_cpu=True)))
            return _cut([row[None] for row in states], wavs)

        return lambda wavs, together: in_batches(function, wavs, together)

    for precision in ("float32", "int8"):
        yield Peer("faster-whisper", precision, partial(prepare, precision))


def _encoder() -> Any:
    """Return the encoder of transformers with the published weights."""
    from transformers import WhisperConfig
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    upstream = load_upstream(CARD).upstream
    width, layers = upstream.hidden_size, upstream.num_layers - 1
    config = WhisperConfig(
        d_model=width,
        encoder_layers=layers,
        encoder_attention_heads=HEADS,
        encoder_ffn_dim=4 * width,
    )
    state: dict[str, Tensor] = {}
    for name, value in upstream.state_dict().items():
        theirs = [text.removeprefix(NAMES.prefix) for text in NAMES.spell(name)]
        state |= zip(theirs, value.chunk(len(theirs)), strict=True)
    model: Any = WhisperEncoder(config)
    expected = model.state_dict().keys()  # keys have no bias there; ours is zero
    model.load_state_dict({name: value for name, value in state.items() if name in expected})
    return model.eval().requires_grad_(False)


def _features() -> Any:
    """Return a function from sounds to log-mel frames (B, 80, 3000) by transformers."""
    import_torchaudio()  # which transformers imports without a guard
    import transformers

    extractor: Any = transformers.WhisperFeatureExtractor()  # type: ignore[no-untyped-call]

    def features(wavs: list[Tensor]) -> Tensor:
        sounds = [wav.numpy() for wav in wavs]
        found: Tensor = extractor(
            sounds, sampling_rate=SAMPLE_RATE_HZ, return_tensors="pt"
        ).input_features
        return found

    return features


def _transformers(_: Path) -> Iterator[Peer]:
    features = _features()
    for precision, dtype in (("float32", torch.float32), ("bf16", torch.bfloat16)):
        model = _encoder().to(dtype)

        def function(wavs: list[Tensor], model: Any = model, dtype: Any = dtype) -> list[Tensor]:
            output = model(features(wavs).to(dtype), output_hidden_states=True)
            return _cut(rows_of(output.hidden_states, len(wavs)), wavs)

        yield with_torch("transformers", precision, function)


def _onnxruntime(folder: Path) -> Iterator[Peer]:
    import onnxruntime  # noqa: F401

    features, path = _features(), folder / f"{CARD}.onnx"
    example = features([torch.zeros(SAMPLE_RATE_HZ)])
    encoder = AllStates(_encoder()).eval()
    with quiet():
        program = torch.onnx.export(
            encoder, (example,), opset_version=OPSET, dynamo=True, verbose=False
        )
    assert program is not None  # only the older exporter returns None
    program.save(str(path), external_data=False)
    for peer in onnx_peers(path, lambda wavs: features(wavs).numpy()):
        yield replace(peer, prepare=partial(_cutting, peer))


def _cutting(peer: Peer, threads: int) -> Run:
    """Return a peer's run whose states have no frames of silence."""
    run = peer.prepare(threads)
    return lambda wavs, together: _cut(run(wavs, together), wavs)
