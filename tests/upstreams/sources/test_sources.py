"""Models from anywhere: what comes out is what the model gives, and bad files are one line."""

import json
import sys

import pytest
import torch
from models import MACS_PER_FRAME, PARAMS, TwoStates, save_hubert, save_onnx
from torch import nn

from bench.api import UpstreamSource
from bench.errors import InvalidDataError, MissingError, UsageError
from bench.load.catalog import upstream_card
from bench.load.loader import load_request, load_upstream
from bench.measure.check import check
from bench.measure.cost import measure, num_params, stored_bytes
from bench.session import Session
from upstreams.importers.hubert import load


def noise(num_samples):
    return 0.1 * torch.randn(num_samples, generator=torch.Generator().manual_seed(num_samples))


def assert_same_states(upstream, expected, wav, relative=1e-5):
    with torch.no_grad():
        actual = upstream(wav[None], torch.tensor([len(wav)]))
    assert len(actual.states) == len(expected)
    for state, reference in zip(actual.states, expected, strict=True):
        assert state.shape == reference.shape
        assert float((state - reference).norm() / reference.norm()) <= relative


def assert_keeps_the_contract(loaded):
    results = check(loaded.upstream, loaded.card)
    assert all(item.ok for item in results), results


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    save_onnx(folder / "two.onnx")
    script = torch.jit.script(TwoStates())
    script.save(str(folder / "two.ts"))
    torch.jit.freeze(script).save(str(folder / "frozen.ts"))
    export(folder / "two.pt2", TwoStates(), {1: torch.export.Dim.AUTO})
    return folder


def export(path, model, dynamic=None):
    """Write an archive of torch.export, of any length or of one second."""
    wavs = torch.zeros(1, 16_000 if dynamic is None else 16_001)
    program = torch.export.export(model, (wavs,), dynamic_shapes=dynamic and (dynamic,))
    torch.export.save(program, path)


@pytest.mark.parametrize(
    ("name", "shortest"),
    [
        ("onnx:two.onnx", 400),
        ("torchscript:two.ts", 400),
        ("torchscript:frozen.ts", 400),
        ("pt2:two.pt2", 720),  # the range of lengths in the file: two frames
    ],
)
def test_files_of_other_frameworks(files, name, shortest, monkeypatch):
    monkeypatch.chdir(files)
    loaded = load_upstream(name, Session(allow_code=True))
    upstream = loaded.upstream
    assert loaded.provenance == "user" and len(loaded.checkpoint_sha256) == 64
    kind, stem = name.partition(".")[0].split(":")
    assert loaded.name.text() == f"{kind}:{stem}-{loaded.checkpoint_sha256[:8]}"
    assert (upstream.num_layers, upstream.hidden_size) == (2, 16)
    assert (upstream.stride, upstream.min_samples) == (320, shortest)
    for size in (shortest, 9_001):
        with torch.no_grad():
            assert_same_states(upstream, TwoStates()(noise(size)[None]), noise(size))
    cost = measure(upstream, 1.0)
    assert cost.params == num_params(upstream) == PARAMS
    assert cost.macs_per_second == 49 * MACS_PER_FRAME
    assert stored_bytes(upstream) >= 4 * PARAMS
    assert_keeps_the_contract(loaded)
    again = load_request(loaded.request)
    assert again.digest == loaded.digest and again.name == loaded.name


@pytest.mark.parametrize("name", ["torchscript:two.ts", "pt2:two.pt2"])
def test_an_archive_runs_only_with_consent(files, name, monkeypatch):
    monkeypatch.chdir(files)
    with pytest.raises(UsageError, match=r"would run code.*--allow-code"):
        load_upstream(name)


def test_an_exported_program_of_a_fixed_length_runs_in_windows(tmp_path):
    class Frames(nn.Conv1d):
        def forward(self, wavs):
            return super().forward(wavs[:, None]).transpose(1, 2)

    model = Frames(1, 16, 320, 320).eval()
    export(tmp_path / "m.pt2", model)
    loaded = load_upstream(f"pt2:{tmp_path}/m.pt2", Session(allow_code=True))
    with torch.no_grad():
        whole = model(nn.functional.pad(noise(24_321), (0, 7_679))[None])[:, :77]
    assert_same_states(loaded.upstream, [whole], noise(24_321))
    assert_keeps_the_contract(loaded)


