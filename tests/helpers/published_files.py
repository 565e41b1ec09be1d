"""Shapes of small encoders, and files of their weights as fairseq and s3prl publish them."""

from dataclasses import replace

import pytest
import torch
from references import disturb

from bench.sound.torchaudio_guard import import_torchaudio
from upstreams.encoder.config import EncoderConfig

CNN = ((24, 10, 5), *((24, 3, 2),) * 4, *((24, 2, 2),) * 2)
BASE = EncoderConfig(
    conv_layers=CNN,
    embed_dim=48,
    pos_conv_kernel=16,
    pos_conv_groups=4,
    heads=(3, 3),
    head_dim=16,
    ffn=(64, 64),
    mask_embedding=48,
)
LARGE = replace(
    BASE, extractor_mode="layer_norm", layer_norm_first=True, normalize_wav=True, conv_bias=True
)


def fairseq_cfg(config):
    """The keys of a pickled fairseq configuration that give a shape."""
    return {
        "extractor_mode": "layer_norm" if config.extractor_mode == "layer_norm" else "default",
        "encoder_layers": config.num_layers,
        "encoder_embed_dim": config.embed_dim,
        "encoder_ffn_embed_dim": config.ffn[0],
        "encoder_attention_heads": config.heads[0],
        "conv_feature_layers": str(list(config.conv_layers)),
        "conv_bias": config.conv_bias,
        "conv_pos": config.pos_conv_kernel,
        "conv_pos_groups": config.pos_conv_groups,
        "layer_norm_first": config.layer_norm_first,
    }


def converted(kind, config):
    """s3prl's converted file of its own HuBERT or wav2vec 2.0 with random weights."""
    pytest.importorskip("s3prl")
    import_torchaudio()
    torch.manual_seed(0)
    section, task = fairseq_cfg(config), {"normalize": config.normalize_wav}
    if kind == "hubert":
        from s3prl.upstream.hubert.hubert_model import (
            HubertConfig,
            HubertModel,
            HubertPretrainingConfig,
        )

        section["label_rate"], symbols = 50, [["a", "b"]]
        model = HubertModel(HubertConfig(**section), HubertPretrainingConfig(**task), symbols)
        extra = {"dictionaries_symbols": symbols}
    else:
        from s3prl.upstream.wav2vec2.wav2vec2_model import Wav2Vec2Config, Wav2Vec2Model

        section |= {"quantize_targets": True, "final_dim": 16, "latent_vars": 8}
        model, extra = Wav2Vec2Model(Wav2Vec2Config(**section)), {}
    weights = disturb(model).state_dict()
    return {"task_cfg": task, "model_cfg": section, "model_weight": weights} | extra
