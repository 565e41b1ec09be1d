"""The CTC head: tokens of texts and slots, its loss, its greedy decoding, its layers."""

import pytest
import torch
from torch import nn

from downstreams.ctc import BLANK, CtcBlstm, CtcOutput, text_of, tokens_of
from downstreams.superb import IntentClassifier, LetterCtc, SlotCtc


def head_of(targets=("AB", "BAC"), **options):
    torch.manual_seed(0)
    conf = {"projection": 4, "hidden": 3, "layers": 2, "dropout": 0.0} | options
    return CtcBlstm(5, 160, list(targets), **conf)


@pytest.mark.parametrize(
    ("text", "slots", "tokens"),
    [
        ("HI", [], ["H", "I"]),
        ("A B", [["x", "B"]], ["A", " ", "B-x", "B", "E-x"]),
        ("A B", [["x", "A"]], ["B-x", "A", "E-x", " ", "B"]),
        ("A", [["x", "A"]], ["B-x", "A", "E-x"]),
        ("A B A", [["x", "B"], ["y", "A"]], ["A", " ", "B-x", "B", "E-x", " ", "B-y", "A", "E-y"]),
        ("AB B", [["x", "B"]], ["A", "B", " ", "B-x", "B", "E-x"]),  # whole words only
        ("BA B", [["x", "B"]], ["B", "A", " ", "B-x", "B", "E-x"]),
        ("A B C", [["x", "B C"]], ["A", " ", "B-x", "B", " ", "C", "E-x"]),
    ],
)
def test_tokens_of_slots_are_letters_between_two_tags(text, slots, tokens):
    assert tokens_of({"text": text, "slots": slots}) == tokens


@pytest.mark.parametrize(("text", "value"), [("A B", "C"), ("AB", "A"), ("", "A"), ("A B", "B A")])
def test_a_slot_that_does_not_occur_is_an_error(text, value):
    with pytest.raises(ValueError, match="does not occur"):
        tokens_of({"text": text, "slots": [["x", value]]})


def test_slots_are_searched_one_after_another():
    with pytest.raises(ValueError, match="slot value 'A' does not occur in ' B'"):
        tokens_of({"text": "A B", "slots": [["x", "A"], ["y", "A"]]})


def test_texts_have_spaces_around_tags():
    assert text_of(["A", "B-x", "B", "E-x", "C"]) == "A B-x B E-x C"
    assert text_of(["A", " ", " ", "B"]) == "A B"
    assert text_of([" ", "A", " "]) == "A"
    assert text_of([]) == ""
    assert text_of(["B-x AB E-x", "B-y C E-y"]) == "B-x AB E-x B-y C E-y"


def test_the_vocabulary_is_that_of_training_and_unknown_tokens_are_left_out():
    head = head_of(["BA", {"text": "A", "slots": [["x", "A"]]}])
    assert head.vocabulary == ["", "A", "B", "B-x", "E-x"]
    first, second = head.encode(["AZB", {"text": "B A", "slots": [["x", "A"]]}])
    assert first.tolist() == [1, 2]
    assert second.tolist() == [2, 3, 1, 4]
    assert head.classify.out_features == 5


def test_decoding_merges_repeats_then_drops_blanks_within_the_length():
    head = head_of(["AB"])
    frames = [1, 1, 0, 1, 2, 2, 0, 0, 2]
    peaked = nn.functional.one_hot(torch.tensor([frames, frames]), 3).float()
    assert head.predict(CtcOutput(peaked, torch.tensor([9, 4]))) == ["AABB", "AA"]
    assert head.predict(CtcOutput(peaked, torch.tensor([1, 9]))) == ["A", "AABB"]
    assert BLANK == 0


def test_the_loss_is_the_mean_per_token_and_skips_what_is_too_short():
    head = head_of()
    feats, lengths = torch.randn(3, 8, 5), torch.tensor([8, 6, 2])
    output = head(feats, lengths)
    targets = head.encode(["AB", "BAC", "ABC"])  # three tokens do not fit into two frames
    losses = []
    for row in range(2):
        log_probs = output.log_probs[row, : lengths[row]].unsqueeze(1)
        loss = nn.functional.ctc_loss(
            log_probs,
            targets[row].unsqueeze(0),
            lengths[row : row + 1],
            torch.tensor([len(targets[row])]),
            reduction="sum",
        )
        losses.append(loss / len(targets[row]))
    torch.testing.assert_close(head.loss(output, targets), sum(losses) / 3)


