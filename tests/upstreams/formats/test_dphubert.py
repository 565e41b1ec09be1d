"""DPHuBERT and DPWavLM: the format of the authors' file against arithmetic and torchaudio."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from dphubert_file import COMMON, CONV, HEAD_DIM, HUBERT, LAYERS, WAVLM, published
from references import alone, disturb, noise, relative_error

from bench.api import UpstreamSource
from bench.sound.torchaudio_guard import import_torchaudio
from upstreams.encoder.config import EncoderConfig
from upstreams.encoder.state import build, num_parameters, random_state
from upstreams.formats.layouts.torchaudio import torchaudio_names
from upstreams.importers.dphubert import import_pruned, load

CONFIGS = pytest.mark.parametrize("config", [HUBERT, WAVLM], ids=["hubert", "wavlm"])


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Two threads that wait for each other on a busy machine take many times as long as one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def bucket(offset, buckets=32, distance=40):
    """T5's bucket of a relative position (key - query), one number at a time."""
    half = buckets // 2
    start = half if offset > 0 else 0
    away, exact = abs(offset), half // 2
    if away < exact:
        return start + away
    far = math.log(away / exact) / math.log(distance / exact) * (half - exact)
    return start + min(half - 1, exact + int(far))


def gated_bias(x, tensors, layer, heads):
    """WavLM's formulas 2 to 4, head by head: (heads, T, T) from the layer's input (T, D)."""
    table = tensors["encoder.transformer.layers.0.attention.rel_attn_embed.weight"]
    weight = tensors[f"{layer}.attention.gru_rel_pos_linear.weight"]
    bias = tensors[f"{layer}.attention.gru_rel_pos_linear.bias"]
    constant = tensors[f"{layer}.attention.gru_rel_pos_const"].flatten()
    frames = len(x)
    index = torch.tensor([[bucket(j - i) for j in range(frames)] for i in range(frames)])
    actual = []
    for head in heads:
        query = x[:, head * HEAD_DIM : (head + 1) * HEAD_DIM]
        sums = F.linear(query, weight, bias)
        update, reset = sums[:, :4].sum(1).sigmoid(), sums[:, 4:].sum(1).sigmoid()
        gate = update * (reset * constant[head] - 1) + 2
        actual.append(gate[:, None] * table[index, head])
    return torch.stack(actual)


def attend(x, tensors, layer, config):
    """Attention over (T, D), written out."""
    linear = {
        name: (
            tensors[f"{layer}.attention.{name}.weight"],
            tensors[f"{layer}.attention.{name}.bias"],
        )
        for name in ("q_proj", "k_proj", "v_proj", "out_proj")
    }
    query, key, value = (
        F.linear(x, *linear[f"{name}_proj"]).view(len(x), -1, HEAD_DIM).transpose(0, 1)
        for name in "qkv"
    )
    scores = query @ key.transpose(1, 2) / math.sqrt(HEAD_DIM)
    if "encoder_remaining_heads" in config:
        index = int(layer.rpartition(".")[2])
        scores = scores + gated_bias(x, tensors, layer, config["encoder_remaining_heads"][index])
    mixed = (scores.softmax(-1) @ value).transpose(0, 1).reshape(len(x), -1)
    return F.linear(mixed, *linear["out_proj"])


