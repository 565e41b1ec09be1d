"""MelHuBERT, whole and compressed: its front end, its files, and what is refused."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from students import melhubert, melhubert_shapes, randomised

from bench.api import UpstreamSource
from bench.errors import InvalidDataError, UsageError
from bench.load.catalog import upstream_card, upstream_names
from bench.measure.check import check
from upstreams.encoder.config import EncoderConfig, encoder_config
from upstreams.encoder.kaldi import KaldiConfig
from upstreams.encoder.state import build, num_parameters, random_state
from upstreams.formats.checkpoint import read_checkpoint
from upstreams.formats.layout import import_encoder
from upstreams.importers.hubert import load

BINS = 10
KALDI = KaldiConfig(
    bins=BINS,
    mean=tuple(14.0 + index for index in range(BINS)),
    deviation=tuple(3.0 + 0.1 * index for index in range(BINS)),
)
TINY = EncoderConfig(
    kaldi=KALDI,
    feature_norm=False,
    embed_dim=16,
    pos_conv_kernel=6,
    pos_conv_groups=4,
    heads=(2,) * 3,
    head_dim=8,
    ffn=(24,) * 3,
    mask_embedding=0,
    first_state="projection",
)
TEN_MS = replace(TINY, kaldi=KALDI.model_copy(update={"stack": 1}))
PRUNED = replace(TINY, heads=(2, 1, 1), ffn=(24, 20, 24))
SECTION = {
    "feat_emb_dim": 2 * BINS,
    "pos_emb_type": "conv",
    "pos_conv_depth": 1,
    "conv_pos": 6,
    "conv_pos_groups": 4,
    "encoder_layers": 3,
    "encoder_embed_dim": 16,
    "encoder_ffn_embed_dim": 24,
    "encoder_attention_heads": 2,
    "activation_fn": "gelu",
    "layer_norm_first": False,
    "attention_type": "original",
    "num_cluster": 7,
}


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Two threads that wait for each other on a busy machine take many times as long as one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def checkpoint(tensors, section=SECTION, **more):
    """A file as the authors' runner writes it."""
    return {"Step": 1, "model": tensors, "Upstream_Config": {"melhubert": dict(section)}, **more}


def noise(num_samples):
    return 0.1 * torch.randn(num_samples, generator=torch.Generator().manual_seed(num_samples))


def equals_the_formulas(data, config, tensors):
    encoder = build(*import_encoder(data, config))
    for size in (400, 720, 4_000, 4_161):  # one window, three, and an even and an odd number
        wav = noise(size)
        with torch.no_grad():
            actual = encoder(wav[None], torch.tensor([size]))
        expected = melhubert(wav, tensors, config)
        assert len(actual.states) == len(expected) == encoder.num_layers
        assert int(actual.lengths[0]) == encoder.num_frames(size) == len(expected[0])
        for state, reference in zip(actual.states, expected, strict=True):
            assert state.shape[1:] == reference.shape
            assert float((state[0] - reference).norm() / reference.norm()) <= 1e-5


@pytest.mark.parametrize("config", [TINY, TEN_MS], ids=["20ms", "10ms"])
def test_every_state_equals_the_formulas(config, tmp_path):
    tensors = randomised(melhubert_shapes(config))
    section = SECTION | {"feat_emb_dim": config.channels}
    torch.save(checkpoint(tensors, section), tmp_path / "a.ckpt")
    equals_the_formulas(read_checkpoint(tmp_path / "a.ckpt"), config, tensors)


def test_pruned_heads_and_units(tmp_path):
    """Two steps of head pruning; the numbers within a step count the heads that are left."""
    tensors = randomised(melhubert_shapes(PRUNED))
    data = checkpoint(tensors, Pruned_heads=[{1: [0]}, {2: [1]}])
    torch.save(data, tmp_path / "a.ckpt")
    equals_the_formulas(read_checkpoint(tmp_path / "a.ckpt"), PRUNED, tensors)
    with pytest.raises(InvalidDataError, match=r"says heads \(2, 1, 1\), the card 2"):
        import_encoder(data, replace(PRUNED, heads=TINY.heads))


def test_pruned_weights_with_everything_the_runner_saves(tmp_path):
    dense = randomised(melhubert_shapes(TINY))
    generator = torch.Generator().manual_seed(5)
    model, whole = {}, dict(dense)
    for name, tensor in dense.items():
        if ".layers." in name and "norm" not in name:
            mask = (torch.rand(tensor.shape, generator=generator) > 0.5).float()
            model |= {f"{name}_orig": tensor, f"{name}_mask": mask}
            whole[name] = tensor * mask
        else:
            model[name] = tensor
    state = {"random": random.getstate(), "numpy": np.random.get_state()}
    state |= {"torch": torch.get_rng_state()}
    data = checkpoint(model, Pruning={"pruning_times": 3}, RandomState=state)
    torch.save(data, tmp_path / "a.ckpt")
    read = read_checkpoint(tmp_path / "a.ckpt")
    equals_the_formulas(read, TINY, whole)
    name = "encoder.layers.1.fc1.weight_mask"
    read["model"][name] = torch.ones(2, 2)
    with pytest.raises(InvalidDataError, match=f"{name} has another shape"):
        import_encoder(read, TINY)
    del read["model"][name]
    with pytest.raises(InvalidDataError, match=r"missing tensors: encoder\.layers\.1\.fc1\.weight"):
        import_encoder(read, TINY)