@pytest.mark.parametrize(("do_normalize", "shard"), [(False, "1GB"), (True, "20KB")])
def test_a_transformers_folder_becomes_our_encoder(tmp_path, do_normalize, shard):
    model = save_hubert(tmp_path / "tiny", do_normalize=do_normalize, shard=shard)
    loaded = load_upstream(f"hf:{tmp_path}/tiny")
    assert type(loaded.upstream).__name__ == "Encoder" and loaded.provenance == "user"
    assert num_params(loaded.upstream) == sum(p.numel() for p in model.parameters())
    wav = noise(6_001)
    given = torch.nn.functional.layer_norm(wav, wav.shape) if do_normalize else wav
    with torch.no_grad():
        expected = model(given[None], output_hidden_states=True).hidden_states
    assert_same_states(loaded.upstream, expected, wav)


@pytest.mark.parametrize(("kind", "stable"), [("Wav2Vec2", False), ("WavLM", True)])
def test_a_transformers_model_of_either_order_of_norms(tmp_path, kind, stable):
    model = save_hubert(
        tmp_path / "w",
        kind,
        do_stable_layer_norm=stable,
        feat_extract_norm="layer" if stable else "group",
        conv_bias=stable,
    )
    with torch.no_grad():
        actual = model(noise(5_000)[None], output_hidden_states=True)
    # fairseq's and s3prl's last state is the normalised one; so is ours.
    expected = (*actual.hidden_states[:-1], actual.last_hidden_state)
    assert_same_states(load_upstream(f"hf:{tmp_path}/w").upstream, expected, noise(5_000))


def test_another_transformers_model_runs_as_it_is(tmp_path):
    model = save_hubert(tmp_path / "d", "Data2VecAudio", feat_extract_norm="layer")
    loaded = load_upstream(f"hf:{tmp_path}/d")
    with torch.no_grad():
        expected = model(noise(7_000)[None], output_hidden_states=True).hidden_states
    assert_same_states(loaded.upstream, expected, noise(7_000))
    assert_keeps_the_contract(loaded)
    assert measure(loaded.upstream, 1.0).macs_per_second > 49 * 2 * 4 * 32 * 32
    control = load_upstream(f"hf:{tmp_path}/d+untrained:1")
    assert control.provenance == "untrained" and control.digest != loaded.digest


def test_nothing_says_whether_to_normalise(tmp_path):
    save_hubert(tmp_path / "tiny", do_normalize=None)
    with pytest.raises(UsageError, match=r"no preprocessor_config.json.*normalize_wav"):
        load_upstream(f"hf:{tmp_path}/tiny")


@pytest.mark.parametrize("name", ["fbank", "mfcc"])
def test_an_expert_of_s3prl(name):
    loaded = load_upstream(f"s3prl:{name}")
    assert loaded.name.text() == f"s3prl:{name}" and loaded.provenance == "none"
    assert loaded.upstream.stride == 160
    assert_keeps_the_contract(loaded)


def test_an_expert_of_s3prl_with_weights(tmp_path):
    """The same DistilHuBERT through s3prl's expert and through our importer."""
    from bench.sound.torchaudio_guard import import_torchaudio

    import_torchaudio()
    from s3prl.upstream.distiller.model import DistillerConfig, DistillerModel

    config = {"encoder_embed_dim": 768, "encoder_layers": 2, "encoder_attention_heads": 12}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = DistillerModel(DistillerConfig(config | {"final_dim": 768, "n_tasks": 3}))
    settings = {"distiller": config | {"final_dim": 768, "n_tasks": 3}}
    path = tmp_path / "distil.ckpt"
    torch.save({"Config": settings, "Distiller": model.state_dict()}, path)
    theirs = load_upstream("s3prl:distiller", Session(weights=path))
    ours = load(UpstreamSource(upstream_card("distilhubert").config, checkpoint=path))
    assert theirs.name.text().startswith("s3prl:distiller-") and theirs.provenance == "user"
    wav = noise(8_000)
    with torch.no_grad():
        expected = ours(wav[None], torch.tensor([8_000])).states
        actual = theirs.upstream(wav[None], torch.tensor([8_000])).states
    for reference in expected:
        distances = [float((s - reference).norm() / reference.norm()) for s in actual]
        assert min(distances) <= 1e-5