def reference(wav, tensors, config):
    """The hidden states of one waveform from the published tensors, by the paper's arithmetic."""
    x = wav[None, None]
    for index, (channels, _, stride) in enumerate(CONV):
        name = f"feature_extractor.conv_layers.{index}"
        x = F.conv1d(x, tensors[f"{name}.conv.weight"], stride=stride)
        if index == 0:
            weight, bias = (tensors[f"{name}.layer_norm.{kind}"] for kind in ("weight", "bias"))
            x = F.group_norm(x, channels, weight, bias)
        x = F.gelu(x)
    x = x[0].t() * tensors["feature_extractor.dummy_weight"]

    def norm(x, name):
        return F.layer_norm(x, x.shape[-1:], tensors[f"{name}.weight"], tensors[f"{name}.bias"])

    def linear(x, name):
        return F.linear(x, tensors[f"{name}.weight"], tensors[f"{name}.bias"])

    x = linear(
        norm(x, "encoder.feature_projection.layer_norm"), "encoder.feature_projection.projection"
    )
    states = [x]
    conv = "encoder.transformer.pos_conv_embed.conv"
    direction, gain = tensors[f"{conv}.weight_v"], tensors[f"{conv}.weight_g"]
    weight = gain * direction / direction.square().sum((0, 1), keepdim=True).sqrt()
    position = F.conv1d(x.t()[None], weight, tensors[f"{conv}.bias"], padding=4, groups=4)
    x = x + F.gelu(position[0, :, :-1]).t()
    x = norm(x, "encoder.transformer.layer_norm")
    for index in range(LAYERS):
        layer = f"encoder.transformer.layers.{index}"
        if config["encoder_use_attention"][index]:
            x = x + attend(x, tensors, layer, config)
        x = norm(x, f"{layer}.layer_norm")
        if config["encoder_use_feed_forward"][index]:
            inner = F.gelu(linear(x, f"{layer}.feed_forward.intermediate_dense"))
            x = x + linear(inner, f"{layer}.feed_forward.output_dense")
        x = norm(x, f"{layer}.final_layer_norm")
        states.append(x)
    return states


@CONFIGS
def test_equals_the_arithmetic_of_the_paper(config, tmp_path):
    data = published(config)
    torch.save(data, tmp_path / "pruned.pth")
    encoder = load(UpstreamSource({}, checkpoint=tmp_path / "pruned.pth"))
    ours = sum(parameter.numel() for parameter in encoder.parameters())
    assert ours == sum(tensor.numel() for tensor in data["state_dict"].values())
    for size in (150, 1_234, 2_500):
        wav = noise(size)
        actual = alone(encoder, wav).states
        expected = reference(wav, data["state_dict"], config)
        assert len(actual) == len(expected) == LAYERS + 1
        for state, other in zip(actual, expected, strict=True):
            assert relative_error(state[0], other) <= 1e-5


def test_the_states_that_a_tap_asks_for(tmp_path):
    torch.save(published(HUBERT), tmp_path / "pruned.pth")
    wav, actual = noise(1_234), {}
    for tap in ("hidden_states", "layers", "last"):
        source = UpstreamSource({}, checkpoint=tmp_path / "pruned.pth", tap=tap)
        encoder = load(source)
        actual[tap] = alone(encoder, wav).states
        assert encoder.tap == tap and encoder.num_layers == len(actual[tap])
    assert [len(states) for states in actual.values()] == [LAYERS + 1, LAYERS, 1]
    assert torch.equal(actual["layers"][0], actual["hidden_states"][1])
    assert torch.equal(actual["last"][0], actual["hidden_states"][-1])


@CONFIGS
def test_padding_changes_nothing(config):
    encoder = build(*import_pruned(published(config)))
    sizes = [2_500, 1_234]
    wavs = torch.nn.utils.rnn.pad_sequence([noise(size) for size in sizes], batch_first=True)
    with torch.no_grad():
        states, frames = encoder(wavs, torch.tensor(sizes))
    for row, size in enumerate(sizes):
        for together, apart in zip(states, alone(encoder, noise(size)).states, strict=True):
            difference = (together[row, : frames[row]] - apart[0]).abs().max()
            assert float(difference) <= 1e-4 * max(1.0, float(apart.abs().max()))


