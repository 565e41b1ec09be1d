"""The names, manifests and predictions of the records of a bundle."""

import json
import shutil

import pytest
import yaml
from bundles import about, card, cost, edit, one_line, predictions
from toy_track import evaluate

from bench.errors import MissingError, UsageError
from bench.load.loader import load_upstream
from bench.records.bundle import BundleCard
from bench.registry import ROOT
from bench.run.artifacts import evidence
from bench.submit.submit import submit
from bench.submit.verify import check


def test_a_track_whose_corpora_are_not_here_is_one_line(toy, folder, tmp_path, monkeypatch):
    from bench.run import spec

    away = type("Corpus", (), {"folder": staticmethod(lambda home: tmp_path / "none")})
    monkeypatch.setattr(spec, "corpus_module", lambda name: away)
    (line,) = check(folder, toy.home)[1].problems
    assert "the corpora of track toy are not here" in line and "data prepare --track toy" in line


@pytest.mark.parametrize("name", ["tone-s0-b", "tone-s0-shuffled", "tone-s00"])
def test_a_record_has_the_name_of_its_run(toy, folder, name):
    (folder / "records/tone-s0").rename(folder / f"records/{name}")
    (folder / "records/tone-s0.json").rename(folder / f"records/{name}.json")
    assert any("holds tone-s0, by its content" in line for line in one_line(folder, toy.home))


def test_the_workflow_does_not_verify_for_hours():
    flow = yaml.safe_load((ROOT / ".github/workflows/board.yml").read_text("utf-8"))
    assert flow["jobs"]["verify"]["timeout-minutes"] <= 60


def test_a_prediction_has_a_length(toy, folder):
    def lengthen(lines):
        item = json.loads(lines[0])
        return [json.dumps(item | {"prediction": "x" * 10_001}), *lines[1:]]

    predictions(lengthen)(folder)
    (line,) = one_line(folder, toy.home)
    assert "10001 characters, at most 10000 expected" in line


CONTROL = "\x1b[31mred\u202e"


@pytest.mark.parametrize(
    "change",
    [
        edit(**{CONTROL: 1}),
        edit(**{"x" * 100_000: 1}),
        about(**{CONTROL: 1}),
        about(**{"y" * 100_000: 1}),
        card(**{CONTROL: 1}),
        cost(**{CONTROL: 1}),
        cost(**{"z" * 50_000: 1}),
        edit(inputs__manifests={}, predictions_sha256={"k" * 50_000: ""}),
        predictions(lambda lines: [*lines, json.dumps({"id": CONTROL * 999, "prediction": "low"})]),
        predictions(
            lambda lines: [*lines, *['{"id": "' + "i" * 9999 + '", "prediction": ""}'] * 2]
        ),
    ],
)
def test_what_a_stranger_wrote_is_quoted_short_and_plain(toy, folder, change):
    change(folder)
    problems = one_line(folder, toy.home)
    assert problems
    for line in problems:
        assert len(line) <= 300 and line.isprintable()


def test_ids_are_texts(toy, folder):
    more = ['{"id": 1, "prediction": "low"}', '{"id": "e", "prediction": "low"}']
    predictions(lambda lines: [*lines, *more])(folder)
    (line,) = one_line(folder, toy.home)
    assert "an id that is no text" in line


@pytest.mark.parametrize("split", ["train", "dev", "clean", "ood"])
def test_every_manifest_is_the_one_of_this_checkout(toy, folder, split):
    edit(**{f"inputs__manifests__{split}": "0" * 64})(folder)
    (line,) = one_line(folder, toy.home)
    assert f"another manifest of '{split}'" in line


def test_a_control_is_scored_by_its_shuffled_training_table(toy):
    path = toy.out / "toy/fbank/tone-s0-shuffled.json"
    evaluate(toy, shuffle_labels=True)
    try:
        assert [item.condition for item in evidence(path, toy.home)] == ["clean", "ood"]
    finally:
        path.unlink()
        shutil.rmtree(path.with_suffix(""))


def test_a_name_that_records_spell_otherwise_is_told(toy, tmp_path, monkeypatch):
    """Of `@tap=paper`, say, the records lie under `@tap=last`."""
    load = load_upstream("fbank")
    monkeypatch.setattr("bench.submit.submit.load_upstream", lambda name, session: load)
    mine = BundleCard(upstream="fbank@cmvn=on", track="toy")
    with pytest.raises(UsageError, match="records call 'fbank@cmvn=on' 'fbank': submit that name"):
        submit(mine, runs=toy.out, out=tmp_path / "y", home=toy.home, cost=toy.cost)
    with pytest.raises(MissingError, match="no records"):
        submit(mine, runs=tmp_path, out=tmp_path / "y", home=toy.home, cost=toy.cost)
