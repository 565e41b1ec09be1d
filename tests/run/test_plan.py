"""The plan of a run equals what the run then does, field by field."""

from types import SimpleNamespace

import pytest
from toy_track import evaluate_seeds, make_toy

from bench.features import passes, store
from bench.run import job, plan, spec, stages
from bench.run.plan import make_plan, plan_run
from bench.run.spec import RunSpec, seconds_of
from bench.session import Session

NPY_HEADER_BYTES = 128
SEEDS = (0, 2)


@pytest.fixture
def toy(tmp_path, monkeypatch):
    toy = make_toy(tmp_path, monkeypatch)
    monkeypatch.setattr(plan, "load_upstream", job.load_upstream)
    monkeypatch.setattr(spec, "SMOKE_STEPS", 8)  # fewer than the recipes have, as on track superb
    return toy


@pytest.fixture
def done(monkeypatch):
    """Counts of a run: the plan printed before it, updates, heads, sounds stored and streamed."""
    done = SimpleNamespace(plan=None, updates=0, points=set(), stored=[], streamed=[])

    class CountedTrainer(stages.Trainer):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            update = self.grid.update

            def counted(*arguments):
                done.updates += len(self.grid.points)
                done.points |= {(point.lr, point.seed) for point in self.grid.points}
                return update(*arguments)

            self.grid.update = counted

    def counted_plan(*args, **options):
        done.plan = make_plan(*args, **options)
        return done.plan

    def counted_pass(sounds):
        def run(upstream, utterances, *args):
            sounds.extend(utterances)
            return real_pass(upstream, utterances, *args)

        return run

    real_pass = passes.upstream_pass
    monkeypatch.setattr(stages, "Trainer", CountedTrainer)
    monkeypatch.setattr(job, "make_plan", counted_plan)
    monkeypatch.setattr(store, "upstream_pass", counted_pass(done.stored))
    monkeypatch.setattr(passes, "upstream_pass", counted_pass(done.streamed))
    return done


@pytest.mark.parametrize("explore", [None, 0.25])
@pytest.mark.parametrize(("task", "store_gb"), [("tone", 50), ("tone", 0), ("voice", 50),
                                                ("voice", 0), ("voice", 1e-5)])  # fmt: skip
def test_a_limited_run_does_what_its_plan_says(toy, done, task, store_gb, explore):
    if explore is not None:
        card = toy.home.parent / "tasks" / "toy" / f"{task}.yaml"
        text = card.read_text().replace("lr_grid: [1.0e-3]", "lr_grid: [1.0e-2, 1.0e-3]")
        card.write_text(text.replace("recipe: {", f"recipe: {{explore: {explore}, "))
    session = Session(home=toy.home, out=toy.out, store_gb=store_gb)
    before = plan_run(RunSpec("fbank", task, "toy", limit=8), SEEDS, session)
    evaluate_seeds(toy, SEEDS, task, limit=8, store_gb=store_gb)
    tables, streamed = before.resolved.tables, set(before.passes)
    stored = {item.key for name in tables.keys() - streamed for item in tables[name].utterances}
    shards = list((toy.home / "features").rglob("*.npy"))
    assert (store_gb == 50) == (not streamed) and (store_gb == 0) == (streamed == set(tables))
    assert before.updates == done.plan.updates == done.updates
    assert before.points == done.plan.points == len(done.points)
    assert before.passes == done.plan.passes
    assert stored == {item.key for item in done.stored}
    assert before.new_bytes == done.plan.new_bytes
    assert before.new_bytes == sum(path.stat().st_size - NPY_HEADER_BYTES for path in shards)
    assert before.new_seconds == done.plan.new_seconds == seconds_of(done.stored)
    assert before.streamed_seconds == done.plan.streamed_seconds
    train = tables["train"]
    passed = seconds_of([item for item in done.streamed if item in train.utterances])
    planned = before.passes.get("train", 0) * train.seconds
    # Two epochs in a row of so few utterances may be the same group, which is read once.
    assert passed == pytest.approx(planned) if task == "tone" else planned / 2 <= passed <= planned
    assert before.streamed_seconds - planned == pytest.approx(seconds_of(done.streamed) - passed)
    assert before.resolved.key({}) == done.plan.resolved.key({})
    assert _without_times(before.lines()) == _without_times(done.plan.lines())


def _without_times(lines):
    """The lines of a plan up to their first measured time."""
    return [line.partition("about")[0] for line in lines]


def test_what_is_stored_is_not_planned_again(toy, done):
    session = Session(home=toy.home, out=toy.out)
    asked = RunSpec("fbank", "voice", "toy", limit=8)
    evaluate_seeds(toy, (0,), "voice", limit=8)
    after = plan_run(asked, SEEDS, session)
    assert (after.new_bytes, after.new_seconds, after.upstream_rate) == (0, 0.0, 0.0)
