"""A file of DPHuBERT's or DPWavLM's in small, as the authors write it."""

import torch

LAYERS, WIDTH, HEAD_DIM = 4, 48, 12
CONV = [(20, 10, 5), (13, 3, 2), (9, 2, 2)]
COMMON = {
    "extractor_mode": "group_norm",
    "extractor_conv_layer_config": CONV,
    "extractor_conv_bias": False,
    "encoder_embed_dim": WIDTH,
    "encoder_projection_dropout": 0.1,
    "encoder_pos_conv_kernel": 8,
    "encoder_pos_conv_groups": 4,
    "encoder_num_layers": LAYERS,
    "encoder_use_attention": [True, True, False, True],
    "encoder_use_feed_forward": [True, False, True, True],
    "encoder_attention_dropout": 0.1,
    "encoder_ff_interm_features": [31, 0, 64, 7],
    "encoder_ff_interm_dropout": 0.1,
    "encoder_dropout": 0.1,
    "encoder_layer_norm_first": False,
    "encoder_layer_drop": 0.05,
    "aux_num_out": None,
    "normalize_waveform": False,
    "extractor_prune_conv_channels": False,
    "encoder_prune_attention_heads": False,
    "encoder_prune_attention_layer": False,
    "encoder_prune_feed_forward_intermediate": False,
    "encoder_prune_feed_forward_layer": False,
}
HUBERT = COMMON | {"encoder_num_heads": [3, 1, 4, 2], "encoder_head_dim": HEAD_DIM}
WAVLM = COMMON | {
    "encoder_total_num_heads": [4] * LAYERS,
    "encoder_remaining_heads": [[0, 2, 3], [1], [], [0, 3]],
    "encoder_num_buckets": 32,
    "encoder_max_distance": 40,
}


def published(config):
    """A file of this shape; its names and shapes written out, not asked of the importer."""
    generator = torch.Generator().manual_seed(0)
    shapes = {"feature_extractor.dummy_weight": (CONV[-1][0],)}
    inputs = 1
    for index, (channels, kernel, _) in enumerate(CONV):
        shapes[f"feature_extractor.conv_layers.{index}.conv.weight"] = (channels, inputs, kernel)
        inputs = channels
    norms = {"feature_extractor.conv_layers.0.layer_norm": CONV[0][0]}
    norms |= {"encoder.feature_projection.layer_norm": inputs}
    norms |= {"encoder.transformer.layer_norm": WIDTH}
    linears = {"encoder.feature_projection.projection": (WIDTH, inputs)}
    pos_conv = "encoder.transformer.pos_conv_embed.conv"
    shapes |= {f"{pos_conv}.weight_g": (1, 1, 8), f"{pos_conv}.weight_v": (WIDTH, WIDTH // 4, 8)}
    shapes[f"{pos_conv}.bias"] = (WIDTH,)
    wavlm = "encoder_remaining_heads" in config
    for index in range(LAYERS):
        layer = f"encoder.transformer.layers.{index}"
        if config["encoder_use_attention"][index]:
            heads = config["encoder_remaining_heads" if wavlm else "encoder_num_heads"][index]
            inner = HEAD_DIM * (len(heads) if wavlm else heads)
            linears |= {f"{layer}.attention.{name}_proj": (inner, WIDTH) for name in "qkv"}
            linears[f"{layer}.attention.out_proj"] = (WIDTH, inner)
            if wavlm:
                linears[f"{layer}.attention.gru_rel_pos_linear"] = (8, HEAD_DIM)
                shapes[f"{layer}.attention.gru_rel_pos_const"] = (1, 4, 1, 1)
        if config["encoder_use_feed_forward"][index]:
            inner = config["encoder_ff_interm_features"][index]
            linears[f"{layer}.feed_forward.intermediate_dense"] = (inner, WIDTH)
            linears[f"{layer}.feed_forward.output_dense"] = (WIDTH, inner)
        norms |= {f"{layer}.layer_norm": WIDTH, f"{layer}.final_layer_norm": WIDTH}
    if wavlm:
        shapes["encoder.transformer.layers.0.attention.rel_attn_embed.weight"] = (32, 4)
    for name, shape in linears.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    for name, width in norms.items():
        shapes |= {f"{name}.weight": (width,), f"{name}.bias": (width,)}
    tensors = {
        name: 0.3 * torch.randn(shape, generator=generator)
        + (1.0 if name.endswith(("norm.weight", "dummy_weight", "const")) else 0.0)
        for name, shape in shapes.items()
    }
    projections = {"0.weight": torch.ones(2, 2)}
    return {"state_dict": tensors, "config": config, "distill_linear_projs": projections}
