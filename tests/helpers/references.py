"""Reference models with random weights, and what tests compare them by."""

import pytest
import torch
from torch import nn

from bench.sound.torchaudio_guard import import_torchaudio
from upstreams.encoder.config import EncoderConfig


def disturb(model: nn.Module) -> nn.Module:
    """Biases and norms start at zeros and ones, WavLM's gates at one: too easy to get right."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1 or "gru_rel_pos_const" in name or "grep_a" in name:
                parameter += 0.1 * torch.randn_like(parameter)
            elif "original0" in name or "weight_g" in name:
                parameter *= 1 + torch.rand_like(parameter)
            elif ("rel" in name and "emb" in name) or "relative_attention_bias" in name:
                parameter.normal_()
    return model


def transformers_model(config: EncoderConfig, kind: str = "Hubert") -> nn.Module:
    """The same shape in transformers, with random weights in every tensor."""
    import_torchaudio()  # transformers imports it when it is there, and dies where it cannot load
    transformers = pytest.importorskip("transformers")
    relative = {}
    if kind == "WavLM":
        relative["num_buckets"] = config.relative_buckets
        relative["max_bucket_distance"] = config.relative_distance
    theirs = getattr(transformers, f"{kind}Config")(
        hidden_size=config.embed_dim,
        num_hidden_layers=config.num_layers,
        num_attention_heads=config.heads[0],
        intermediate_size=config.ffn[0],
        conv_dim=[channels for channels, _, _ in config.conv_layers],
        conv_kernel=[kernel for _, kernel, _ in config.conv_layers],
        conv_stride=[stride for _, _, stride in config.conv_layers],
        conv_bias=config.conv_bias,
        num_feat_extract_layers=len(config.conv_layers),
        feat_extract_norm=config.extractor_mode.removesuffix("_norm"),
        num_conv_pos_embeddings=config.pos_conv_kernel,
        num_conv_pos_embedding_groups=config.pos_conv_groups,
        do_stable_layer_norm=config.layer_norm_first,
        **relative,
    )
    torch.manual_seed(0)
    return disturb(getattr(transformers, f"{kind}Model")(theirs).eval())


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def alone(encoder, wav):
    with torch.no_grad():
        return encoder(wav[None], torch.tensor([wav.numel()]))
