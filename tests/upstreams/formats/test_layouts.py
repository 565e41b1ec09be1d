"""Published layouts, each written by the library that publishes in it and read back strictly."""

from dataclasses import replace

import pytest
import torch
from published_files import BASE, CNN, LARGE, converted
from references import alone, disturb, noise, relative_error, transformers_model

from bench.api import UpstreamSource
from bench.errors import InvalidDataError
from bench.load.catalog import upstream_card
from bench.sound.torchaudio_guard import import_torchaudio
from upstreams.encoder.state import build, random_state
from upstreams.formats.checkpoint import read_checkpoint
from upstreams.formats.layout import find_layout, import_encoder
from upstreams.formats.layouts.fairseq import fairseq_names
from upstreams.formats.layouts.huggingface import hf_names
from upstreams.formats.layouts.torchaudio import torchaudio_names
from upstreams.importers.hubert import load

SHAPES = pytest.mark.parametrize("config", [BASE, LARGE], ids=["base", "large"])
SIZES = (400, 5_001, 12_000)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Two threads that wait for each other on a busy machine take many times as long as one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def check(encoder, expected_states, skip=0):
    """Every state from `skip` on, at several lengths; one expected to be None is passed over."""
    for size in SIZES:
        wav = noise(size)
        with torch.no_grad():
            expected = expected_states(wav)
        actual = alone(encoder, wav).states[skip:]
        assert len(actual) == len(expected)
        for ours, theirs in zip(actual, expected, strict=True):
            assert theirs is None or relative_error(ours, theirs) <= 1e-5


@SHAPES
@pytest.mark.parametrize("kind", ["hubert", "wav2vec2"])
def test_s3prls_conversions(kind, config, tmp_path):
    path = tmp_path / "converted.pt"
    torch.save(converted(kind, config), path)
    if kind == "hubert":
        from s3prl.upstream.hubert.expert import UpstreamExpert
    else:
        from s3prl.upstream.wav2vec2.expert import UpstreamExpert
    expert = UpstreamExpert(str(path)).eval()
    encoder = build(*import_encoder(read_checkpoint(path), config))
    check(encoder, lambda wav: expert([wav])["hidden_states"])


@SHAPES
@pytest.mark.parametrize("kind", ["hubert", "wav2vec2"])
def test_fairseqs_own_files_old_and_new(kind, config, tmp_path):
    """`args` before 2021, an omegaconf `cfg` since; the weights are those of s3prl's conversion."""
    import argparse

    omegaconf = pytest.importorskip("omegaconf")
    data = converted(kind, config)
    actual, state, _ = import_encoder(data, config)
    tree = {"model": data["model_cfg"] | {"_name": kind}, "task": data["task_cfg"]}
    flat = argparse.Namespace(**data["model_cfg"], **data["task_cfg"])
    layouts = [
        {"cfg": omegaconf.OmegaConf.create(tree), "args": None},
        {"args": flat, "cfg": None},
    ]
    for number, around in enumerate(layouts):
        path = tmp_path / f"{number}.pt"
        torch.save(around | {"model": data["model_weight"], "optimizer_history": []}, path)
        again, weights, _ = import_encoder(read_checkpoint(path), config)
        assert again == actual and weights.keys() == state.keys()
        assert all(torch.equal(weights[name], state[name]) for name in state)
        with pytest.raises(InvalidDataError, match="says layer_norm_first"):
            import_encoder(
                read_checkpoint(path),
                replace(config, layer_norm_first=not config.layer_norm_first),
            )


