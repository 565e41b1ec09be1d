"""A toy upstream and toy utterances."""

import os
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import nn

from bench.api import Hidden, Upstream, Utterance
from bench.sound.audio import samples_digest


class ToyUpstream(Upstream):
    """Three hidden states of width 8 at 20 ms, from frames of samples: exact under padding."""

    num_layers, hidden_size, stride, min_samples = 3, 8, 320, 320
    is_reentrant = True

    def __init__(self, seed: int = 0):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.first = nn.Linear(320, 8)
            self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(2))
        self.freeze()

    def num_frames(self, num_samples: int) -> int:
        return num_samples // 320

    def forward(self, wavs, lengths):
        frames = wavs.unfold(1, 320, 320)
        states = [self.first(frames)]
        for layer in self.layers:
            states.append(torch.tanh(layer(states[-1])))
        return Hidden(tuple(states), torch.div(lengths, 320, rounding_mode="floor"))


def hidden_states(states, item):
    """The form of `upstream_pass` that changes nothing."""
    return states


@cache
def tone(hz: float, num_samples: int, seed: int) -> tuple[bytes, str]:
    """A WAV file of a noisy tone, and the digest of its samples."""
    rng = np.random.default_rng(seed)
    time = np.arange(num_samples) / 16_000
    wav = 0.3 * np.sin(2 * np.pi * hz * time) + 0.02 * rng.standard_normal(num_samples)
    file = BytesIO()
    soundfile.write(file, wav.astype(np.float32), 16_000, subtype="PCM_16", format="WAV")
    file.seek(0)
    return file.getvalue(), samples_digest(soundfile.read(file, dtype="float32")[0])


def write_tone(folder: Path, name: str, hz: float, num_samples: int, seed: int) -> Path:
    path = folder / f"{name}.wav"
    part = folder / f"{name}.{os.getpid()}.part"  # processes of one test may write the same tone
    part.write_bytes(tone(hz, num_samples, seed)[0])
    return part.rename(path)


def make_utterances(folder: Path, count: int, seed: int = 0) -> list[Utterance]:
    """Noisy tones; the target says how high, the speaker is one of two."""
    rng = np.random.default_rng(seed)
    found = []
    for index in range(count):
        high = index % 2
        num_samples = int(rng.integers(3_200, 9_600))
        path = write_tone(folder, f"u{seed}-{index}", 300 + 900 * high, num_samples, index)
        found.append(
            Utterance(
                id=f"u{seed}-{index}",
                path=path,
                start=0,
                num_samples=num_samples,
                target="high" if high else "low",
                speaker=f"s{index % 4}",
                source="toy",
                key=tone(300 + 900 * high, num_samples, index)[1],
            )
        )
    return found
