"""Hostile and broken checkpoints, as a user meets them: one line, an exit code, and nothing ran."""

import argparse
import json
import os
import pickle
import resource
from pathlib import Path

import pytest
import torch
from dphubert_file import WAVLM
from dphubert_file import published as pruned
from models import save_hubert
from safetensors.torch import save_file

from bench.cli import main
from upstreams.encoder.config import EncoderConfig
from upstreams.encoder.state import random_state
from upstreams.formats.layouts.fairseq import fairseq_names

CONV = ((16, 10, 5), (16, 3, 4), (16, 3, 4), (16, 4, 4))
CONFIG = EncoderConfig(
    conv_layers=CONV,
    embed_dim=32,
    pos_conv_groups=4,
    heads=(2, 2),
    head_dim=16,
    ffn=(48, 48),
    mask_embedding=32,
)
CARD = """
name: mine
title: Mine
family: distilled
load: upstreams.importers.{importer}:load
checkpoint: {{file: {file}}}
"""
SHAPE = """
config: {num_layers: 2, embed_dim: 32, heads: 2, head_dim: 16, ffn: 48, pos_conv_groups: 4,
  conv_layers: [[16, 10, 5], [16, 3, 4], [16, 3, 4], [16, 4, 4]], mask_embedding: 32}
"""
NAME = "encoder.layers.1.fc1.weight"
MEMORY_KIB = 300_000  # of growth that a refusal may take: nothing asked for was ever built


class Calls:
    """Pickles as a call of any function."""

    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


def good():
    """Tensors by their published names."""
    names = fairseq_names(CONFIG)
    return {names[name]: tensor for name, tensor in random_state(CONFIG, 0).items()}


def saved(change):
    """A torch file of the tensors after `change` has had them."""

    def write(folder):
        tensors = good()
        change(tensors)
        torch.save({"model": tensors}, folder / "a.pt")

    return write


def calls(function, *args, wrap=lambda call: {"model": call}):
    """A torch file that calls a function when it is unpickled."""

    def write(folder):
        given = (item.format(folder=folder) for item in args)
        torch.save(wrap(Calls(function, *given)), folder / "a.pt")

    return write


def part(share, write):
    """The beginning of another file."""

    def cut(folder):
        write(folder)
        path = next(path for path in (folder / "a.pt", folder / "a.safetensors") if path.exists())
        path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])

    return cut


def bare_pickle(folder):
    (folder / "a.pt").write_bytes(pickle.dumps(Calls(os.system, f"touch {folder}/trace"), 2))


def legacy(folder):
    call = Calls(os.system, f"touch {folder}/trace")
    torch.save({"model": call}, folder / "a.pt", _use_new_zipfile_serialization=False)


def safe(folder):
    save_file(good(), folder / "a.safetensors")


def compressed(folder):
    """A zip archive whose members would grow a thousandfold."""
    import zipfile

    saved(lambda tensors: None)(folder)
    with zipfile.ZipFile(folder / "a.pt", "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/bomb", bytes(50_000_000))


def put(name, value):
    return lambda tensors: tensors.__setitem__(name, value)


def pruned_file(key, value):
    def write(folder):
        data = pruned(dict(WAVLM))
        data["config"][key] = value
        torch.save(data, folder / "a.pt")

    return write


def hugging(**changes):
    """A Transformers folder with another configuration."""

    def write(folder):
        save_hubert(folder / "hf")
        path = folder / "hf" / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return write


def index_outside(folder):
    save_hubert(folder / "hf", shard="20KB")
    path = folder / "hf" / "model.safetensors.index.json"
    names = json.loads(path.read_text())["weight_map"]
    path.write_text(json.dumps({"weight_map": dict.fromkeys(names, "../../secret.safetensors")}))


