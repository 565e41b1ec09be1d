"""Track superb from a folder in the official layout to a record, through the command line."""

import pytest
import yaml
from official_trees import TREES, librispeech

from bench import job, registry
from bench.cli import main
from bench.cost import Cost
from bench.record import read_record

# What a full run needs days for: fewer updates, smaller layers; all else is the card's own.
SMALL = {"steps": 6, "eval_every": 3, "batch_size": 4}
SMALL_HEADS = {"hidden": 8, "projection": 8, "width": 8, "pooled_width": 8}


@pytest.fixture
def small_cards(tmp_path, monkeypatch):
    """The cards of the track with little to train."""
    source = registry.TASKS / "superb"
    folder = tmp_path / "tasks" / "superb"
    folder.mkdir(parents=True)
    for path in source.glob("*.yaml"):
        card = yaml.safe_load(path.read_text())
        if path.stem != "track":
            card["recipe"] |= SMALL
            conf = card["head_conf"]
            card["head_conf"] = {key: SMALL_HEADS.get(key, value) for key, value in conf.items()}
            if "crops" in card["recipe"]:
                card["recipe"]["crops"] = {"seconds": 2.2, "count": 2}
            if "explore" in card["recipe"]:
                card["recipe"]["explore"] = 0.5
        (folder / path.name).write_text(yaml.safe_dump(card))
    monkeypatch.setattr(registry, "TASKS", folder.parent)
    monkeypatch.setenv("SLIM_SUPERB_HOME", str(tmp_path / "home"))
    cost = Cost(params=1, macs_per_second=2.0, layers=1, hidden_size=80, stride=160)
    monkeypatch.setattr(job, "measure", lambda upstream: cost)
    monkeypatch.setattr(job, "real_time_factor", lambda upstream: 0.5)
    return tmp_path


@pytest.mark.parametrize("task", list(TREES))
def test_a_task_runs_from_its_official_folder(task, small_cards, capsys):
    data = small_cards / "corpora"
    TREES[task](data)
    out = small_cards / "runs"
    command = ["eval", "fbank@deltas=0", task, "--track", "superb", "--out", str(out)]
    code = main([*command, "--data", str(data), "--limit", "8"])
    assert code == 0, capsys.readouterr().err
    (path,) = (out / "superb" / "fbank@deltas=0").glob("*.json")
    record = read_record(path)
    assert record.track == "superb" and record.limit == 8
    card = registry.task_card(task, "superb")
    assert {score.metric for score in record.scores} == set(card.metrics)
    assert {score.condition for score in record.scores} == set(card.conditions)
    assert record.selection.lr in card.recipe.lr_grid
    if card.recipe.explore is None:
        assert record.selection.explored == ()
    else:
        assert [point.lr for point in record.selection.explored] == list(card.recipe.lr_grid)
        assert all(point.step <= 3 for point in record.selection.explored)
        assert len(record.selection.grid) == 1 and record.selection.grid[0].step in (3, 6)
    # The folder is remembered, and what is done is done.
    assert main([*command, "--limit", "8"]) == 0
    assert "is done" in capsys.readouterr().err


def test_part_of_a_corpus_is_refused_without_limit(small_cards, capsys):
    data = small_cards / "corpora"
    librispeech(data)
    command = ["eval", "fbank", "asr", "--track", "superb", "--data", str(data)]
    assert main([*command, "--out", str(small_cards / "runs")]) == 4
    said = capsys.readouterr().err
    assert "asr/train has 12 utterances, the official corpus 28539" in said
    assert "--limit" in said
    assert not (small_cards / "runs").exists()
