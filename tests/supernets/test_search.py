"""Test budgets, the trade-off curve, and a search through a tiny supernet."""

from itertools import islice

import pytest
import yaml
from recipe_toys import MEL
from run_rows import record, row

from bench.cli import main
from bench.engine import Engine
from bench.errors import UsageError
from bench.reports.run_table import mark_efficient, run_table
from bench.run.spec import RunSpec
from bench.session import Session
from bench.supernets import search as module
from bench.supernets.search import drawn_candidates, search, subnet_names
from bench.supernets.subnets import Budget, Candidate
from bench.supernets.tradeoff import score_plot
from upstreams.recipes.pretraining.pretrain import config_section

SPACE = {"embed": [8, 16], "layers": [1, 2], "heads": [1, 2], "ffn": [1.0, 2.0]}


@pytest.fixture
def supernet(tmp_path, monkeypatch):
    """Return the name of a card whose supernet has random weights."""
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
    monkeypatch.setattr("bench.load.catalog.CARDS", tmp_path)
    monkeypatch.setattr(module, "load_upstream", _without_weights)
    return "tiny_ofa"


def _without_weights(name, session):
    from bench.load.loader import load_upstream

    return load_upstream(name.removesuffix("+untrained"), Session(cards=session.cards))


def test_the_curve_has_no_point_that_a_cheaper_one_beats():
    values = [(5, 0.6), (1, 0.5), (3, 0.4), (7, 0.6)]
    for metric, expected in [("accuracy", [1, 5]), ("wer", [1, 3])]:
        scores = [row(str(p), value, params=p, metric=metric) for p, value in values]
        marked = mark_efficient(scores, "params")
        assert [item.params for item in marked if item.efficient] == expected


def test_the_curve_is_over_the_limited_cost(tmp_path):
    assert Budget().axis == Budget(params=1.0).axis == "params"
    assert Budget(macs_per_second=1.0).axis == "macs_per_second"
    assert Budget(rtf=1.0).axis == "rtf"
    scores = [
        row("a@1", 0.5, params=1, macs=9.0, rtf=0.25),
        row("a@2", 0.4, params=2, macs=3.0, rtf=0.5),
    ]
    curve = mark_efficient(scores, "macs_per_second")
    assert [(item.params, item.efficient) for item in curve] == [(2, True), (1, True)]
    assert [item.efficient for item in mark_efficient(scores, "rtf")] == [True, False]
    assert [line[9] for line in run_table(curve).texts()] == ["RTF", "0.5000", "0.2500"]
    pytest.importorskip("matplotlib")
    score_plot(tmp_path / "c.svg", curve, "ks", "macs_per_second")
    score_plot(tmp_path / "d.svg", scores[:1] + curve[:1], "ks", "macs_per_second")
    one, other = ((tmp_path / name).read_bytes() for name in ("c.svg", "d.svg"))
    assert one != other  # the curve is drawn


def test_a_supernet_outside_the_project_is_searched_by_its_card(supernet, tmp_path, capsys):
    card = yaml.safe_load((tmp_path / "tiny_ofa.yaml").read_text()) | {"name": "mine"}
    (tmp_path / "elsewhere").mkdir()
    path = tmp_path / "elsewhere" / "mine.yaml"
    path.write_text(yaml.safe_dump(card))
    (name, *_) = islice(subnet_names("mine", 0, Session(cards=[path])), 3)
    assert name.text() == "mine@min"
    with pytest.raises(UsageError, match="unknown upstream 'mine'"):
        next(subnet_names("mine", 0, Session()))
    assert main(["subnets", "search", "--max-params", "1"]) == 2
    assert "expected an upstream: its name" in capsys.readouterr().err
    assert main(["subnets", "search", "--card", str(path), "--count", "0"]) == 2
    assert "--count 0: expected 1 or more" in capsys.readouterr().err


def test_budgets():
    candidate = Candidate("x", 100, 2e6, 0.1)
    assert Budget().allows(candidate) and Budget(100, 2e6, 0.1).allows(candidate)
    assert not Budget(params=99).allows(candidate)
    assert not Budget(macs_per_second=1e6).allows(candidate)
    assert not Budget(rtf=0.05).allows(candidate)


def test_candidates_are_different_and_within_the_budget(supernet):
    every = drawn_candidates(supernet, Budget(), 4, seed=0, session=Session())
    assert len({c.variant for c in every}) == 4
    limit = sorted(c.params for c in every)[1]
    small = drawn_candidates(supernet, Budget(params=limit), 2, seed=0, session=Session())
    assert small and all(c.params <= limit for c in small)
    assert small == drawn_candidates(supernet, Budget(params=limit), 2, seed=0, session=Session())
    with pytest.raises(UsageError, match="within the budget"):
        drawn_candidates(supernet, Budget(params=10), 1, seed=0, session=Session())
    with pytest.raises(UsageError, match="no search space"):
        drawn_candidates("plain", Budget(), 1, seed=0, session=Session())


def test_the_best_on_dev_comes_first(supernet, monkeypatch, tmp_path):
    class Outcome:
        def __init__(self, value):
            chosen = record().selection.model_copy(update={"value": value})
            self.record = record(selection=chosen)
            self.path = "ks-s0.json"

    probed = []

    def probe(spec, session):
        assert session.engine == Engine("cuda") and session.strict
        probed.append(spec.upstream)
        return Outcome(len(probed) / 10)

    monkeypatch.setattr(module, "run", probe)
    scores = search(
        supernet,
        Budget(),
        RunSpec(supernet, "ks"),
        Session(home=tmp_path, out=tmp_path, engine=Engine("cuda")),
        count=3,
    )
    assert [item.value for item in scores] == [0.3, 0.2, 0.1]
    assert {(item.condition, item.low, item.high) for item in scores} == {("dev", None, None)}
