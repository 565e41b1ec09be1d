"""Published layouts: equality with s3prl's experts, and strictness."""

from dataclasses import replace

import pytest
import torch

from bench.api import UpstreamSource
from bench.errors import InvalidDataError, UsageError
from bench.load.catalog import upstream_card
from bench.sound.torchaudio_guard import import_torchaudio
from upstreams.encoder.config import EncoderConfig, encoder_config
from upstreams.encoder.state import build, random_state, shapes
from upstreams.formats.checkpoint import read_checkpoint
from upstreams.formats.layout import import_encoder, plain_spelling
from upstreams.formats.layouts.fairseq import fairseq_names
from upstreams.formats.layouts.huggingface import hf_names
from upstreams.importers import lighthubert
from upstreams.importers.hubert import load

TINY = EncoderConfig(
    conv_layers=((16, 10, 5), (12, 3, 2)),
    embed_dim=16,
    pos_conv_kernel=4,
    pos_conv_groups=2,
    heads=(2, 2),
    head_dim=8,
    ffn=(24, 24),
    mask_embedding=16,
)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Two threads that wait for each other on a busy machine take many times as long as one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def import_state(data, config):
    actual, state, _ = import_encoder(data, config)
    assert actual == config
    return state


def published(config=TINY, names=hf_names, seed=0):
    """Random weights under published names."""
    state = random_state(config, seed)
    return {theirs: state[ours].clone() for ours, theirs in names(config).items()}


def same(actual, seed=0, config=TINY):
    expected = random_state(config, seed)
    return actual.keys() == expected.keys() and all(
        torch.equal(actual[name], expected[name]) for name in expected
    )


@pytest.mark.parametrize("config", [TINY, replace(TINY, extractor_mode="layer_norm")])
def test_every_layout_gives_the_same_state(config):
    hf, fairseq = published(config), published(config, fairseq_names)
    recent = {
        key.replace(".weight_g", ".parametrizations.weight.original0").replace(
            ".weight_v", ".parametrizations.weight.original1"
        ): value
        for key, value in hf.items()
    }
    layouts = [
        hf,
        recent,
        {f"hubert.{key}": value for key, value in hf.items()},
        {f"wav2vec2.{key}": value for key, value in hf.items()} | {"project_q.bias": torch.ones(1)},
        {"task_cfg": {}, "model_cfg": {}, "model_weight": fairseq, "dictionaries_symbols": []},
        {"cfg": {}, "model": fairseq | {"final_proj.weight": torch.ones(1)}},
        {key: value.half().float() for key, value in hf.items()},
    ]
    assert len(recent.keys() - hf.keys()) == 2
    for layout in layouts[:-1]:
        assert same(import_state(layout, config), config=config)
    half = import_state({key: value.half() for key, value in hf.items()}, config)
    rounded = import_state(layouts[-1], config)
    assert all(half[name].dtype == torch.float32 for name in half)
    assert all(torch.equal(half[name], rounded[name]) for name in half)


def without(name):
    return lambda data: data.pop(name)


def put(name, value):
    return lambda data: data.__setitem__(name, value)


FC1 = "encoder.layers.1.feed_forward.intermediate_dense.weight"


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (without(FC1), f"missing tensors: {FC1}"),
        (put("encoder.surprise", torch.ones(1)), "unexpected tensors: encoder.surprise"),
        (put(FC1, torch.ones(24, 15)), r"expected shape \(24, 16\), found \(24, 15\)"),
        (put(FC1, torch.full((24, 16), torch.nan)), f"{FC1}: holds NaN"),
        (put(FC1, torch.full((24, 16), torch.inf)), f"{FC1}: holds NaN or inf"),
        (put(FC1, torch.ones(24, 16, dtype=torch.int8)), "expected floating-point weights.*int8"),
        (put(FC1, torch.ones(24, 16, dtype=torch.complex64)), "found torch.complex64"),
        (put(FC1, "text"), "found str"),
        (put(FC1, torch.ones(24, 16).to_sparse()), "layout"),
        (put(FC1, torch.ones(24, 16, device="meta")), "meta"),
        (put(FC1, torch.ones(1, 1).expand(24, 16)), "overlap: .* bytes of weights in .* bytes"),
        (put(7, torch.ones(1)), "from names to tensors"),
    ],
)
def test_what_does_not_fit_is_named(damage, words):
    data = published()
    damage(data)
    with pytest.raises(InvalidDataError, match=words) as caught:
        import_state(data, TINY)
    assert "\n" not in str(caught.value)


