"""FitHuBERT, ARMHuBERT, MaskHuBERT and STaRHuBERT: files, arithmetic, features."""

import sys
import types
from dataclasses import replace
from unittest import mock

import pytest
import torch
from students import (
    convolved,
    layers_of,
    lightning,
    mapped,
    normed,
    positions,
    randomised,
    student,
    student_shapes,
)

from bench.api import UpstreamSource
from bench.config import UpstreamCard
from bench.errors import InvalidDataError, UsageError
from bench.load.catalog import upstream_card
from bench.load.loader import load_upstream
from bench.measure.check import check
from upstreams.encoder.config import EncoderConfig, encoder_config
from upstreams.encoder.state import build, num_parameters, random_state
from upstreams.formats.checkpoint import read_checkpoint
from upstreams.formats.layout import import_encoder
from upstreams.importers.hubert import load

PLAIN = EncoderConfig(
    conv_layers=((8, 10, 5), (12, 1, 1), (12, 3, 2), (16, 2, 2)),
    feature_projection=False,
    embed_dim=16,
    pos_conv_kernel=6,
    pos_conv_groups=4,
    heads=(2,) * 4,
    head_dim=8,
    ffn=(24,) * 4,
    mask_embedding=0,
    layer_projection=20,
    tap="projections",
)
MASK = PLAIN
ARM = replace(PLAIN, reuses=(False, True, False, True))
STAR = replace(PLAIN, layer_projection=0, tap="layers")
FIT = replace(
    PLAIN,
    conv_layers=(*PLAIN.conv_layers[:-1], (14, 2, 2)),
    feature_projection=True,
    time_reduction=2,
    spare_expansion=True,
    tap="last_projection",
)
STUDENTS = {"fit": FIT, "arm": ARM, "mask": MASK, "star": STAR}


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Two threads that wait for each other on a busy machine take many times as long as one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def noise(num_samples):
    return 0.1 * torch.randn(num_samples, generator=torch.Generator().manual_seed(num_samples))


def alone(encoder, wav):
    with torch.no_grad():
        return encoder(wav[None], torch.tensor([len(wav)]))


def relative_error(actual, expected):
    return float((actual - expected).norm() / expected.norm())


@pytest.mark.parametrize("kind", STUDENTS)
@pytest.mark.parametrize(
    "tap", ["hidden_states", "layers", "last", "layer1", "projections", "last_projection"]
)
def test_every_tap_equals_the_formulas(kind, tap, tmp_path):
    if kind == "star" and "projection" in tap:
        with pytest.raises(UsageError, match="has hidden_states, layers, last"):
            replace(STUDENTS[kind], tap=tap)
        return
    config = replace(STUDENTS[kind], tap=tap)
    tensors = randomised(student_shapes(config))
    torch.save(lightning(tensors), tmp_path / "a.ckpt")
    encoder = build(*import_encoder(read_checkpoint(tmp_path / "a.ckpt"), config))
    for size in (60, 333, 1_000):  # an even and an odd number of frames among them
        wav = noise(size)
        layers, projected = student(wav, tensors, config)
        expected = {
            "hidden_states": layers,
            "layers": layers,
            "last": layers[-1:],
            "layer1": layers[:1],
            "projections": projected,
            "last_projection": projected[-1:],
        }[tap]
        actual = alone(encoder, wav)
        states = actual.states[1:] if tap == "hidden_states" else actual.states
        assert len(actual.states) == encoder.num_layers and len(states) == len(expected)
        assert int(actual.lengths[0]) == encoder.num_frames(size) == len(expected[0])
        for state, reference in zip(states, expected, strict=True):
            assert state.shape[1:] == reference.shape == (len(reference), encoder.hidden_size)
            assert relative_error(state[0], reference) <= 1e-5


@pytest.mark.parametrize("kind", STUDENTS)
def test_the_contract_holds(kind):
    config = STUDENTS[kind]
    encoder = build(config, random_state(config, 3))
    failed = [result for result in check(encoder) if not result.ok]
    assert not failed


