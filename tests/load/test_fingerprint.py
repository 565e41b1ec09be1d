"""A model's identity follows its hidden states, whatever its files say."""

import json
import random
import shutil

import pytest
import torch
from models import TwoStates, save_onnx
from toys import ToyUpstream

from bench.api import Hidden
from bench.errors import InvalidDataError
from bench.load.fingerprint import agree, fingerprint_of, fixed_sound, identified
from bench.load.loader import load_upstream
from bench.measure.check import check
from bench.session import Session

MODULE = """
import json
from pathlib import Path

import numpy as np
import torch
from torch import nn

from my_layers import activation

FOLDER = Path(__file__).parent
LEVEL = json.loads((FOLDER / "level.json").read_text())


class Encoder(nn.Module):
    def __init__(self, settings):
        super().__init__()
        self.conv = nn.Conv1d(1, 8, 400, 320)
        self.register_buffer("mean", torch.tensor(settings["mean"]))
        self.register_buffer("scale", torch.tensor(settings["scale"]), persistent=False)
        self.bias = torch.tensor(settings["bias"])
        self.table = np.array(settings["table"], dtype=np.float32)
        self.layers = [nn.Linear(8, 8)]
        self.rate = settings["rate"]

    def forward(self, wavs):
        first = self.conv(wavs[:, None]).transpose(1, 2) * self.scale - self.mean + LEVEL
        second = activation(self.layers[0](first)) + self.bias + torch.from_numpy(self.table)
        return first, self.rate * second


def build(settings, seed, layers, checkpoint):
    torch.manual_seed(seed)
    model = Encoder(json.loads((FOLDER / settings).read_text()))
    model.conv.load_state_dict(torch.load(checkpoint, weights_only=True))
    model.layers[0].load_state_dict(torch.load(FOLDER / layers, weights_only=True))
    return model.forward  # a callable that is no module
"""
LAYERS = """
import torch

from my_shapes import SLOPE


def activation(x):
    return torch.nn.functional.leaky_relu(x, SLOPE)
"""
CARD = """
name: mine
title: Mine
family: other
builder: my_encoder:build
args: {settings: settings.json, seed: 3, layers: layers.pt}
checkpoint: {file: conv.pt}
"""
SETTINGS = {"mean": 0.1, "scale": 1.5, "bias": 0.2, "table": [0.01 * n for n in range(8)],
            "rate": 0.9}  # fmt: skip


def write_builder(folder):
    folder.mkdir()
    (folder / "my_encoder.py").write_text(MODULE)
    (folder / "my_layers.py").write_text(LAYERS)
    (folder / "my_shapes.py").write_text("SLOPE = 0.1\n")
    (folder / "card.yaml").write_text(CARD)
    (folder / "settings.json").write_text(json.dumps(SETTINGS))
    (folder / "level.json").write_text("0.05")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        torch.save(torch.nn.Conv1d(1, 8, 400, 320).state_dict(), folder / "conv.pt")
        torch.save(torch.nn.Linear(8, 8).state_dict(), folder / "layers.pt")
    return "mine", Session(cards=[folder / "card.yaml"], allow_code=True)


def write_onnx(folder):
    import onnx

    folder.mkdir()
    save_onnx(folder / "whole.onnx")
    model = onnx.load(folder / "whole.onnx")
    onnx.save(model, folder / "k.onnx", save_as_external_data=True, location="k.data",
              all_tensors_to_one_file=True, size_threshold=0)  # fmt: skip
    (folder / "whole.onnx").unlink()
    return f"onnx:{folder / 'k.onnx'}", Session()


def write_script(folder):
    folder.mkdir()
    torch.jit.script(TwoStates()).save(folder / "m.pt")
    return f"torchscript:{folder / 'm.pt'}", Session(allow_code=True)


def alter_tensor(path, rng):
    """Change one number of one tensor of a `state_dict`."""
    state = torch.load(path, weights_only=True)
    tensor = state[rng.choice(sorted(state))].reshape(-1)
    tensor[rng.randrange(len(tensor))] += rng.choice([-1, 1]) * 10 ** rng.uniform(-3, 0)
    torch.save(state, path)


def alter_setting(path, rng):
    settings = json.loads(path.read_text())
    key = rng.choice(sorted(settings))
    if key == "table":
        settings[key][rng.randrange(8)] += rng.uniform(0.01, 1)
    else:
        settings[key] += rng.uniform(0.01, 1)
    path.write_text(json.dumps(settings))


def alter_text(path, old, new):
    content = path.read_text()
    assert old in content
    path.write_text(content.replace(old, new, 1))


def alter_bytes(path, rng):
    """Change one byte among the external weights, so that the number is finite."""
    content = bytearray(path.read_bytes())
    content[4 * rng.randrange(len(content) // 4) + 2] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


BUILDER = {
    "checkpoint": lambda folder, rng: alter_tensor(folder / "conv.pt", rng),
    "args file": lambda folder, rng: alter_tensor(folder / "layers.pt", rng),
    "settings": lambda folder, rng: alter_setting(folder / "settings.json", rng),
    "level": lambda folder, rng: (folder / "level.json").write_text(str(rng.uniform(0.1, 1))),
    "slope": lambda folder, rng: (folder / "my_shapes.py").write_text(f"SLOPE = {rng.random()}\n"),
    "layers": lambda folder, rng: alter_text(
        folder / "my_layers.py", "leaky_relu(x, SLOPE)", rng.choice(["gelu(x)", "silu(x)"])
    ),
    "module": lambda folder, rng: alter_text(
        folder / "my_encoder.py", "self.rate * second", f"{rng.uniform(1, 2)} * second"
    ),
}
ALTERATIONS = {
    (write_builder, name): (alter, 7) for name, alter in BUILDER.items()
} | {
    (write_onnx, "external data"): (lambda f, rng: alter_bytes(f / "k.data", rng), 12),
    (write_script, "archive"): (
        lambda f, rng: torch.jit.script(TwoStates(rng.randrange(1, 10**6))).save(f / "m.pt"), 4),
}  # fmt: skip


def test_there_are_over_sixty_alterations():
    assert sum(count for _, count in ALTERATIONS.values()) > 60


def states_of(upstream):
    with torch.no_grad():
        wav = fixed_sound(9_017)
        return torch.stack(upstream(wav[None], torch.tensor([len(wav)])).states)


@pytest.mark.parametrize(("write", "name"), ALTERATIONS)
def test_no_identity_stays_where_the_states_change(write, name, tmp_path):
    """`key` is the identity in the store: the digest and the fingerprint."""
    alter, count = ALTERATIONS[write, name]
    rng, home, folder = random.Random(f"{name} 1"), tmp_path / "home", tmp_path / "model"
    text, session = write(folder)
    first = identified(load_upstream(text, session), home)
    reference, changed = states_of(first.upstream), 0
    shutil.copytree(folder, tmp_path / "original")
    for _ in range(count):
        shutil.rmtree(folder)
        shutil.copytree(tmp_path / "original", folder)
        alter(folder, rng)
        other = identified(load_upstream(text, session), home)
        if not torch.equal(states_of(other.upstream), reference):
            assert other.key != first.key, name
            assert name == "level" or other.digest != first.digest
            changed += 1
    assert changed >= count - 1  # a last bit of one weight may vanish in rounding
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "original", folder)
    again = identified(load_upstream(text, session), home)
    assert (again.key, again.digest, again.name) == (first.key, first.digest, first.name)


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
