"""ONNX files as people have them: states, weights and products are those of the torch model."""

import numpy as np
import onnx
import pytest
import torch
from models import TwoStates, save_onnx
from onnx import TensorProto, helper
from references import alone, noise, relative_error
from torch import nn

from bench.errors import InvalidDataError, UsageError
from bench.load.loader import load_upstream
from bench.measure.check import check
from bench.measure.cost import num_params
from bench.measure.macs import count


class Frames(nn.Module):
    """A state every 20 ms without overlap; it divides a second."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.conv = nn.Conv1d(1, 16, 320, 320)
        self.eval()

    def forward(self, wavs, mask=None, lengths=None):
        states = self.conv(wavs.reshape(1, 1, -1)).transpose(1, 2)
        if mask is not None:
            states = states * mask.to(states.dtype).mean()
        if lengths is not None:
            states = states * (lengths / wavs.shape[-1]).to(states.dtype)
        return states


def export(path, model, inputs, names, dynamic=True, dtype=torch.float32):
    axes = {name: {x.dim() - 1: "S"} for name, x in zip(names, inputs, strict=True) if x.dim() > 1}
    torch.onnx.export(
        model.to(dtype),
        tuple(inputs),
        path,
        input_names=names,
        output_names=["states"],
        dynamic_axes=axes | {"states": {1: "T"}} if dynamic else None,
        dynamo=False,
    )
    return load_upstream(f"onnx:{path}").upstream


def same(upstream, expected, wav, relative=1e-5):
    actual = alone(upstream, wav).states
    assert len(actual) == len(expected)
    return all(relative_error(a, b) <= relative for a, b in zip(actual, expected, strict=True))


@pytest.mark.parametrize("shape", [(16_000,), (1, 16_000), (1, 1, 16_000)])
def test_waveforms_of_any_rank(tmp_path, shape):
    inputs, model = [torch.zeros(shape)], Frames()
    if len(shape) == 1:
        axes = {"wav": {0: "S"}, "states": {1: "T"}}
        torch.onnx.export(
            model, tuple(inputs), tmp_path / "m.onnx", input_names=["wav"],
            output_names=["states"], dynamic_axes=axes, dynamo=False,
        )  # fmt: skip
        upstream = load_upstream(f"onnx:{tmp_path}/m.onnx").upstream
    else:
        upstream = export(tmp_path / "m.onnx", model, inputs, ["wav"])
    with torch.no_grad():
        assert same(upstream, [model(noise(9_001))], noise(9_001))


def test_float16_inputs(tmp_path):
    path = tmp_path / "m.onnx"
    upstream = export(path, Frames(), [torch.zeros(1, 16_000).half()], ["wav"], dtype=torch.float16)
    with torch.no_grad():
        assert same(upstream, [Frames()(noise(9_001))], noise(9_001), relative=2e-3)
    assert num_params(upstream) == 16 * 320 + 16


def test_a_mask_and_a_length_are_fed(tmp_path):
    inputs = [torch.zeros(1, 16_000), torch.ones(1, 16_000).long(), torch.tensor([16_000])]
    names = ["input_values", "attention_mask", "length"]
    upstream = export(tmp_path / "m.onnx", Frames(), inputs, names)
    with torch.no_grad():
        assert same(upstream, [Frames()(noise(9_001))], noise(9_001))


def test_a_fixed_length_is_a_window(tmp_path):
    upstream = export(
        tmp_path / "m.onnx", Frames(), [torch.zeros(1, 16_000)], ["wav"], dynamic=False
    )
    wav = noise(24_321)
    with torch.no_grad():
        whole = Frames()(torch.nn.functional.pad(wav, (0, 7_679)))[:, :77]
    assert same(upstream, [whole], wav)
    assert count(upstream, 24_321).plain == 2 * 50 * 16 * 320
    assert [item.name for item in check(upstream) if not item.ok] == []


def test_a_fixed_length_that_frames_do_not_divide_is_said(tmp_path):
    model = nn.Sequential(nn.Unflatten(1, (1, -1)), nn.Conv1d(1, 16, 400, 320))
    with pytest.raises(InvalidDataError, match=r"exactly 16000 samples.*dynamic axis for time"):
        export(
            tmp_path / "m.onnx", Transposed(model), [torch.zeros(1, 16_000)], ["wav"], dynamic=False
        )


class Transposed(nn.Sequential):
    def forward(self, wavs):
        return super().forward(wavs).transpose(1, 2)


def quantised(path, target):
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    quantizer = MatMulNBitsQuantizer(onnx.load(path), block_size=16, is_symmetric=True)
    quantizer.process()
    quantizer.model.save_model_to_file(str(target))


def optimised(path, target):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(target)
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def int8(path, target):
    from onnxruntime.quantization import quantize_dynamic

    quantize_dynamic(path, target)


class Attended(nn.Module):
    """Frames, attention of two heads written out, and a scaled product that onnxruntime fuses."""

    def __init__(self):
        super().__init__()
        self.frames = Frames()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            self.joint, self.out = nn.Linear(16, 48), nn.Linear(16, 16)
        self.norm = nn.LayerNorm(16)
        self.eval()

    def forward(self, wavs):
        x = self.frames(wavs)
        query, key, value = self.joint(x).unflatten(-1, (3, 2, 8)).permute(2, 0, 3, 1, 4)
        weights = (query @ key.transpose(-1, -2) * 8**-0.5).softmax(-1)
        heard = (weights @ value).transpose(1, 2).flatten(2)
        return self.norm(x + nn.functional.gelu(self.out(heard)))


PRODUCTS = 50 * (16 * 320 + 16 * 48 + 16 * 16) + 2 * 50 * 50 * 16  # of a second


@pytest.fixture(scope="module")
def attended(tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "m.onnx"
    export(path, Attended(), [torch.zeros(1, 16_000)], ["wav"])
    return path


@pytest.mark.parametrize(
    ("convert", "relative"), [(None, 1e-5), (optimised, 1e-5), (quantised, 0.2), (int8, 0.2)]
)
def test_files_of_onnxruntimes_tools(tmp_path, attended, convert, relative):
    path = attended
    if convert is not None:
        convert(attended, path := tmp_path / "converted.onnx")
    upstream = load_upstream(f"onnx:{path}").upstream
    with torch.no_grad():
        assert same(upstream, [Attended()(noise(9_001)[None])], noise(9_001), relative)
    assert num_params(upstream) == sum(p.numel() for p in Attended().parameters())
    counted = count(upstream, 16_000)
    assert (counted.plain, counted.uncounted) == (PRODUCTS, ())


def graph_of(path, nodes, weights, opset=23):
    """A file of frames of 160 samples (1, 100 a second, 160), then some nodes."""
    frames = helper.make_node("Reshape", ["wav", "shape"], ["x"])
    shape = helper.make_tensor("shape", TensorProto.INT64, [3], [1, -1, 160])
    tensors = [onnx.numpy_helper.from_array(w, name) for name, w in weights.items()]
    graph = helper.make_graph(
        [frames, *nodes],
        "g",
        [helper.make_tensor_value_info("wav", TensorProto.FLOAT, [1, "S"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, None, None])],
        [shape, *tensors],
    )
    imports = [helper.make_opsetid("", opset)]
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=10), path)


def test_products_of_einsum_and_attention(tmp_path):
    weight = np.random.default_rng(0).standard_normal((160, 32)).astype(np.float32)
    nodes = [
        helper.make_node("Einsum", ["x", "w"], ["h"], equation="btd,de->bte"),
        helper.make_node("Attention", ["h", "h", "h"], ["y"], q_num_heads=4, kv_num_heads=4),
    ]
    graph_of(tmp_path / "e.onnx", nodes, {"w": weight})
    graph = load_upstream_of_blocks(tmp_path / "e.onnx")
    feed = {"wav": np.zeros((1, 16_000), dtype=np.float32)}
    assert graph.count_macs(feed) == 100 * 160 * 32 + 2 * 100 * 100 * 32
    assert graph.num_parameters() == 160 * 32 and graph.uncounted_operations() == ()


def load_upstream_of_blocks(path):
    """Its frames are cut, not hopped, so an odd length fails: the graph alone is read."""
    from upstreams.onnx.graph import OnnxGraph

    return OnnxGraph(path)


def test_a_table_of_sines_is_no_weight(tmp_path):
    """What a Conformer has: a table cut to the length of the sound, then multiplied."""
    table = np.random.default_rng(0).standard_normal((1, 9_999, 160)).astype(np.float32)
    bias = np.ones(160, dtype=np.float32)
    nodes = [
        helper.make_node("Shape", ["x"], ["n"], start=1, end=2),
        helper.make_node("Slice", ["table", "zero", "n", "one"], ["rows"]),
        helper.make_node("MatMul", ["rows", "w"], ["p"]),
        helper.make_node("Add", ["p", "bias"], ["q"]),
        helper.make_node("Add", ["x", "q"], ["y"]),
    ]
    integers = {"zero": np.array([0]), "one": np.array([1])}
    weights = {"table": table, "w": np.eye(160, dtype=np.float32), "bias": bias} | integers
    graph_of(tmp_path / "t.onnx", nodes, weights)
    assert load_upstream_of_blocks(tmp_path / "t.onnx").num_parameters() == 160 * 160 + 160


def test_any_tensor_inside_can_be_named_as_a_state(tmp_path, attended):
    card = tmp_path / "inner.yaml"
    inner = next(n.output[0] for n in onnx.load(attended).graph.node if n.op_type == "Transpose")
    text = "name: inner\ntitle: T\nfamily: other\nsource: onnx:{}\nconfig: {{outputs: ['{}']}}\n"
    card.write_text(text.format(attended, inner))
    from bench.session import Session

    upstream = load_upstream("inner", Session(cards=(card,))).upstream
    with torch.no_grad():
        assert same(upstream, [Frames()(noise(9_001))], noise(9_001))
    card.write_text(text.format(attended, inner + "x"))
    with pytest.raises(UsageError, match=f"no output .*did you mean '{inner}'"):
        load_upstream("inner", Session(cards=(card,)))


def test_taps_of_files(tmp_path):
    save_onnx(tmp_path / "two.onnx")
    loaded = load_upstream(f"onnx:{tmp_path}/two.onnx@tap=last")
    assert loaded.name.text().endswith("@tap=last")
    with torch.no_grad():
        expected = TwoStates()(noise(9_001)[None])
    assert same(loaded.upstream, expected[-1:], noise(9_001))
    assert count(loaded.upstream, 16_000).plain == 49 * (16 * 400 + 16 * 16)


class Mel(nn.Module):
    """Whisper's front: (B, 80, T) in, a state every two mel frames."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.conv = nn.Conv1d(80, 16, 3, 2, padding=1)
        self.eval()

    def forward(self, mel):
        return self.conv(mel).transpose(1, 2)


