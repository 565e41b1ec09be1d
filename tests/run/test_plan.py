"""The plan of a run equals what the run then does, field by field."""

from itertools import count
from types import SimpleNamespace

import pytest
from accounting import assert_planned, count_run
from toy_track import evaluate_seeds, make_toy

from bench.progress import duration
from bench.registry import task_card, task_names
from bench.run import job, plan
from bench.run.plan import plan_run
from bench.run.spec import RunSpec, folders_are_known
from bench.session import Session

SEEDS = (0, 2)
UPDATE_SECONDS = plan._update_seconds  # the toy track puts a constant in its place
BUILT_IN = ("quick", "open", "superb")


@pytest.fixture
def toy(tmp_path, monkeypatch):
    toy = make_toy(tmp_path, monkeypatch)
    monkeypatch.setattr(plan, "load_upstream", job.load_upstream)
    return toy


@pytest.mark.parametrize(
    ("task", "store_gb", "changes"),
    [
        *((task, gb, "") for task in ("tone", "voice") for gb in (50, 0)),
        *((task, gb, "explore: 0.25, ") for task, gb in (("tone", 50), ("voice", 1e-5))),
        ("tone", 0, "selection_seeds: 3, "),
        ("voice", 50, "selection_seeds: 2, explore: 0.25, "),
    ],
)
def test_a_limited_run_does_what_its_plan_says(toy, monkeypatch, task, store_gb, changes):
    card = toy.home.parent / "tasks" / "toy" / f"{task}.yaml"
    text = card.read_text().replace("recipe: {", f"recipe: {{{changes}")
    if changes:
        text = text.replace("lr_grid: [1.0e-3]", "lr_grid: [1.0e-2, 1.0e-3]")
    card.write_text(text)
    session, done = Session(home=toy.home, out=toy.out, store_gb=store_gb), count_run(monkeypatch)
    before = plan_run(RunSpec("fbank", task, "toy", limit=8, steps=8), SEEDS, session)
    evaluate_seeds(toy, SEEDS, task, limit=8, steps=8, store_gb=store_gb)
    assert_planned(before, done, toy.home)
    streamed = set(before.passes)
    assert (store_gb == 50) == (not streamed)
    assert (store_gb == 0) == (streamed == set(before.resolved.tables))


def test_what_is_stored_is_not_planned_again(toy):
    session = Session(home=toy.home, out=toy.out)
    asked = RunSpec("fbank", "voice", "toy", limit=8)
    evaluate_seeds(toy, (0,), "voice", limit=8)
    after = plan_run(asked, SEEDS, session)
    assert (after.new_bytes, after.new_seconds, after.upstream_rate) == (0, 0.0, 0.0)


def test_a_batch_of_means_is_timed_whole(toy, monkeypatch):
    """On a busy machine a part of it, times 16, told hours of a run of five minutes."""
    sizes, clock = [], count(step=1000)
    grid = SimpleNamespace(
        points=[SimpleNamespace(probe=SimpleNamespace(head=SimpleNamespace(encode=list)))],
        update=lambda step, batches, targets: sizes.append(len(batches[0].lengths)),
    )
    monkeypatch.setattr(plan, "make_grid", lambda *_: grid)
    monkeypatch.setattr(plan.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(plan, "take", lambda *_: None)
    monkeypatch.setattr(plan, "_update_seconds", UPDATE_SECONDS)
    plan_run(RunSpec("fbank", "tone", "toy", limit=8), (0,), Session(home=toy.home, out=toy.out))
    assert sizes[-1] == task_card("tone", "toy").recipe.batch_size


def test_times_are_in_units_that_people_read():
    texts = {0.04: "0.0 s", 59: "59.0 s", 90: "1.5 min", 48_560: "13.5 h", 2_393_503: "27.7 days"}
    assert {seconds: duration(seconds) for seconds in texts} == texts


def test_no_corpus_is_known_to_lie_in_a_folder_of_an_empty_home(tmp_path):
    """Every built-in task can be asked, also those whose corpus comes out of packages."""
    cards = [task_card(task, track) for track in BUILT_IN for task in task_names(track)]
    assert len(cards) > 20
    assert not any(folders_are_known(card, tmp_path) for card in cards)
