"""HuBERT Base with the random weights of `hubert_base+untrained`, through each library."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.load.loader import load_upstream
from bench.measure.export import export_onnx
from bench.sound.torchaudio_guard import import_torchaudio
from tools.peers.onnx_session import NAME as ONNXRUNTIME
from tools.peers.onnx_session import onnx_peers
from tools.peers.peer import Maker, Peer, ours, padded, rows_of, with_torch
from upstreams.encoder.encoder import Encoder
from upstreams.encoder.state import unpack
from upstreams.formats.layouts.fairseq import fairseq_names
from upstreams.formats.layouts.huggingface import hf_names
from upstreams.formats.layouts.torchaudio import torchaudio_names

CARD = "hubert_base"
TITLE = "HuBERT Base"


def makers(card: str = CARD) -> dict[str, Maker]:
    """Return the makers of peers, by library, for a card of HuBERT's architecture."""
    return {
        "Slim-SUPERB": lambda _: _ours(card),
        "transformers": lambda _: _transformers(_encoder(card)),
        "torchaudio": lambda _: _torchaudio(_encoder(card)),
        "s3prl": lambda folder: _s3prl(_encoder(card), folder),
        ONNXRUNTIME: lambda folder: _onnxruntime(_encoder(card), folder),
    }


def _ours(card: str) -> Iterator[Peer]:
    yield ours(f"{card}+untrained", "float32")
    yield ours(f"{card}@bf16-weights+untrained", "bf16")
    yield ours(f"{card}@int8+untrained", "int8")


def _encoder(card: str) -> Encoder:
    """Return the encoder, whose weights have not been laid out for speed."""
    upstream = load_upstream(f"{card}+untrained").upstream
    if not isinstance(upstream, Encoder):
        raise TypeError(f"{card}: an Encoder expected")
    return upstream


def _load(model: nn.Module, encoder: Encoder, names: Mapping[str, str]) -> Any:
    """Give a model of another library our weights; those without a name are for training."""
    theirs = {names[name]: value for name, value in unpack(encoder).items() if name in names}
    has = model.state_dict().keys()
    trained_only = {names["mask_embedding"]} - has if "mask_embedding" in names else set()
    result = model.load_state_dict(
        {name: value for name, value in theirs.items() if name not in trained_only}, strict=False
    )
    if result.unexpected_keys:
        raise ValueError(f"no such tensors: {result.unexpected_keys}")
    return model.eval().requires_grad_(False)


def _transformers(encoder: Encoder) -> Iterator[Peer]:
    import_torchaudio()  # which transformers imports without a guard
    from transformers import HubertConfig, HubertModel

    for precision, dtype in (("float32", torch.float32), ("bf16", torch.bfloat16)):
        model = _load(HubertModel(HubertConfig()), encoder, hf_names(encoder.config)).to(dtype)

        # The feature extractor of the published Base model gives no mask either.
        def function(wavs: list[Tensor], model: Any = model, dtype: Any = dtype) -> list[Tensor]:
            output = model(padded(wavs).to(dtype), output_hidden_states=True)
            return rows_of(output.hidden_states, len(wavs))

        yield with_torch("transformers", precision, function)


def _torchaudio(encoder: Encoder) -> Iterator[Peer]:
    models = import_torchaudio("models")
    model = _load(models.hubert_base(), encoder, torchaudio_names(encoder.config))

    def function(wavs: list[Tensor]) -> list[Tensor]:
        lengths = torch.tensor([len(wav) for wav in wavs]) if len(wavs) > 1 else None
        states, _ = model.extract_features(padded(wavs), lengths)  # without the first layer's input
        return rows_of(states, len(wavs))

    yield with_torch("torchaudio", "float32", function)


def _s3prl(encoder: Encoder, folder: Path) -> Iterator[Peer]:
    import_torchaudio()
    from s3prl.upstream.hubert.expert import UpstreamExpert
    from s3prl.upstream.hubert.hubert_model import (
        HubertConfig,
        HubertModel,
        HubertPretrainingConfig,
    )

    section, task, symbols = {"label_rate": 50}, {"normalize": False}, [["a", "b"]]
    empty = HubertModel(HubertConfig(**section), HubertPretrainingConfig(**task), symbols)
    weights = _load(empty, encoder, fairseq_names(encoder.config)).state_dict()
    path = folder / "s3prl.pt"
    torch.save(
        {
            "task_cfg": task,
            "model_cfg": section,
            "model_weight": weights,
            "dictionaries_symbols": symbols,
        },
        path,
    )
    expert: Any = UpstreamExpert(str(path)).eval()

    def function(wavs: list[Tensor]) -> list[Tensor]:
        return rows_of(expert(wavs)["hidden_states"], len(wavs))

    yield with_torch("s3prl", "float32", function)


def _onnxruntime(encoder: Encoder, folder: Path) -> Iterator[Peer]:
    import onnxruntime  # noqa: F401

    path = folder / f"{CARD}.onnx"
    export_onnx(encoder, path)
    yield from onnx_peers(path, lambda wavs: wavs[0][None].numpy())
