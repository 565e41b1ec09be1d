"""DPHuBERT and DPWavLM: the format of the authors' file against arithmetic and torchaudio."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from references import alone, disturb, noise, relative_error

from bench.api import UpstreamSource
from bench.errors import InvalidDataError, MissingError, UsageError
from bench.torchaudio_guard import import_torchaudio
from upstreams.config import EncoderConfig
from upstreams.importers.dphubert import import_pruned, load
from upstreams.layouts.torchaudio import torchaudio_names
from upstreams.state import build, num_parameters, random_state

LAYERS, WIDTH, HEAD_DIM = 4, 48, 12
CONV = [(20, 10, 5), (13, 3, 2), (9, 2, 2)]
COMMON = {
    "extractor_mode": "group_norm",
    "extractor_conv_layer_config": CONV,
    "extractor_conv_bias": False,
    "encoder_embed_dim": WIDTH,
    "encoder_projection_dropout": 0.1,
    "encoder_pos_conv_kernel": 8,
    "encoder_pos_conv_groups": 4,
    "encoder_num_layers": LAYERS,
    "encoder_use_attention": [True, True, False, True],
    "encoder_use_feed_forward": [True, False, True, True],
    "encoder_attention_dropout": 0.1,
    "encoder_ff_interm_features": [31, 0, 64, 7],
    "encoder_ff_interm_dropout": 0.1,
    "encoder_dropout": 0.1,
    "encoder_layer_norm_first": False,
    "encoder_layer_drop": 0.05,
    "aux_num_out": None,
    "normalize_waveform": False,
    "extractor_prune_conv_channels": False,
    "encoder_prune_attention_heads": False,
    "encoder_prune_attention_layer": False,
    "encoder_prune_feed_forward_intermediate": False,
    "encoder_prune_feed_forward_layer": False,
}
HUBERT = COMMON | {"encoder_num_heads": [3, 1, 4, 2], "encoder_head_dim": HEAD_DIM}
WAVLM = COMMON | {
    "encoder_total_num_heads": [4] * LAYERS,
    "encoder_remaining_heads": [[0, 2, 3], [1], [], [0, 3]],
    "encoder_num_buckets": 32,
    "encoder_max_distance": 40,
}
CONFIGS = pytest.mark.parametrize("config", [HUBERT, WAVLM], ids=["hubert", "wavlm"])


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Two threads that wait for each other on a busy machine take many times as long as one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def published(config):
    """A file of this shape; its names and shapes written out, not asked of the importer."""
    generator = torch.Generator().manual_seed(0)
    shapes = {"feature_extractor.dummy_weight": (CONV[-1][0],)}
    inputs = 1
    for index, (channels, kernel, _) in enumerate(CONV):
        shapes[f"feature_extractor.conv_layers.{index}.conv.weight"] = (channels, inputs, kernel)
        inputs = channels
    norms = {"feature_extractor.conv_layers.0.layer_norm": CONV[0][0]}
    norms |= {"encoder.feature_projection.layer_norm": inputs}
    norms |= {"encoder.transformer.layer_norm": WIDTH}
    linears = {"encoder.feature_projection.projection": (WIDTH, inputs)}
    pos_conv = "encoder.transformer.pos_conv_embed.conv"
    shapes |= {f"{pos_conv}.weight_g": (1, 1, 8), f"{pos_conv}.weight_v": (WIDTH, WIDTH // 4, 8)}
    shapes[f"{pos_conv}.bias"] = (WIDTH,)
    wavlm = "encoder_remaining_heads" in config
    for index in range(LAYERS):
        layer = f"encoder.transformer.layers.{index}"
        if config["encoder_use_attention"][index]:
            heads = config["encoder_remaining_heads" if wavlm else "encoder_num_heads"][index]
            inner = HEAD_DIM * (len(heads) if wavlm else heads)
            linears |= {f"{layer}.attention.{name}_proj": (inner, WIDTH) for name in "qkv"}
            linears[f"{layer}.attention.out_proj"] = (WIDTH, inner)
            if wavlm:
                linears[f"{layer}.attention.gru_rel_pos_linear"] = (8, HEAD_DIM)
                shapes[f"{layer}.attention.gru_rel_pos_const"] = (1, 4, 1, 1)
        if config["encoder_use_feed_forward"][index]:
            inner = config["encoder_ff_interm_features"][index]
            linears[f"{layer}.feed_forward.intermediate_dense"] = (inner, WIDTH)
            linears[f"{layer}.feed_forward.output_dense"] = (WIDTH, inner)
        norms |= {f"{layer}.layer_norm": WIDTH, f"{layer}.final_layer_norm": WIDTH}
    if wavlm:
        shapes["encoder.transformer.layers.0.attention.rel_attn_embed.weight"] = (32, 4)
    for name, shape in linears.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    for name, width in norms.items():
        shapes |= {f"{name}.weight": (width,), f"{name}.bias": (width,)}
    tensors = {
        name: 0.3 * torch.randn(shape, generator=generator)
        + (1.0 if name.endswith(("norm.weight", "dummy_weight", "const")) else 0.0)
        for name, shape in shapes.items()
    }
    projections = {"0.weight": torch.ones(2, 2)}
    return {"state_dict": tensors, "config": config, "distill_linear_projs": projections}


def bucket(offset, buckets=32, distance=40):
    """T5's bucket of a relative position (key - query), one number at a time."""
    half = buckets // 2
    start = half if offset > 0 else 0
    away, exact = abs(offset), half // 2
    if away < exact:
        return start + away
    far = math.log(away / exact) / math.log(distance / exact) * (half - exact)
    return start + min(half - 1, exact + int(far))


