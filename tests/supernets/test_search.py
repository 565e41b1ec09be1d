"""Search: budgets, the curve, and a search through a tiny supernet."""

from itertools import islice

import pytest
import yaml
from recipe_toys import MEL

from bench.cli import main
from bench.engine import Engine
from bench.errors import UsageError
from bench.session import Session
from bench.supernets import search as module
from bench.supernets.search import Budget, Candidate, candidates, front, search, within
from upstreams.recipes.pretraining.pretrain import config_section

SPACE = {"embed": [8, 16], "layers": [1, 2], "heads": [1, 2], "ffn": [1.0, 2.0]}


@pytest.fixture
def supernet(tmp_path, monkeypatch):
    """A card whose supernet has no weights, and a probe that likes parameters."""
    card = {
        "name": "tiny_ofa",
        "title": "Tiny",
        "family": "once-for-all",
        "load": "upstreams.house:load_supernet",
        "config": {"supernet": config_section(MEL), "search_space": SPACE, "default": "max"},
        "provenance": "house",
        "license": "none",
    }
    (tmp_path / "tiny_ofa.yaml").write_text(yaml.safe_dump(card))
    (tmp_path / "plain.yaml").write_text(
        yaml.safe_dump({**card, "name": "plain", "config": {"deltas": 0}})
    )
    monkeypatch.setattr("bench.registry.CARDS", tmp_path)
    monkeypatch.setattr(module, "load_upstream", _without_weights)
    return "tiny_ofa"


def _without_weights(name, session):
    from bench.load.loader import load_upstream

    return load_upstream(name.removesuffix("+untrained"), Session(cards=session.cards))


def test_the_curve_has_no_point_that_a_cheaper_one_beats():
    points = [
        Candidate(str(p), p, 0.0, 0.0, d) for p, d in [(5, 0.6), (1, 0.5), (3, 0.4), (7, 0.6)]
    ]
    assert [c.params for c in front(points, higher_is_better=True)] == [1, 5]
    assert [c.params for c in front(points, higher_is_better=False)] == [1, 3]


def test_the_curve_is_over_what_is_limited(tmp_path):
    assert Budget().axis == Budget(params=1.0).axis == "params"
    assert Budget(macs_per_second=1.0).axis == "macs_per_second"
    assert Budget(rtf=1.0).axis == "rtf"
    points = [Candidate("a@1", 1, 9.0, 0.0, 0.5), Candidate("a@2", 2, 3.0, 0.0, 0.4)]
    curve = front(points, higher_is_better=True, axis="macs_per_second")
    assert [c.params for c in curve] == [2, 1]
    pytest.importorskip("matplotlib")
    module.plot(tmp_path / "c.svg", points, curve, "macs_per_second", "accuracy")
    module.plot(tmp_path / "d.svg", points, curve[:1], "macs_per_second", "accuracy")
    one, other = ((tmp_path / name).read_bytes() for name in ("c.svg", "d.svg"))
    assert one != other  # the curve is drawn


def test_a_supernet_outside_the_project_is_searched_by_its_card(supernet, tmp_path, capsys):
    card = yaml.safe_load((tmp_path / "tiny_ofa.yaml").read_text()) | {"name": "mine"}
    (tmp_path / "elsewhere").mkdir()
    path = tmp_path / "elsewhere" / "mine.yaml"
    path.write_text(yaml.safe_dump(card))
    (name, *_) = islice(module.names("mine", 0, Session(cards=[path])), 3)
    assert name == "mine@min"
    with pytest.raises(UsageError, match="unknown upstream 'mine'"):
        next(module.names("mine", 0, Session()))
    assert main(["search", "--max-params", "1"]) == 2
    assert "an upstream is needed" in capsys.readouterr().err
    assert main(["search", "--card", str(path), "--count", "0"]) == 2
    assert "--count must be 1 or more" in capsys.readouterr().err


def test_budgets():
    candidate = Candidate("x", 100, 2e6, 0.1)
    assert within(Budget(), candidate) and within(Budget(100, 2e6, 0.1), candidate)
    assert not within(Budget(params=99), candidate)
    assert not within(Budget(macs_per_second=1e6), candidate)
    assert not within(Budget(rtf=0.05), candidate)


def test_candidates_are_different_and_within_the_budget(supernet):
    every = candidates(supernet, Budget(), 6, seed=0, session=Session())
    assert len({c.name for c in every}) == 6
    limit = sorted(c.params for c in every)[2]
    small = candidates(supernet, Budget(params=limit), 4, seed=0, session=Session())
    assert small and all(c.params <= limit for c in small)
    assert small == candidates(supernet, Budget(params=limit), 4, seed=0, session=Session())
    with pytest.raises(UsageError, match="within the budget"):
        candidates(supernet, Budget(params=10), 2, seed=0, session=Session())
    with pytest.raises(UsageError, match="no search space"):
        candidates("plain", Budget(), 2, seed=0, session=Session())


def test_the_best_on_dev_comes_first(supernet, monkeypatch, tmp_path):
    class Outcome:
        def __init__(self, value):
            self.record = type("R", (), {"selection": type("S", (), {"value": value})})

    asked = []

    def probe(spec, session):
        assert session.engine == Engine("cuda") and session.strict
        asked.append(spec.upstream)
        return Outcome(len(asked) / 10)

    monkeypatch.setattr(module, "run", probe)
    found = search(
        supernet,
        Budget(),
        count=3,
        task="ks",
        track="quick",
        seed=0,
        session=Session(home=tmp_path, out=tmp_path, engine=Engine("cuda")),
    )
    assert [c.name for c in found] == asked[::-1]
    assert [c.dev for c in found] == [0.3, 0.2, 0.1]
