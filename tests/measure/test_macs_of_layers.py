"""Every layer of `torch.nn` in evaluation: no operation without a rule, and MACs by formula."""

import math

import pytest
import torch
from torch import nn

from bench.api import Hidden, Upstream
from bench.measure.macs import count

B, C, T, S = 1, 8, 16, 12  # batch, channels, length of sequences, side of images
SHAPES = {1: (B, C, T), 2: (B, C, S, S), 3: (B, C, S, S, S)}  # by the dimensions of a layer
CONTAINERS = {
    *("Container", "Module", "ModuleDict", "ModuleList", "ParameterDict", "ParameterList"),
    *("DataParallel", "RNNBase", "RNNCellBase", "Sequential", "Buffer", "Parameter"),
}
# Arguments of layers that do not take the number of channels, and inputs that differ from
# (B, C, T) and its forms of more dimensions.
ARGUMENTS = {
    "Bilinear": (C, C, 3),
    "ChannelShuffle": (2,),
    "CosineSimilarity": (),
    "CrossMapLRN2d": (2,),
    "Embedding": (4, C),
    "EmbeddingBag": (4, C),
    "Flatten": (),
    "Fold": (S, 3),
    "GroupNorm": (2, C),
    "GRU": (T, C),
    "GRUCell": (T, C),
    "LayerNorm": (T,),
    "Linear": (T, C),
    "LocalResponseNorm": (2,),
    "LSTM": (T, C),
    "LSTMCell": (T, C),
    "MultiheadAttention": (T, 4),
    "PairwiseDistance": (),
    "PixelShuffle": (2,),
    "PixelUnshuffle": (2,),
    "RMSNorm": (T,),
    "RNN": (T, C),
    "RNNCell": (T, C),
    "Softmax": (-1,),
    "Softmin": (-1,),
    "LogSoftmax": (-1,),
    "Threshold": (0.1, 20.0),
    "Transformer": (T, 4, 1, 1, 32),
    "TransformerDecoder": (nn.TransformerDecoderLayer(T, 4, 32), 1),
    "TransformerDecoderLayer": (T, 4, 32),
    "TransformerEncoder": (nn.TransformerEncoderLayer(T, 4, 32), 1),
    "TransformerEncoderLayer": (T, 4, 32),
    "Unflatten": (1, (2, 4)),
    "Unfold": (3,),
    "Upsample": (20,),
    "UpsamplingBilinear2d": (20,),
    "UpsamplingNearest2d": (20,),
}
INPUTS = {
    "Embedding": ((B, T),),
    "EmbeddingBag": ((B, T),),
    "Fold": ((B, C * 9, (S - 2) ** 2),),
    **dict.fromkeys(("GRUCell", "LSTMCell", "RNNCell"), ((B, T),)),
    "Bilinear": ((B, T, C), (B, T, C)),
    **dict.fromkeys(("CosineSimilarity", "PairwiseDistance"), ((B, T), (B, T))),
    **dict.fromkeys(("Transformer", "TransformerDecoder"), ((B, C, T), (B, C, T))),
    "TransformerDecoderLayer": ((B, C, T), (B, C, T)),
    "MultiheadAttention": ((B, C, T), (B, C, T), (B, C, T)),
    **dict.fromkeys(("PixelShuffle", "PixelUnshuffle", "Dropout2d", "Softmax2d"), (SHAPES[2],)),
}
K = 3  # kernel
EXPECTED = {
    "Linear": B * C * T * C,
    "Bilinear": B * T * (3 * C * C + 3 * C),
    "Conv1d": C * C * K * (T - K + 1),
    "Conv2d": C * C * K**2 * (S - K + 1) ** 2,
    "Conv3d": C * C * K**3 * (S - K + 1) ** 3,
    "ConvTranspose1d": C * C * K * T,
    "ConvTranspose2d": C * C * K**2 * S**2,
    "ConvTranspose3d": C * C * K**3 * S**3,
    "RNN": B * C * C * (T + C),
    "GRU": B * C * 3 * C * (T + C),
    "LSTM": B * C * 4 * C * (T + C),
    "RNNCell": B * C * (T + C),
    "GRUCell": B * 3 * C * (T + C),
    "LSTMCell": B * 4 * C * (T + C),
}


