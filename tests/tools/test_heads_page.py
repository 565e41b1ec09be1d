"""The page of heads: it follows from committed files, and a trial trains what its name says."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from toy_track import make_toy

from bench.errors import InvalidDataError
from bench.session import Session
from tools.pages import head_trials
from tools.pages.head_trials import (
    CHANGES,
    PAGE,
    TRIALS,
    HeadTrial,
    add_trial,
    read_trials,
    run_trial,
    write_page,
)

ROOT = Path(__file__).parents[2]
TRIAL = HeadTrial(
    "ks", "ge2e", 1, "cosine", (1e-2, 3e-3), (1e-3, 1e-2), (0.95, 0.5), (0.6, 0.7), 0.02, 9.0
)


def test_the_committed_page_follows_from_records_and_trials(tmp_path):
    if (ROOT / "docs" / TRIALS).exists():
        shutil.copy(ROOT / "docs" / TRIALS, tmp_path)
    written = write_page(ROOT / "leaderboard" / "results", tmp_path)
    committed = ROOT / "docs" / PAGE
    assert written.read_text("utf-8") == committed.read_text("utf-8"), "run: make heads"


def test_a_trial_is_a_line_and_a_newer_one_replaces_it(tmp_path):
    file = tmp_path / TRIALS
    assert read_trials(file) == []
    add_trial(TRIAL, file)
    add_trial(replace(TRIAL, upstream="fbank"), file)
    add_trial(replace(TRIAL, test_sd=0.01), file)
    assert [(one.upstream, one.test_sd) for one in read_trials(file)] == [
        ("fbank", 0.02),
        ("ge2e", 0.01),
    ]
    file.write_text('{"task": "ks"}\n')
    with pytest.raises(InvalidDataError, match="not trials"):
        read_trials(file)


def test_the_table_counts_edges_and_last_steps(tmp_path):
    add_trial(TRIAL, tmp_path / TRIALS)
    (tmp_path / "results").mkdir()
    line = write_page(tmp_path / "results", tmp_path).read_text("utf-8").splitlines()[-1]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells == ["ks", "open", "1", "cosine", "ge2e", "50 %", "50 %", "65.0", "7.1", "2.0", "9"]


@pytest.mark.parametrize("selection_seeds", [0, 2])
def test_a_trial_trains_by_the_changed_recipe(tmp_path, monkeypatch, selection_seeds):
    toy = make_toy(tmp_path, monkeypatch)
    changed = {"lr_grid": (1e-1, 1e-3), "decay": "cosine", "steps": 20, "sum_rate": 10.0}
    changed["selection_seeds"] = selection_seeds
    monkeypatch.setattr(head_trials, "CHANGES", CHANGES | {"toy": changed})
    trial = run_trial("tone", "toy", "fbank", "toy", Session(home=toy.home, out=toy.out))
    assert trial.track == "toy"
    assert trial.edges == (1e-3, 1e-1)
    assert len(trial.dev) == len(head_trials.SEEDS) and set(trial.rates) <= {1e-1, 1e-3}
    assert trial.test_sd >= 0
    assert len(trial.steps) == (0 if selection_seeds else len(head_trials.SEEDS))
    assert all(0 < step <= 1 for step in trial.steps)
    if selection_seeds:
        assert len(set(trial.rates)) == 1