def torchaudio_model(config, **more):
    models = import_torchaudio("models")
    torch.manual_seed(0)
    arguments = {
        "extractor_mode": config.extractor_mode,
        "extractor_conv_layer_config": list(config.conv_layers),
        "extractor_conv_bias": config.conv_bias,
        "encoder_embed_dim": config.embed_dim,
        "encoder_projection_dropout": 0.0,
        "encoder_pos_conv_kernel": config.pos_conv_kernel,
        "encoder_pos_conv_groups": config.pos_conv_groups,
        "encoder_num_layers": config.num_layers,
        "encoder_num_heads": config.heads[0],
        "encoder_attention_dropout": 0.0,
        "encoder_ff_interm_features": config.ffn[0],
        "encoder_ff_interm_dropout": 0.0,
        "encoder_dropout": 0.0,
        "encoder_layer_norm_first": config.layer_norm_first,
        "encoder_layer_drop": 0.0,
        "aux_num_out": 7,
    }
    return disturb(models.wav2vec2_model(**arguments | more).eval())


@SHAPES
def test_torchaudios(config):
    model = torchaudio_model(config)
    actual, state, _ = import_encoder(model.state_dict(), config)
    assert actual == replace(config, mask_embedding=0)
    encoder = build(actual, state)

    def states(wav):
        if config.normalize_wav:  # its bundles do this outside of the model
            wav = torch.nn.functional.layer_norm(wav, wav.shape)
        expected = model.extract_features(wav[None])[0]
        # Without the final norm of the large models, which our last state has.
        return [*expected[:-1], None] if config.layer_norm_first else expected

    check(encoder, states, skip=1)
    older = {
        key.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): value
        for key, value in model.state_dict().items()
    }
    assert len(older.keys() - model.state_dict().keys()) == 2
    inside = {f"model.{key}": value for key, value in model.state_dict().items()}
    mask = {"mask_generator.mask_embedding": torch.ones(48), "logit_generator.x": torch.ones(1)}
    training = {f"wav2vec2.{key}": value for key, value in older.items()} | mask
    for layout in (older, inside, training):
        _, weights, _ = import_encoder(layout, config)
        assert all(torch.equal(weights[name], state[name]) for name in state)
    assert torch.equal(weights["mask_embedding"], torch.ones(48))


@SHAPES
@pytest.mark.parametrize("kind", ["Hubert", "Wav2Vec2", "WavLM"])
def test_a_folder_of_transformers(kind, config, tmp_path):
    """As `save_pretrained` writes it today, and as pytorch_model.bin of before."""
    config = replace(config, normalize_wav=False)
    if kind == "WavLM":
        config = replace(config, relative_buckets=32, relative_distance=40, conv_bias=False)
    model = transformers_model(config, kind)
    model.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")

    def states(wav):
        out = model(wav[None], output_hidden_states=True)
        return (*out.hidden_states[:-1], out.last_hidden_state)

    for name in ("model.safetensors", "pytorch_model.bin"):
        actual, state, _ = import_encoder(read_checkpoint(tmp_path / name), config)
        assert actual == config
        check(build(actual, state), states)


@pytest.mark.parametrize(
    ("task", "kind"),
    [
        ("HubertForCTC", "Hubert"),
        ("HubertForSequenceClassification", "Hubert"),
        ("Wav2Vec2ForPreTraining", "Wav2Vec2"),
        ("WavLMForCTC", "WavLM"),
    ],
)
def test_the_encoder_inside_a_task_model(task, kind):
    transformers = pytest.importorskip("transformers")
    config = replace(BASE, relative_buckets=32, relative_distance=40) if kind == "WavLM" else BASE
    inner = transformers_model(config, kind)
    inner.config.vocab_size = 9
    whole = getattr(transformers, task)(inner.config)
    encoder = next(child for name, child in whole.named_children() if name == kind.lower())
    encoder.load_state_dict(inner.state_dict())
    _, expected, _ = import_encoder(inner.state_dict(), config)
    actual, state, _ = import_encoder(whole.state_dict(), config)
    assert actual == config
    assert all(torch.equal(state[name], expected[name]) for name in expected)


