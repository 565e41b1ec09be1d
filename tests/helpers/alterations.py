"""Alterations of the files and modules of models, each of which changes the hidden states."""

import json
import random
import shutil

import torch
from models import TwoStates, save_hubert, save_onnx
from safetensors.torch import load_file, save_file

from bench.load.fingerprint import fixed_sound, identified
from bench.load.loader import load_upstream
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


def write_script(folder, seed=0):
    folder.mkdir(exist_ok=True)
    torch.jit.script(TwoStates(seed)).save(folder / "m.pt")
    return f"torchscript:{folder / 'm.pt'}", Session(allow_code=True)


def write_exported(folder, seed=0):
    folder.mkdir(exist_ok=True)
    lengths = ({1: torch.export.Dim.AUTO},)
    program = torch.export.export(
        TwoStates(seed), (torch.zeros(1, 16_001),), dynamic_shapes=lengths
    )
    torch.export.save(program, folder / "m.pt2")
    return f"pt2:{folder / 'm.pt2'}", Session(allow_code=True)


def write_folder(folder):
    save_hubert(folder)
    return f"hf:{folder}", Session()


def write_adapted(folder):
    model = save_hubert(folder)
    from peft import LoraConfig, get_peft_model

    adapted = get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj", "v_proj"]))
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
    adapted.save_pretrained(folder)
    return f"hf:{folder}", Session()


def alter_tensor(path, rng):
    """Change one number of one tensor of a `state_dict`."""
    is_torch = path.suffix == ".pt"
    state = torch.load(path, weights_only=True) if is_torch else load_file(path)
    names = sorted(name for name in state if "masked_spec_embed" not in name)
    tensor = state[rng.choice(names)].reshape(-1)
    tensor[rng.randrange(len(tensor))] += rng.choice([-1, 1]) * 10 ** rng.uniform(-3, 0)
    torch.save(state, path) if is_torch else save_file(state, path, metadata={"format": "pt"})


def alter_key(path, rng, **choices):
    """Change one key of a JSON file to another value."""
    content, key = json.loads(path.read_text()), rng.choice(sorted(choices))
    content[key] = rng.choice([value for value in choices[key] if value != content.get(key)])
    path.write_text(json.dumps(content))


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
FOLDER = {
    "weights of a folder": (lambda f, rng: alter_tensor(f / "model.safetensors", rng), 6),
    "configuration key": (
        lambda f, rng: alter_key(
            f / "config.json", rng, layer_norm_eps=[1e-2, 1e-3], hidden_act=["gelu_new", "relu"],
            num_attention_heads=[1, 2], do_stable_layer_norm=[True],
            conv_stride=[[5, 2, 2, 2, 2, 2, 1], [4, 2, 2, 2, 2, 2, 2]],
        ), 6),
    "extractor": (
        lambda f, rng: alter_key(f / "preprocessor_config.json", rng, do_normalize=[True]), 1),
}  # fmt: skip
ADAPTED = {
    "adapter": (lambda f, rng: alter_tensor(f / "adapter_model.safetensors", rng), 3),
    "adapter's configuration": (
        lambda f, rng: alter_key(f / "adapter_config.json", rng, lora_alpha=[2, 16]), 2),
}  # fmt: skip
# (how to write the model, what is altered): how, and how many times.
ALTERATIONS = {
    **{(write_builder, name): (alter, 6) for name, alter in BUILDER.items()},
    (write_onnx, "external data"): (lambda f, rng: alter_bytes(f / "k.data", rng), 8),
    (write_script, "archive"): (lambda f, rng: write_script(f, rng.randrange(1, 10**6)), 3),
    (write_exported, "exported program"): (
        lambda f, rng: write_exported(f, rng.randrange(1, 10**6)), 2),
    **{(write_folder, name): item for name, item in FOLDER.items()},
    **{(write_adapted, name): item for name, item in ADAPTED.items()},
}  # fmt: skip


def states_of(upstream):
    with torch.no_grad():
        wav = fixed_sound(9_017)
        return torch.stack(upstream(wav[None], torch.tensor([len(wav)])).states)


def alter_model(write, name, place, count, seed=1):
    """Alter a model so many times, each time from the original.

    `key` is the identity in the store: the digest and the fingerprint.

    Returns:
        for each alteration, whether the states, the digest and the key are other ones; the last
        item is of no alteration.
    """
    alter, _ = ALTERATIONS[write, name]
    rng, home, folder = random.Random(f"{name} {seed}"), place / "home", place / "model"
    text, session = write(folder)
    first = identified(load_upstream(text, session), home)
    reference, results = states_of(first.upstream), []
    shutil.copytree(folder, place / "original")
    for number in range(count + 1):
        shutil.rmtree(folder)
        shutil.copytree(place / "original", folder)
        if number < count:
            alter(folder, rng)
        other = identified(load_upstream(text, session), home)
        is_other = not torch.equal(states_of(other.upstream), reference)
        results.append((is_other, other.digest != first.digest, other.key != first.key))
    return results