def test_long_lists_are_cut_and_other_things_refused():
    with pytest.raises(InvalidDataError, match=r"missing tensors: .*, .*, .* and \d+ more"):
        import_state({"encoder.pos_conv_embed.conv.bias": torch.ones(1)}, TINY)
    with pytest.raises(InvalidDataError, match=r"unknown layout .*fairseq.*begin with x, y"):
        import_state({"x": 1, "y": 2}, TINY)
    for other in (None, [1], torch.ones(3)):
        with pytest.raises(InvalidDataError, match="mapping"):
            import_state(other, TINY)
    with pytest.raises(InvalidDataError, match=r"this layout have no predict\.inner"):
        import_state(published(), replace(TINY, prediction_heads=2))


def test_both_spellings_together_are_not_silently_merged():
    data = published()
    data |= {"encoder.pos_conv_embed.conv.parametrizations.weight.original0": torch.ones(1, 1, 4)}
    with pytest.raises(InvalidDataError, match="twice"):
        plain_spelling(data)


def test_parts_that_some_files_leave_out():
    """A mask embedding, and the biases of convolutions: all of them or none."""
    config = replace(TINY, conv_bias=True)
    data = published(config)
    assert same(import_state(data, config), config=config)
    without_mask = {key: value for key, value in data.items() if key != "masked_spec_embed"}
    actual, state, _ = import_encoder(without_mask, config)
    assert actual == replace(config, mask_embedding=0) and "mask_embedding" not in state
    without_biases = {key: data[key] for key in data if not key.endswith("conv.bias")}
    without_biases["encoder.pos_conv_embed.conv.bias"] = data["encoder.pos_conv_embed.conv.bias"]
    actual, _, _ = import_encoder(without_biases, config)
    assert actual == replace(config, conv_bias=False)
    del data["feature_extractor.conv_layers.1.conv.bias"]
    with pytest.raises(InvalidDataError, match=r"missing tensors: .*conv_layers.1.conv.bias"):
        import_encoder(data, config)


def test_no_variants():
    with pytest.raises(UsageError, match="no variants"):
        load(UpstreamSource({}, variant="min"))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"model": {}}, "'cfg' and 'model'"),
        ([], "'cfg' and 'model'"),
        ({"cfg": {"model": {"_name": "wav2vec2"}}, "model": {}}, "'hubert_pruner'.*'wav2vec2'"),
        ({"cfg": None, "model": {}}, "found None"),
        (
            {"cfg": {"model": {"_name": "hubert_pruner", "pruner_supernet": "a/BASE.yaml"}}}
            | {"model": {}},
            "supernet of 'small.yaml', found 'a/base.yaml'",
        ),
    ],
)
def test_another_lighthubert_is_told(data, words):
    with pytest.raises(InvalidDataError, match=words):
        lighthubert.import_state(data, TINY, "small.yaml")


def test_configuration_pickled_as_objects_is_read(tmp_path):
    omegaconf = pytest.importorskip("omegaconf")
    cfg = {"model": {"_name": "hubert_pruner", "pruner_supernet": "x/Supernet-Small.yaml"}}
    model = published(names=fairseq_names)
    torch.save({"cfg": omegaconf.OmegaConf.create(cfg), "model": model}, tmp_path / "a.pt")
    data = read_checkpoint(tmp_path / "a.pt")
    assert same(lighthubert.import_state(data, TINY, "small.yaml"))


def test_first_stage_is_a_student_without_supernet():
    data = {"cfg": {"model": {"_name": "student_hubert"}}, "model": published(names=fairseq_names)}
    data["model"]["layer_pred_heads.11.weight"] = torch.ones(2, 2)
    assert same(lighthubert.import_state(data, TINY))


