"""Cards: a mistake in a card is one line that names the file and what to do."""

import pytest

from bench import registry
from bench.config import TaskCard, UpstreamCard
from bench.errors import InvalidDataError, UsageError
from bench.load.catalog import parse_upstream_name, upstream_card, upstream_names
from bench.paths import path_name
from bench.schema import MAX_YAML_BYTES, read_card, read_yaml

FORBIDDEN_BY_WINDOWS = set('<>:"/\\|?*')
TASK = """
name: ks
track: quick
title: Keyword spotting
version: 1
corpus: games
tables: {train: a, dev: b, clean: c}
labels: derived
head: downstreams.classify:UtteranceClassifier
metrics: [accuracy]
features: pooled
recipe: {lr_grid: [1.0e-3], steps: 10, batch_size: 4, eval_every: 5}
"""


def card(tmp_path, text):
    path = tmp_path / "card.yaml"
    path.write_text(text)
    return path


def test_a_whole_card_is_read(tmp_path):
    found = read_card(card(tmp_path, TASK), TaskCard)
    assert found.recipe.lr_grid == (1e-3,)
    assert found.conditions == ("clean",)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("labels: derived", "lables: derived", r"card.yaml: .*'lables'.*labels"),
        ("steps: 10", "step: 10", r"'recipe.step'.*steps"),
        ("1.0e-3", "1e-3", r"lr_grid.*write 1\.0e-4"),
        ("steps: 10", "steps: ten", "recipe.steps"),
        ("steps: 10", "steps: 0", "'lr_grid' and 'steps'"),
        ("[1.0e-3], steps: 10", "[], selection_seeds: 2, steps: 0", "'selection_seeds' choose"),
        ("version: 1", "version: '1'", "version"),
        ("clean: c", "test: c", "tables lacks clean"),
        ("features: pooled", "features: all", "features"),
        ("name: ks", "# name", "'name'"),
        ("metrics: [accuracy]", "metrics: []", "metrics"),
    ],
)
def test_a_mistake_is_one_clear_line(tmp_path, old, new, message):
    with pytest.raises(UsageError, match=message) as caught:
        read_card(card(tmp_path, TASK.replace(old, new)), TaskCard)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2]", "mapping"),
        ("a: [", "not valid YAML"),
        ("a: !!python/object/apply:os.system [id]", "not valid YAML"),
        ("a: &x [1]\nb: *x", "aliases"),
        ("a: " + "[" * 50 + "]" * 50, "nested deeper"),
        ("a: " + "[" * 200_000, "nested deeper|not valid YAML"),  # by us, or by PyYAML itself
        ("a: 1" + ":1" * 3_000, "a number of 6001 characters"),
        ("1: a", "text keys"),
        ("a: \x01", "not valid YAML"),
    ],
)
def test_hostile_yaml_is_refused(tmp_path, text, message):
    with pytest.raises(InvalidDataError, match=message):
        read_yaml(card(tmp_path, text))


def test_a_huge_file_is_refused(tmp_path):
    with pytest.raises(InvalidDataError, match="bytes"):
        read_yaml(card(tmp_path, "#" * (MAX_YAML_BYTES + 1)))


def test_a_modifier_is_written_last():
    assert parse_upstream_name("a@int8,embed=3").text() == "a@embed=3,int8"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a@int8,bf16-weights", "one modifier expected, found int8, bf16-weights"),
        ("onxx:a.onnx", "unknown kind 'onxx': did you mean 'onnx'"),
        ("onnx:", "expected NAME"),
    ],
)
def test_names_that_make_no_sense(text, words):
    with pytest.raises(UsageError, match=words):
        parse_upstream_name(text)


def test_a_checkpoint_has_one_source(tmp_path):
    text = """
name: a
title: A
family: teacher
load: upstreams.fbank:load
license: MIT
checkpoint: {file: a.pt, hub: a/b, wheel: c==1}
"""
    with pytest.raises(
        UsageError, match="one of 'hub', 'wheel', 'page', 'shipped' and 'made_by' at most"
    ):
        read_card(card(tmp_path, text), UpstreamCard)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("fbank", ("fbank", None, None, None)),
        ("fbank+untrained", ("fbank", None, 0, None)),
        ("a@min+untrained:7", ("a", "min", 7, None)),
        ("a@heads=4-4,ffn=3.0", ("a", "heads=4-4,ffn=3.0", None, None)),
        ("a@min,int8+untrained", ("a", "min", 0, "int8")),
        ("a@bf16-weights", ("a", None, None, "bf16-weights")),
        ("onnx:a/b@c+d.onnx", ("onnx:a/b@c+d.onnx", None, None, None)),
        ("hf:../x/y@int8+untrained:3", ("hf:../x/y", None, 3, "int8")),
    ],
)
def test_upstream_names(text, expected):
    name = parse_upstream_name(text)
    assert tuple(name) == expected
    assert name.text() == text


def test_names_in_paths_suit_every_system_and_stay_apart():
    names = ["a", "a+untrained", "a+untrained:1", "a@heads=4", "hf:a", "hf-a"]
    paths = [path_name(name) for name in names]
    assert paths[2] == "a+untrained=1"
    assert len(set(paths)) == len(names)
    assert not any(set(path) & FORBIDDEN_BY_WINDOWS for path in paths)


@pytest.mark.parametrize("text", ["", "@min", "a@", "a+trained", "a+untrained:x", "../a", "a/b"])
def test_malformed_upstream_names(text):
    with pytest.raises(UsageError, match="expected NAME"):
        parse_upstream_name(text)


def test_unknown_names_come_with_near_ones():
    with pytest.raises(UsageError, match="did you mean 'quick'"):
        registry.track_card("quik")
    with pytest.raises(UsageError, match="did you mean 'asr'"):
        registry.task_card("asrr", "quick")
    with pytest.raises(UsageError, match="unknown upstream"):
        upstream_card("nosuch")
    with pytest.raises(UsageError, match="no module named"):
        registry.resolve("upstreams.nosuch:load")
    with pytest.raises(UsageError, match="did you mean 'Head'"):
        registry.resolve("bench.api:Heads")
    with pytest.raises(UsageError, match="expected module:attr"):
        registry.resolve("bench.api")


@pytest.mark.parametrize(
    ("track", "task"), [(t, n) for t in registry.track_names() for n in registry.task_names(t)]
)
def test_every_task_card_holds(track, task):
    found = registry.task_card(task, track)
    head = registry.resolve(found.head)
    assert found.deviations, "a task says how it differs from SUPERB"
    assert (found.features == "pooled") <= head.pools_linearly
    from bench.metrics.metric import METRICS

    assert set(found.metrics) <= set(METRICS)


def test_every_upstream_card_holds():
    for name in upstream_names():
        found = upstream_card(name)
        assert callable(registry.resolve(found.load))
        assert found.teacher is None or found.teacher in upstream_names()
