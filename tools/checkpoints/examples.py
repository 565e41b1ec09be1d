"""Six checkpoints as people have them, made of weights that this project has: no download.

HuBERT, WavLM, the Lightning file and the ONNX file hold the weights of `house_wave`, Whisper
those of `whisper_tiny_en`; the weights of the Conformer and of the adapter are random.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from bench.load.catalog import upstream_card
from bench.load.loader import load_upstream
from bench.measure.export import export_onnx
from bench.sound.torchaudio_guard import import_torchaudio
from upstreams.encoder.config import EncoderConfig, encoder_config
from upstreams.formats.checkpoint import read_checkpoint
from upstreams.formats.layouts.huggingface import hf_names
from upstreams.house import encoder_state
from upstreams.importers.whisper import LAYOUTS

TEACHER, WHISPER = "house_wave", "whisper_tiny_en"
WHISPER_SECONDS = 5  # a window of 30 s would cost six times as much for commands of a second
ADAPTER_RANK, ADAPTER_DEVIATION = 4, 0.02
CARD = {
    "name": "my_lightning",
    "title": "A Lightning checkpoint of one's own",
    "family": "other",
    "load": upstream_card("hubert_base").load,
    "checkpoint": {"file": "last.ckpt"},
}


def _teacher() -> tuple[EncoderConfig, dict[str, Tensor]]:
    """Return the shape of `house_wave`, and its tensors in the names of transformers.

    Its positional convolution has no weight normalisation: the gain is the norm of the weight.
    """
    config = encoder_config(upstream_card(TEACHER).config)
    file = load_upstream(TEACHER).checkpoint
    assert file is not None  # it is in the repository
    state = encoder_state(read_checkpoint(file), config)
    state["pos_conv.direction"] = state.pop("pos_conv.weight")
    norms = torch.linalg.vector_norm(state["pos_conv.direction"], dim=(0, 1), keepdim=True)
    state["pos_conv.gain"] = norms
    config = replace(config, pos_conv_gain=True)
    return config, {theirs: state[ours] for ours, theirs in hf_names(config).items()}


def _transformers() -> Any:
    """Import transformers without progress bars."""
    import_torchaudio()  # speech models of transformers import it
    import transformers

    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    return transformers


def _arguments(config: EncoderConfig) -> dict[str, Any]:
    """Return the arguments of transformers' configuration of a shape."""
    channels, kernels, strides = zip(*config.conv_layers, strict=True)
    return {
        "hidden_size": config.embed_dim,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.heads[0],
        "intermediate_size": config.ffn[0],
        "conv_dim": channels,
        "conv_kernel": kernels,
        "conv_stride": strides,
        "num_conv_pos_embeddings": config.pos_conv_kernel,
        "num_conv_pos_embedding_groups": config.pos_conv_groups,
        "do_stable_layer_norm": config.layer_norm_first,
        "mask_time_prob": 0.0,
    }


def _folder_model(kind: str, folder: Path) -> Any:
    """Build HuBERT or WavLM with the weights of `house_wave`, and save its feature extractor."""
    transformers, (config, state) = _transformers(), _teacher()
    model = getattr(transformers, f"{kind}Model")(
        getattr(transformers, f"{kind}Config")(**_arguments(config))
    ).eval()
    result = model.load_state_dict(state, strict=False)
    assert not result.unexpected_keys
    extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=config.normalize_wav)
    extractor.save_pretrained(folder)
    return model


def peft_hubert(folder: Path) -> None:
    """Save a HuBERT with a PEFT adapter beside its weights."""
    model = _folder_model("Hubert", folder)
    from peft import LoraConfig, get_peft_model  # imports transformers, which imports torchaudio

    model.save_pretrained(folder)
    targets = ["q_proj", "v_proj"]
    adapted = get_peft_model(model, LoraConfig(r=ADAPTER_RANK, target_modules=targets))
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:  # zero until it is trained
                parameter.normal_(std=ADAPTER_DEVIATION)
    adapted.save_pretrained(str(folder))


def bf16_wavlm(folder: Path) -> None:
    """Save a WavLM in bfloat16; its relative positions are zero, so that it computes a HuBERT."""
    model = _folder_model("WavLM", folder)
    with torch.no_grad():
        model.encoder.layers[0].attention.rel_attn_embed.weight.zero_()
    model.to(torch.bfloat16).save_pretrained(folder)


