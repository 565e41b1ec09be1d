"""The filter bank equals s3prl's; the speaker encoder's front end is what its authors used."""

import math

import pytest
import torch
from torch import nn

from bench.api import UpstreamSource
from bench.errors import InvalidDataError, UsageError
from bench.sound.torchaudio_guard import import_torchaudio
from upstreams import fbank, ge2e
from upstreams.slaney import hz_to_mel, mel_filters, mel_to_hz


def noise(num_samples, level=0.1):
    generator = torch.Generator().manual_seed(num_samples)
    return level * torch.randn(num_samples, generator=generator)


def alone(upstream, wav):
    with torch.no_grad():
        return upstream(wav[None], torch.tensor([wav.numel()]))


@pytest.mark.parametrize(
    ("variant", "order", "cmvn"),
    [(None, 2, True), ("deltas=1", 1, True), ("cmvn=off", 2, False)],
)
def test_filter_bank_equals_s3prl(variant, order, cmvn):
    pytest.importorskip("s3prl")
    import_torchaudio()
    from s3prl.upstream.baseline.extracter import get_extracter

    bank = {"num_mel_bins": 80, "frame_length": 25.0, "frame_shift": 10.0, "use_log_fbank": True}
    extracter, size, _ = get_extracter(
        {
            "kaldi": {"feat_type": "fbank", "fbank": bank},
            "delta": {"order": order, "win_length": 5},
            "cmvn": {"use_cmvn": cmvn},
        }
    )
    upstream = fbank.load(UpstreamSource({"deltas": 2, "cmvn": True}, variant))
    assert upstream.hidden_size == size == 80 * (order + 1)
    for num_samples in (720, 5_001, 16_000):
        wav = noise(num_samples)
        (state,), lengths = alone(upstream, wav)
        assert int(lengths[0]) == upstream.num_frames(num_samples) == state.shape[1]
        torch.testing.assert_close(state[0], extracter(wav), atol=1e-5, rtol=1e-5)


def test_normalised_filter_bank_has_no_mean():
    """Why the card warns: a linear head that pools over time sees zeros."""
    mean = alone(fbank.load(UpstreamSource({})), noise(16_000)).states[0].mean(dim=1)
    assert float(mean.abs().max()) < 1e-5
    plain = alone(fbank.load(UpstreamSource({}, "cmvn=off")), noise(16_000)).states[0]
    assert float(plain.mean(dim=1).abs().max()) > 1


def test_one_frame_and_silence_stay_finite():
    for wav in (noise(400), torch.zeros(4_000), torch.full((4_000,), 0.5)):
        for variant in (None, "cmvn=off"):
            (state,), _ = alone(fbank.load(UpstreamSource({}, variant)), wav)
            assert bool(state.isfinite().all())
    with pytest.raises(InvalidDataError, match="at least 400"):
        alone(fbank.load(UpstreamSource({})), noise(399))


@pytest.mark.parametrize("config", [{"deltas": 3}, {"cmvn": "yes"}, {"mels": 40}])
def test_filter_bank_cards_that_do_not_hold(config):
    with pytest.raises(UsageError, match="fbank config"):
        fbank.load(UpstreamSource(config))


def test_mel_filters_are_slaneys():
    """Corner values of Slaney's scale, and the peaks of librosa 0.11's `filters.mel`."""
    hz = torch.tensor([0.0, 500.0, 1_000.0, 6_400.0], dtype=torch.float64)
    assert hz_to_mel(hz).tolist() == pytest.approx([0, 7.5, 15, 42])
    assert mel_to_hz(hz_to_mel(hz)).tolist() == pytest.approx(hz.tolist())
    filters = mel_filters(40, 400)
    assert tuple(filters.shape) == (201, 40)
    assert bool((filters >= 0).all()) and bool((filters.sum(dim=0) > 0).all())
    peaks = [float(filters[:, band].max()) for band in (0, 9, 19, 29, 39)]
    assert peaks == pytest.approx([0.01240452, 0.01069154, 0.00721587, 0.00368734, 0.00172494])
    assert bool((filters.argmax(dim=0).diff() >= 0).all())


def test_mel_energies_of_a_tone():
    """A tone of 1 kHz: all the energy in the bands around it, and its power, by Parseval."""
    encoder = ge2e.SpeakerEncoder()
    time = torch.arange(16_000) / 16_000
    mel = encoder._mel(0.1 * torch.sin(2 * math.pi * 1_000 * time)[None])[0]
    assert tuple(mel.shape) == (101, 40)
    centre = mel_to_hz(torch.linspace(0, 1, 42).double() * hz_to_mel(torch.tensor([8e3])))
    assert abs(float(centre[int(mel[50].argmax()) + 1]) - 1_000) < 100
    # The spectrum of a windowed sine peaks at (amplitude * sum of the window / 2)^2.
    peak = (0.1 * 200 / 2) ** 2
    filters = mel_filters(40, 400)[25]
    assert float(mel[50].max()) == pytest.approx(peak * float(filters.max()), rel=0.5)


def test_volume_is_raised_and_never_lowered():
    encoder = ge2e.SpeakerEncoder()
    quiet, loud = noise(8_000, 0.001), noise(8_000, 0.3)
    lengths = torch.tensor([8_000, 8_000, 8_000])
    raised = encoder._raise_volume(torch.stack([quiet, loud, torch.zeros(8_000)]), lengths)
    level = 10 * math.log10(float(raised[0].square().mean()))
    assert level == pytest.approx(-30, abs=1e-3)
    assert torch.equal(raised[1], loud) and not bool(raised[2].any())


def test_speaker_encoder_is_the_lstm_it_says():
    encoder = ge2e.load(UpstreamSource({}, seed=3))
    reference = nn.LSTM(40, 256, 3, batch_first=True)
    state = {}
    for index, layer in enumerate(encoder.lstm):
        for name, tensor in layer.state_dict().items():
            state[name.replace("_l0", f"_l{index}")] = tensor
    reference.load_state_dict(state)
    wav = noise(9_000)
    states, lengths = alone(encoder, wav)
    mel = encoder._mel(encoder._raise_volume(wav[None], torch.tensor([9_000])))
    with torch.no_grad():
        expected, _ = reference(mel)
    assert int(lengths[0]) == encoder.num_frames(9_000) == 57
    torch.testing.assert_close(states[2], expected, atol=1e-6, rtol=1e-5)


def test_speaker_encoder_takes_any_length_but_none():
    encoder = ge2e.load(UpstreamSource({}))
    assert alone(encoder, noise(1)).lengths.tolist() == [1]
    with pytest.raises(InvalidDataError, match="0 samples"):
        encoder(torch.zeros(1, 5), torch.tensor([0]))
