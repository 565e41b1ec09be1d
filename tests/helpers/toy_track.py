"""A track of toys that runs in a second: a corpus of tones, two tasks, an upstream."""

from types import SimpleNamespace

from toys import ToyUpstream, make_utterances

from bench import registry
from bench.conditions import scorer
from bench.conditions.scorer import score_conditions
from bench.load.catalog import parse_upstream_name, upstream_card
from bench.load.loader import Loaded
from bench.measure.cost import Cost
from bench.run import artifacts, job, plan, provenance, run, spec
from bench.run.spec import RunSpec
from bench.session import Session
from bench.sound.manifests import Trial, write_table, write_trials

CLASSIFY = """
name: tone
track: toy
title: Tone
version: 1
corpus: toy
tables: {train: train, dev: dev, clean: test, ood: ood}
labels: derived
head: downstreams.classify:UtteranceClassifier
head_conf: {projection: 8}
metrics: [accuracy]
features: pooled
recipe: {lr_grid: [1.0e-2, 1.0e-3], steps: 12, batch_size: 4, eval_every: 4, standardize: true}
deviations: a toy
"""
SPEAKER = """
name: voice
track: toy
title: Voice
version: 1
corpus: toy
tables: {train: voices, dev: pairs, clean: pairs}
labels: script
head: downstreams.speaker:XVector
head_conf: {width: 8, pooled_width: 8}
metrics: [eer, min_dcf]
features: frames
recipe: {optimizer: adamw, lr_grid: [1.0e-3], steps: 12, batch_size: 4, eval_every: 4, clip: 1.0e+3}
deviations: a toy
"""
TRACK = "name: toy\ntitle: Toy\non_board: false\nabout: for tests\n"


def rows(corpus, utterances, target=lambda item: item.target):
    return [
        {
            "id": item.id,
            "path": str(item.path.relative_to(corpus)),
            "start": item.start,
            "num_samples": item.num_samples,
            "target": target(item),
            "speaker": item.speaker,
            "source": item.source,
            "text": "",
            "key": item.key,
        }
        for item in utterances
    ]


def write_toy(tmp_path, track=TRACK):
    """The corpus and the cards of the track, once."""
    corpus = tmp_path / "home" / "corpora" / "toy"
    (corpus / "audio").mkdir(parents=True)
    splits = {name: make_utterances(corpus / "audio", 16, seed) for seed, name in
              enumerate(["train", "dev", "test", "ood"])}  # fmt: skip
    for name, items in splits.items():
        write_table(corpus, name, rows(corpus, items))
    write_table(corpus, "voices", rows(corpus, splits["train"], lambda item: item.speaker))
    write_table(corpus, "pairs", rows(corpus, splits["dev"], lambda item: item.speaker))
    dev = splits["dev"]
    pairs = [
        Trial(int(a.speaker == b.speaker), a.id, b.id) for a in dev for b in dev if a.id < b.id
    ]
    write_trials(corpus, "pairs", pairs)
    tasks = tmp_path / "tasks" / "toy"
    tasks.mkdir(parents=True)
    (tasks / "track.yaml").write_text(track)
    (tasks / "tone.yaml").write_text(CLASSIFY)
    (tasks / "voice.yaml").write_text(SPEAKER)


def use_toy_upstream(monkeypatch):
    """Run the toy encoder in the place of every upstream; its costs and the commit are made up.

    Git reads the whole checkout for a commit, and a plan times updates: both take longer than such
    a run.
    """
    card = upstream_card("fbank")

    def load(text, session=None):
        name = parse_upstream_name(text)
        seed = int(name.untrained_seed or 0)
        digest = "d" * 64 if not seed else f"{seed:064d}"
        return Loaded(ToyUpstream(seed), name, card, "none", None, None, digest)

    for module in (job, plan, artifacts):
        monkeypatch.setattr(module, "load_upstream", load)
    cost = Cost(params=1, macs_per_second=2.0, layers=3, hidden_size=8, stride=320)
    monkeypatch.setattr(job, "measure", lambda upstream: cost)
    monkeypatch.setattr(job, "real_time_factor", lambda upstream: 0.5)
    monkeypatch.setattr(plan, "_update_seconds", lambda *_: 0.001)
    for module in (provenance, scorer):
        monkeypatch.setattr(module, "project_state", lambda: ("c" * 40, False))


def make_toy(tmp_path, monkeypatch, track=TRACK):
    """A track `toy` with two tasks, its corpus, and a toy upstream in the place of `fbank`."""
    home, corpus = tmp_path / "home", tmp_path / "home" / "corpora" / "toy"
    if not corpus.exists():
        write_toy(tmp_path, track)
    monkeypatch.setattr(registry, "TASKS", tmp_path / "tasks")
    module = SimpleNamespace(folder=lambda home: corpus, prepare=lambda home, deb_dir=None: corpus)
    monkeypatch.setattr(spec, "corpus_module", lambda name: module)
    use_toy_upstream(monkeypatch)
    return SimpleNamespace(home=home, out=tmp_path / "runs", corpus=corpus)


def evaluate(toy, task="tone", **options):
    return evaluate_seeds(toy, (options.get("seed", 0),), task, **options)[0]


def evaluate_seeds(toy, seeds, task="tone", **options):
    settings = {key: options.pop(key) for key in ("engine", "store_gb") if key in options}
    force = options.pop("force", False)
    asked = RunSpec("fbank", task, "toy", **options)
    session = Session(home=toy.home, out=toy.out, **settings)
    return run.run_seeds(asked, seeds, session, force=force)


def score_one(path, names, session, **options):
    """Score the head of one record under conditions; return the record that holds the scores."""
    (record,) = score_conditions([path], names, session, **options)
    return record