@pytest.mark.parametrize("is_named", [True, False])
def test_features_of_a_named_extractor(tmp_path, is_named):
    from bench.sound.torchaudio_guard import import_torchaudio

    import_torchaudio()
    import transformers

    path, extract = tmp_path / "mel.onnx", transformers.WhisperFeatureExtractor(chunk_length=1)
    torch.onnx.export(
        Mel(), (torch.zeros(1, 80, 100),), path, input_names=["input_features"],
        output_names=["states"], dynamo=False,
    )  # fmt: skip
    with pytest.raises(UsageError, match=r"takes features.*@features=whisper"):
        load_upstream(f"onnx:{path}")
    if not is_named:
        extract.save_pretrained(tmp_path)
    loaded = load_upstream(f"onnx:{path}{'@features=whisper' if is_named else ''}")
    wav = noise(24_321)
    rows = [
        Mel()(extract(part.numpy(), sampling_rate=16_000, return_tensors="pt").input_features)
        for part in wav.split(16_000)
    ]
    with torch.no_grad():
        assert same(loaded.upstream, [torch.cat(rows, dim=1)[:, :77]], wav)
    assert count(loaded.upstream, 24_321).plain == 2 * 50 * 16 * 80 * 3
    if not is_named:
        (tmp_path / "preprocessor_config.json").write_text(
            (tmp_path / "preprocessor_config.json").read_text() + "\n"
        )
        assert load_upstream(f"onnx:{path}").digest != loaded.digest


def test_the_normalisation_beside_a_file_is_used(tmp_path):
    import json

    save_onnx(tmp_path / "two.onnx")
    plain = load_upstream(f"onnx:{tmp_path}/two.onnx")
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"do_normalize": True}))
    loaded = load_upstream(f"onnx:{tmp_path}/two.onnx")
    wav = noise(9_001)
    with torch.no_grad():
        expected = TwoStates()(torch.nn.functional.layer_norm(wav, wav.shape)[None])
    assert same(loaded.upstream, expected, wav) and loaded.digest != plain.digest
