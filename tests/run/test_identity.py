"""One input of a run is altered at a time: exactly those keys change that it decides."""

import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest
import torch
import yaml
from toy_track import make_toy
from toys import write_tone

from bench import identity, registry
from bench.conditions import distorter
from bench.conditions.catalogue import catalogue
from bench.conditions.sets import condition_set
from bench.distortions._effects import EffectStep
from bench.engine import Engine
from bench.grids.cells import GridCell, open_grid
from bench.grids.spec import GridSpec
from bench.load import loader
from bench.paths import file_sha256
from bench.run import job, run_features
from bench.run.job import open_job
from bench.run.language_model import BeamSearch
from bench.run.spec import RunSpec
from bench.session import Session

CARD = """
name: mine
title: Mine
family: distilled
builder: my_model:build
checkpoint: {file: weights.pt}
args: {shift: 1, statistics: numbers.json, tables: folder}
"""
MODULE = """
import json
from pathlib import Path

import torch
from torch import nn

from my_scale import scale

HIDDEN = json.loads((Path(__file__).parent / "hidden.json").read_text())


class Mine(nn.Module):
    def __init__(self, statistics, offset):
        super().__init__()
        self.linear = nn.Linear(320, 8)
        self.statistics, self.offset = statistics, offset

    def forward(self, wavs):
        frames = wavs.unfold(1, 320, 320)
        first = scale(self.linear(frames)) * (1 + HIDDEN) + self.offset
        return self.after(first), torch.tanh(first + self.statistics)


def build(shift, statistics, tables, checkpoint):
    from my_lazy import slope

    folder = Path(__file__).parent
    loose = json.loads((folder / "loose.json").read_text())
    json.loads((folder / tables / "table.json").read_text())
    numbers = json.loads((folder / statistics).read_text())
    model = Mine(torch.tensor(numbers) + shift * slope, torch.tensor(loose["tensor"]))
    model.linear.load_state_dict(torch.load(checkpoint, weights_only=True))
    rate = loose["number"]
    model.after = lambda state: rate * state
    return model
"""
FILES = {
    "card.yaml": CARD,
    "my_model.py": MODULE,
    "my_scale.py": "def scale(states):\n    return 1.0 * states\n",
    "my_lazy.py": "slope = 0.25\n",
    "numbers.json": "0.5",
    "folder/table.json": "1",
    "hidden.json": "0.0",
    "loose.json": '{"tensor": 0.125, "number": 1.0}',
    "other.py": "nothing = 0\n",
    "lm.arpa": "one",
    "lexicon.txt": "a a |",
}
CONDITIONS = ("white-5db", "own-noise", "gsm")

# What decides the hidden states decides these keys too.
STATES = {"features", "moments", "heads", "pass lock"}
UPSTREAM = STATES | {"upstream", "run"}
RUN = {"run", "heads"}
CARD_OF_TASK = RUN | {"cell"}
NAME = {"record", "run lock"}
ENGINE = RUN | {"features", "moments", "pass lock"}
TRAIN = RUN | {"train table"}
TEST = RUN | {"test table", "condition"}


