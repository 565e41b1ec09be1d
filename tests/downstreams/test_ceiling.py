"""The ceiling's network, layer by layer on one utterance at a time."""

import torch

from downstreams.ceiling import EndToEndClassifier


def head_of(**options):
    torch.manual_seed(0)
    return EndToEndClassifier(6, 160, ["a", "b", "c"], **options)


def test_it_is_two_strided_convolutions_a_blstm_and_two_poolings():
    head = head_of(width=4).eval()
    feats, lengths = torch.randn(3, 21, 6), torch.tensor([21, 8, 1])
    output = head(feats, lengths)
    assert output.shape == (3, 3)
    for row, length in enumerate(lengths.tolist()):
        hidden = feats[row : row + 1, :length].transpose(1, 2)
        hidden = torch.relu(head.first(hidden))
        hidden = torch.relu(head.second(hidden))
        frames = hidden.shape[2]
        assert frames == (length + 3) // 4
        states = head.recurrent(hidden.transpose(1, 2), torch.tensor([frames]))
        pooled = torch.cat([states.mean(dim=1), states.amax(dim=1)], dim=1)
        expected = head.classify(torch.relu(head.project(pooled)))
        torch.testing.assert_close(output[row : row + 1], expected, rtol=1e-4, atol=1e-5)


def test_sizes():
    head = head_of()
    assert (head.first.in_channels, head.first.out_channels) == (6, 128)
    assert (head.first.kernel_size, head.first.stride, head.first.padding) == ((5,), (2,), (2,))
    assert (head.second.in_channels, head.second.out_channels) == (128, 128)
    assert (head.second.kernel_size, head.second.stride, head.second.padding) == ((3,), (2,), (1,))
    assert head.recurrent.left_to_right.hidden_size == 128
    assert (head.project.in_features, head.project.out_features) == (512, 128)
    assert head.classify.out_features == 3
    assert head.dropout.p == 0.3
    assert head_of(dropout=0.1).dropout.p == 0.1
    assert not head.pools_linearly


def test_dropout_is_before_the_blstm_and_before_the_last_layers():
    """In training two passes differ; with the rate 0 they do not."""
    feats, lengths = torch.randn(2, 16, 6), torch.tensor([16, 16])
    head = head_of(width=64, dropout=0.5)
    assert not torch.equal(head(feats, lengths), head(feats, lengths))
    still = head_of(width=4, dropout=0.0)
    torch.testing.assert_close(still(feats, lengths), still(feats, lengths))
    zeros = {}

    def count_zeros(module, inputs):
        zeros[module] = float((inputs[0] == 0).float().mean())

    head.recurrent.register_forward_pre_hook(count_zeros)
    head.project.register_forward_pre_hook(count_zeros)
    head(feats, lengths)
    in_training = dict(zeros)
    head.eval()(feats, lengths)
    for module, share in in_training.items():
        assert share > zeros[module] + 0.1
