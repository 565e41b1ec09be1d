"""A finished run on the toy track whose head is scored under conditions."""

from types import SimpleNamespace

from toy_track import evaluate, make_toy

from bench.conditions import sets
from bench.conditions.scorer import score_conditions
from bench.run import artifacts, job, spec
from bench.session import Session


def make_trained(tmp_path, monkeypatch):
    """Return a finished run on tones, with the session to score it in."""
    toy = make_toy(tmp_path, monkeypatch)
    module = spec.corpus_module("toy")
    for user in (spec, sets):
        monkeypatch.setattr(user, "corpus_module", lambda name: module)
    monkeypatch.setattr(artifacts, "load_upstream", job.load_upstream)
    path = evaluate(toy, "tone").path
    return SimpleNamespace(toy=toy, path=path, session=Session(home=toy.home))


def scored(trained, names, **options):
    """Score the run under conditions; return its record."""
    return score_one(trained.path, names, trained.session, **options)


def score_one(path, names, session, **options):
    """Score one record under conditions; return it."""
    (record,) = score_conditions([path], names, session, **options)
    return record
