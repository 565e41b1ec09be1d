"""Our encoder: sizes, equality with transformers on random weights, padding, freezing."""

from dataclasses import replace

import pytest
import torch
from references import alone, noise, relative_error, transformers_model
from torch import nn
from torch._dynamo.testing import CompileCounter

from bench.errors import InvalidDataError, UsageError
from upstreams.encoder.config import EncoderConfig, encoder_config
from upstreams.encoder.encoder import Encoder
from upstreams.encoder.positions import sinusoids
from upstreams.encoder.state import build, num_parameters, random_state
from upstreams.formats.layout import import_encoder

TINY_CNN = ((32, 10, 5), (32, 3, 2), (24, 2, 2))
TINY = EncoderConfig(
    conv_layers=TINY_CNN,
    embed_dim=48,
    pos_conv_kernel=8,
    pos_conv_groups=4,
    heads=(3, 3, 3),
    head_dim=16,
    ffn=(64, 64, 64),
    mask_embedding=48,
)
DISTIL = EncoderConfig(heads=(12,) * 2, ffn=(3072,) * 2, feature_norm=False, mask_embedding=0)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Two threads that wait for each other on a busy machine take many times as long as one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("kind", ["Hubert", "Wav2Vec2"])
@pytest.mark.parametrize(
    "config",
    [
        TINY,
        replace(TINY, extractor_mode="layer_norm"),
        replace(TINY, extractor_mode="layer_norm", conv_bias=True, layer_norm_first=True),
    ],
    ids=["group", "layer", "large"],
)
def test_equals_transformers_in_every_state(config, kind):
    model = transformers_model(config, kind)
    encoder = build(*import_encoder(model.state_dict(), config))
    for size in (100, 1_234, 5_001):
        wav = noise(size)
        with torch.no_grad():
            out = model(wav[None], output_hidden_states=True)
        # SUPERB's last state is the encoder's output, after the final norm of the large models.
        expected = (*out.hidden_states[:-1], out.last_hidden_state)
        actual = alone(encoder, wav).states
        assert len(actual) == len(expected) == encoder.num_layers
        assert max(map(relative_error, actual, expected)) <= 1e-5


def test_hubert_base_equals_transformers():
    config = EncoderConfig()
    model = transformers_model(config)
    assert sum(parameter.numel() for parameter in model.parameters()) == 94_371_712
    encoder = build(*import_encoder(model.state_dict(), config))
    for size in (400, 9_001):
        wav = noise(size)
        with torch.no_grad():
            expected = model(wav[None], output_hidden_states=True).hidden_states
        assert max(map(relative_error, alone(encoder, wav).states, expected)) <= 1e-5


@pytest.mark.parametrize(
    ("config", "params"),
    [
        (EncoderConfig(), 94_371_712),
        (EncoderConfig(mask_embedding=0), 94_370_944),
        (DISTIL, 23_491_200),
        (replace(DISTIL, prediction_heads=3), 27_034_752),
    ],
)
def test_published_sizes(config, params):
    with torch.device("meta"):
        encoder = Encoder(config)
    assert sum(parameter.numel() for parameter in encoder.parameters()) == params
    assert num_parameters(config) == params


@pytest.mark.parametrize("mode", ["group_norm", "layer_norm"])
@pytest.mark.parametrize("normalize", [False, True])
def test_padding_never_matters(mode, normalize):
    config = replace(
        TINY,
        extractor_mode=mode,
        normalize_wav=normalize,
        heads=(1, 3, 2),
        ffn=(40, 64, 17),
        first_state="projection",
        prediction_heads=2,
    )
    encoder = build(config, random_state(config, 1))
    lengths = torch.tensor([4_000, 1_501, 90])
    wavs = noise(3, 4_000)
    wavs += 3.0 * (torch.arange(4_000) >= lengths[:, None])  # padding that is far from silent
    with torch.no_grad():
        batch = encoder(wavs, lengths)
        by_utterance = encoder.project(wavs, lengths)
        together = encoder.project_together(wavs, lengths.tolist())  # as on a GPU
    torch.testing.assert_close(together, by_utterance, atol=1e-5, rtol=1e-5)
    assert len(batch.states) == encoder.num_layers == 3 + 1 + 2
    for row, size in enumerate(lengths.tolist()):
        single = alone(encoder, wavs[row, :size])
        frames = int(single.lengths[0])
        assert frames == encoder.num_frames(size) == int(batch.lengths[row])
        for together, apart in zip(batch.states, single.states, strict=True):
            torch.testing.assert_close(together[row, :frames], apart[0], atol=1e-4, rtol=1e-4)


def test_frames_by_the_arithmetic_of_the_convolutions():
    with torch.device("meta"):
        encoder = Encoder(EncoderConfig())
    assert (encoder.min_samples, encoder.stride) == (400, 320)
    actual = [encoder.num_frames(size) for size in (0, 399, 400, 719, 720, 8_160, 16_000)]
    assert actual == [0, 0, 1, 1, 2, 25, 49]


def test_random_weights_come_from_the_seed_alone():
    first = random_state(TINY, 3)
    torch.manual_seed(99)
    again, other = random_state(TINY, 3), random_state(TINY, 4)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["projection.weight"], other["projection.weight"])
    assert float(first["layers.0.ffn_in.weight"].std()) == pytest.approx(0.02, rel=0.05)
    assert float(first["extractor.1.conv.weight"].std()) == pytest.approx((2 / 96) ** 0.5, rel=0.05)
    assert all(bool(first[name].eq(0).all()) for name in first if name.endswith("norm.bias"))