TOUCH, WRITE = "touch {folder}/trace", "open('{folder}/trace', 'w').write('x')"
ENCODER, DPHUBERT, FOLDER = "hubert", "dphubert", "hf"
HOSTILE = {
    "calls os.system": (ENCODER, calls(os.system, TOUCH), "would run 'posix.system'"),
    "calls eval": (ENCODER, calls(eval, WRITE), "would run 'builtins.eval'"),
    "calls exec": (ENCODER, calls(exec, WRITE), "would run 'builtins.exec'"),
    "calls a method of Path": (ENCODER, calls(Path.touch, "{folder}/trace"), "would run"),
    "imports a module": (ENCODER, calls(__import__, "antigravity"), "would run"),
    "calls in a namespace": (
        ENCODER,
        calls(os.system, TOUCH, wrap=lambda call: {"args": argparse.Namespace(x=call)}),
        "would run 'posix.system'",
    ),
    "calls, old format": (ENCODER, legacy, "would run 'posix.system'"),
    "calls, a bare pickle": (ENCODER, bare_pickle, "a.pt"),
    "a truncated zip": (ENCODER, part(0.6, saved(lambda tensors: None)), "truncated or corrupt"),
    "a truncated safetensors": (ENCODER, part(0.6, safe), "a.safetensors"),
    "a zip bomb": (ENCODER, compressed, "compressed inside"),
    "nothing at all": (ENCODER, lambda folder: (folder / "a.pt").write_bytes(b""), "neither"),
    "whole numbers": (
        ENCODER,
        saved(put(NAME, torch.ones(48, 32, dtype=torch.int32))),
        "found torch.int32",
    ),
    "NaN weights": (ENCODER, saved(put(NAME, torch.full((48, 32), torch.nan))), "holds NaN"),
    "infinite weights": (ENCODER, saved(put(NAME, torch.full((48, 32), torch.inf))), NAME),
    "a tensor missing": (ENCODER, saved(lambda tensors: tensors.pop(NAME)), "missing tensors"),
    "a tensor too many": (ENCODER, saved(put("more", torch.ones(1))), "unexpected tensors: more"),
    "a tensor of another shape": (ENCODER, saved(put(NAME, torch.ones(48, 31))), "(48, 32)"),
    "no tensor in its place": (ENCODER, saved(put(NAME, "weights")), NAME),
    "a billion layers": (DPHUBERT, pruned_file("encoder_num_layers", 10**9), "1000000000 layers"),
    "a billion channels": (DPHUBERT, pruned_file("encoder_embed_dim", 10**9), "'embed_dim'"),
    "a folder of a billion layers": (FOLDER, hugging(num_hidden_layers=10**9), "1000000000"),
    "a folder with code": (FOLDER, hugging(auto_map={"AutoModel": "evil.E"}, model_type="x"), ""),
    "a path outside the folder": (FOLDER, index_outside, "a path outside the folder"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_refused_in_one_line(name, tmp_path, capfd):
    kind, write, words = HOSTILE[name]
    folder = tmp_path / "given"
    folder.mkdir()
    write(folder)
    if kind == FOLDER:
        (folder / "hf" / "evil.py").write_text(f"open({str(folder / 'trace')!r}, 'w')")
        command = ["check", f"hf:{folder}/hf"]
    else:
        file = next(path.name for path in folder.iterdir() if path.name.startswith("a."))
        card = CARD.format(importer=kind, file=file) + (SHAPE if kind == ENCODER else "")
        (folder / "card.yaml").write_text(card)
        command = ["check", "--card", str(folder / "card.yaml")]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    capfd.readouterr()
    code = main(command)
    out, err = capfd.readouterr()
    assert code == 4 and out == "", (code, out, err)
    assert err.startswith("slim-superb: ") and err.count("\n") == 1 and words in err, err
    assert not (folder / "trace").exists()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MEMORY_KIB


def test_what_is_refused_is_only_what_is_wrong(tmp_path, capfd):
    """The same card and command with a sound file keep the contract."""
    saved(lambda tensors: None)(tmp_path)
    (tmp_path / "card.yaml").write_text(CARD.format(importer=ENCODER, file="a.pt") + SHAPE)
    assert main(["check", "--card", str(tmp_path / "card.yaml")]) == 0
    assert "keeps the contract" in capfd.readouterr().out