def layers():
    """Names of all layers of `torch.nn` that take and give tensors, losses left out."""
    classes = {name: getattr(nn, name) for name in dir(nn)}
    return [
        name
        for name, kind in classes.items()
        if isinstance(kind, type)
        and issubclass(kind, nn.Module)
        and not (name in CONTAINERS or "Loss" in name or name.startswith("Lazy"))
    ]


def build(name):
    """Return a layer and its inputs."""
    dimensions = int(name[-2]) if name[-2:] in ("1d", "2d", "3d") else 1
    kind = getattr(nn, name)
    if name in ARGUMENTS:
        layer = kind(*ARGUMENTS[name])
    elif name.startswith("Conv"):
        layer = kind(C, C, K)
    elif name.startswith("FractionalMaxPool"):
        layer = kind(2, output_size=4)
    elif name.startswith("LPPool"):
        layer = kind(2, 2)
    elif "Norm" in name or name == "SyncBatchNorm":
        layer = kind(C)
    elif "pool" in name.lower():
        layer = kind(2)
    elif "Pad" in name:
        layer = kind(1, 0.0) if name.startswith("Constant") else kind(1)
    else:
        layer = kind()
    shapes = INPUTS.get(name, (SHAPES[dimensions],))
    if name.startswith("Embedding"):
        return layer, [torch.zeros(shapes[0], dtype=torch.long)]
    inputs = [torch.rand(shape) for shape in shapes]
    if name.startswith("MaxUnpool"):
        pool = getattr(nn.functional, f"max_pool{dimensions}d")
        inputs = list(pool(inputs[0], 2, return_indices=True))
    return layer, inputs


class OneLayer(Upstream):
    """An upstream that runs one layer on inputs of its own, and returns its sound as frames."""

    num_layers, hidden_size, stride, min_samples = 1, 1, 1, 1

    def __init__(self, layer, inputs):
        super().__init__()
        self.layer = layer
        for index, tensor in enumerate(inputs):
            self.register_buffer(f"input_{index}", tensor, persistent=False)
        self.num_inputs = len(inputs)
        self.freeze()
        nn.Module.train(layer, False)

    def num_frames(self, num_samples):
        return num_samples

    def forward(self, wavs, lengths):
        self.layer(*(getattr(self, f"input_{index}") for index in range(self.num_inputs)))
        return Hidden((wavs[..., None],), lengths)


@pytest.mark.parametrize("name", layers())
def test_every_layer_of_torch_is_counted(name):
    layer, inputs = build(name)
    result = count(OneLayer(layer, inputs), 100)
    assert result.uncounted == ()
    if not any(word in name for word in ("Transformer", "Attention")):
        assert result.plain == EXPECTED.get(name, 0)
    else:
        assert result.plain >= sum(math.prod(w.shape) for w in layer.parameters() if w.ndim == 2)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x, w: torch.mv(w, x), 7 * 5),
        (lambda x, w: w @ x, 7 * 5),
        (lambda x, w: torch.dot(x, x), 5),
        (lambda x, w: torch.vdot(x, x), 5),
        (lambda x, w: torch.addmv(w[:, 0], w, x), 7 * 5),
        (lambda x, w: torch.addbmm(w[:, :1], w[None], x[None, :, None]), 7 * 5),
        (lambda x, w: torch.cdist(w, w[:3]), 7 * 3 * 5),
        (lambda x, w: torch.cdist(w.repeat(5, 1), w.repeat(5, 1)), 35 * 35 * 5),
        (lambda x, w: torch.tensordot(w, x, dims=1), 7 * 5),
        (lambda x, w: torch.linalg.multi_dot([w, w.t(), w]), 2 * 7 * 5 * 5),
        (lambda x, w: torch.outer(x, x), 0),  # one multiplication an element, as any scale
    ],
)
@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_products_beside_layers_are_counted(function, expected, device):
    class Function(nn.Module):
        def forward(self, x, w):
            if device == "cpu":
                float(x.sum())  # reads a value, which the meta device cannot
            return function(x, w)

    result = count(OneLayer(Function(), [torch.rand(5), torch.rand(7, 5)]), 100)
    assert (result.device, result.uncounted, result.plain) == (device, (), expected)


def test_a_dynamically_quantised_layer_is_counted():
    module = nn.Sequential(nn.Linear(T, C), nn.ReLU())
    quantised = torch.ao.quantization.quantize_dynamic(module, {nn.Linear})
    result = count(OneLayer(quantised, [torch.rand(B, T)]), 100)
    assert (result.uncounted, result.plain) == ((), B * T * C)
