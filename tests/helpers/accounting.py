"""Count what a run does, and compare it with the plan that was printed before."""

from types import SimpleNamespace

import pytest

from bench.features import store, stream
from bench.run import job, stages
from bench.run.plan import make_plan
from bench.run.spec import seconds_of

NPY_HEADER_BYTES = 128


def count_run(monkeypatch):
    """Counts of the next run: its plan, updates, heads, sounds stored and streamed."""
    done = SimpleNamespace(plan=None, updates=0, stored=[], streamed=[])

    class CountedTrainer(stages.Trainer):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            update = self.grid.update

            def counted(*arguments):
                done.updates += len(self.grid.points)
                return update(*arguments)

            self.grid.update = counted

    def counted_plan(*args, **options):
        done.plan = make_plan(*args, **options)
        return done.plan

    stream_pass, store_passes = stream.upstream_pass, store.passes_of_parts

    def counted_pass(upstream, utterances, *args):
        done.streamed.extend(utterances)
        return stream_pass(upstream, utterances, *args)

    def counted_passes(upstream, parts, *args):
        done.stored.extend(item for part in parts for item in part)
        return store_passes(upstream, parts, *args)

    monkeypatch.setattr(stages, "Trainer", CountedTrainer)
    monkeypatch.setattr(job, "make_plan", counted_plan)
    monkeypatch.setattr(store, "passes_of_parts", counted_passes)
    monkeypatch.setattr(stream, "upstream_pass", counted_pass)
    return done


def assert_planned(before, done, home):
    """Every field of a plan is what the run did, apart from measured times."""
    tables, resolved = before.resolved.tables, done.plan.resolved
    for name, table in tables.items():
        assert table == resolved.tables[name]
    assert before.resolved.key({}) == resolved.key({})
    assert before.is_prepared and done.plan.is_prepared
    for name in ("device", "store_gb", "seeds"):
        assert getattr(before, name) == getattr(done.plan, name)
    assert before.updates == done.plan.updates == done.updates
    assert before.passes == done.plan.passes
    assert before.new_bytes == done.plan.new_bytes == stored_bytes(home)
    assert before.new_seconds == done.plan.new_seconds == seconds_of(done.stored)
    assert before.streamed_seconds == done.plan.streamed_seconds
    stored = {item.id for name in tables.keys() - before.passes for item in tables[name].utterances}
    assert stored == {item.id for item in done.stored}
    train = tables["train"]
    passed = seconds_of([item for item in done.streamed if item in train.utterances])
    planned = before.passes.get("train", 0) * train.seconds
    # Two epochs in a row of so few utterances may be the same group, which is read once.
    assert planned / 2 <= passed <= planned + 1e-6
    assert before.streamed_seconds - planned == pytest.approx(seconds_of(done.streamed) - passed)
    assert _without_times(before.lines()) == _without_times(done.plan.lines())


def stored_bytes(home):
    """Bytes of features below a home, without the headers of the files."""
    shards = (home / "features").rglob("*.npy")
    return sum(path.stat().st_size - NPY_HEADER_BYTES for path in shards)


def _without_times(lines):
    """The lines of a plan up to their first measured time."""
    return [line.partition("about")[0] for line in lines]