def test_a_raw_file_of_fairseq_is_not_for_an_expert_and_says_its_way(tmp_path):
    path, state = tmp_path / "hubert.pt", torch.zeros(16)
    torch.save({"model": {"encoder.pos_conv.0.bias": state}, "args": None}, path)
    words = r"cannot be built.*the file has the layout .*upstreams.importers.hubert:load"
    with pytest.raises(InvalidDataError, match=words) as caught:
        load_upstream("s3prl:wav2vec2", Session(weights=path))
    assert "\n" not in str(caught.value)


def test_an_expert_that_ends_the_program_is_one_line(monkeypatch):
    from s3prl.upstream.baseline import hubconf

    monkeypatch.setattr(hubconf, "fbank", lambda: sys.exit("the expert's own line"))
    with pytest.raises(InvalidDataError, match=r"SystemExit: the expert's own line"):
        load_upstream("s3prl:fbank")


class Boom:
    def __reduce__(self):
        return eval, ("1 + 1",)


def test_an_expert_reads_data_only(tmp_path):
    path = tmp_path / "evil.ckpt"
    torch.save({"Config": Boom(), "Distiller": {}}, path)
    with pytest.raises(InvalidDataError, match=r"it would run 'builtins.eval'"):
        load_upstream("s3prl:distiller", Session(weights=path))


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("s3prl:fbnk", UsageError, "did you mean 'fbank'"),
        ("s3prl:distiller", MissingError, "--weights FILE"),
        ("onnx:none.onnx", MissingError, "found nothing"),
        ("onnx:.", MissingError, "found a folder"),
        ("hf:none", MissingError, "no such folder"),
        ("onnx:two.onnx+untrained", UsageError, "has its weights"),
        ("onnx:two.onn@int9", MissingError, "expected a file"),
        ("two.onnx", UsageError, "given as onnx:two.onnx"),
        ("./two.onnx", UsageError, "given as onnx:./two.onnx"),
        ("trainer/checkpoint-5", UsageError, "given as hf:trainer/checkpoint-5"),
        ("student.pt", UsageError, "weights need a card"),
        ("hf:trainer", InvalidDataError, "no config.json: .* such as hf:.*/checkpoint-5"),
    ],
)
def test_invalid_places_are_refused(files, monkeypatch, name, error, words):
    monkeypatch.chdir(files)
    (files / "trainer" / "checkpoint-5").mkdir(parents=True, exist_ok=True)
    (files / "trainer" / "checkpoint-5" / "config.json").touch()
    (files / "student.pt").touch()
    with pytest.raises(error, match=words):
        load_upstream(name)


