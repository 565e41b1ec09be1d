"""Fixtures over the toys, and the switch that rewrites golden files."""

import numpy as np
import pytest
import soundfile
import torch
from toys import ToyUpstream, make_utterances


def pytest_addoption(parser):
    parser.addoption("--golden", action="store_true", help="write the golden files anew")


@pytest.fixture
def toy_upstream():
    return ToyUpstream()


@pytest.fixture
def utterances(tmp_path):
    folder = tmp_path / "audio"
    folder.mkdir()
    return make_utterances(folder, 24)


@pytest.fixture
def through_upstream():
    """Hidden states of one utterance (L, T, D), straight from the module."""

    def encode(upstream, item) -> np.ndarray:
        wav, _ = soundfile.read(item.path, dtype="float32")
        with torch.inference_mode():
            states, _ = upstream(torch.from_numpy(wav)[None], torch.tensor([wav.size]))
        return torch.stack(states)[:, 0].numpy()

    return encode