def test_distilhubert_of_transformers(tmp_path):
    """A HuBERT of two layers without norm before the projection (23,491,968 with mask vector)."""
    import_torchaudio()
    transformers = pytest.importorskip("transformers")
    theirs = transformers.HubertConfig(num_hidden_layers=2, feat_proj_layer_norm=False)
    torch.manual_seed(0)
    model = disturb(transformers.HubertModel(theirs).eval())
    assert sum(parameter.numel() for parameter in model.parameters()) == 23_491_968
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    card = upstream_card("distilhubert").config
    encoder = load(UpstreamSource(card, checkpoint=tmp_path / "pytorch_model.bin"))
    assert sum(parameter.numel() for parameter in encoder.parameters()) == 23_491_200
    wav = noise(5_001)
    with torch.no_grad():
        # Our first state is the projected front end, theirs the input of the first layer.
        expected = model(wav[None], output_hidden_states=True).hidden_states[1:]
    for ours, other in zip(alone(encoder, wav).states[1:], expected, strict=True):
        assert relative_error(ours, other) <= 1e-5


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({}, "begin with nothing"),
        ({"epoch": 3, "args": None}, "begin with epoch, args"),
        ({"model": torch.ones(2)}, "begin with model"),
        ({1: 2}, "begin with 1"),
        ({"x" * 999: 1}, "begin with x{60}$"),
        ({"module.encoder.pos_conv.0.bias": 1, "encoder.pos_conv.0.bias": 2}, "is there twice"),
    ],
)
def test_of_no_layout(data, words):
    with pytest.raises(InvalidDataError, match=words) as caught:
        find_layout(data)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("in_proj_weight", torch.ones(3, 48), r"q_proj.weight: expected shape \(48, 48\)"),
        ("in_proj_weight", torch.ones(145, 48), r"v_proj.weight: expected shape \(48, 48\)"),
        ("in_proj_weight", torch.tensor(1.0), "expected shape"),
        ("in_proj_weight", "text", "q_proj.weight: expected floating-point weights, found str"),
        ("in_proj_weight", torch.ones(144, 48).to_sparse(), "expected a plain tensor in memory"),
        ("q_proj.weight", torch.ones(48, 48), "q_proj.weight is there twice"),
        ("in_proj_bias", torch.full((144,), torch.nan), "q_proj.bias: holds NaN"),
        ("out_proj.weight", torch.ones(48, 48, dtype=torch.int64), "found torch.int64"),
    ],
)
def test_torchaudios_joint_projection_damaged(name, value, words):
    config = replace(BASE, relative_buckets=32, relative_distance=40)
    model = import_torchaudio("models").wavlm_model(
        "group_norm", list(CNN), False, 48, 0.0, 16, 4, 2, 3, 32, 40, 0.0, 64, 0.0, 0.0, False, 0.0,
        aux_num_out=None,
    )  # fmt: skip
    data = dict(model.state_dict())
    data[f"encoder.transformer.layers.1.attention.attention.{name}"] = value
    with pytest.raises(InvalidDataError, match=words) as caught:
        import_encoder(data, config)
    assert "\n" not in str(caught.value)


@SHAPES
@pytest.mark.parametrize("names", [hf_names, fairseq_names, torchaudio_names])
def test_a_positional_convolution_without_weight_normalisation(names, config):
    """As `remove_weight_norm` leaves it: the same states, one gain less."""
    state = random_state(config, 1)
    encoder = build(config, state)
    file = {theirs: state[ours] for ours, theirs in names(config).items()}
    gain, direction = (names(config)[f"pos_conv.{part}"] for part in ("gain", "direction"))
    weight = torch._weight_norm(file.pop(direction), file.pop(gain), 2)
    folded = build(*import_encoder(file | {direction.removesuffix("_v"): weight}, config))
    check(folded, lambda wav: alone(encoder, wav).states)
    fewer = sum(x.numel() for x in encoder.parameters()) - config.pos_conv_kernel
    assert sum(x.numel() for x in folded.parameters()) == fewer
