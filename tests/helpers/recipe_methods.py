"""Each method of training with a tiny configuration, by its name."""

from dataclasses import replace

from recipe_toys import MEL, WAVE

from upstreams.recipes.distillation import distil, frontend, ofa
from upstreams.recipes.pretraining import pretrain
from upstreams.recipes.pretraining.pretrain import config_section
from upstreams.recipes.pruning import prune

STRIDES = ((10, 5), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2), (2, 2))  # as published
DEEP = replace(WAVE, conv_layers=tuple((8, *pair) for pair in STRIDES), layer_norm_first=True)
RECIPES = {
    "pretrain": (pretrain, {"encoder": config_section(MEL), "codebooks": ["mfcc:8"]}),
    "distil": (distil, {"targets": [1, 2], "student": {"num_layers": 1}, "start_prob": 0.1}),
    "frontend": (
        frontend,
        {"targets": [1, 2], "student": {"extractor_mode": "mel", "conv_layers": [[40, 400, 320]]}},
    ),
    "ofa": (
        ofa,
        {
            "upper": 2,
            "search_space": {"embed": [8, 16], "layers": [1, 2], "heads": [1, 2], "ffn": [2.0]},
        },
    ),
    "prune": (prune, {"targets": [1, 2], "target": "size", "sparsity": 0.2}),
}