def test_frozen_deterministic_and_one_product_for_the_positional_convolution():
    encoder = build(TINY, random_state(TINY, 0))
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    assert encoder.pos_conv.folded is not None and not encoder.train().training
    wav = noise(2_000)
    for first, second in zip(alone(encoder, wav).states, alone(encoder, wav).states, strict=True):
        assert torch.equal(first, second)
    assert "pos_conv.folded" not in encoder.state_dict()


def test_weights_that_change_after_freezing_count():
    encoder = build(TINY, random_state(TINY, 0))
    before = alone(encoder, noise(2_000)).states[-1]
    encoder.load_state_dict(build(TINY, random_state(TINY, 1)).state_dict())
    other = alone(build(TINY, random_state(TINY, 1)), noise(2_000)).states[-1]
    after = alone(encoder, noise(2_000)).states[-1]
    torch.testing.assert_close(after, other)
    assert not torch.allclose(before, after)


def test_it_can_be_trained():
    encoder = build(TINY, random_state(TINY, 0)).requires_grad_(True)
    nn.Module.train(encoder, True)
    states, _ = encoder(noise(2, 2_000), torch.tensor([2_000, 1_500]))
    states[-1].square().mean().backward()
    unused = {name for name, p in encoder.named_parameters() if p.grad is None}
    assert unused == {"mask_embedding"}
    assert float(encoder.pos_conv.gain.grad.abs().sum()) > 0


def test_too_short_is_told():
    encoder = build(TINY, random_state(TINY, 0))
    with pytest.raises(InvalidDataError, match="of 10 samples: at least"):
        encoder(noise(1, 10), torch.tensor([10]))
    assert alone(encoder, noise(encoder.min_samples)).lengths.tolist() == [1]


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"embed_dimm": 3}, "did you mean 'embed_dim'"),
        ({"embed_dim": "768"}, "key 'embed_dim'"),
        ({"heads": [12, 12], "ffn": 3072}, "one of each a layer"),
        ({"embed_dim": 760}, "not a multiple"),
        ({"num_layers": 10**9}, "'num_layers' must be between 1 and 200, found 1000000000"),
        ({"num_layers": "12"}, "'num_layers' must be between"),
        ({"heads": [12] * 10**6, "ffn": 8}, "key 'heads'"),
        ({"ffn": 10**12}, "key 'ffn.0'"),
        ({"ffn": "many"}, "key 'ffn.0': .*found 'many'"),
        ({"heads": [12.5], "ffn": [8]}, "key 'heads.0': .*found '12.5'"),
        ({"conv_layers": [[512, 10]]}, "key 'conv_layers.0"),
        ({"conv_layers": [[512, 10, 0]]}, "key 'conv_layers.0.2'"),
        ({"extractor_mode": "batch_norm"}, "key 'extractor_mode'"),
        ({"pos_conv_groups": 0}, "key 'pos_conv_groups'"),
        (
            {"sinusoidal_positions": True, "embed_dim": 45, "pos_conv_groups": 5},
            "an even embed_dim expected, found 45",
        ),
        (
            {"sinusoidal_positions": True, "sinusoidal_width": 32, "embed_dim": 48},
            "'sinusoidal_width' must be at least embed_dim 48, found 32",
        ),
        ({"sinusoidal_width": 96}, "'sinusoidal_width' needs 'sinusoidal_positions'"),
    ],
)
def test_invalid_configs_are_refused(section, words):
    with pytest.raises(UsageError, match=words):
        encoder_config(section)


def test_more_parameters_than_any_encoder_has():
    config = replace(TINY, ffn=(65_536,) * 200, heads=(4,) * 200, embed_dim=32_768)
    with pytest.raises(UsageError, match=r"parameters, at most 2,147,483,648"):
        random_state(config, 0)


def test_config_from_a_card():
    config = encoder_config({"num_layers": 2, "heads": [2, 4], "conv_layers": [[8, 10, 5]]})
    assert (config.heads, config.ffn, config.conv_layers) == ((2, 4), (3072, 3072), ((8, 10, 5),))


@torch.inference_mode()
def test_sinusoids_are_added_to_the_input_of_the_layers():
    config = replace(TINY, layer_norm_first=True)
    state, x = random_state(config, 0), torch.randn(2, 9, 48)
    without = build(config, state).transform(x, None)[0]
    located = build(replace(config, sinusoidal_positions=True), state).transform(x, None)[0]
    assert torch.allclose(located - without, sinusoids(9, 48).expand(2, 9, 48), atol=1e-6)


@pytest.mark.seconds
@torch.inference_mode()
def test_compiled_layers_take_new_lengths_without_a_new_graph():
    config, counter = replace(TINY, heads=(3,), ffn=(64,)), CompileCounter()
    encoder = build(config, random_state(config, 0)).freeze()
    compiled = torch.compile(encoder.transform, dynamic=True, backend=counter)
    graphs = []
    for longest in (30, 41, 52, 63):
        x, frames = torch.randn(2, longest, 48), torch.tensor([longest, longest - 3])
        x[1, longest - 3 :] = 0.0
        for state, expected in zip(compiled(x, frames), encoder.transform(x, frames), strict=True):
            assert float((state - expected).abs().max()) <= 1e-5 * float(expected.abs().max())
        graphs.append(counter.frame_count)
    assert graphs[0] > 0 and graphs[-1] == graphs[1]
