"""WavLM: relative positions and gates, in every layout it is published in."""

from dataclasses import replace

import pytest
import torch
from references import alone, disturb, noise, relative_error, transformers_model

from bench.errors import InvalidDataError, UsageError
from bench.sound.torchaudio_guard import import_torchaudio
from upstreams.encoder.config import EncoderConfig, encoder_config
from upstreams.encoder.encoder import Encoder
from upstreams.encoder.positions import RelativePositions, position_buckets
from upstreams.encoder.state import build, num_parameters, random_state
from upstreams.formats.layout import import_encoder

BASE = EncoderConfig(relative_buckets=320)
LARGE = EncoderConfig(
    relative_buckets=320,
    extractor_mode="layer_norm",
    layer_norm_first=True,
    embed_dim=1024,
    heads=(16,) * 24,
    ffn=(4096,) * 24,
    mask_embedding=1024,
    normalize_wav=True,
)
TINY = EncoderConfig(
    conv_layers=((32, 10, 5), (32, 3, 2), (24, 2, 2)),
    embed_dim=48,
    pos_conv_kernel=8,
    pos_conv_groups=4,
    heads=(3, 3, 3),
    head_dim=16,
    ffn=(64, 64, 64),
    relative_buckets=32,
    relative_distance=40,
    mask_embedding=48,
)
TINY_LARGE = replace(TINY, extractor_mode="layer_norm", layer_norm_first=True)
SIZES = (100, 1_234, 5_001)  # 4, 61 and 249 frames: within and far beyond relative_distance


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Two threads that wait for each other on a busy machine take many times as long as one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def worst(encoder, reference, sizes=SIZES):
    """The largest relative error of any state; `reference` gives those of one waveform."""
    errors = []
    for size in sizes:
        wav = noise(size)
        with torch.no_grad():
            expected = reference(wav)
        actual = alone(encoder, wav).states
        assert len(actual) == len(expected)
        errors += [relative_error(*pair) for pair in zip(actual, expected, strict=True)]
    return max(errors)


def hugging_states(model):
    def states(wav):
        out = model(wav[None], output_hidden_states=True)
        return (*out.hidden_states[:-1], out.last_hidden_state)

    return states


@pytest.mark.parametrize("config", [TINY, TINY_LARGE], ids=["base", "large"])
def test_equals_transformers_in_every_state(config):
    model = transformers_model(config, "WavLM")
    encoder = build(*import_encoder(model.state_dict(), config))
    assert worst(encoder, hugging_states(model)) <= 1e-5
    ours = sum(parameter.numel() for parameter in encoder.parameters())
    assert ours == sum(parameter.numel() for parameter in model.parameters())


def test_base_equals_transformers_and_has_its_size():
    model = transformers_model(BASE, "WavLM")
    encoder = build(*import_encoder(model.state_dict(), BASE))
    assert sum(parameter.numel() for parameter in model.parameters()) == 94_381_936
    assert sum(parameter.numel() for parameter in encoder.parameters()) == 94_381_936
    assert worst(encoder, hugging_states(model), (400, 9_001)) <= 1e-5


def microsoft(config):
    """Microsoft's model as s3prl carries it, and its file's content."""
    pytest.importorskip("s3prl")
    import_torchaudio()
    from s3prl.upstream.wavlm.WavLM import WavLM, WavLMConfig

    cfg = {
        "extractor_mode": {"group_norm": "default"}.get(config.extractor_mode, "layer_norm"),
        "encoder_layers": config.num_layers,
        "encoder_embed_dim": config.embed_dim,
        "encoder_ffn_embed_dim": config.ffn[0],
        "encoder_attention_heads": config.heads[0],
        "conv_feature_layers": str(list(config.conv_layers)),
        "conv_pos": config.pos_conv_kernel,
        "conv_pos_groups": config.pos_conv_groups,
        "layer_norm_first": config.layer_norm_first,
        "normalize": config.normalize_wav,
        "relative_position_embedding": True,
        "num_buckets": config.relative_buckets,
        "max_distance": config.relative_distance,
        "gru_rel_pos": True,
    }
    torch.manual_seed(0)
    model = disturb(WavLM(WavLMConfig(cfg)).eval())
    return {"cfg": cfg, "model": model.state_dict()}


@pytest.mark.parametrize(
    "config", [TINY, replace(TINY_LARGE, normalize_wav=True)], ids=["base", "large"]
)
def test_equals_microsofts_in_s3prl(config, tmp_path):
    data = microsoft(config)
    torch.save(data, tmp_path / "wavlm.pt")
    from s3prl.upstream.wavlm.expert import UpstreamExpert

    expert = UpstreamExpert(str(tmp_path / "wavlm.pt")).eval()
    encoder = build(*import_encoder(data, config))
    assert worst(encoder, lambda wav: expert([wav])["hidden_states"]) <= 1e-5


