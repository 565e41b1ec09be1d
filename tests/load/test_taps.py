"""Taps of upstreams without taps of their own: which states come out, and what stays the same."""

import pytest
import torch
from toys import ToyUpstream

from bench.errors import UsageError
from bench.load.loader import load_upstream
from bench.load.taps import choose_states
from bench.measure.cost import measure


@pytest.mark.parametrize(
    ("tap", "chosen"), [("layer0", [0]), ("layer2", [2]), ("last", [2]), ("layers", [1, 2])]
)
def test_a_tap_gives_these_states_of_the_whole_upstream(tap, chosen):
    whole, tapped = ToyUpstream(), choose_states(ToyUpstream(), tap).freeze()
    wavs, lengths = torch.randn(2, 3_200), torch.tensor([3_200, 1_600])
    (states, frames), (some, same_frames) = whole(wavs, lengths), tapped(wavs, lengths)
    assert (tapped.num_layers, tapped.tap) == (len(chosen), tap)
    assert torch.equal(frames, same_frames)
    assert all(
        torch.equal(states[number], state) for number, state in zip(chosen, some, strict=True)
    )
    assert tapped.num_frames(3_200) == whole.num_frames(3_200)
    assert measure(tapped).params == measure(whole).params


@pytest.mark.parametrize("tap", ["layer3", "first", "projections", "layer"])
def test_a_tap_that_the_upstream_lacks_names_those_that_it_has(tap):
    with pytest.raises(UsageError, match="hidden_states, layers, last, layer0 to layer2"):
        choose_states(ToyUpstream(), tap)


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("house_whisper_distil@tap=layer0", "house_whisper_distil@tap=layer0"),
        ("house_whisper_ofa@min,tap=last", "house_whisper_ofa@min,tap=last"),
        ("fbank@cmvn=off,tap=last", "fbank@cmvn=off,tap=last"),
        ("ge2e@tap=layer1+untrained", "ge2e@tap=layer1+untrained"),
        ("house_whisper_distil@tap=paper", "house_whisper_distil"),
    ],
)
def test_upstreams_of_this_project_have_taps(name, canonical):
    loaded = load_upstream(name)
    assert loaded.name.text() == canonical
    assert loaded.upstream.num_layers == (3 if name.endswith("paper") else 1)


def test_a_tap_is_part_of_the_digest():
    names = (
        "house_whisper_distil",
        "house_whisper_distil@tap=layer0",
        "house_whisper_distil@tap=layer1",
    )
    assert len({load_upstream(name).digest for name in names}) == 3
