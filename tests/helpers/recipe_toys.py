"""A tiny encoder, clips and ingredients for the tests of recipes."""

from pathlib import Path

import torch
import yaml
from toys import make_utterances, write_tone

from bench.make.clips import read_part
from bench.trainer import Ingredients
from upstreams.encoder.config import EncoderConfig
from upstreams.recipes.training.objective import Moment
from upstreams.recipes.training.stream import ClipStream

MEL = EncoderConfig(
    extractor_mode="mel",
    conv_layers=((40, 400, 320),),
    mel_top_hz=3800.0,
    mel_mean=-3.5,
    mel_std=3.0,
    normalize_wav=True,
    feature_norm=False,
    embed_dim=16,
    pos_conv_kernel=8,
    pos_conv_groups=4,
    pos_conv_gain=False,
    heads=(2, 2),
    head_dim=8,
    ffn=(32, 32),
    layer_norm_first=True,
    mask_embedding=0,
)
WAVE = EncoderConfig(
    conv_layers=((8, 10, 5), (8, 8, 8), (8, 4, 4), (8, 2, 2)),
    embed_dim=16,
    pos_conv_kernel=8,
    pos_conv_groups=4,
    pos_conv_gain=False,
    heads=(2, 2),
    head_dim=8,
    ffn=(32, 32),
    mask_embedding=0,
)


def ingredients(
    folder: Path, config: dict, *, teacher=None, file=None, distort=None, make_head=None, count=12
):
    audio = folder / "audio"
    audio.mkdir(exist_ok=True)
    return Ingredients(
        config=config,
        teacher=teacher,
        teacher_file=file,
        clips=make_utterances(audio, count),
        read=read_part,
        seed=0,
        folder=folder,
        say=lambda _: None,
        distort=distort,
        make_head=make_head,
    )


def stream(source: Ingredients, *, batch_s: float = 1.2, seed: int = 0) -> ClipStream:
    return ClipStream(
        source.clips, source.read, batch_s=batch_s, max_s=0.5, min_samples=400, seed=seed
    )


def moment(step: int = 0, stage: int = 0, fraction: float = 0.0) -> Moment:
    return Moment(step, fraction, stage, fraction, torch.Generator().manual_seed(step))


def first_batch(source: Ingredients):
    data = stream(source)
    return data.load(data.plan(0)[0])


def recipe_file(folder: Path, **changes) -> Path:
    """A recipe that trains a tiny teacher on eight tones."""
    encoder = {
        "extractor_mode": "mel",
        "conv_layers": [[40, 400, 320]],
        "mel_top_hz": 3800.0,
        "normalize_wav": True,
        "feature_norm": False,
        "embed_dim": 16,
        "heads": 2,
        "head_dim": 8,
        "ffn": 32,
        "num_layers": 2,
        "pos_conv_kernel": 8,
        "pos_conv_groups": 4,
        "pos_conv_gain": False,
        "layer_norm_first": True,
    }
    card = {
        "name": "tiny",
        "title": "Tiny",
        "family": "teacher",
        "make": "upstreams.recipes.pretraining.pretrain:make",
        "data": str(folder / "speech"),
        "config": {"encoder": encoder, "codebooks": ["mfcc:8"], "code_dim": 4},
        "training": {"hours": 0.004, "batch_s": 1.5, "max_s": 1.0, "held_out": 2},
    } | changes
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(card))
    (folder / "speech").mkdir(exist_ok=True)
    for index in range(8):
        write_tone(folder / "speech", f"t{index}", 200 + 150 * index, 9_600, index)
    return path
