"""A layer's heads and feed-forward units in the order of their importance.

The subnets of a supernet are prefixes of its weights. Sorted, every subnet starts with the most
important heads and units (Cai et al., Once-for-All, 2020, section 3.3, which sorts channels by the
L1 norm of their weights). The importance here is the Frobenius norm of what a head or unit can add
to the residual stream.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from upstreams.encoder.config import EncoderConfig
from upstreams.encoder.encoder import Encoder
from upstreams.encoder.state import PROJECTIONS, State, trainable, unpack


def most_important(teacher: Encoder, heads: int, ffn: int) -> Encoder:
    """Return a teacher with the most important parts of every layer, the first the most important.

    With all heads and units it computes what the teacher computes.

    Args:
        teacher: an encoder without relative positions and with all parts in all layers.
        heads: number of heads that each layer keeps, at most what it has.
        ffn: feed-forward units that each layer keeps, at most what it has.
    """
    config, state = teacher.config, unpack(teacher)
    smaller: State = dict(state)
    for index in range(config.num_layers):
        prefix = f"layers.{index}."
        columns = _head_order(state, prefix, config)[: heads * config.head_dim]
        units = _unit_order(state, prefix)[:ffn]
        for projection in PROJECTIONS:
            for kind in ("weight", "bias"):
                name = f"{prefix}attention.{projection}.{kind}"
                smaller[name] = state[name][columns]
        smaller[f"{prefix}attention.out.weight"] = state[f"{prefix}attention.out.weight"][
            :, columns
        ]
        for kind in ("weight", "bias"):
            smaller[f"{prefix}ffn_in.{kind}"] = state[f"{prefix}ffn_in.{kind}"][units]
        smaller[f"{prefix}ffn_out.weight"] = state[f"{prefix}ffn_out.weight"][:, units]
    depth = config.num_layers
    narrow = replace(config, heads=(heads,) * depth, ffn=(ffn,) * depth)
    return trainable(narrow, smaller)


def _head_order(state: Mapping[str, Tensor], prefix: str, config: EncoderConfig) -> Tensor:
    """Return the rows of queries, keys and values, those of the most important head first.

    The importance of a head is the norm of the product of its value and output weights.
    """
    value, out = (state[f"{prefix}attention.{name}.weight"] for name in ("value", "out"))
    rows = torch.arange(len(value)).view(-1, config.head_dim)
    norms = torch.stack([torch.linalg.matrix_norm(out[:, head] @ value[head]) for head in rows])
    return rows[norms.argsort(descending=True, stable=True)].flatten()


def _unit_order(state: Mapping[str, Tensor], prefix: str) -> Tensor:
    """Return the feed-forward units, the most important first."""
    before: Tensor = torch.linalg.vector_norm(state[f"{prefix}ffn_in.weight"], dim=1)
    after: Tensor = torch.linalg.vector_norm(state[f"{prefix}ffn_out.weight"], dim=0)
    return (before * after).argsort(descending=True, stable=True)