@dataclass
class World:
    """Everything that a run depends on, small."""

    toy: SimpleNamespace
    folder: Path
    patch: pytest.MonkeyPatch
    upstream: str = "mine"
    spec: dict = field(default_factory=dict)
    task: str = "tone"
    session: dict = field(default_factory=dict)
    conditions: tuple = ()
    search: BeamSearch = field(default_factory=BeamSearch)

    def write(self, name, text):
        (self.folder / name).write_text(text)

    def edit(self, name, old, new):
        text = (self.folder / name).read_text()
        assert old in text
        self.write(name, text.replace(old, new))

    def edit_task(self, **changes):
        path = registry.TASKS / "toy" / "tone.yaml"
        card = yaml.safe_load(path.read_text())
        recipe = {key: changes.pop(key) for key in list(changes) if key in card["recipe"] | NEW}
        path.write_text(yaml.safe_dump({**card, **changes, "recipe": card["recipe"] | recipe}))

    def edit_row(self, table, **changes):
        path = self.toy.corpus / "tables" / f"{table}.parquet"
        content = pq.read_table(path)
        rows = content.to_pylist()
        for key, value in changes.items():
            rows[3][key] = value(rows[3][key])
        pq.write_table(type(content).from_pylist(rows, schema=content.schema), path)

    def edit_condition(self, which, **changes):
        self.conditions = tuple(
            replace(item, **changes) if item.name == which else item for item in self.conditions
        )

    def keys(self):
        """All keys, by what they name."""
        session = Session(
            home=self.toy.home,
            cards=[self.folder / "card.yaml"],
            allow_code=True,
            noise_dir=self.folder / "noise",
            **({"out": self.toy.out} | self.session),
        )
        spec = RunSpec(self.upstream, self.task, "toy", **self.spec)
        work = open_job(spec, [spec.seed], session)
        features, (run,) = work.features, work.runs
        key = run.key(identity.engine_settings(session.engine))
        record = SimpleNamespace(
            upstream=self.upstream, task=self.task, track="toy", seed=0, limit=None,
            steps=None, labels_shuffled=False,
        )  # fmt: skip
        sets = [condition_set(item, record, session) for item in self.conditions]
        lm = [file_sha256(self.folder / name) for name in ("lm.arpa", "lexicon.txt")]
        grid_spec = GridSpec(
            upstreams=(self.upstream,), tasks=(self.task,), track="toy", seeds=(spec.seed,),
            cards=tuple(map(str, session.cards)), limit=spec.limit,
            precision=session.engine.precision, device=session.engine.device,
        )  # fmt: skip
        grid = open_grid(grid_spec, session.out)
        grid.session = session
        grid.conditions[self.task] = {item.name: item.sha256() for item in self.conditions}
        cell = GridCell(self.upstream, self.task, spec.lr)
        return {
            "upstream": run.loaded.digest,
            "features": str(features.store.folder),
            "moments": str(features.moments_file()),
            "train sounds": [item.key for item in features.heard("train")],
            "test sounds": [item.key for item in features.heard("clean")],
            "train table": run.inputs().manifests["train"],
            "test table": run.inputs().manifests["clean"],
            "run": key,
            "heads": work._training(0).name,
            "record": work.paths[0].relative_to(session.out).as_posix(),
            "condition": [item.sha256 for item in sets],
            "condition sounds": [item.key for each in sets for item in each.utterances],
            "decoding": identity.decoding_key("r", *lm, vars(self.search)),
            "cell": grid.file(cell, "done").name,
            "run lock": work.names(),
            "pass lock": identity.pass_lock(features.store.folder),
        }


NEW = dict.fromkeys(
    (
        "weight_decay",
        "clip",
        "optimizer",
        "crops",
        "batches",
        "explore",
        "decay",
        "warmup",
        "sum_rate",
        "selection_seeds",
    )
)


def weights(world):
    state = torch.load(world.folder / "weights.pt", weights_only=True)
    state["weight"][3, 5] += 1e-3
    torch.save(state, world.folder / "weights.pt")


def other_noise(world):
    file = world.folder / "noise/folder/n.wav"
    size = file.stat().st_size
    write_tone(file.parent, "n", 700, 16_000, seed=8)
    assert file.stat().st_size == size


def renamed_noise(world):
    (world.folder / "noise/folder/n.wav").rename(world.folder / "noise/folder/m.wav")


def another_trial(world):
    world.task = "voice"
    before = world.keys()
    path = world.toy.corpus / "tables" / "pairs.trials.parquet"
    rows = pq.read_table(path)
    content = rows.to_pylist()
    content[0]["label"] = 1 - content[0]["label"]
    pq.write_table(type(rows).from_pylist(content, schema=rows.schema), path)
    return before


def band(world):
    bands = replace(catalogue(), bands_hz={"toy": 4_000.0})
    world.patch.setattr(distorter, "catalogue", lambda: bands)


def upstream_to(name):
    """From a plain `fbank` to one of its variants."""

    def alter(world):
        world.upstream = "fbank"
        before = world.keys()
        world.upstream = name
        return before

    return alter


def spec(**options):
    return lambda world: world.spec.update(options)


def engine(**options):
    return lambda world: world.session.update(engine=Engine(**options))


def task(**changes):
    return lambda world: world.edit_task(**changes)


def row(table, **changes):
    return lambda world: world.edit_row(table, **changes)


def text(name, old, new):
    return lambda world: world.edit(name, old, new)


def patched(target, name, value):
    return lambda world: world.patch.setattr(target, name, value)


def condition(which, **changes):
    return lambda world: world.edit_condition(which, **changes)


def library(world):
    version = distorter._version
    world.patch.setattr(distorter, "_version", lambda name: f"{version(name)}.1")