@pytest.mark.parametrize(
    ("name", "tap", "params"),
    [
        # One resampler is left without the projections; with all of them there are fourteen.
        ("fithubert", "layers", 20_738_816 + 461_280),
        ("fithubert", "projections", 20_738_816 + 14 * 461_280 + 12 * 369_408),
        ("armhubert", "layers", 22_015_072),
        ("armhubert_s", "layers", 18_403_120),
        ("maskhubert", "layers", 22_202_464),
    ],
)
def test_what_a_tap_does_not_need_is_not_counted(name, tap, params):
    config = replace(encoder_config(upstream_card(name).config), tap=tap)
    assert num_parameters(config) == params


# --- files -------------------------------------------------------------------------------------

FC1 = "student_model.encoder.layers.2.fc1.weight"
STATED = {"encoder_layers": 4, "encoder_embed_dim": 16, "encoder_attention_heads": 2}


def put(name, value):
    return lambda data: data["state_dict"].__setitem__(name, value)


def said(**values):
    return lambda data: data["hyper_parameters"]["cfg"]["distiller"].update(values)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda data: data["state_dict"].pop(FC1), "missing tensors: encoder.layers.2.fc1.weight"),
        (put("student_model.surprise", torch.ones(1)), "unexpected tensors: surprise"),
        (put("elsewhere", torch.ones(1)), "unexpected tensors: elsewhere"),
        (put(FC1, torch.ones(24, 15)), r"expected shape \(24, 16\), found \(24, 15\)"),
        (put(FC1, torch.full((24, 16), torch.nan)), "holds NaN"),
        (put(FC1, torch.ones(24, 16, dtype=torch.int64)), "found torch.int64"),
        (put(FC1, [1.0]), "found list"),
        (said(encoder_layers=10**9), "says num_layers 1000000000, the card 4"),
        (said(encoder_attention_heads=4), "says heads 4, the card 2"),
        (said(encoder_embed_dim="16"), "says embed_dim 16, the card 16"),
        (said(reuse_pattern="[True, False]" + " * 9" * 10**6), r"says reuses \(False, True\)"),
        (said(reuse_pattern="[True, True, True, True]"), r"says reuses \(\), the card"),
        (said(enable_tr_layer=True, tr_reduce_factor=3), "says time_reduction 3, the card 1"),
        (said(enable_tr_layer=True, tr_layer_type="fc2"), "says tr_layer_type 'fc2'; only"),
        (said(layer_type="conformer"), "says layer_type 'conformer'; only 'transformer'"),
        (said(required_seq_len_multiple=2), "required_seq_len_multiple '2'; only 1"),
    ],
)
def test_what_does_not_fit_is_named(damage, words):
    data = lightning(randomised(student_shapes(ARM)), **STATED)
    import_encoder(data, ARM)
    damage(data)
    with pytest.raises(InvalidDataError, match=words) as caught:
        import_encoder(data, ARM)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


def test_a_student_of_another_kind_is_refused():
    data = lightning(randomised(student_shapes(ARM)))
    with pytest.raises(InvalidDataError, match="missing tensors"):
        import_encoder(data, MASK)
    data = lightning(randomised(student_shapes(MASK)))
    with pytest.raises(InvalidDataError, match="unexpected tensors"):
        import_encoder(data, ARM)
    with pytest.raises(InvalidDataError, match=r"missing|shape|unexpected"):
        import_encoder(data, FIT)


def test_lightning_callbacks_pickled_as_classes_are_read(tmp_path):
    name = "pytorch_lightning.callbacks.model_checkpoint"
    module = types.ModuleType(name)
    module.ModelCheckpoint = type("ModelCheckpoint", (), {"__module__": name})
    packages = ["pytorch_lightning", "pytorch_lightning.callbacks", name]
    data = lightning(randomised(student_shapes(ARM)))
    data["callbacks"] = {module.ModelCheckpoint: {"best_model_path": "x"}}
    with mock.patch.dict(sys.modules, dict.fromkeys(packages, module)):
        torch.save(data, tmp_path / "a.ckpt")
    config, state, _ = import_encoder(read_checkpoint(tmp_path / "a.ckpt"), ARM)
    assert config == ARM and "layers.1.attention.value.weight" in state


