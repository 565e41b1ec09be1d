"""The filter-bank front end: its grid, its filters, its energies, its place in an encoder."""

import math
from dataclasses import replace

import pytest
import torch
from recipe_toys import MEL

from bench.errors import UsageError
from bench.measure.macs import count
from upstreams.encoder.config import BASE_CNN, EncoderConfig
from upstreams.encoder.frontend import num_frames
from upstreams.encoder.mel import FLOOR, MelExtractor, mel_filters
from upstreams.encoder.state import build, num_parameters, pack, random_state, trainable, unpack


@pytest.mark.parametrize("num_samples", [400, 559, 560, 719, 720, 721, 16_000, 31_337])
def test_frames_are_those_of_the_convolutions(num_samples):
    mel = MelExtractor(80, 320, top_hz=8_000.0, mean=0.0, std=1.0)
    assert mel(torch.zeros(num_samples)).shape == (num_frames(BASE_CNN, num_samples), 80)


def test_energies_against_a_plain_fourier_transform():
    wav = torch.randn(1_200, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mel = MelExtractor(80, 320, top_hz=4_000.0, mean=-2.0, std=3.0)
    actual = mel(wav.float()).view(-1, 40)
    window = torch.hann_window(400, dtype=torch.float64)
    for frame in (0, 1, 2):
        part = wav[160 * frame : 160 * frame + 400] * window
        times, lines = torch.arange(400), torch.arange(257)
        angle = -2 * math.pi / 512 * times[:, None] * lines
        power = (part @ torch.cos(angle.double())) ** 2 + (part @ torch.sin(angle.double())) ** 2
        energy = power / 400 @ mel_filters(40, 4_000.0).double()
        expected = ((energy + FLOOR).log() + 2.0) / 3.0
        assert torch.allclose(actual[frame].double(), expected, atol=1e-4)


def test_a_padded_batch_gives_the_frames_of_each_utterance():
    encoder = build(MEL, random_state(MEL, 1))
    lengths = torch.tensor([4_000, 1_501, 400])
    wavs = torch.randn(3, 4_000, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        together = encoder.project_together(wavs, lengths.tolist())
        torch.testing.assert_close(together, encoder.project(wavs, lengths), atol=1e-5, rtol=1e-5)


def test_a_tone_lights_the_filter_around_it():
    tone = torch.sin(2 * math.pi * 1_000 / 16_000 * torch.arange(1_600))
    mel = MelExtractor(80, 320, top_hz=4_000.0, mean=0.0, std=1.0)
    mels = 1127 * math.log1p(1_000 / 700)
    edges = torch.linspace(1127 * math.log1p(20 / 700), 1127 * math.log1p(4_000 / 700), 42)
    nearest = int((edges[1:-1] - mels).abs().argmin())
    assert set(mel(tone).view(-1, 40)[:8].argmax(dim=1).tolist()) == {nearest}


def test_filters_that_no_line_falls_into_are_refused():
    with pytest.raises(UsageError, match="lie between two FFT lines"):
        mel_filters(120, 4_000.0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"conv_layers": ((40, 300, 320),)}, "one entry"),
        ({"mel_top_hz": 9_000.0}, "mel_top_hz"),
        ({"mel_std": 0.0}, "mel_std"),
    ],
)
def test_invalid_filter_banks_are_refused(change, words):
    with pytest.raises(UsageError, match=words):
        replace(MEL, **change)


def test_stride_must_be_whole_hops():
    with pytest.raises(UsageError, match="multiple of 160"):
        MelExtractor(80, 300, top_hz=4_000.0, mean=0.0, std=1.0)


def test_an_encoder_with_a_bank_does_not_hear_padding_or_gain():
    encoder = build(MEL, random_state(MEL, 0))
    generator = torch.Generator().manual_seed(1)
    long, short = torch.randn(1_600, generator=generator), torch.randn(900, generator=generator)
    batch = torch.stack([long, torch.nn.functional.pad(short, (0, 700), value=9.0)])
    with torch.inference_mode():
        states, frames = encoder(batch, torch.tensor([1_600, 900]))
        alone, _ = encoder(short[None], torch.tensor([900]))
        quiet, _ = encoder(0.5 * long[None], torch.tensor([1_600]))
    assert frames.tolist() == [4, 2]
    for state, alone_state, low in zip(states, alone, quiet, strict=True):
        assert torch.allclose(state[1, :2], alone_state[0], atol=1e-5)
        assert torch.allclose(state[:1], low, atol=1e-2)


@pytest.mark.parametrize("config", [MEL, replace(MEL, extractor_mode="group_norm")])
def test_unpack_is_the_inverse_of_pack(config):
    state = random_state(config, 3)
    again = unpack(trainable(config, state))
    assert again.keys() == state.keys()
    assert all(torch.equal(again[key], state[key]) for key in state)
    assert pack(state).keys() == trainable(config, state).state_dict().keys()


def test_a_bank_in_place_of_the_convolutions_saves_their_work():
    """Under two percent of the multiplications of HuBERT's waveform convolutions (issue 8)."""
    wave = EncoderConfig(heads=(12,), ffn=(3072,), mask_embedding=0)
    bank = replace(wave, extractor_mode="mel", conv_layers=((160, 400, 320),), feature_norm=False)
    assert num_parameters(wave) - num_parameters(bank) > 4_200_000
    macs = [count(build(config, random_state(config, 0)), 16_000).plain for config in (wave, bank)]
    frames = num_frames(BASE_CNN, 16_000)
    bank_front = frames * 160 * 768 + 2 * frames * 257 * 80
    wave_front = macs[0] - (macs[1] - bank_front)
    fourier = 2 * frames * 2 * 512 * 9  # not counted by the tool: two products a butterfly
    assert bank_front + fourier < 0.02 * wave_front