LOUDER = (EffectStep("noise", (("noise", "folder"), ("snr_db", 11))),)
CROPS = {"seconds": 0.25, "count": 2}
ALTERATIONS = {
    # The upstream: files, card, code, state.
    "a weight": (weights, UPSTREAM),
    "the card's config": (text("card.yaml", "args:", "config: {normalize_wav: true}\nargs:"),
                          UPSTREAM),
    "a number in args": (text("card.yaml", "shift: 1", "shift: 2"), UPSTREAM),
    "a file named in args": (text("numbers.json", "0.5", "0.6"), UPSTREAM),
    "a file in a folder named in args": (text("folder/table.json", "1", "2"), UPSTREAM),
    "another file in that folder": (lambda w: w.write("folder/more.json", "1"), UPSTREAM),
    "the builder's module": (text("my_model.py", "torch.tanh(", "torch.sin("), UPSTREAM),
    "a module that it imports": (text("my_scale.py", "1.0", "1.5"), UPSTREAM),
    "a module that a function imports": (text("my_lazy.py", "0.25", "0.35"), UPSTREAM),
    "a tensor that is no buffer": (text("loose.json", "0.125", "0.25"), UPSTREAM),
    "a number in a closure": (text("loose.json", "1.0", "1.25"), UPSTREAM),
    "a file that nothing tells of": (text("hidden.json", "0.0", "0.5"), STATES),
    "a module that nothing imports": (text("other.py", "0", "1"), set()),
    "the title of the card": (text("card.yaml", "Mine", "My own"), set()),
    "the notes of the card": (text("card.yaml", "args:", "notes: new\nargs:"), set()),
    "a modifier": (lambda w: setattr(w, "upstream", "mine@bf16-weights"),
                   UPSTREAM | NAME | {"cell"}),
    "a variant": (upstream_to("fbank@deltas=0"), UPSTREAM | NAME | {"cell"}),
    "another upstream": (upstream_to("mine"), UPSTREAM | NAME | {"cell"}),
    # The task's card.
    "the head": (task(head="downstreams.superb:IntentClassifier", head_conf={}), CARD_OF_TASK),
    "the head's arguments": (task(head_conf={"projection": 4}), CARD_OF_TASK),
    "learning rates": (task(lr_grid=[1e-2]), CARD_OF_TASK),
    "updates": (task(steps=40), CARD_OF_TASK),
    "batch size": (task(batch_size=8), CARD_OF_TASK),
    "evaluations": (task(eval_every=5), CARD_OF_TASK),
    "optimizer": (task(optimizer="adamw"), CARD_OF_TASK),
    "weight decay": (task(weight_decay=0.1), CARD_OF_TASK),
    "clipping": (task(clip=2.0), CARD_OF_TASK),
    "z-scores": (task(standardize=False), CARD_OF_TASK),
    "the rule of batches": (task(batches="balanced"), CARD_OF_TASK),
    "exploration": (task(explore=0.5), CARD_OF_TASK),
    "the decay of the rate": (task(decay="cosine"), CARD_OF_TASK),
    "warm-up": (task(warmup=5), CARD_OF_TASK),
    "the rate of the weighted sum": (task(sum_rate=2.0), CARD_OF_TASK),
    "selection seeds": (task(selection_seeds=2), CARD_OF_TASK),
    "metrics": (task(metrics=["accuracy", "cer"]), CARD_OF_TASK),
    "the version of the task": (task(version=2), CARD_OF_TASK),
    "the mode of features": (task(features="frames"),
                             CARD_OF_TASK | {"features", "moments", "pass lock"}),
    "crops": (task(crops=CROPS), CARD_OF_TASK | {"moments", "train sounds"}),
    "another test table": (task(tables={"train": "train", "dev": "dev", "clean": "ood"}),
                           CARD_OF_TASK | {"test sounds", "test table", "condition",
                                           "condition sounds"}),
    "the title of the task": (task(title="Tones"), set()),
    "deviations": (task(deviations="none"), set()),
    # Manifests.
    "a training target": (row("train", target=lambda _: '"other"'), TRAIN),
    "a training speaker": (row("train", speaker=lambda _: "x"), TRAIN),
    "a training sound": (row("train", key=lambda _: "f" * 64),
                         TRAIN | {"train sounds", "moments"}),
    "a test target": (row("test", target=lambda _: '"other"'), TEST),
    "the id of a test utterance": (row("test", id=lambda _: "x"), TEST | {"condition sounds"}),
    "a test sound": (row("test", key=lambda _: "f" * 64),
                     TEST | {"test sounds", "condition sounds"}),
    "the length of a test utterance": (row("test", num_samples=lambda size: size - 1), TEST),
    "the label of a trial": (another_trial, TEST),
    "the place of a sound": (row("train", source=lambda _: "elsewhere"), set()),
    "the text beside a sound": (row("train", text=lambda _: "words"), set()),
    # The run.
    "seed": (spec(seed=1), CARD_OF_TASK | NAME),
    "learning rate": (spec(lr=1e-3), CARD_OF_TASK | NAME),
    "limit": (spec(limit=8), CARD_OF_TASK | NAME | {
        "moments", "train sounds", "test sounds", "train table", "test table"}),
    "updates of a smoke test": (spec(steps=8), RUN | NAME),
    "shuffled labels": (spec(shuffle_labels=True), RUN | NAME | {"train table"}),
    "protocol": (patched(identity, "PROTOCOL", "2099.1"), CARD_OF_TASK),
    # The engine.
    "precision": (engine(precision="bf16"), ENGINE | {"cell"}),
    "device": (engine(device="cuda"), ENGINE | {"cell"}),
    "compilation": (engine(compile=True), ENGINE | {"cell"}),
    "the version of torch": (patched(torch, "__version__", "9.9.9"), ENGINE),
    "the revision of the pass": (patched(identity, "PASS_REVISION", 99), ENGINE),
    "readers": (engine(workers=2), set()),
    "buckets": (engine(bucket_seconds=9.0), set()),
    "the budget of the store": (lambda w: w.session.update(store_gb=0.0), set()),
    "the folder of records": (lambda w: w.session.update(out=w.folder / "elsewhere"), set()),
    "the order of summation of moments": (patched(run_features, "MOMENTS_REVISION", 99),
                                          {"moments"}),
    # Conditions.
    "a parameter of a condition": (condition("own-noise", steps=LOUDER),
                                   {"condition", "condition sounds", "cell"}),
    "the version of the catalogue": (condition("gsm", version=99),
                                     {"condition", "condition sounds", "cell"}),
    "the name of a condition": (condition("gsm", name="gsm-2"),
                                {"condition", "condition sounds", "cell"}),
    "the words about a condition": (condition("gsm", about="a codec"), set()),
    "noise of the same name and size": (other_noise, {"condition", "condition sounds"}),
    "the name of a noise": (renamed_noise, {"condition", "condition sounds"}),
    "the band of the corpus": (band, {"condition", "condition sounds"}),
    "the version of a library": (library, {"condition sounds"}),
    # Decoding with a language model.
    "the language model": (text("lm.arpa", "one", "two"), {"decoding"}),
    "the lexicon": (text("lexicon.txt", "a a", "b a"), {"decoding"}),
    "the beam": (lambda w: setattr(w, "search", BeamSearch(beam=6)), {"decoding"}),
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Folders of the toy track, of a model of one's own, and of noise."""
    root = tmp_path_factory.mktemp("world")
    with pytest.MonkeyPatch.context() as patch:
        make_toy(root / "toy", patch)
    folder = root / "mine"
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    torch.manual_seed(0)
    torch.save(torch.nn.Linear(320, 8).state_dict(), folder / "weights.pt")
    (folder / "noise/folder").mkdir(parents=True)
    write_tone(folder / "noise/folder", "n", 300, 16_000, seed=7)
    return root


@pytest.fixture
def world(made, tmp_path, monkeypatch):
    """A copy of the folders, under paths that are the same for every test."""
    place = made / "copy"
    shutil.rmtree(place, ignore_errors=True)
    for name in ("toy", "mine"):
        shutil.copytree(made / name, place / name)
    toy = make_toy(place / "toy", monkeypatch)
    monkeypatch.setattr(job, "load_upstream", loader.load_upstream)
    monkeypatch.setattr(Engine, "check", lambda self: self)
    chosen = tuple(catalogue().conditions[name] for name in CONDITIONS)
    unaltered = World(toy, place / "mine", monkeypatch, conditions=chosen)
    if not KEYS:
        KEYS.update(unaltered.keys())
    return unaltered


KEYS: dict = {}  # of the world without an alteration


@pytest.mark.parametrize("name", ALTERATIONS)
def test_an_alteration_changes_exactly_the_keys_that_it_decides(world, name):
    alter, expected = ALTERATIONS[name]
    before = alter(world) or KEYS
    after = world.keys()
    assert {key for key in before if before[key] != after[key]} == expected


def test_equal_inputs_have_equal_keys(world):
    first = KEYS
    assert world.keys() == first
    for path in (world.folder / "my_model.py", world.folder / "weights.pt"):
        path.touch()
    assert world.keys() == first


def test_there_are_many_alterations():
    assert len(ALTERATIONS) >= 60


def test_the_list_names_every_key():
    """Every function of the list is used by the harness, and no other module hashes JSON."""
    used = [path.read_text() for path in (registry.ROOT / "bench").rglob("*.py")]
    names = [name for name, item in vars(identity).items()
             if callable(item) and getattr(item, "__module__", "") == "bench.identity"]  # fmt: skip
    for name in names:
        assert sum(f"{name}(" in content for content in used) >= 2 or name == "key_of", name
    composing = {
        path.relative_to(registry.ROOT / "bench").as_posix()
        for path in (registry.ROOT / "bench").rglob("*.py")
        if "sha256(json.dumps" in path.read_text()
    }
    # The two others are digests of what a file holds.
    assert composing == {"identity.py", "features/shard_index.py", "corpora/noise/packaged.py"}