def test_robust_students_are_distilhuberts(tmp_path):
    """RobustDistiller's and the distortion-robust students' files, whatever they keep beside."""
    config = replace(
        PLAIN,
        conv_layers=(*PLAIN.conv_layers[:-1], (14, 2, 2)),
        feature_norm=False,
        feature_projection=True,
        layer_projection=0,
        first_state="projection",
        tap="hidden_states",
    )
    shapes = student_shapes(config)
    for name in ("layer_norm.weight", "layer_norm.bias", "mask_emb"):
        del shapes[name]
    tensors = randomised(shapes)
    beside = {"output_layer.0.weight": (48, 16), "output_layer.2.bias": (1, 1, 3, 16)}
    beside |= {"reconstruction_head.rnn.weight_ih_l0": (64, 16)}
    section = {"encoder_layers": 4, "encoder_attention_heads": 2, "n_tasks": 3}
    data = {"Distiller": tensors | randomised(beside), "Config": {"distiller": section}}
    for name in ("Config", "Up_Config"):
        whole = data | {name: {"distiller": section, "teacher": {"model": "wavlm"}}, "Step": 1}
        torch.save(whole, tmp_path / "a.ckpt")
        encoder = build(*import_encoder(read_checkpoint(tmp_path / "a.ckpt"), config))
        wav = noise(999)
        x = mapped(convolved(wav, tensors, (5, 1, 2, 2)), tensors, "post_extract_proj")
        start = normed(positions(x, tensors, 4), tensors, "encoder.layer_norm")
        expected = [x, *layers_of(start, tensors, range(4), 2)]
        for actual, reference in zip(alone(encoder, wav).states, expected, strict=True):
            assert relative_error(actual[0], reference) <= 1e-5
        whole[name] = {"distiller": section | {"encoder_layers": 10**9}}
        with pytest.raises(InvalidDataError, match="says num_layers 1000000000, the card 4"):
            import_encoder(whole, config)


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"reuses": [False, True]}, "'reuses' must say for each of 12 layers"),
        ({"reuses": [True] * 12}, "the first cannot"),
        ({"reuses": [False] + ["yes"] * 11}, "key 'reuses.1'"),
        ({"reuses": [False, True] * 6, "layer_norm_first": True}, "norms after"),
        ({"time_reduction": 0}, "key 'time_reduction'"),
        ({"time_reduction": 2, "first_state": "projection"}, "must be that of the 'layers'"),
        ({"feature_projection": False}, "must have the width 768, it has 512"),
        ({"layer_projection": 10**9}, "key 'layer_projection'"),
        ({"tap": "projections"}, "unknown key 'tap'"),
    ],
)
def test_invalid_configs_are_refused(section, words):
    with pytest.raises(UsageError, match=words):
        load(UpstreamSource(section))


def test_taps_of_a_card():
    loaded = load_upstream("rd_hubert@tap=last+untrained")
    assert (loaded.upstream.num_layers, loaded.upstream.hidden_size) == (1, 768)
    paper = load_upstream("distilhubert@tap=paper+untrained")
    assert paper.name.text() == "distilhubert@tap=last+untrained"
    whole = load_upstream("distilhubert+untrained").upstream
    wav = noise(4_000)
    assert torch.equal(alone(paper.upstream, wav).states[0], alone(whole, wav).states[-1])
    with pytest.raises(UsageError, match="this upstream has hidden_states, layers, last"):
        load_upstream("distilhubert@tap=projections+untrained")
    subnet = load_upstream("lighthubert_small@min,tap=layers+untrained")
    assert subnet.name.text() == "lighthubert_small@min,tap=layers+untrained"
    assert subnet.upstream.num_layers == 10


def test_the_check_does_not_hold_a_variant_to_the_reported_size():
    card = UpstreamCard.model_validate(
        upstream_card("armhubert").model_dump() | {"reported": {"params": 1.0}}
    )
    config = replace(ARM, tap="layers")
    results = {
        result.name: result for result in check(build(config, random_state(config, 0)), card)
    }
    assert results["parameters"].ok and "variant" in results["parameters"].detail


@pytest.mark.parametrize("tap", ["layer9", "layer-1", "layer", "layer01x"])
def test_a_layer_that_is_not_there_is_refused(tap):
    with pytest.raises(UsageError, match="layer0 to layer"):
        replace(PLAIN, tap=tap)
