"""Whisper's transformer in the shape of a HuBERT encoder: its layers without their front end."""

from __future__ import annotations

from upstreams.encoder.config import EncoderConfig
from upstreams.encoder.state import PROJECTIONS, State
from upstreams.whisper import HEAD_DIM, WhisperEncoder


def layer_config(whisper: WhisperEncoder) -> EncoderConfig:
    """Return the shape of an encoder with Whisper's layers, with HuBERT's parts before them."""
    width, depth = whisper.hidden_size, len(whisper.layers)
    return EncoderConfig(
        embed_dim=width,
        heads=(width // HEAD_DIM,) * depth,
        head_dim=HEAD_DIM,
        ffn=(4 * width,) * depth,
        layer_norm_first=True,
        sinusoidal_positions=True,
        mask_embedding=0,
    )


def layer_state(whisper: WhisperEncoder) -> State:
    """Return the weights of Whisper's layers and of its last norm under an encoder's names."""
    state: State = {}
    for name, tensor in whisper.state_dict().items():
        part, _, kind = name.rpartition(".")
        if part.endswith(".joint"):
            layer = part.removesuffix(".joint")
            for projection, weights in zip(PROJECTIONS, tensor.chunk(3), strict=True):
                state[f"{layer}.attention.{projection}.{kind}"] = weights
        elif part.endswith(".out"):
            state[f"{part.removesuffix('.out')}.attention.out.{kind}"] = tensor
        elif part.startswith("layers.") or part == "norm":
            state[name] = tensor
    return state