def test_heads_and_units_pruned_equal_torchaudios_silenced():
    """A head whose output and a unit whose result are zeroed is as good as none."""
    models = import_torchaudio("models")
    torch.manual_seed(0)
    arguments = {key: COMMON[key] for key in COMMON if "prune" not in key and "_use_" not in key}
    arguments |= {"encoder_num_heads": 4, "encoder_ff_interm_features": 64}
    del arguments["normalize_waveform"]
    dense = disturb(models.wav2vec2_model(**arguments).eval())
    heads, units = [[0, 2, 3], [1], [0, 1, 2, 3], [0, 3]], [31, 9, 64, 7]
    with torch.no_grad():
        for index, layer in enumerate(dense.encoder.transformer.layers):
            for head in set(range(4)) - set(heads[index]):
                layer.attention.out_proj.weight[:, head * HEAD_DIM : (head + 1) * HEAD_DIM] = 0
            layer.feed_forward.output_dense.weight[:, units[index] :] = 0
    tensors = dict(dense.state_dict()) | {"feature_extractor.dummy_weight": torch.ones(9)}
    for index in range(LAYERS):
        layer = f"encoder.transformer.layers.{index}"
        rows = [head * HEAD_DIM + i for head in heads[index] for i in range(HEAD_DIM)]
        for name in ("q_proj", "k_proj", "v_proj"):
            for kind in ("weight", "bias"):
                key = f"{layer}.attention.{name}.{kind}"
                tensors[key] = tensors[key][rows]
        cut = {
            f"{layer}.attention.out_proj.weight": (slice(None), rows),
            f"{layer}.feed_forward.intermediate_dense.weight": slice(units[index]),
            f"{layer}.feed_forward.intermediate_dense.bias": slice(units[index]),
            f"{layer}.feed_forward.output_dense.weight": (slice(None), slice(units[index])),
        }
        tensors |= {key: tensors[key][part] for key, part in cut.items()}
    config = HUBERT | {
        "encoder_num_heads": [len(layer) for layer in heads],
        "encoder_ff_interm_features": units,
        "encoder_use_attention": [True] * LAYERS,
        "encoder_use_feed_forward": [True] * LAYERS,
    }
    encoder = build(*import_pruned({"config": config, "state_dict": tensors}))
    for size in (150, 2_500):
        wav = noise(size)
        with torch.no_grad():
            expected, _ = dense.extract_features(wav[None])
        for ours, theirs in zip(alone(encoder, wav).states[1:], expected, strict=True):
            assert relative_error(ours, theirs) <= 1e-5


def test_dense_model_in_this_format_has_the_size_the_authors_start_from():
    """94,370,944 of torchaudio's HuBERT Base and 512 dummy weights; WavLM 10,224 more."""
    base = EncoderConfig(mask_embedding=0, feature_scale=True)
    assert num_parameters(base) == 94_370_944 + 512
    assert num_parameters(replace(base, relative_buckets=320)) == 94_381_168 + 512


def test_gates_without_a_table_do_nothing():
    """The first layer owns the table: without its attention the others attend without bias."""
    config = WAVLM | {"encoder_use_attention": [False, True, False, True]}
    data = published(config)
    del data["state_dict"]["encoder.transformer.layers.0.attention.rel_attn_embed.weight"]
    encoder = build(*import_pruned(data))
    assert encoder.positions is None
    plain = {key: value for key, value in config.items() if key not in WAVLM.keys() - COMMON.keys()}
    plain |= {"encoder_num_heads": [0, 1, 0, 2], "encoder_head_dim": HEAD_DIM}
    wav = noise(1_234)
    expected = reference(wav, data["state_dict"], plain)
    for state, other in zip(alone(encoder, wav).states, expected, strict=True):
        assert relative_error(state[0], other) <= 1e-5


def test_every_name_is_the_files():
    """What our names map to is what the file has, name for name."""
    config, _ = import_pruned(published(WAVLM))
    names = torchaudio_names(config)
    assert set(names.values()) == published(WAVLM)["state_dict"].keys()
    assert random_state(config, 0).keys() == names.keys()
