"""A model in memory: called as it likes, left as it was, and never taken for an altered one."""

import copy
import sys
import types

import pytest
import torch
from torch import nn
from torch.nn.utils import weight_norm

import bench
from bench.errors import InvalidDataError, UsageError
from bench.load import loader
from bench.load.fingerprint import agree, identified
from bench.load.memory import load_model
from bench.run import job

STRIDE = 320
LEVEL = 0.5  # which `Frames.forward` reads


class Frames(nn.Module):
    """Two states of frames of 20 ms, through one map; takes a waveform."""

    scale = 1.0

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.map = nn.Linear(STRIDE, 16)
        self.drop = nn.Dropout(0.5)
        self.gain, self.post = 2.0, None

    def forward(self, wav):
        frames = wav[:, : wav.shape[1] // STRIDE * STRIDE].unflatten(1, (-1, STRIDE))
        state = self.drop(self.map(frames)) * self.gain * self.scale + LEVEL
        return [state, halved(state) if self.post is None else self.post(state)]


class Batched(Frames):
    """The same for samples and lengths."""

    def forward(self, wavs, lengths):
        assert lengths.tolist() == [wavs.shape[1]]
        return super().forward(wavs)


def halved(state):
    return state / 2


def tripled(state):
    return state * 3


def identity(model):
    return load_model(model).digest


def test_samples_alone_or_with_lengths_or_a_function():
    for model in (Frames(), Batched(), Frames().eval().forward, lambda wav: Frames().eval()(wav)):
        loaded = load_model(model, "mine")
        upstream = loaded.upstream
        assert (upstream.num_layers, upstream.hidden_size, upstream.stride) == (2, 16, STRIDE)
        assert loaded.name.text() == f"memory:mine-{loaded.digest[:8]}"
        assert loaded.provenance == "user" and loaded.card.family == "other"
    assert load_model(Frames()).name.card.startswith("memory:Frames-")


def test_the_model_of_the_program_stays_as_it_is():
    model = Frames().train()
    before = copy.deepcopy(model.state_dict())
    load_model(model)
    load_model(lambda wav: model(wav))
    assert model.training and all(p.requires_grad for p in model.parameters())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def weights(model, patch):
    with torch.no_grad():
        model.map.bias[3] += 1e-6


def forward(model, patch):
    model.forward = types.MethodType(lambda self, wav: Frames.forward(self, wav), model)


CHANGES = {
    "a weight": weights,
    "a number": lambda model, patch: setattr(model, "gain", 2.5),
    "a function as attribute": lambda model, patch: setattr(model, "post", tripled),
    "a method": forward,
    "a hook": lambda model, patch: model.map.register_forward_hook(lambda *about: about[2]),
    "a number of the class": lambda model, patch: patch.setattr(Frames, "scale", 3.0),
    "a global number": lambda model, patch: patch.setitem(globals(), "LEVEL", 0.25),
    "a global function": lambda model, patch: patch.setitem(globals(), "halved", tripled),
    "another layer": lambda model, patch: setattr(model, "drop", nn.Identity()),
}


@pytest.mark.parametrize("change", CHANGES)
def test_an_altered_model_is_another_one(change, monkeypatch):
    model = Frames()
    before = identity(model)
    assert identity(model) == identity(Frames()) == before
    CHANGES[change](model, monkeypatch)
    assert identity(model) != before


def test_a_class_of_a_notebook_is_code_too(monkeypatch):
    """A cell that defines the class again gives another model, although no file changed."""
    monkeypatch.setitem(sys.modules, "__main__", types.ModuleType("__main__"))
    source = "class Cell(Base):\n def forward(self, wav):\n  return [super().forward(wav)[0] {}]"
    digests = []
    for change in ("* 2", "* 2", "* 4"):
        scope = {"__name__": "__main__", "Base": Frames}
        exec(source.format(change), scope)
        digests.append(identity(scope["Cell"]()))
    assert digests[0] == digests[1] != digests[2]


def test_a_norm_of_weights_can_be_copied():
    model = Frames()
    model.map = weight_norm(model.map)  # its weight is a result, which torch does not copy
    assert load_model(model).digest == load_model(model).digest


@pytest.mark.parametrize(
    ("model", "kind", "words"),
    [
        (3, UsageError, "expected a torch module or a function"),
        (lambda wav: wav, InvalidDataError, "expected hidden states"),
        (lambda wav: wav[..., None] + torch.rand(1), InvalidDataError, "not deterministic"),
    ],
)
def test_what_is_no_upstream_is_told(model, kind, words, tmp_path):
    with pytest.raises(kind, match=words):
        identified(load_model(model), tmp_path)


def test_the_module_behind_a_method_is_switched_to_evaluation(tmp_path):
    model = Frames().train()
    loaded = identified(load_model(model.forward), tmp_path)
    assert agree(loaded.fingerprint, identified(load_model(Frames().eval()), tmp_path).fingerprint)


def test_its_name_loads_nothing_elsewhere():
    with pytest.raises(UsageError, match=r"from Python, by bench\.evaluate"):
        bench.load_upstream("memory:Frames-01234567")


def test_an_altered_model_gets_no_features_and_no_records_of_another(toy, monkeypatch):
    """Evaluated, altered in place and evaluated again: two runs, each scored by its own states."""
    monkeypatch.setattr(job, "load_upstream", loader.load_upstream)
    session = bench.Session(home=toy.home, out=toy.out)
    model, folder = Frames(), toy.home / "features"
    ask = {"track": "toy", "session": session, "name": "mine"}
    (first,) = bench.evaluate(model, "tone", **ask)
    (again,) = bench.evaluate(model, ["tone"], **ask)
    assert again == first and first.upstream.startswith("memory:mine-")
    assert len([item for item in folder.iterdir() if item.name != ".locks"]) == 1
    with torch.no_grad():
        model.map.weight.zero_()
    (blind,) = bench.evaluate(model, "tone", **ask)
    assert blind.upstream != first.upstream
    assert blind.score().value < first.score().value  # it hears nothing now
    assert len([item for item in folder.iterdir() if item.name != ".locks"]) == 2
    assert len(list(toy.out.glob("toy/memory=mine-*/tone-s0.json"))) == 2
    (tried,) = bench.evaluate(model, "tone", **ask, limit=8, steps=2)
    assert tried.restriction == "limited to 8 utterances a split and 2 updates"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"seeds": 1}, r"numbers such as \(0, 1\) expected, found 1"),
        ({"seeds": ()}, "expected, found"),
        ({"conditions": ["ladder-white", "none-such"]}, "none-such"),
    ],
)
def test_arguments_that_do_not_hold_are_refused_before_a_run(options, words):
    with pytest.raises(UsageError, match=words):
        bench.evaluate("house_whisper_distil", "ks", **options)