def test_distilhubert_equals_s3prl(tmp_path, monkeypatch):
    pytest.importorskip("s3prl")
    import_torchaudio()
    from s3prl.upstream.distiller.expert import UpstreamExpert
    from s3prl.upstream.distiller.model import DistillerConfig, DistillerModel

    section = {"encoder_layers": 2, "n_tasks": 3, "pred_layer_id": [4, 8, 12]}
    torch.manual_seed(0)
    state = DistillerModel(DistillerConfig(section)).state_dict()
    for name, tensor in state.items():
        if tensor.dim() == 1 or name.endswith("weight_g"):
            tensor += 0.1 * torch.randn_like(tensor).abs()
    path = tmp_path / "distilhubert.ckpt"
    torch.save({"Config": {"distiller": section}, "Distiller": state, "Step": 1}, path)
    expert = UpstreamExpert(str(path)).eval()
    card = upstream_card("distilhubert").config
    plain = load(UpstreamSource(card, checkpoint=path))
    headed = load(UpstreamSource(card | {"prediction_heads": 3}, checkpoint=path))
    assert sum(parameter.numel() for parameter in plain.parameters()) == 23_491_200
    assert sum(parameter.numel() for parameter in headed.parameters()) == 27_034_752
    for size in (400, 5_001, 12_000):
        wav = 0.1 * torch.randn(size)
        with torch.no_grad():
            # The expert zeroes padding in place where its frame count is off by one; alone it is
            # not, so these are the published model's own states.
            expected = expert([wav])["hidden_states"]
            actual = headed(wav[None], torch.tensor([size])).states
            short = plain(wav[None], torch.tensor([size])).states
        assert (len(actual), len(expected), len(short)) == (6, 6, 3)
        for ours, theirs in zip(actual, expected, strict=True):
            assert float((ours - theirs).norm() / theirs.norm()) <= 1e-5
        assert all(torch.equal(one, two) for one, two in zip(short, actual, strict=False))


def test_hubert_base_equals_s3prl(tmp_path):
    """s3prl's converted layout, on a HuBERT of two narrow layers behind a small front end."""
    pytest.importorskip("s3prl")
    import_torchaudio()
    from s3prl.upstream.hubert.expert import UpstreamExpert
    from s3prl.upstream.hubert.hubert_model import (
        HubertConfig,
        HubertModel,
        HubertPretrainingConfig,
    )

    cfg = HubertConfig(
        label_rate=50,
        encoder_layers=2,
        encoder_embed_dim=48,
        encoder_ffn_embed_dim=64,
        encoder_attention_heads=3,
        conv_feature_layers="[(24,10,5)] + [(24,3,2)] * 4 + [(24,2,2)] * 2",
        conv_pos=16,
        conv_pos_groups=4,
    )
    torch.manual_seed(0)
    symbols = [["a", "b"]]
    model = HubertModel(cfg, HubertPretrainingConfig(), symbols)
    path = tmp_path / "hubert.pt"
    data = {
        "task_cfg": {"normalize": False},
        "model_cfg": vars(cfg),
        "model_weight": model.state_dict(),
    }
    torch.save(data | {"dictionaries_symbols": symbols}, path)
    expert = UpstreamExpert(str(path)).eval()
    config = encoder_config(
        {
            "conv_layers": [[24, 10, 5], *[[24, 3, 2]] * 4, *[[24, 2, 2]] * 2],
            "embed_dim": 48,
            "num_layers": 2,
            "heads": 3,
            "head_dim": 16,
            "ffn": 64,
            "pos_conv_kernel": 16,
            "pos_conv_groups": 4,
            "mask_embedding": 48,
        }
    )
    ours = build(config, import_state(data, config))
    for size in (400, 5_001, 12_000):
        wav = 0.1 * torch.randn(size)
        with torch.no_grad():
            expected = expert([wav])["hidden_states"]
            actual = ours(wav[None], torch.tensor([size])).states
        assert len(actual) == len(expected) == 3
        for state, reference in zip(actual, expected, strict=True):
            assert float((state - reference).norm() / reference.norm()) <= 1e-5


def test_maps_cover_every_tensor_once():
    for config in (TINY, replace(TINY, prediction_heads=2, extractor_mode="layer_norm")):
        names = fairseq_names(config)
        assert names.keys() == shapes(config).keys()
        assert len(set(names.values())) == len(names)
