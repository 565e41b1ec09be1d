"""A model's identity follows its hidden states, whatever its files say."""

import json
import random

import pytest
import torch
from alterations import ALTERATIONS, alter_bytes, alter_model, alter_text, write_builder, write_onnx
from toys import ToyUpstream

from bench.api import Hidden
from bench.errors import InvalidDataError
from bench.load.fingerprint import agree, fingerprint_of, identified
from bench.load.loader import load_upstream
from bench.measure.check import check


@pytest.mark.parametrize(("write", "name"), ALTERATIONS)
def test_no_identity_stays_where_the_states_change(write, name, tmp_path):
    """A sample of them; `make checkpoints` makes all, over sixty."""
    count = min(2, ALTERATIONS[write, name][1])
    *altered, same = alter_model(write, name, tmp_path, count)
    assert same == (False, False, False)
    for is_other, is_other_digest, is_other_key in altered:
        assert is_other and is_other_key
        assert is_other_digest or name == "level"  # a file that code opens by a name of its own


def test_a_file_of_other_external_data_has_another_name(tmp_path):
    """The graph is the same to the last byte."""
    text, session = write_onnx(tmp_path / "model")
    first = load_upstream(text, session)
    alter_bytes(tmp_path / "model/k.data", random.Random(0))
    other = load_upstream(text, session)
    assert first.checkpoint_sha256 == other.checkpoint_sha256
    assert first.name.text() != other.name.text()


def test_a_fingerprint_is_the_same_for_other_last_bits_and_another_for_a_step_of_training():
    torch.manual_seed(0)
    first = ToyUpstream()
    fingerprint = fingerprint_of(first, "toy")
    rounded, trained = ToyUpstream(), ToyUpstream()
    with torch.no_grad():
        for one, other in zip(rounded.parameters(), trained.parameters(), strict=True):
            one.mul_(1 + 1e-7 * torch.randn_like(one))
            other.add_(1e-2 * torch.randn_like(other))
    assert agree(fingerprint, fingerprint_of(rounded, "toy"))
    assert not agree(fingerprint, fingerprint_of(trained, "toy"))
    assert agree((), fingerprint)


def test_a_home_has_one_spelling_of_a_fingerprint(tmp_path):
    loaded = load_upstream("fbank")
    first = identified(loaded, tmp_path)
    (file,) = (tmp_path / "fingerprints").iterdir()
    near = [number + 3e-5 for number in first.fingerprint[:-1]] + [1e-4]
    file.write_text(f"damaged\n[1]\n{json.dumps(near)}\n")
    assert identified(loaded, tmp_path).fingerprint == tuple(near)
    far = [number + 3e-2 for number in first.fingerprint[:-1]] + [1e-4]
    file.write_text(json.dumps(far) + "\n")
    assert identified(loaded, tmp_path).fingerprint == first.fingerprint
    assert len(file.read_text().splitlines()) == 2


class Unsteady(ToyUpstream):
    """A toy that draws numbers in every pass."""

    def forward(self, wavs, lengths):
        states, frames = super().forward(wavs, lengths)
        return Hidden(tuple(state + 1e-3 * torch.rand(1) for state in states), frames)


def test_a_model_that_draws_numbers_is_refused(tmp_path):
    with pytest.raises(InvalidDataError, match=r"toy is not deterministic: two passes .* check"):
        fingerprint_of(Unsteady(), "toy")
    results = {item.name: item for item in check(Unsteady())}
    assert not results["deterministic"].ok


def test_a_builder_without_a_seed_is_refused(tmp_path):
    _, session = write_builder(tmp_path / "model")
    alter_text(tmp_path / "model/my_encoder.py", "    torch.manual_seed(seed)\n", "")
    alter_text(tmp_path / "model/my_encoder.py", "[nn.Linear(8, 8)]", "[nn.Linear(8, 8)]\n"
               "        self.free = nn.Parameter(torch.randn(8))")  # fmt: skip
    alter_text(tmp_path / "model/my_encoder.py", "- self.mean", "- self.mean + self.free")
    with pytest.raises(InvalidDataError, match=r"mine is not deterministic: built twice") as error:
        identified(load_upstream("mine", session), tmp_path / "home")
    assert "\n" not in str(error.value)