def gated_bias(x, tensors, layer, kept):
    """WavLM's formulas 2 to 4, head by head: (heads, T, T) from the layer's input (T, D)."""
    table = tensors["encoder.transformer.layers.0.attention.rel_attn_embed.weight"]
    weight = tensors[f"{layer}.attention.gru_rel_pos_linear.weight"]
    bias = tensors[f"{layer}.attention.gru_rel_pos_linear.bias"]
    constant = tensors[f"{layer}.attention.gru_rel_pos_const"].flatten()
    frames = len(x)
    index = torch.tensor([[bucket(j - i) for j in range(frames)] for i in range(frames)])
    found = []
    for head in kept:
        query = x[:, head * HEAD_DIM : (head + 1) * HEAD_DIM]
        sums = F.linear(query, weight, bias)
        update, reset = sums[:, :4].sum(1).sigmoid(), sums[:, 4:].sum(1).sigmoid()
        gate = update * (reset * constant[head] - 1) + 2
        found.append(gate[:, None] * table[index, head])
    return torch.stack(found)


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
        found = alone(encoder, wav).states
        expected = reference(wav, data["state_dict"], config)
        assert len(found) == len(expected) == LAYERS + 1
        for state, other in zip(found, expected, strict=True):
            assert relative_error(state[0], other) <= 1e-5


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


def change(key, value):
    return lambda data: data["config"].__setitem__(key, value)


def tensor(name, value):
    return lambda data: data["state_dict"].__setitem__(name, value)


FC = "encoder.transformer.layers.0.feed_forward.intermediate_dense.weight"


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (change("encoder_num_layers", 10**9), "for each of 1000000000 layers, found 4 items"),
        (change("encoder_num_layers", "12"), "'encoder_num_layers' must be a whole number"),
        (change("encoder_embed_dim", 10**9), "'embed_dim' must be between 1 and"),
        (change("encoder_embed_dim", [48]), "'encoder_embed_dim' must be a whole number"),
        (change("encoder_ff_interm_features", [10**12] * 4), "'ffn' must be between 0 and"),
        (change("encoder_ff_interm_features", [-1] * 4), "'ffn' must be between 0 and"),
        (change("encoder_ff_interm_features", [1.5] * 4), "must list whole numbers"),
        (change("encoder_use_attention", [1] * 4), "must list true and false"),
        (change("encoder_use_attention", None), "must list one item for each of 4"),
        (change("extractor_mode", ["group_norm"]), "'extractor_mode' must hold"),
        (change("extractor_conv_layer_config", "x" * 99), "must list .channels, kernel, stride"),
        (change("extractor_conv_layer_config", [[512, 10, 10**9]]), "'conv_layers' must be"),
        (change("extractor_conv_layer_config", [["a", 1, 1]]), "must list .channels"),
        (change("encoder_remaining_heads", [[0, 0]] * 4), "'kept_heads' names"),
        (change("encoder_remaining_heads", [[9]] * 4), "'kept_heads' names"),
        (change("encoder_remaining_heads", [["a"]] * 4), "must list the indices"),
        (change("encoder_remaining_heads", [0] * 4), "must list the indices"),
        (change("encoder_total_num_heads", [4, 4, 4, 5]), "one number of heads for all layers"),
        (change("encoder_num_buckets", 10**9), "'relative_buckets' must be between"),
        (change("encoder_prune_attention_heads", True), "its gates are still to be pruned"),
        (change("surprise", 1), "has the unknown surprise"),
        (lambda data: data["config"].pop("encoder_embed_dim"), "lacks encoder_embed_dim"),
        (lambda data: data.__setitem__("config", [1]), "'config' must be a dict"),
        (lambda data: data.pop("config"), "a dict with 'config', 'state_dict'"),
        (lambda data: data.__setitem__("state_dict", 3), "mapping from names to tensors"),
        (lambda data: data["state_dict"].pop(FC), f"missing tensors: {FC}"),
        (tensor("surprise", torch.ones(1)), "unexpected tensors: surprise"),
        (tensor(FC, torch.ones(31, 47)), r"expected shape \(31, 48\), found \(31, 47\)"),
        (tensor(FC, torch.full((31, 48), torch.nan)), "holds NaN"),
        (tensor(FC, torch.ones(31, 48, dtype=torch.int32)), "found torch.int32"),
        (tensor(FC, torch.ones(31, 48, device="meta")), "meta"),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(damage, words):
    data = published(dict(WAVLM))
    damage(data)
    with pytest.raises(InvalidDataError, match=words) as caught:
        import_pruned(data)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_without_the_file_there_is_no_shape(tmp_path):
    with pytest.raises(MissingError, match="shape of a pruned model is in its file"):
        load(UpstreamSource({}))
    with pytest.raises(UsageError, match="none expected"):
        load(UpstreamSource({"heads": 1}))
    with pytest.raises(UsageError, match="no variants"):
        load(UpstreamSource({}, variant="min"))
    whole = tmp_path / "whole.pth"
    torch.save(published(HUBERT), whole)
    for part in (0.3, 0.9):
        path = tmp_path / "part.pth"
        path.write_bytes(whole.read_bytes()[: int(part * whole.stat().st_size)])
        with pytest.raises(InvalidDataError, match="truncated or corrupt"):
            load(UpstreamSource({}, checkpoint=path))
