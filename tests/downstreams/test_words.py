"""Templates of words: resampled frames, whatever the padding; and tasks that train nothing."""

import base64
from dataclasses import replace

import numpy as np
import pytest
import torch
from grid_parts import grid_of
from toy_track import evaluate, evaluate_seeds, rows, score_one

from bench import registry
from bench.conditions import scorer, sets
from bench.conditions.catalogue import condition
from bench.errors import UsageError
from bench.identity import table_digest
from bench.probe.fit import predict
from bench.probe.heads import Probe
from bench.run import artifacts, job
from bench.run.plan import plan_run
from bench.run.spec import RunSpec
from bench.session import Session
from bench.sound.manifests import read_table, write_table
from downstreams.words import WordTemplate

CARD = """
name: words
track: toy
title: Words
version: 1
corpus: toy
tables: {train: words-dev, dev: words-dev, clean: words}
labels: derived
head: downstreams.words:WordTemplate
head_conf: {frames: 4}
metrics: [average_precision]
features: frames
recipe: {lr_grid: [], steps: 0, batch_size: 4, eval_every: 1, standardize: true}
deviations: a toy
"""


def test_a_template_is_linear_between_frames_and_ignores_padding():
    head = WordTemplate(2, 320, [], frames=5)
    line = torch.arange(3.0).view(1, 3, 1) * torch.tensor([1.0, -2.0])
    padded = torch.cat([line, torch.full((1, 4, 2), 99.0)], dim=1)
    expected = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0]).unsqueeze(1) * torch.tensor([1.0, -2.0])
    assert torch.allclose(head(padded, torch.tensor([3])), expected)
    one = head(line[:, :1], torch.tensor([1]))
    assert torch.equal(one, torch.zeros(1, 5, 2))


def test_a_target_has_no_number_that_a_loss_could_read():
    head = WordTemplate(2, 320, [])
    assert [tuple(each.shape) for each in head.encode(["one", "two"])] == [(0,), (0,)]
    with pytest.raises(TypeError, match="0 steps"):
        head.loss(None, None)


def test_predictions_keep_the_cosine():
    head, feats = WordTemplate(6, 320, [], frames=8), torch.randn(2, 9, 6)
    output = head(feats, torch.tensor([9, 9]))
    packed = [
        np.frombuffer(b"".join(map(base64.b64decode, item)), dtype=np.int8).astype(float)
        for item in head.predict(output)
    ]
    one, two = output.flatten(1).double().numpy()
    exact = one @ two / np.linalg.norm(one) / np.linalg.norm(two)
    found = packed[0] @ packed[1] / np.linalg.norm(packed[0]) / np.linalg.norm(packed[1])
    assert found == pytest.approx(exact, abs=0.01)


def test_each_template_uses_the_whole_range_of_its_integers():
    templates = torch.tensor([[[0.4, -1.0]], [[2_000.0, 500.0]], [[0.0, 0.0]]]) * 1e-3
    numbers = [
        np.frombuffer(base64.b64decode(frame), dtype=np.int8).tolist()
        for (frame,) in WordTemplate(2, 320, [], frames=1).predict(templates)
    ]
    assert numbers == [[51, -127], [127, 32], [0, 0]]


@pytest.fixture
def words(toy):
    """A task of parts of the toy corpus's sounds."""
    (registry.TASKS / "toy" / "words.yaml").write_text(CARD)
    for name, source in (("words", "test"), ("words-dev", "dev")):
        items = [
            replace(item, id=f"{item.id}#{number}", part=(start, 1_600), target=item.target)
            for item in read_table(toy.corpus, source)
            for number, start in enumerate((0, 800))
        ]
        table = [
            {**row, "part": item.part}
            for row, item in zip(rows(toy.corpus, items), items, strict=True)
        ]
        write_table(toy.corpus, name, table)
    return toy


def test_nothing_is_trained_and_dev_chooses_one_state(words):
    record = evaluate(words, "words").record
    weights = record.head.layer_weights
    assert sorted(weights) == [0.0, 0.0, 1.0]
    values = [point.value for point in record.selection.grid]
    assert len(values) == 3 and values[weights.index(1.0)] == max(values)
    assert (record.selection.lr, record.selection.step, record.head.params) == (0.0, 0, 0)
    assert record.score().n == 32


def test_head_seeds_make_one_record_where_nothing_is_trained(words):
    outcomes = evaluate_seeds(words, (0, 1, 2), "words")
    assert [outcome.path.name for outcome in outcomes] == ["words-s0.json"]
    assert all(outcome.was_done for outcome in evaluate_seeds(words, (0, 1, 2), "words"))
    planned = plan_run(RunSpec("fbank", "words", "toy"), (0, 1, 2), Session(home=words.home))
    assert planned.seeds == 1
    grid = grid_of(words, tasks=("words",), seeds=(0, 1, 2))
    assert set(grid.scan().values()) == {"done"}


class NoUtterance:
    """Features of no utterance."""

    def __len__(self):
        return 0

    def lengths(self):
        return []


def test_one_hidden_state_and_a_head_without_parameters_predict():
    probe = Probe(1, 3, lambda size: WordTemplate(size, 320, [], frames=4), None)
    assert not list(probe.parameters()) and predict(probe, NoUtterance()) == []


def test_every_seed_gives_the_same_score(words):
    one, two = (evaluate(words, "words", seed=seed).record for seed in (0, 1))
    assert one.scores == two.scores


def test_the_upstream_hears_each_sound_once(words):
    evaluate(words, "words")
    shards = list((words.home / "features").rglob("frames*/*.npy"))
    frames = sum(len(np.load(path)) for path in shards)
    sounds = {item.key: item for n in ("test", "dev") for item in read_table(words.corpus, n)}
    assert frames == sum(item.num_samples // 320 for item in sounds.values())


def test_the_parts_of_a_line_are_cut_out_of_one_distorted_line(words, monkeypatch):
    """Distorted once, and passed once, whatever the number of its parts."""
    monkeypatch.setattr(artifacts, "load_upstream", job.load_upstream)
    monkeypatch.setattr(sets, "prepare_corpora", lambda *_: None)
    monkeypatch.setattr(scorer, "prepare_corpora", lambda *_: None)
    path = evaluate(words, "words").path
    record = score_one(path, "white-10db", Session(home=words.home, out=words.out))
    (result,) = record.conditions
    assert result.scores[0].n == 32
    test = sets.condition_set(condition("white-10db"), record, Session(home=words.home))
    sounds = {item.key for item in read_table(words.corpus, "words")}
    assert len({item.key for item in test.utterances}) == len(sounds)
    assert not {item.key for item in test.utterances} & sounds


def test_parts_are_read_back_and_belong_to_the_digest(words):
    items = read_table(words.corpus, "words")
    assert items[1].part == (800, 1_600)
    assert table_digest(items) != table_digest([replace(item, part=None) for item in items])


@pytest.mark.parametrize("option", [{"lr": 0.1}, {"shuffle_labels": True}])
def test_options_of_training_are_refused(words, option):
    with pytest.raises(UsageError, match="trains nothing"):
        evaluate(words, "words", **option)


def test_parts_must_be_stored(words):
    with pytest.raises(UsageError, match="set --store-gb higher"):
        evaluate(words, "words", store_gb=0.0)
