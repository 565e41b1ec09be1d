"""Heads: against their definitions, against padding, against a hand count."""

import pytest
import torch
from torch import nn

from bench.errors import InvalidDataError
from downstreams.classify import UtteranceClassifier
from downstreams.ctc import CtcBlstm, text_of, tokens_of
from downstreams.frames import join_frames
from downstreams.recurrent import BiLstm
from downstreams.speaker import LinearSpeaker, XVector
from downstreams.spotting import SlotSpotter

SLOT = {"text": "MEET FRANK AT THE INN", "slots": [["person", "FRANK"], ["place", "THE INN"]]}


def params(module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(("classes", "expected"), [(12, 199_948), (24, 203_032), (1251, 518_371)])
def test_classifier_has_superbs_size(classes, expected):
    head = UtteranceClassifier(768, 320, [f"c{i}" for i in range(classes)])
    assert params(head) == expected


@pytest.mark.seconds
def test_ctc_head_has_superbs_size_up_to_the_second_recurrent_bias():
    """s3prl: 42,828,832. PyTorch keeps two biases a direction in both, so the sizes are equal."""
    head = CtcBlstm(768, 320, ["".join(chr(65 + i) for i in range(26)) + "'|12 "])
    head.classify = nn.Linear(2048, 32)
    assert params(head) == 42_828_832


def test_x_vector_has_superbs_size():
    head = XVector(768, 320, [f"s{i}" for i in range(1211)])
    assert params(head) == 5_716_444 + 393_728 + 512 * 1211


@pytest.mark.parametrize("stride", [160, 320])
@pytest.mark.parametrize(
    "make",
    [
        lambda stride: UtteranceClassifier(6, stride, ["a", "b"], projection=4),
        lambda stride: CtcBlstm(6, stride, ["AB"], projection=5, hidden=4, frame_ms=20),
        lambda stride: SlotSpotter(6, stride, [SLOT], projection=4, frame_ms=20),
        lambda stride: LinearSpeaker(6, stride, ["a", "b"], width=5),
        lambda stride: XVector(6, stride, ["a", "b"], width=5, pooled_width=7, frame_ms=20),
    ],
    ids=["classifier", "ctc", "spotter", "speaker", "x-vector"],
)
def test_padding_does_not_matter(make, stride):
    head = make(stride).eval()
    feats, lengths = torch.randn(3, 50, 6), torch.tensor([50, 31, 40])
    whole = head(feats, lengths)
    for row, length in enumerate(lengths.tolist()):
        alone = head(feats[row : row + 1, :length], torch.tensor([length]))
        if isinstance(whole, tuple):
            valid = int(alone.lengths[0])
            left, right = whole.log_probs[row, :valid], alone.log_probs[0, :valid]
        else:
            left, right = whole[row], alone[0]
        torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-5)


def test_bilstm_and_its_gradients_equal_torch_on_packed_sequences():
    from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

    ours, reference = BiLstm(6, 5), nn.LSTM(6, 5, batch_first=True, bidirectional=True)
    with torch.no_grad():
        for name, parameter in ours.left_to_right.named_parameters():
            getattr(reference, name).copy_(parameter)
        for name, parameter in ours.right_to_left.named_parameters():
            getattr(reference, f"{name}_reverse").copy_(parameter)
    feats, lengths = torch.randn(4, 20, 6, requires_grad=True), torch.tensor([20, 7, 13, 1])
    packed = pack_padded_sequence(feats, lengths, batch_first=True, enforce_sorted=False)
    expected, _ = pad_packed_sequence(reference(packed)[0], batch_first=True)
    states = ours(feats, lengths)
    torch.testing.assert_close(states, expected, rtol=1e-5, atol=1e-6)
    weights = torch.randn_like(expected)
    gradients, theirs = (
        torch.autograd.grad((result * weights).sum(), [feats, *module.parameters()])
        for result, module in ((states, ours), (expected, reference))
    )
    torch.testing.assert_close(gradients, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("make", [UtteranceClassifier, LinearSpeaker])
def test_pooling_first_gives_the_same_output(make):
    """Why pooled features are exact: linear layers commute with the mean over time."""
    head = make(6, 320, ["a", "b", "c"])
    feats, lengths = torch.randn(2, 9, 6), torch.tensor([9, 5])
    pooled = torch.stack([feats[0].mean(0), feats[1, :5].mean(0)]).unsqueeze(1)
    torch.testing.assert_close(head(feats, lengths), head(pooled, torch.tensor([1, 1])))


def test_join_frames_counts_a_half_filled_group():
    feats = torch.arange(10.0).reshape(1, 5, 2)
    joined, lengths = join_frames(feats, torch.tensor([5]), 2)
    assert lengths.tolist() == [3]
    assert joined[0].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 0, 0]]


def test_joined_frames_hold_no_padding():
    """Standardised features are not zero on padding: here the fourth frame, (6, 7), is padding."""
    feats = torch.arange(8.0).reshape(1, 4, 2)
    joined, lengths = join_frames(feats, torch.tensor([3]), 2)
    assert lengths.tolist() == [2]
    assert joined[0].tolist() == [[0, 1, 2, 3], [4, 5, 0, 0]]


def test_slot_tokens_and_back():
    tokens = tokens_of(SLOT)
    text = text_of(tokens)
    assert text == "MEET B-person FRANK E-person AT B-place THE INN E-place"
    assert tokens_of("HI") == ["H", "I"]


