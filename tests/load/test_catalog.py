"""Cards outside the project: found without importing anything, run only with consent."""

import sys

import pytest
import torch
from models import PARAMS, TwoStates

from bench.config import UpstreamCard
from bench.errors import InvalidDataError, MissingError, UsageError
from bench.load.catalog import find_entry
from bench.load.loader import load_request, load_upstream
from bench.load.packages import GROUP, installed
from bench.measure.cost import num_params
from bench.session import Session

CARD = """
name: mine
title: My student
family: distilled
builder: {module}:build
args: {{seed: {seed}}}
"""
MODULE = """
from pathlib import Path

import torch

from models import TwoStates

print("imported")
Path(__file__).with_suffix(".ran").touch()


def build(seed, checkpoint=None):
    model = TwoStates(seed)
    if checkpoint is not None:
        model.load_state_dict(torch.load(checkpoint, weights_only=True))
    return model


def broken():
    raise RuntimeError("two\\nlines")


number = 7
"""


@pytest.fixture
def folder(tmp_path):
    """A card and the module that it names, side by side; the module's name is a new one."""
    module = f"my_{abs(hash(tmp_path)) % 10**9}"
    (tmp_path / f"{module}.py").write_text(MODULE)
    (tmp_path / "card.yaml").write_text(CARD.format(module=module, seed=3))
    return tmp_path, module


def change(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_class_in_a_card(folder):
    path, module = folder
    card = path / "card.yaml"
    with pytest.raises(UsageError, match=rf"would run code: {module}:build.*--allow-code"):
        load_upstream("mine", Session(cards=[card]))
    assert not (path / f"{module}.ran").exists()
    loaded = load_upstream("mine", Session(cards=[card], allow_code=True))
    assert loaded.name.text() == "mine" and loaded.provenance == "user"
    assert num_params(loaded.upstream) == PARAMS
    assert torch.equal(loaded.upstream.state_dict()["model.conv.bias"], TwoStates(3).conv.bias)
    assert load_request(loaded.request).digest == loaded.digest
    change(card, "seed: 3", "seed: 4")
    other = load_upstream("mine", Session(cards=[card], allow_code=True))
    assert other.digest != loaded.digest
    assert str(path) not in sys.path


def test_a_class_with_a_file_of_weights(folder):
    path, _ = folder
    torch.save(TwoStates(9).state_dict(), path / "w.pt")
    (path / "card.yaml").write_text((path / "card.yaml").read_text() + "checkpoint: {file: w.pt}\n")
    loaded = load_upstream("mine", Session(cards=[path / "card.yaml"], allow_code=True))
    assert torch.equal(loaded.upstream.state_dict()["model.conv.bias"], TwoStates(9).conv.bias)
    assert loaded.checkpoint_sha256 is not None
    (path / "w.pt").unlink()
    with pytest.raises(MissingError, match=r"w\.pt: no such file of weights for"):
        load_upstream("mine", Session(cards=[path / "card.yaml"], allow_code=True))


@pytest.mark.parametrize(
    ("old", "new", "error", "words"),
    [
        (":build", ":biuld", UsageError, "did you mean 'build'"),
        (":build", "", UsageError, "expected module:attr"),
        ("my_", "his_", UsageError, "neither installed nor beside the card"),
        ("seed: 3", "sed: 3", InvalidDataError, "raised TypeError"),
        (":build\nargs: {seed: 3}", ":broken", InvalidDataError, "raised RuntimeError: two lines"),
        (":build\nargs: {seed: 3}", ":number", InvalidDataError, "raised TypeError"),
        ("args: {seed: 3}", "args: 3", UsageError, "key 'args'"),
        ("args: {seed: 3}", "arg: {seed: 3}", UsageError, "did you mean 'args'"),
        ("builder:", "load: upstreams.fbank:load\nbuilder:", UsageError, "exactly one of 'load'"),
        ("name: mine", "name: ../mine", UsageError, "key 'name'"),
        ("name: mine", "name: fbank", UsageError, "belongs to a card of this project"),
        ("name: mine", "name: 7", UsageError, "key 'name'"),
        ("family: distilled", "family: best", UsageError, "key 'family'"),
        ("builder: ", "source: onxx:a.onnx\nnotes: ", UsageError, "args.*belong|did you mean"),
    ],
)
def test_cards_that_do_not_hold(folder, old, new, error, words):
    path, _ = folder
    change(path / "card.yaml", old, new)
    with pytest.raises(error, match=words) as caught:
        load_upstream("mine", Session(cards=[path / "card.yaml"], allow_code=True))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["builder", "load"])
