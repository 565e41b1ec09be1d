"""Heads, draws, decoding and metrics against s3prl's own modules, on the same numbers."""

import random

import numpy as np
import pytest
import torch
from official_trees import SENTENCES
from s3prl_parts import POST, copy_linear, ctc_pair, dictionary, part
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from bench.api import Utterance
from bench.corpora.official import audio_snips, speech_commands
from bench.features.weighted_sum import WeightedSum
from bench.metrics.metric import METRICS
from downstreams.classify import UtteranceClassifier
from downstreams.ctc import CtcOutput
from downstreams.speaker import LOST_FRAMES, XVector
from downstreams.spec_augment import spec_augment
from downstreams.superb import LETTERS, SLOT_LETTERS, SPECIAL, IntentClassifier, LetterCtc, SlotCtc

SIZE = 6  # D


def params(module) -> int:
    return sum(p.numel() for p in module.parameters())


def features(*lengths: int, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    rows = [torch.randn(length, SIZE, generator=generator) for length in lengths]
    return rows, pad_sequence(rows, batch_first=True), torch.tensor(lengths)


def utterances(targets, speaker=""):
    return [Utterance(str(n), None, 0, 1, target, speaker, "", "") for n, target in
            enumerate(targets)]  # fmt: skip


@pytest.mark.seconds
def test_heads_have_the_published_sizes():
    assert params(LetterCtc(768, 320, ["A"])) == 42_828_832
    slots = [{"pieces": [["B", f"s{n}"]]} for n in range(39)]
    head = SlotCtc(768, 320, slots)
    assert (params(head), len(head.vocabulary)) == (42_986_605, 109)
    intents = [f"{n % 6}|{n % 14}|{n % 4}" for n in range(84)]
    assert params(IntentClassifier(768, 320, intents)) == 203_032
    assert params(UtteranceClassifier(768, 320, speech_commands.CLASSES)) == 199_948


def test_weighted_sum_is_the_featurizers():
    """s3prl: softmax of zeros-initialised weights over stacked layers, no normalisation."""
    featurizer = part("upstream.interfaces").Featurizer
    states = [torch.randn(2, 5, SIZE) for _ in range(4)]
    ours = WeightedSum(4)
    nn.init.normal_(ours.logits)
    theirs = featurizer.__new__(featurizer)
    nn.Module.__init__(theirs)
    theirs.weights, theirs.normalize, theirs.layer_num = ours.logits, False, 4
    expected = theirs._weighted_sum(states)
    torch.testing.assert_close(ours(torch.stack(states)), expected)


@pytest.mark.parametrize("classes", [2, 12])
def test_utterance_head_and_its_loss(classes):
    model = part("downstream.model")
    labels = [f"c{n:02d}" for n in range(classes)]
    ours = UtteranceClassifier(SIZE, 320, labels, projection=5)
    projector = nn.Linear(SIZE, 5)
    theirs = model.UtteranceLevel(5, classes, pooling="MeanPooling", post_net=POST)
    copy_linear(ours.project, projector)
    copy_linear(ours.classify, theirs.post_net.linear)
    _, padded, lengths = features(9, 4, 7)
    expected, _ = theirs(projector(padded), lengths)
    output = ours(padded, lengths)
    torch.testing.assert_close(output, expected)
    targets = ours.encode([labels[0], labels[1], labels[0]])
    torch.testing.assert_close(
        ours.loss(output, targets), nn.CrossEntropyLoss()(expected, torch.tensor([0, 1, 0]))
    )


def test_intents_sum_their_losses_and_all_must_be_right():
    targets = ["on|lamp|none", "off|lamp|hall", "on|heat|hall"]
    head = IntentClassifier(SIZE, 320, targets, projection=4)
    _, padded, lengths = features(5, 6, 3)
    output, encoded = head(padded, lengths), head.encode(targets)
    start, loss = 0, 0.0
    for place, slot in enumerate(head.slots):  # the loop of s3prl's expert
        subset = output[:, start : start + len(slot)]
        loss = loss + nn.CrossEntropyLoss()(subset, encoded[:, place])
        start += len(slot)
    torch.testing.assert_close(head.loss(output, encoded), loss)
    predicted = head.predict(output)
    rows = [
        [slot.names[int(i)] for slot, i in zip(head.slots, row, strict=True)] for row in encoded
    ]
    right = np.mean([text.split("|") == row for text, row in zip(predicted, rows, strict=True)])
    score = METRICS["accuracy"].score(
        {str(n): text for n, text in enumerate(predicted)}, utterances(targets)
    )
    assert score.value == right


def test_letters_are_fairseqs(tmp_path):
    theirs = dictionary(tmp_path)
    assert theirs.symbols == [*SPECIAL, *LETTERS] and theirs.bos() == 0
    head = LetterCtc(SIZE, 320, [], projection=4, hidden=3)
    for text in ("IT'S A QUIZ JACK", "'TIS  BARB'S"):
        line = " ".join(text.replace(" ", "|")) + " |"
        expected = theirs.encode_line(line, line_tokenizer=str.split)
        assert head.encode([text])[0].tolist() == expected.tolist()


def test_ctc_head_loss_and_greedy_decoding(tmp_path):
    ours = LetterCtc(SIZE, 320, [], projection=5, hidden=4).eval()
    projector, theirs = ctc_pair(ours, 32)
    theirs.eval()
    _, padded, lengths = features(30, 17, 25)
    logits, _ = theirs(projector(padded), lengths)
    output = ours(padded, lengths)
    expected = logits.log_softmax(dim=-1)
    for row, length in enumerate(lengths):
        torch.testing.assert_close(output.log_probs[row, :length], expected[row, :length])
    targets = ours.encode(["A CAT", "I", "NO"])
    loss = nn.CTCLoss(blank=0, zero_infinity=True)(
        expected.transpose(0, 1),
        pad_sequence(targets, batch_first=True, padding_value=1),
        lengths,
        torch.tensor([len(item) for item in targets]),
    )
    torch.testing.assert_close(ours.loss(output, targets), loss)
    # Decoding: the lines of s3prl's expert, on peaked outputs that use every symbol.
    symbols = dictionary(tmp_path)
    drawn = torch.randint(0, 32, (40, 30), generator=torch.Generator().manual_seed(1))
    peaked = 9.0 * nn.functional.one_hot(drawn, 32).float()
    texts = ours.predict(CtcOutput(peaked, torch.full((40,), 30)))
    for row, text in zip(drawn, texts, strict=True):
        merged = row.unique_consecutive()
        string = symbols.string(merged[merged != 0].tolist())
        assert text.split() == string.replace(" ", "").replace("|", " ").strip().split()


def test_spec_augment_draws_the_same_masks():
    module = part("downstream.specaug")
    theirs = module.SpecAug(
        time_warp_window=5, freq_mask_width_range=(0, 50), num_freq_mask=4,
        time_mask_width_range=(0, 40), num_time_mask=2,
    )  # fmt: skip
    rows = [torch.randn(length, 64) for length in (90, 8, 61)]
    padded, lengths = pad_sequence(rows, batch_first=True), torch.tensor([90, 8, 61])
    torch.manual_seed(5)
    expected, _ = theirs([row.clone() for row in rows])
    torch.manual_seed(5)
    augmented = spec_augment(padded, lengths)
    for row, length, theirs_row in zip(augmented, lengths, expected, strict=True):
        torch.testing.assert_close(row[:length], theirs_row)
    assert (augmented == 0).float().mean() > (padded == 0).float().mean()
    head = LetterCtc(64, 320, [], projection=4, hidden=3, layers=1, dropout=0.0, augment=True)
    evaluated = [head.eval()(padded, lengths).log_probs for _ in range(2)]
    assert torch.equal(*evaluated)  # in training only
    trained = [head.train()(padded, lengths).log_probs for _ in range(2)]
    assert not torch.equal(*trained)


def x_vector_pair(speakers: int):
    module = part("downstream.sv_voxceleb1.model")
    torch.manual_seed(0)
    ours = XVector(SIZE, 320, [f"s{n}" for n in range(speakers)], width=8, pooled_width=10).eval()
    hparams = {"agg_dim": 10, "dropout_p": 0, "batch_norm": False}
    theirs = module.Model(8, 10, "SP", "XVector", "UtteranceExtractor", hparams).eval()
    loss = module.AMSoftmaxLoss(8, speakers, s=30.0, m=0.4)
    connect = nn.Linear(SIZE, 8)
    copy_linear(ours.connect, connect)
    copy_linear(ours.embed, theirs.utterancelevel_feature_extractor.linear1)
    copy_linear(ours.segment, theirs.utterancelevel_feature_extractor.linear2)
    with torch.no_grad():
        loss.W.copy_(ours.margin_softmax.prototypes)
        layers = theirs.framelevel_feature_extractor.module
        for delay, layer in zip(ours.delays, layers, strict=True):
            layer.kernel.bias.copy_(delay.bias)
            # s3prl unfolds frames: the context is the slow axis of a row.
            layer.kernel.weight.copy_(delay.weight.transpose(1, 2).flatten(1))
    return ours, connect, theirs, loss


def test_x_vector_and_its_loss_on_one_length():
    ours, connect, theirs, margin = x_vector_pair(4)
    _, padded, lengths = features(31, 31, 31)
    mask = torch.zeros(3, 31 - LOST_FRAMES)
    output = ours(padded, lengths)
    torch.testing.assert_close(output, theirs.inference(connect(padded), mask))
    labels = ["s2", "s0", "s3"]
    expected = margin(theirs(connect(padded), mask), torch.tensor([2, 0, 3]))
    torch.testing.assert_close(ours.loss(output, ours.encode(labels)), expected)


def test_x_vector_pools_no_frame_of_padding():
    """On purpose: s3prl's shorter utterances of a batch take one frame of padding into the mean."""
    ours, connect, theirs, _ = x_vector_pair(2)
    rows, padded, lengths = features(40, 30)
    mask = pad_sequence([torch.ones(len(row) - LOST_FRAMES) for row in rows], batch_first=True)
    batch = theirs.inference(connect(padded), (1.0 - mask) * -100_000.0)
    alone = theirs.inference(connect(rows[1][None]), torch.zeros(1, 30 - LOST_FRAMES))
    output = ours(padded, lengths)
    torch.testing.assert_close(output[0], batch[0])
    torch.testing.assert_close(output[1], alone[0])
    assert not torch.allclose(batch[1], alone[0], rtol=1e-4, atol=1e-6)


def slot_encoder():
    slots = sorted({"entity", "artist", "object", "rating", "unit", "list"})
    marks = [f"{side}-{slot}" for slot in slots for side in "BE"]
    return part("downstream.ctc.text").CharacterTextSlotEncoder(list(SLOT_LETTERS), marks)


def test_slot_encoding_and_its_text():
    encoder = slot_encoder()
    sentences = [SENTENCES[0].replace("B-ignored", "artist"), *SENTENCES[1:]]
    targets = [audio_snips.target_of(line) for line in sentences]
    head = SlotCtc(SIZE, 320, targets, projection=4, hidden=3)
    assert head.vocabulary[3:] == encoder._vocab_list[3:] + encoder.slots
    assert head.vocabulary[3:31] == encoder._vocab_list[3:]
    for line, target in zip(sentences, targets, strict=True):
        expected = encoder.encode(line)
        assert head.encode([target])[0].tolist() == expected
        spelt = head._text_of([head.vocabulary[index] for index in expected])
        assert spelt == encoder.decode(expected)


def damaged(text: str, rng: random.Random) -> str:
    """A text with some letters dropped, doubled or exchanged, tags among them."""
    letters = [rng.choice(["", letter * 2, "A", " "]) if rng.random() < 0.06 else letter
               for letter in text]  # fmt: skip
    return "".join(letters)


def test_slot_scores():
    """References as s3prl has them: encoded and decoded, so that an oracle makes no error."""
    metric, encoder, rng = part("downstream.ctc.metric"), slot_encoder(), random.Random(0)
    lines = [SENTENCES[0].replace("B-ignored", "artist"), *SENTENCES[1:]]
    lines += ["BOS GO HOME EOS\tO O O O", "BOS A B C EOS\tO list list unit O"]
    targets = [audio_snips.target_of(line) for line in lines]
    references = [encoder.decode(encoder.encode(line)) for line in lines]
    assert "<unk>L CAMINO <unk> <unk>" in references[4]
    draws = [[damaged(text, rng) for text in references] for _ in range(60)]
    draws += [[rng.choice(references) for _ in references] for _ in range(10)]
    draws += [[f"B-unit {'X' * 700} E-unit" for _ in references]]
    for hypotheses in (*draws, references):
        by_id = {str(n): text for n, text in enumerate(hypotheses)}
        scores = {}
        for name in ("slot_type_f1", "slot_value_cer"):
            expected = getattr(metric, name)(hypothesis=hypotheses, groundtruth=references)
            scores[name] = METRICS[name].score(by_id, utterances(targets)).value
            assert scores[name] == pytest.approx(expected), (name, hypotheses)
    assert scores == {"slot_type_f1": 1.0, "slot_value_cer": 0.0}


def test_word_and_letter_error_rates():
    expert = part("downstream.asr.expert").DownstreamExpert
    references = ["THE CAT SAT", "ON", "A MAT IT'S RED"]
    hypotheses = ["THE CAT", "ON THE", "MAT ITS A RED"]
    by_id = {str(n): text for n, text in enumerate(hypotheses)}
    words = [[text.split() for text in texts] for texts in (hypotheses, references)]
    letters = [[" ".join(text.replace(" ", "|")) for text in texts]
               for texts in (hypotheses, references)]  # fmt: skip
    uer, wer = expert._compute_metrics(None, letters[0], words[0], letters[1], words[1])
    assert METRICS["wer"].score(by_id, utterances(references)).value == pytest.approx(wer / 100)
    assert METRICS["cer"].score(by_id, utterances(references)).value == pytest.approx(uer / 100)