def test_spotter_finds_a_slot_in_one_frame_and_a_second_of_like_probability():
    none = {"text": "HELLO", "slots": []}
    head = SlotSpotter(3, 320, [SLOT, none], projection=3)
    person, place = "B-person FRANK E-person", "B-place THE INN E-place"
    assert head.slots.names == ["", person, place]
    for layer in (head.project, head.classify):
        nn.init.eye_(layer.weight)
        nn.init.zeros_(layer.bias)
    feats, lengths = torch.zeros(4, 20, 3), torch.tensor([20, 20, 20, 10])
    feats[0, 5, 1] = feats[1, 5, 1] = feats[1, 9, 2] = feats[2, 2, 0] = feats[3, 3, 2] = 9.0
    feats[3, 15, 1] = 99.0  # padding
    assert head.predict(head(feats, lengths)) == [person, f"{person} {place}", "", place]
    expected = torch.tensor([[0.0, 0.5, 0.5], [1.0, 0.0, 0.0]])
    torch.testing.assert_close(head.encode([SLOT, none]), expected)
    means = feats[:2].exp().mean(dim=1).log()
    loss = -(expected * means.log_softmax(dim=1)).sum(dim=1).mean()
    torch.testing.assert_close(head.loss(head(feats[:2], lengths[:2]), expected), loss)


def test_slot_values_match_whole_words_in_order():
    target = {"text": "FRANKLY FRANK SAW FRANK", "slots": [["person", "FRANK"]] * 2}
    assert text_of(tokens_of(target)) == (
        "FRANKLY B-person FRANK E-person SAW B-person FRANK E-person"
    )
    with pytest.raises(ValueError, match="does not occur"):
        tokens_of({"text": "NOBODY", "slots": [["person", "FRANK"]]})


@pytest.mark.seconds
def test_ctc_learns_a_tiny_set_and_decodes_it():
    torch.manual_seed(0)
    targets = ["AB", "BA", "AAB"]
    head = CtcBlstm(4, 320, targets, projection=16, hidden=16, layers=1, dropout=0.0)
    feats, lengths = torch.randn(3, 12, 4), torch.tensor([12, 10, 12])
    optimizer = torch.optim.Adam(head.parameters(), lr=2e-2)
    for _ in range(150):
        optimizer.zero_grad()
        head.loss(head(feats, lengths), head.encode(targets)).backward()
        optimizer.step()
    assert head.predict(head(feats, lengths)) == targets


def test_am_softmax_against_its_formula():
    head = XVector(6, 320, ["a", "b", "c"], width=5, pooled_width=4, scale=3.0, margin=0.2)
    output = torch.rand(2, 5)
    hidden = nn.functional.normalize(torch.relu(head.segment(output)), dim=1)
    cosine = hidden @ nn.functional.normalize(head.margin_softmax.prototypes, dim=0)
    expected = []
    for row, label in enumerate([2, 0]):
        logits = 3.0 * cosine[row].double().clone()
        logits[label] -= 3.0 * 0.2
        expected.append(-(logits[label] - logits.logsumexp(0)))
    torch.testing.assert_close(
        head.loss(output, head.encode(["c", "a"])).double(), sum(expected) / 2, rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("head", [UtteranceClassifier, LinearSpeaker, XVector])
def test_a_label_unknown_to_training_is_an_error(head):
    module = head(6, 320, ["a", "b"])
    with pytest.raises(InvalidDataError, match="not in the training split"):
        module.encode(["z"])


def test_short_utterances_have_an_embedding():
    head = XVector(6, 320, ["a", "b"], width=5, pooled_width=4).eval()
    out = head(torch.randn(2, 3, 6), torch.tensor([3, 1]))
    assert torch.isfinite(out).all()


@pytest.mark.parametrize("share", [0.0, 0.1])
def test_a_classifier_smooths_its_targets(share):
    """By the definition: (1 - share) of the target's class, share / C of every class."""
    head = UtteranceClassifier(3, 320, ["a", "b", "c", "d"], label_smoothing=share)
    logits = torch.tensor([[2.0, 0.0, -1.0, 0.5], [0.1, 0.3, 0.0, -2.0]])
    log_p = logits.log_softmax(dim=1)
    of_target = log_p[torch.arange(2), head.encode(["c", "a"])]
    expected = -((1 - share) * of_target + share * log_p.mean(dim=1)).mean()
    torch.testing.assert_close(head.loss(logits, head.encode(["c", "a"])), expected)


def test_classifiers_with_other_seeds_start_as_one_function_where_the_output_starts_at_zero():
    """The first layers still differ, so that the seeds are seeds of something."""
    feats, lengths = torch.randn(2, 3, 5), torch.tensor([3, 2])
    heads = []
    for seed in range(2):
        torch.manual_seed(seed)
        heads.append(UtteranceClassifier(5, 320, ["a", "b"], projection=4, zero_output=True))
    assert all(torch.equal(head(feats, lengths), torch.zeros(2, 2)) for head in heads)
    assert not torch.equal(heads[0].project.weight, heads[1].project.weight)
    loss = heads[0].loss(heads[0](feats, lengths), heads[0].encode(["a", "b"]))
    loss.backward()
    assert heads[0].classify.weight.grad.any()  # the first update moves it away from 0
