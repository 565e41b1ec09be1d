"""HuBERT, wav2vec 2.0, WavLM and DistilHuBERT, in every published layout."""

from __future__ import annotations

from dataclasses import replace

from bench.api import Upstream, UpstreamSource
from bench.errors import UsageError
from upstreams.encoder.config import encoder_config
from upstreams.encoder.state import build, random_state
from upstreams.formats.checkpoint import read_checkpoint
from upstreams.formats.layout import import_encoder


def load(source: UpstreamSource) -> Upstream:
    """Load the encoder that the card's `config` describes (keys of `EncoderConfig`).

    Raises:
        UsageError: the `config` of the card is not valid, or a variant (there are none).
        InvalidDataError: the file does not contain the weights of this encoder.
    """
    if source.variant is not None:
        raise UsageError(f"variant {source.variant!r}: this upstream has no variants")
    config = replace(encoder_config(source.config), tap=source.tap)
    if source.checkpoint is None:
        return build(config, random_state(config, source.seed))
    return build(*import_encoder(read_checkpoint(source.checkpoint), config))
