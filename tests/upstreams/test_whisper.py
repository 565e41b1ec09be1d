"""Whisper's encoder: files of three kinds, states of transformers, silence after the sound."""

import struct

import numpy as np
import pytest
import torch
from references import alone, noise, relative_error

from bench.api import UpstreamSource
from bench.errors import InvalidDataError, MissingError, UsageError
from bench.load.loader import load_upstream
from bench.measure.check import check
from bench.measure.cost import measure, num_params
from bench.sound.torchaudio_guard import import_torchaudio
from upstreams.encoder.positions import sinusoids
from upstreams.formats.ctranslate2 import read_ctranslate2
from upstreams.importers.whisper import CTRANSLATE2, LAYOUTS
from upstreams.slaney import mel_filters
from upstreams.whisper import WhisperEncoder, load

SHAPE = {"width": 128, "num_layers": 2}
NAMES = ("whisper_tiny_en", "whisper_tiny_en@context=30")


def encoder(seed=0):
    """An encoder with a disturbance in every tensor, and no bias of keys."""
    upstream = load(UpstreamSource(config=SHAPE, seed=seed))
    with torch.no_grad():
        for name, parameter in upstream.named_parameters():
            if parameter.dim() == 1:
                parameter += 0.1 * torch.randn_like(parameter)
            if name.endswith("joint.bias"):
                parameter[128:256] = 0
    return upstream


def theirs(upstream):
    """The same weights in transformers' encoder."""
    import_torchaudio()  # transformers imports it
    transformers = pytest.importorskip("transformers")
    config = transformers.WhisperConfig(
        d_model=128, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=512,
        decoder_layers=1, decoder_attention_heads=2, decoder_ffn_dim=64, vocab_size=64,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
    )  # fmt: skip
    model = transformers.WhisperModel(config).eval()
    model.encoder.load_state_dict(named(upstream, LAYOUTS[2]), strict=True)
    return model


def named(upstream, names):
    """The tensors of an encoder in the names of a file, without the prefix of transformers."""
    tensors = {}
    for ours, tensor in upstream.state_dict().items():
        spelled = names.spell(ours)
        for index, (name, piece) in enumerate(
            zip(spelled, tensor.chunk(len(spelled)), strict=True)
        ):
            if not (index == 1 and ours.endswith("joint.bias")):
                tensors[name.removeprefix("encoder.")] = piece.clone()
    return tensors


def save_ctranslate2(path, tensors, version=6, spec="WhisperSpec", dtype="<f4"):
    """Write a file of weights as CTranslate2 does."""

    def text(value):
        return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"

    code = {"<f4": 0, "<f2": 4}[dtype]
    parts = [struct.pack("<I", version), text(spec), struct.pack("<II", 3, len(tensors) + 1)]
    for name, tensor in tensors.items():
        values = np.ascontiguousarray(tensor.numpy().astype(dtype)).tobytes()
        parts += [text(name), struct.pack("<B", tensor.dim())]
        parts += [struct.pack("<I", size) for size in tensor.shape]
        parts += [struct.pack("<BI", code, len(values)), values]
    parts += [text("decoder/x"), struct.pack("<BBI", 0, 1, 1), b"\7", struct.pack("<I", 0)]
    path.write_bytes(b"".join(parts))
    return path


def files(folder, upstream):
    """The encoder in every kind of file."""
    yield save_ctranslate2(folder / "model.bin", named(upstream, CTRANSLATE2))
    whole = {f"model.encoder.{name}": t for name, t in named(upstream, LAYOUTS[2]).items()}
    torch.save(whole | {"proj_out.weight": torch.ones(2)}, folder / "pytorch_model.bin")
    yield folder / "pytorch_model.bin"
    bare = {f"encoder.{name}": t for name, t in named(upstream, LAYOUTS[3]).items()}
    torch.save({"dims": {"n_mels": 80}, "model_state_dict": bare}, folder / "tiny.pt")
    yield folder / "tiny.pt"


def test_every_kind_of_file_gives_the_same_encoder(tmp_path):
    upstream = encoder()
    for path in files(tmp_path, upstream):
        again = load(UpstreamSource(config=SHAPE, checkpoint=path))
        state = again.state_dict()
        assert all(torch.equal(state[n], t) for n, t in upstream.state_dict().items()), path