def test_layers_follow_each_other_with_joined_frames():
    head = head_of(frame_ms=20).eval()
    feats, lengths = torch.randn(1, 7, 5), torch.tensor([7])
    assert head.project.in_features == 10
    assert [layer.left_to_right.input_size for layer in head.recurrent] == [4, 6]
    assert head.classify.in_features == 6
    joined = torch.cat([feats, torch.zeros(1, 1, 5)], dim=1).view(1, 4, 10)
    hidden = head.project(joined)
    for layer in head.recurrent:
        hidden = layer(hidden, torch.tensor([4]))
    expected = head.classify(hidden).log_softmax(dim=2)
    output = head(feats, lengths)
    torch.testing.assert_close(output.log_probs, expected)
    assert output.lengths.tolist() == [4]


def test_defaults_are_superbs():
    head = CtcBlstm(5, 160, ["AB"], projection=2, hidden=2)
    assert len(head.recurrent) == 2
    assert head.dropout.p == 0.2
    assert head.frames_joined == 1
    assert CtcBlstm(5, 160, ["AB"], hidden=2, layers=1).project.out_features == 1024
    wide = CtcBlstm(5, 160, ["AB"], projection=2, layers=1)
    assert wide.recurrent[0].left_to_right.hidden_size == 1024
    assert CtcBlstm(5, 160, ["AB"], projection=2, hidden=2, layers=3).recurrent[2] is not None


def test_dropout_follows_every_blstm_and_only_in_training():
    feats, lengths = torch.randn(2, 6, 5), torch.tensor([6, 4])
    head = head_of(dropout=0.5)
    assert not torch.equal(head(feats, lengths).log_probs, head(feats, lengths).log_probs)
    head.eval()
    assert torch.equal(head(feats, lengths).log_probs, head(feats, lengths).log_probs)
    nothing = head_of(dropout=1.0)  # all states are zero: only the last bias is left
    expected = nothing.classify.bias.log_softmax(dim=0).expand(2, 6, -1)
    torch.testing.assert_close(nothing(feats, lengths).log_probs, expected)


def test_letters_end_in_a_bar_and_an_end_mark():
    head = LetterCtc(5, 320, [], projection=3, hidden=2, layers=1)
    (encoded,) = head.encode(["it's 5"])
    spelt = [head.vocabulary[index] for index in encoded]
    assert spelt == ["I", "T", "'", "S", "|", "<unk>", "|", "</s>"]
    assert head._text_of(["A", "|", "|", "B", "</s>", "C", "|"]) == "A BC"
    assert len(head.vocabulary) == 32


def test_slot_marks_keep_their_spaces():
    targets = [
        {"pieces": [["B", "x"], ["", "a"], ["", "A'é"], ["E", "x"], ["", " "], ["end", ""]]},
        {"pieces": [["B", "w"], ["", "B"], ["E", "w"]]},
    ]
    head = SlotCtc(5, 320, targets, projection=3, hidden=2, layers=1)
    assert head.vocabulary[:4] == ["<pad>", "<eos>", "<unk>", " "]
    assert head.vocabulary[-4:] == ["B-w", "E-w", "B-x", "E-x"]
    spelt = [head.vocabulary[index] for index in head.encode(targets[:1])[0]]
    assert spelt == ["B-x", "<unk>", "A", "'", "<unk>", "E-x", " ", "<eos>"]
    assert head._text_of(["B-x", "A", "'", "E-x", " ", "B", "<eos>"]) == "B-x A' E-x B"
    assert head._text_of(["B", "E", "-"]) == "BE-"


@pytest.mark.parametrize("share", [0.0, 0.1])
def test_intents_are_predicted_label_by_label(share):
    targets = ["on|lamp", "off|lamp", "on|heat"]
    head = IntentClassifier(3, 320, targets, projection=2, label_smoothing=share)
    assert [slot.names for slot in head.slots] == [["off", "on"], ["heat", "lamp"]]
    assert head.classify.out_features == 4
    assert head.encode(["on|heat", "off|lamp"]).tolist() == [[1, 0], [0, 1]]
    logits = torch.tensor([[0.0, 1.0, 3.0, 2.0], [5.0, 1.0, 3.0, 4.0]])
    assert head.predict(logits) == ["on|heat", "off|lamp"]
    losses = [nn.functional.cross_entropy(logits[:, i : i + 2], t, label_smoothing=share)
              for i, t in ((0, torch.tensor([1, 0])), (2, torch.tensor([0, 1])))]  # fmt: skip
    torch.testing.assert_close(head.loss(logits, head.encode(["on|heat", "off|lamp"])), sum(losses))
