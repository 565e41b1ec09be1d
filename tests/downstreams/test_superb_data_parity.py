"""Equal error rate, splits and batches against s3prl's own modules."""

import numpy as np
import pytest
from official_trees import speech_commands_v1
from s3prl_parts import part

from bench.corpora.official import speech_commands
from bench.probe.batching import Balanced, halved_buckets, windows


def test_equal_error_rate():
    pytest.importorskip("sklearn")
    theirs = part("downstream.sv_voxceleb1.utils")
    from bench.metrics.detection import equal_error_rate, operating_points

    rng = np.random.default_rng(0)
    for _ in range(5):
        labels = rng.random(200) < 0.5
        scores = np.round(rng.normal(labels * 1.0, 1.0), 2)
        expected, _ = theirs.EER(labels.astype(int), scores)
        points = operating_points(scores, labels, np.ones(200))
        assert float(equal_error_rate(*points)) == pytest.approx(expected, abs=1e-9)


def test_the_split_of_speech_commands(tmp_path):
    speech_commands_v1(tmp_path)
    theirs = part("downstream.speech_commands.expert")
    train, valid = theirs.split_dataset(tmp_path / speech_commands.TRAIN_FOLDER)
    parts = speech_commands.read(tmp_path)
    for name, expected in (("ks/train", train), ("ks/dev", valid)):
        words = {(clip.path, clip.target) for clip in parts[name].clips if "noise" not in clip.path}
        words = {pair for pair in words if "running_tap" not in pair[0]}
        split = {
            (str(path.relative_to(tmp_path)), word if word in speech_commands.KEYWORDS
             else "_unknown_")
            for word, path in expected
        }  # fmt: skip
        assert words == split and len(words) == len(expected)
    dataset = part("downstream.speech_commands.dataset")
    assert list(speech_commands.CLASSES) == dataset.CLASSES


def test_updates_of_an_epoch():
    """s3prl: 1,783 batches of ASR, 104,672 windows, 1,596 draws of 32 for KS."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(20_000, 300_000, 28_539).tolist()
    buckets = halved_buckets(lengths, 16)
    assert (len(buckets), {len(bucket) for bucket in buckets[:-1]}, len(buckets[-1])) == (
        1_783, {16}, 27)  # fmt: skip
    assert sorted(index for bucket in buckets for index in bucket) == list(range(28_539))
    assert len(halved_buckets(lengths[:33], 16)) == 2  # the last one is dropped
    tokens = rng.integers(5, 90, 300).tolist()
    drawn = windows(tokens, [16_000] * 300, 32)
    order = sorted(range(300), key=lambda index: -tokens[index])
    assert len(drawn) == 300 and drawn[0] == tuple(order[:32])
    assert drawn[268] == drawn[299] == tuple(order[268:])
    long = windows(tokens, [300_001] * 300, 32)
    assert {len(window) for window in long} == {16}
    classes = ["a"] * 50_000 + ["b"] * 1_094
    balanced = Balanced(classes, 32, [0])
    assert balanced.updates_per_epoch == 1_596
    drawn = [i for batch in balanced.batches(balanced.groups(0)[0], 0, 0) for i in batch]
    assert np.mean([classes[index] == "b" for index in drawn]) == pytest.approx(0.5, abs=0.02)