@pytest.mark.parametrize("size", [1, 4_001, 32_000])
def test_with_thirty_seconds_the_states_are_those_of_transformers(tmp_path, size):
    import_torchaudio()  # transformers imports it
    transformers = pytest.importorskip("transformers")
    upstream = encoder()
    path = save_ctranslate2(tmp_path / "model.bin", named(upstream, CTRANSLATE2))
    ours = load(UpstreamSource(config=SHAPE, checkpoint=path, variant="context=30"))
    wav = noise(size)
    mel = transformers.WhisperFeatureExtractor()(
        wav.numpy(), sampling_rate=16_000, return_tensors="pt"
    ).input_features
    with torch.no_grad():
        output = theirs(upstream).encoder(mel, output_hidden_states=True)
    states = (*output.hidden_states[:-1], output.last_hidden_state)
    frames = -(-size // 320)
    for state, expected in zip(alone(ours, wav).states, states, strict=True):
        assert state.shape[1] == frames
        assert relative_error(state, expected[:, :frames]) <= 1e-5


def test_the_filters_and_positions_are_whispers():
    import_torchaudio()  # transformers imports it
    transformers = pytest.importorskip("transformers")
    filters = torch.tensor(transformers.WhisperFeatureExtractor().mel_filters)
    assert relative_error(mel_filters(80, 400), filters.float()) <= 1e-6
    table = sinusoids(1_500, 128)
    assert table.shape == (1_500, 128) and float(table[0, 64:].min()) == 1.0


def test_the_contract_and_a_short_context_that_is_cheaper():
    upstream = encoder()
    assert all(item.ok for item in check(upstream)), [c for c in check(upstream) if not c.ok]
    assert upstream.num_frames(16_000) == 50 and upstream.hidden_size == 128


def test_sound_longer_than_thirty_seconds_is_encoded_in_windows():
    upstream = load(UpstreamSource(config={"width": 64, "num_layers": 1}))
    wav = noise(480_000 + 3_200)
    states = alone(upstream, wav).states
    assert states[0].shape[1] == 1_510 == upstream.num_frames(wav.shape[0])
    assert torch.equal(states[1][:, 1_500:], alone(upstream, wav[480_000:]).states[1])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 5}, "version 5 of 'WhisperSpec'"),
        ({"spec": "TransformerSpec"}, "of 'TransformerSpec'"),
    ],
)
def test_other_files_of_ctranslate2_are_refused(tmp_path, change, words):
    path = save_ctranslate2(tmp_path / "a.bin", named(encoder(), CTRANSLATE2), **change)
    with pytest.raises(InvalidDataError, match=words):
        load(UpstreamSource(config=SHAPE, checkpoint=path))


def test_a_truncated_file_is_refused_at_any_length(tmp_path):
    whole = save_ctranslate2(tmp_path / "a.bin", named(encoder(), CTRANSLATE2)).read_bytes()
    path = tmp_path / "b.bin"
    for length in (5, 19, 30, 60, len(whole) // 2, len(whole) - 20):
        path.write_bytes(whole[:length])
        with pytest.raises(InvalidDataError):
            load(UpstreamSource(config=SHAPE, checkpoint=path))


def test_half_precision_is_read_as_float32(tmp_path):
    upstream = encoder()
    path = save_ctranslate2(tmp_path / "a.bin", named(upstream, CTRANSLATE2), dtype="<f2")
    tensors = read_ctranslate2(path, "WhisperSpec", "encoder/")
    assert tensors["encoder/conv1/weight"].dtype == torch.float16
    state = load(UpstreamSource(config=SHAPE, checkpoint=path)).state_dict()
    assert all(
        torch.equal(state[name], tensor.half().float())
        for name, tensor in upstream.state_dict().items()
    )


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda t: t.pop("model.encoder.layers.1.fc1.weight"), r"fc1.weight: missing"),
        (lambda t: t.update({"model.encoder.surprise": torch.ones(1)}), "unexpected.*surprise"),
        (lambda t: t.update({"model.encoder.conv1.bias": torch.ones(9)}), r"conv1.bias.*\(128,\)"),
        (lambda t: t.update({"model.encoder.conv1.bias": torch.full((128,), torch.nan)}), "finite"),
        (lambda t: t.clear(), "no encoder"),
    ],
)
def test_damaged_files_are_refused_by_name(tmp_path, damage, words):
    tensors = {f"model.encoder.{name}": t for name, t in named(encoder(), LAYOUTS[2]).items()}
    damage(tensors)
    torch.save(tensors, tmp_path / "a.bin")
    with pytest.raises(InvalidDataError, match=words):
        load(UpstreamSource(config=SHAPE, checkpoint=tmp_path / "a.bin"))


@pytest.mark.parametrize("variant", ["context=31", "context=", "short", "context=-1"])
def test_other_variants_are_refused(variant):
    with pytest.raises(UsageError, match="context=SECONDS"):
        load(UpstreamSource(config=SHAPE, variant=variant))


@pytest.mark.parametrize("config", [{"width": 100, "num_layers": 1}, {"depth": 2}, {}])
def test_other_shapes_are_refused(config):
    with pytest.raises(UsageError, match="whisper config"):
        load(UpstreamSource(config=config))


@pytest.mark.corpus
def test_the_published_tiny_en_has_the_published_size():
    """The real weights; skipped where the package index cannot be reached."""
    try:
        loaded = load_upstream("whisper_tiny_en")
    except MissingError as error:
        pytest.skip(str(error))
    assert loaded.provenance == "published"
    assert isinstance(loaded.upstream, WhisperEncoder)
    keys_without_bias = 4 * 384
    assert num_params(loaded.upstream) == 7_632_384 + keys_without_bias
    short, full = (measure(load_upstream(name).upstream) for name in NAMES)
    assert short.macs_per_second < 0.5e9 < full.macs_per_second
