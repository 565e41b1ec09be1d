"""Joined frames, sequences reversed within their length, labels, and the mean over valid frames."""

import threading

import pytest
import torch

from bench.errors import InvalidDataError
from bench.features import workers
from downstreams.classify import UtteranceClassifier, masked_mean
from downstreams.cores import FrameProjection, at_once
from downstreams.frames import frames_to_join, join_frames
from downstreams.labels import Labels
from downstreams.recurrent import BiLstm, reverse_valid


@pytest.mark.parametrize(
    ("stride", "frame_ms", "count"),
    [
        (160, 20, 2),
        (320, 20, 1),
        (160, 40, 4),
        (160, 30, 3),
        (320, 30, 1),
        (320, 0, 1),
        (640, 20, 1),
    ],
)
def test_frames_that_fill_a_time(stride, frame_ms, count):
    assert frames_to_join(stride, frame_ms) == count


@pytest.mark.parametrize(("count", "total"), [(1, 5), (2, 3), (3, 2), (5, 1), (7, 1)])
def test_neighbours_are_joined_and_padding_is_zero(count, total):
    feats = 1.0 + torch.arange(20.0).view(2, 5, 2)
    lengths = torch.tensor([5, 3])
    joined, groups = join_frames(feats, lengths, count)
    assert joined.shape == (2, total, 2 * count)
    for row, length in enumerate(lengths.tolist()):
        assert groups[row] == -(-length // count)
        values = feats[row, :length].flatten()
        expected = torch.zeros(total * 2 * count)
        expected[: values.numel()] = values
        if count == 1:
            expected[values.numel() :] = feats[row, length:].flatten()  # left as they are
        torch.testing.assert_close(joined[row].flatten(), expected)


def test_a_sequence_is_reversed_within_its_length():
    feats = torch.arange(8.0).view(2, 4, 1)
    reversed_feats = reverse_valid(feats, torch.tensor([4, 2]))
    assert reversed_feats.flatten().tolist() == [3, 2, 1, 0, 5, 4, 6, 7]
    assert torch.equal(reverse_valid(reversed_feats, torch.tensor([4, 2])), feats)


def test_padded_frames_of_a_blstm_are_zero():
    states = BiLstm(3, 2)(torch.randn(2, 5, 3), torch.tensor([5, 2]))
    assert states.shape == (2, 5, 4)
    assert (states[1, 2:] == 0).all()
    assert (states[0] != 0).all()


@pytest.mark.parametrize("cores", [1, 2])
def test_the_directions_of_a_blstm_use_the_free_cores(cores, monkeypatch):
    monkeypatch.setattr(workers, "default_workers", lambda: cores)
    blstm, threads, started = BiLstm(3, 2), [], threading.Barrier(cores)

    def note(*_):
        threads.append(threading.get_ident())
        started.wait(timeout=10)  # both are computed at once

    blstm.left_to_right.register_forward_hook(note)
    blstm.right_to_left.register_forward_hook(note)
    blstm(torch.randn(2, 5, 3), torch.tensor([5, 2]))
    assert len(set(threads)) == cores
    free = workers.in_order(lambda _: workers.free_workers(), range(2), cores)
    assert list(free) == [1, 1]  # no core is left within a worker


@pytest.mark.parametrize("is_mixed", [False, True])
def test_a_frame_projection_has_the_bits_of_a_linear_layer(is_mixed, monkeypatch):
    monkeypatch.setattr(workers, "default_workers", lambda: 2)
    ours, linear = FrameProjection(40, 24), torch.nn.Linear(40, 24)
    linear.load_state_dict(ours.state_dict())
    feats = torch.randn(3, 50, 40, requires_grad=True)
    results = []
    for module in (ours, linear):
        with torch.autocast("cpu", torch.bfloat16, is_mixed):  # as recipes with a task train heads
            states, inputs = module(feats), [feats, *module.parameters()]
        loss = states.float().square().sum()
        results.append([states, *torch.autograd.grad(loss, inputs)])
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


def test_a_blstm_in_mixed_precision_is_the_same_on_any_number_of_cores(monkeypatch):
    """A thread starts without autocast: the second core would compute in float32."""
    blstm, feats, lengths = BiLstm(8, 4), torch.randn(2, 9, 8), torch.tensor([9, 5])
    whole, results = blstm(feats, lengths), []
    for cores in (1, 2):
        monkeypatch.setattr(workers, "default_workers", lambda cores=cores: cores)
        with torch.autocast("cpu", torch.bfloat16):
            states = blstm(feats, lengths)
        loss = states.float().square().sum()
        results.append([states, *torch.autograd.grad(loss, [*blstm.parameters()])])
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))
    assert not torch.equal(results[0][0], whole)  # it is mixed
    torch.testing.assert_close(results[0][0].float(), whole, atol=2e-2, rtol=0)


def test_work_at_once_keeps_the_mode_of_gradients(monkeypatch):
    monkeypatch.setattr(workers, "default_workers", lambda: 2)
    jobs = [torch.is_inference_mode_enabled, torch.is_grad_enabled]
    with torch.inference_mode():
        assert at_once(torch.zeros(1), *jobs) == [True, False]
    assert at_once(torch.zeros(1), *jobs) == [False, True]


def test_the_mean_is_over_valid_frames():
    feats = torch.tensor([[[1.0, 2.0], [3.0, 6.0], [100.0, 100.0]]])
    assert masked_mean(feats, torch.tensor([2])).tolist() == [[2.0, 4.0]]
    assert masked_mean(feats[:, :1], torch.tensor([1])).tolist() == [[1.0, 2.0]]


def test_labels_are_numbered_in_alphabetical_order():
    labels = Labels(["b", "a", "c", "a"])
    assert labels.names == ["a", "b", "c"]
    assert len(labels) == 3
    encoded = labels.encode(["c", "a", "b", "c"])
    assert (encoded.tolist(), encoded.dtype) == ([2, 0, 1, 2], torch.int64)
    message = "^labels not in the training split: v, w, x$"
    with pytest.raises(InvalidDataError, match=message):
        labels.encode(["z", "x", "a", "w", "v", "v"])


def test_a_classifier_is_linear_mean_linear():
    torch.manual_seed(0)
    head = UtteranceClassifier(3, 320, ["b", "a", "b"], projection=4)
    feats, lengths = torch.randn(2, 5, 3), torch.tensor([5, 3])
    output = head(feats, lengths)
    for row, length in enumerate((5, 3)):
        mean = head.project(feats[row, :length]).mean(dim=0)
        torch.testing.assert_close(output[row], head.classify(mean))
    assert head.predict(torch.tensor([[0.1, 0.3], [2.0, 1.0], [-3.0, -2.0]])) == ["b", "a", "b"]
    assert head.encode(["a", "b"]).tolist() == [0, 1]
    expected = -(output.log_softmax(dim=1)[[0, 1], [1, 0]]).mean()
    torch.testing.assert_close(head.loss(output, torch.tensor([1, 0])), expected)
    assert head.project.out_features == 4
    assert UtteranceClassifier(3, 320, ["a"]).project.out_features == 256
    assert head.pools_linearly