def lightning(folder: Path) -> None:
    """Save a Lightning checkpoint with hyper-parameters, an optimiser's state and a head."""
    config, state = _teacher()
    content = {
        "state_dict": {f"model.{key}": tensor for key, tensor in state.items()}
        | {"head.weight": torch.zeros(30, config.embed_dim)},
        "hyper_parameters": Namespace(learning_rate=1e-4),
        "optimizer_states": [{"state": {}}],
        "pytorch-lightning_version": "2.5.0",
        "epoch": 3,
    }
    torch.save(content, folder / "last.ckpt")
    section = {key: value for key, value in upstream_card(TEACHER).config.items()
               if not key.startswith(("mel_", "pos_conv_gain"))}  # fmt: skip
    (folder / "card.yaml").write_text(yaml.safe_dump({**CARD, "config": section}), "utf-8")


def whisper(folder: Path) -> None:
    """Save a Whisper whose encoder is that of tiny.en, cut to a window of `WHISPER_SECONDS`."""
    transformers, loaded = _transformers(), load_upstream(WHISPER)
    state, shape = loaded.upstream.state_dict(), loaded.card.config
    width, frames = shape["width"], WHISPER_SECONDS * 50
    config = transformers.WhisperConfig(
        d_model=width,
        encoder_layers=shape["num_layers"],
        encoder_attention_heads=width // 64,
        encoder_ffn_dim=4 * width,
        max_source_positions=frames,
        decoder_layers=1,
        vocab_size=64,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
    )
    model = transformers.WhisperModel(config).eval()
    names = next(item for item in LAYOUTS if item.prefix == "encoder.")
    tensors: dict[str, Tensor] = {}
    for ours, tensor in state.items():
        theirs = names.spell(ours)
        pieces = (tensor[:frames],) if ours == "positions" else tensor.chunk(len(theirs))
        tensors |= dict(zip(theirs, pieces, strict=True))
    model.load_state_dict(
        {key: x for key, x in tensors.items() if key in model.state_dict()}, strict=False
    )
    model.save_pretrained(folder)
    transformers.WhisperFeatureExtractor(chunk_length=WHISPER_SECONDS).save_pretrained(folder)


def conformer(folder: Path) -> None:
    """Save a Conformer of random weights."""
    transformers, (config, _) = _transformers(), _teacher()
    arguments = _arguments(config) | {
        "num_hidden_layers": 4,
        "position_embeddings_type": "relative",
    }
    del arguments["do_stable_layer_norm"]
    torch.manual_seed(0)
    theirs = transformers.Wav2Vec2ConformerConfig(**arguments)
    transformers.Wav2Vec2ConformerModel(theirs).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)


def int8_onnx(folder: Path) -> None:
    """Export `house_wave` and quantise it, as onnxruntime's tools do."""
    from onnxruntime.quantization import quantize_dynamic

    export_onnx(load_upstream(TEACHER).upstream, folder / "float.onnx")
    # Its convolutions of integers need a newer processor than most have.
    quantize_dynamic(folder / "float.onnx", folder / "int8.onnx", op_types_to_quantize=["MatMul"])
    (folder / "float.onnx").unlink()


# Makers by folder, and the name of the upstream in that folder.
EXAMPLES: Mapping[str, tuple[Callable[[Path], None], str]] = {
    "peft_hubert": (peft_hubert, "hf:{}"),
    "lightning": (lightning, "--card {}/card.yaml"),
    "whisper": (whisper, "hf:{}"),
    "conformer": (conformer, "hf:{}"),
    "bf16_wavlm": (bf16_wavlm, "hf:{}"),
    "int8_onnx": (int8_onnx, "onnx:{}/int8.onnx"),
}


def write_examples(folder: Path) -> list[str]:
    """Write the examples into a folder; return the command that evaluates each."""
    commands = []
    for name, (write, text) in EXAMPLES.items():
        place = folder / name
        place.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(0)
        write(place)
        words = text.format(place)
        words = f"ks {words}" if words.startswith("--") else f"{words} ks"
        commands.append(f"slim-superb eval {words} --track quick")
    return commands