def test_a_card_that_names_code_of_the_standard_library(tmp_path, key):
    text = f"name: mine\ntitle: M\nfamily: other\n{key}: os:system\n"
    (tmp_path / "card.yaml").write_text(text)
    with pytest.raises(UsageError, match="would run code: os:system"):
        load_upstream("mine", Session(cards=[tmp_path / "card.yaml"]))


def test_a_card_outside_is_never_published(tmp_path):
    text = "name: mine\ntitle: M\nfamily: distilled\nload: upstreams.fbank:load\nconfig: {}\n"
    (tmp_path / "card.yaml").write_text(text + "provenance: published\n")
    loaded = load_upstream("mine@deltas=0", Session(cards=[tmp_path / "card.yaml"]))
    assert loaded.provenance == "none" and loaded.name.text() == "mine@deltas=0"
    with pytest.raises(MissingError, match="no such card"):
        load_upstream("mine", Session(cards=[tmp_path / "none.yaml"]))


def test_a_card_cannot_write_outside_its_folder(tmp_path):
    text = "name: mine\ntitle: M\nfamily: distilled\nload: upstreams.fbank:load\n"
    (tmp_path / "card.yaml").write_text(text + "checkpoint: {hub: a/b, file: ../../x.pt}\n")
    with pytest.raises(UsageError, match="must lie inside the repository"):
        load_upstream("mine", Session(cards=[tmp_path / "card.yaml"]))


@pytest.fixture
def package(folder, monkeypatch):
    """An installed package that offers its card; what it is called, and its folder."""
    path, module = folder
    site = path / "site"
    name = module.replace("my", "pkg")
    home = site / name
    home.mkdir(parents=True)
    (home / "__init__.py").write_text("raise RuntimeError('importing a package to list it')")
    (home / "card.yaml").write_text(CARD.format(module=f"{name}.model", seed=1))
    info = site / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\nmine = {name}:card.yaml\n")
    monkeypatch.syspath_prepend(str(site))
    return name, home, info


def test_an_installed_package_is_listed_without_being_imported(package):
    name, home, _ = package
    assert installed()["mine"].value == f"{name}:card.yaml"
    entry = find_entry("mine")
    assert isinstance(entry.card, UpstreamCard) and entry.package == name
    assert name not in sys.modules
    with pytest.raises(InvalidDataError, match=r"raised RuntimeError: importing a package") as bad:
        load_upstream("mine")
    assert "\n" not in str(bad.value)
    (home / "__init__.py").write_text("")
    (home / "model.py").write_text(MODULE)
    loaded = load_upstream("mine")  # installing it was the consent
    assert loaded.provenance == "user" and loaded.name.text() == "mine"
    with pytest.raises(UsageError, match="did you mean 'mine'"):
        load_upstream("minne")


def test_an_installed_card_that_names_other_code(package):
    name, home, _ = package
    change(home / "card.yaml", f"{name}.model:build", "os:system")
    with pytest.raises(UsageError, match="would run code: os:system"):
        load_upstream("mine")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("{name}:build", "expected package:file.yaml"),
        ("{name}:none.yaml", "has no file 'none.yaml'"),
        ("nosuchpackage:card.yaml", "has no file"),
        ("{name}.deep:card.yaml", "has no file"),
    ],
)
def test_entry_points_that_do_not_hold(package, value, words):
    name, _, info = package
    (info / "entry_points.txt").write_text(f"[{GROUP}]\nmine = {value.format(name=name)}\n")
    with pytest.raises(InvalidDataError, match=words):
        load_upstream("mine")
    assert load_upstream("fbank").name.text() == "fbank"


def test_an_entry_point_and_its_card_agree_on_the_name(package):
    _, home, _ = package
    change(home / "card.yaml", "name: mine", "name: yours")
    with pytest.raises(InvalidDataError, match="its card says the name 'yours'"):
        load_upstream("mine")