@pytest.mark.parametrize("config", [TINY, TEN_MS, replace(TINY, kaldi=KaldiConfig(bins=20))])
def test_the_contract_holds(config):
    encoder = build(config, random_state(config, 3))
    assert not [result for result in check(encoder) if not result.ok]


def stating(**values):
    return lambda data: data["Upstream_Config"]["melhubert"].update(values)


def put(name, value):
    return lambda data: data["model"].__setitem__(name, value)


def pruned(value):
    return lambda data: data.__setitem__("Pruned_heads", value)


FC1 = "encoder.layers.2.fc1.weight"


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (stating(encoder_layers=10**9), "says num_layers 1000000000, the card 3"),
        (stating(encoder_layers="3"), "says num_layers 3, the card 3"),
        (stating(encoder_attention_heads=4), "says heads 4, the card 2"),
        (stating(encoder_attention_heads=10**30), "says heads 1000000"),
        (stating(feat_emb_dim=40), "says channels 40, the card 20"),
        (stating(activation_fn="relu"), "says activation_fn 'relu'; only 'gelu' is supported"),
        (stating(attention_type="causal"), "attention_type 'causal'; only"),
        (stating(layer_norm_first=True), "says layer_norm_first True"),
        (lambda data: data["Upstream_Config"].pop("melhubert"), "has no section 'melhubert'"),
        (lambda data: data.__setitem__("Upstream_Config", 7), "has no section 'melhubert'"),
        (pruned([{7: [0]}]), "does not list heads by layer"),
        (pruned([{1: 10**9}]), "does not list heads by layer"),
        (pruned(["x"]), "does not list heads by layer"),
        (pruned([{1: [0]}] * 3), r"says heads \(2, -1, 2\), the card 2"),
        (lambda data: data["model"].pop(FC1), f"missing tensors: {FC1}"),
        (put("surprise", torch.ones(1)), "unexpected tensors: surprise"),
        (put(FC1, torch.ones(24, 15)), r"expected shape \(24, 16\), found \(24, 15\)"),
        (put(FC1, torch.full((24, 16), torch.inf)), "NaN or inf"),
        (put(FC1, torch.ones(24, 16, dtype=torch.complex64)), "found torch.complex64"),
    ],
)
def test_what_does_not_fit_is_named(damage, words):
    data = checkpoint(randomised(melhubert_shapes(TINY)))
    import_encoder(data, TINY)
    damage(data)
    with pytest.raises(InvalidDataError, match=words) as caught:
        import_encoder(data, TINY)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ("x", "key 'kaldi'"),
        ({"bin": 3}, "unknown key 'kaldi.bin': did you mean 'bins'"),
        ({"bins": 10**9}, "key 'kaldi.bins': .*found '1000000000'"),
        ({"bins": True}, "key 'kaldi.bins': .*found 'True'"),
        ({"stack": 0}, "key 'kaldi.stack'"),
        ({"window": "flat"}, "key 'kaldi.window'"),
        ({"mean": 3.0}, "key 'kaldi.mean'"),
        ({"mean": [1.0] * 40}, "must have 40 numbers each, or none; found 40 and 0"),
        ({"mean": [1.0] * 40, "deviation": [0.0] * 40}, "key 'kaldi.deviation.0'"),
        ({"mean": [float("nan")] * 40, "deviation": [1.0] * 40}, "key 'kaldi.mean.0'"),
        ({"mean": ["1"] * 40, "deviation": [1.0] * 40}, "key 'kaldi.mean.0'"),
    ],
)
def test_front_ends_that_do_not_hold(section, words):
    with pytest.raises(UsageError, match=words):
        load(UpstreamSource({"kaldi": section}))


def test_two_front_ends_at_once():
    section = {"kaldi": {}, "extractor_mode": "mel", "conv_layers": [[80, 400, 320]]}
    with pytest.raises(UsageError, match="two front ends"):
        encoder_config(section)


@pytest.mark.parametrize("name", [name for name in upstream_names() if "melhubert" in name])
def test_published_sizes(name):
    """By the authors' arithmetic: 12 layers, positions, norm and projection; no head, no mask."""
    config = encoder_config(upstream_card(name).config)
    assert config.kaldi is not None and len(config.kaldi.mean) == config.kaldi.bins == 40
    width, ffn = 768, 3_072
    layer = 4 * (width * width + width) + 2 * width * ffn + ffn + width + 4 * width
    positions = width * width // 16 * 128 + 128 + width
    inputs = 80 if "20ms" in name else 40
    params = 12 * layer + positions + 2 * width + inputs * width + width
    assert num_parameters(config) == params == {80: 89_837_696, 40: 89_806_976}[inputs]


def test_distilled_size():
    """The six-layer student of the authors' distillation recipe."""
    section = upstream_card("melhubert_20ms").config | {"num_layers": 6}
    assert num_parameters(encoder_config(section)) == 47_310_464
