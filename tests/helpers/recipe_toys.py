"""A tiny encoder, clips and ingredients for the tests of recipes."""

from pathlib import Path

import torch
from toys import make_utterances

from bench.make.recipe import read_part
from upstreams.encoder.config import EncoderConfig
from upstreams.recipes.training.objective import Ingredients, Moment
from upstreams.recipes.training.stream import Stream

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


def stream(source: Ingredients, *, batch_s: float = 1.2, seed: int = 0) -> Stream:
    return Stream(source.clips, source.read, batch_s=batch_s, max_s=0.5, min_samples=400, seed=seed)


def moment(step: int = 0, stage: int = 0, fraction: float = 0.0) -> Moment:
    return Moment(step, fraction, stage, fraction, torch.Generator().manual_seed(step))


def first_batch(source: Ingredients):
    data = stream(source)
    return data.load(data.plan(0)[0])
