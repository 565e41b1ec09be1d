"""An encoder of two narrow layers, and its hidden states of noise."""

import torch

from upstreams.encoder.config import EncoderConfig
from upstreams.encoder.state import build, random_state

TINY = EncoderConfig(
    conv_layers=((32, 10, 5), *((32, 3, 2),) * 4, *((32, 2, 2),) * 2),
    embed_dim=64,
    pos_conv_groups=4,
    heads=(2, 2),
    head_dim=32,
    ffn=(256, 256),
    mask_embedding=64,
)


def tiny():
    """Return the encoder with weights of seed 0."""
    return build(TINY, random_state(TINY, 0))


def encode(upstream, num_samples=9_001):
    """Return the hidden states of one utterance of noise, each (1, T, D)."""
    wav = 0.1 * torch.randn(1, num_samples, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return upstream(wav, torch.tensor([num_samples])).states