def edit(path, **changes):
    data = json.loads(path.read_text()) | changes
    path.write_text(json.dumps(data))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_hidden_layers": 10**9}, "'num_hidden_layers' is 1000000000, at most"),
        ({"num_hidden_layers": 200}, r"asks for [\d,]+ parameters"),
        ({"hidden_size": 60_000}, r"asks for [\d,]+ parameters"),
        ({"hidden_size": 10**12}, "'hidden_size' is"),
        ({"hidden_size": "wide"}, "ValueError"),
        ({"hidden_size": 33}, "do not divide"),
        ({"conv_dim": [24] * 20_000}, "'conv_dim' has 20000 items"),
        ({"conv_stride": None}, "TypeError"),
        ({"hidden_act": "nosuch"}, "transformers cannot load it"),
        ({"intermediate_size": 64}, "expected shape"),
        ({"num_hidden_layers": 3}, "missing tensors"),
        ({"num_hidden_layers": 1}, "unexpected tensors"),
        ({"model_type": "bert"}, "transformers cannot load it|only models of sound"),
        ({"model_type": "nosuch"}, "transformers cannot load it"),
        ({"model_type": "x", "auto_map": {"AutoModel": "evil.Model"}}, "transformers cannot load"),
    ],
)
def test_invalid_configurations_are_refused(tmp_path, changes, words):
    save_hubert(tmp_path / "tiny")
    edit(tmp_path / "tiny" / "config.json", **changes)
    (tmp_path / "tiny" / "evil.py").write_text("raise SystemExit('code of the folder ran')")
    with pytest.raises(InvalidDataError, match=words) as caught:
        load_upstream(f"hf:{tmp_path}/tiny")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("shard", "words"),
    [
        ("../outside.safetensors", "a path outside the folder"),
        ("/etc/passwd", "a path outside the folder"),
        ("missing.safetensors", "which does not exist"),
    ],
)
def test_an_index_that_leads_elsewhere(tmp_path, shard, words):
    save_hubert(tmp_path / "tiny", shard="20KB")
    (tmp_path / "outside.safetensors").write_bytes(b"x" * 100)
    index = tmp_path / "tiny" / "model.safetensors.index.json"
    names = json.loads(index.read_text())["weight_map"]
    edit(index, weight_map=dict.fromkeys(names, shard))
    with pytest.raises(InvalidDataError, match=words):
        load_upstream(f"hf:{tmp_path}/tiny")


def external(path):
    """An ONNX file whose weights lie outside its folder."""
    import onnx

    model = onnx.load(path)
    tensor = next(item for item in model.graph.initializer if len(item.dims) > 1)
    del tensor.external_data[:]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../secret.bin")
    tensor.ClearField("raw_data")
    path.write_bytes(model.SerializeToString())


def custom(path):
    """An ONNX file with an operator of somebody's library."""
    import onnx

    model = onnx.load(path)
    model.graph.node[0].domain = "com.evil"
    path.write_bytes(model.SerializeToString())


BROKEN = {
    "empty": (lambda path: path.write_bytes(b""), "not an ONNX file"),
    "garbage": (lambda path: path.write_bytes(b"\x93NUMPY" * 100), "not an ONNX file"),
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:-900]), "not an ONNX|refuses"),
    "outside": (external, "outside its folder"),
    "custom": (custom, "operators of com.evil: refused"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_onnx_files(tmp_path, files, name):
    path = tmp_path / "bad.onnx"
    path.write_bytes((files / "two.onnx").read_bytes())
    damage, words = BROKEN[name]
    damage(path)
    with pytest.raises(InvalidDataError, match=words) as caught:
        load_upstream(f"onnx:{path}")
    assert "\n" not in str(caught.value)


def test_an_onnx_file_of_something_else(tmp_path):
    class Embed(nn.Module):
        def forward(self, wavs):
            return wavs.mean(dim=1)

    save_onnx(tmp_path / "e.onnx", Embed(), outputs=["mean"])
    with pytest.raises(InvalidDataError, match=r"expected hidden states.*tensor \(1,\)"):
        load_upstream(f"onnx:{tmp_path}/e.onnx")


@pytest.mark.parametrize(
    ("kind", "words"),
    [("torchscript", "not a TorchScript archive"), ("pt2", "not an archive of torch.export")],
)
def test_a_broken_archive(tmp_path, kind, words):
    path = tmp_path / "bad"
    path.write_bytes(b"PK\x03\x04 nonsense")
    with pytest.raises(InvalidDataError, match=words):
        load_upstream(f"{kind}:{path}", Session(allow_code=True))


def test_an_exported_program_of_two_inputs_is_refused(tmp_path):
    class Two(nn.Module):
        def forward(self, wavs, other):
            return wavs[..., None] * other

    program = torch.export.export(Two(), (torch.zeros(1, 800), torch.ones(1)))
    torch.export.save(program, tmp_path / "m.pt2")
    with pytest.raises(InvalidDataError, match=r"expected one input of waveforms.*float32 \(1, 8"):
        load_upstream(f"pt2:{tmp_path}/m.pt2", Session(allow_code=True))