@pytest.mark.parametrize("config", [TINY, TINY_LARGE], ids=["base", "large"])
def test_equals_torchaudios(config):
    models = import_torchaudio("models")
    torch.manual_seed(0)
    model = models.wavlm_model(
        extractor_mode=config.extractor_mode,
        extractor_conv_layer_config=list(config.conv_layers),
        extractor_conv_bias=False,
        encoder_embed_dim=config.embed_dim,
        encoder_projection_dropout=0.0,
        encoder_pos_conv_kernel=config.pos_conv_kernel,
        encoder_pos_conv_groups=config.pos_conv_groups,
        encoder_num_layers=config.num_layers,
        encoder_num_heads=config.heads[0],
        encoder_num_buckets=config.relative_buckets,
        encoder_max_distance=config.relative_distance,
        encoder_attention_dropout=0.0,
        encoder_ff_interm_features=config.ffn[0],
        encoder_ff_interm_dropout=0.0,
        encoder_dropout=0.0,
        encoder_layer_norm_first=config.layer_norm_first,
        encoder_layer_drop=0.0,
        aux_num_out=None,
    )
    disturb(model.eval())
    actual, state, _ = import_encoder(model.state_dict(), config)
    assert actual == replace(config, mask_embedding=0)
    encoder = build(actual, state)
    ours = sum(parameter.numel() for parameter in encoder.parameters())
    assert ours == sum(parameter.numel() for parameter in model.parameters())
    for size in SIZES:
        wav = noise(size)
        with torch.no_grad():
            expected, _ = model.extract_features(wav[None])
        # torchaudio leaves out the first layer's input, and the final norm of the large models.
        pairs = list(zip(alone(encoder, wav).states[1:], expected, strict=True))
        for ours, theirs in pairs[:-1] if config.layer_norm_first else pairs:
            assert relative_error(ours, theirs) <= 1e-5


def test_published_sizes():
    """torchaudio's are without mask embedding: 94,381,168 and 315,452,096."""
    assert num_parameters(BASE) == 94_381_168 + 768
    assert num_parameters(LARGE) == 315_452_096 + 1_024
    with torch.device("meta"):
        module = Encoder(LARGE)
    assert sum(parameter.numel() for parameter in module.parameters()) == num_parameters(LARGE)


@pytest.mark.parametrize("config", [TINY, TINY_LARGE], ids=["base", "large"])
def test_padding_changes_nothing(config):
    encoder = build(config, random_state(config, 1))
    sizes = [5_001, 1_234, 3_000]
    wavs = torch.nn.utils.rnn.pad_sequence([noise(size) for size in sizes], batch_first=True)
    with torch.no_grad():
        states, frames = encoder(wavs, torch.tensor(sizes))
    for row, size in enumerate(sizes):
        for together, apart in zip(states, alone(encoder, noise(size)).states, strict=True):
            difference = (together[row, : frames[row]] - apart[0]).abs().max()
            assert float(difference) <= 1e-4 * max(1.0, float(apart.abs().max()))


def test_buckets_by_hand():
    """32 buckets: 16 a side, 8 exact, then logarithmic to 40 frames; keys behind from 16 on."""
    actual = position_buckets(100, 32, 40, torch.device("cpu")).tolist()
    assert actual[99] == 0 and actual[98] == 1 and actual[100] == 17
    assert actual[99 - 7] == 7 and actual[99 - 8] == 8 and actual[99 + 7] == 23
    # 8 + floor(8 log(d / 8) / log 5): 9 from d = 10 on, the last bucket from 33 on
    assert [actual[99 - d] for d in (9, 10, 12, 32, 33, 40, 99)] == [8, 9, 10, 14, 15, 15, 15]
    positions = RelativePositions(32, 2, 40)
    torch.nn.init.normal_(positions.table)
    bias = positions(5)
    assert bias.shape == (2, 5, 5)
    assert torch.equal(bias[:, 1, 4], positions.table[16 + 3])
    assert torch.equal(bias[:, 4, 1], positions.table[3])


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"relative_buckets": 30}, "multiple of 4"),
        ({"relative_buckets": 320, "relative_distance": 80}, "distance beyond a quarter"),
        ({"relative_buckets": 320, "head_dim": 60}, "whole heads"),
        ({"relative_buckets": 320, "heads": 10, "head_dim": 64}, "layer 0 has 10 of 12 heads"),
    ],
)
def test_positions_that_do_not_fit(section, words):
    with pytest.raises(UsageError, match=words):
        encoder_config(section)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("layer_norm_first", True, "layer_norm_first True, the card False"),
        ("normalize", True, "normalize_wav True, the card False"),
        ("encoder_attention_heads", 6, "heads 6, the card 3"),
        ("encoder_layers", 10**9, "num_layers 1000000000, the card 3"),
        ("max_distance", 800, "relative_distance 800, the card 40"),
        ("encoder_attention_heads", [3] * 99, "heads .*, the card 3"),
    ],
)
def test_what_a_file_says_of_itself_counts(key, value, words):
    data = microsoft(TINY)
    data["cfg"][key] = value
    with pytest.raises(InvalidDataError, match=words) as caught:
        import_encoder(data, TINY)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("frames", [1, 2, 7, 301])
def test_relative_positions_by_their_definition(frames):
    positions = RelativePositions(32, 3, 40)
    torch.nn.init.normal_(positions.table)
    buckets = position_buckets(frames, 32, 40, torch.device("cpu"))
    bias = positions(frames)
    for query in {0, frames // 2, frames - 1}:
        for key in {0, frames // 3, frames - 1}:
            expected = positions.table[buckets[key - query + frames - 1]]
            assert torch.equal(bias[:, query, key], expected)
