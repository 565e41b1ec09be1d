"""Small models of other frameworks, written as their users would write them."""

import torch
from torch import nn


class TwoStates(nn.Module):
    """A convolution of 25 ms every 20 ms and a layer on top: two states of width 16."""

    def __init__(self, seed: int = 0, width: int = 16):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.conv = nn.Conv1d(1, width, 400, 320)
            self.linear = nn.Linear(width, width)
        self.eval()

    def forward(self, wavs):
        first = self.conv(wavs[:, None]).transpose(1, 2)
        return first, torch.tanh(self.linear(first))


PARAMS = 16 * 400 + 16 + 16 * 16 + 16
MACS_PER_FRAME = 16 * 400 + 16 * 16


def save_onnx(path, model=None, outputs=("first", "second"), batch=True):
    """Export with dynamic lengths."""
    axes = {"wavs": {1: "S"}} | {name: {1: "T"} for name in outputs}
    torch.onnx.export(
        model or TwoStates(),
        (torch.randn(1, 16_000),),
        path,
        input_names=["wavs"],
        output_names=list(outputs),
        dynamic_axes=axes,
        dynamo=False,
    )
    return path


def save_hubert(folder, kind="Hubert", do_normalize=False, shard="1GB", **changes):
    """A tiny model of transformers, with its feature extractor; the model."""
    from bench.sound.torchaudio_guard import import_torchaudio

    import_torchaudio()
    import transformers

    shape = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "conv_dim": [24] * 7,
        "num_conv_pos_embeddings": 16,
        "num_conv_pos_embedding_groups": 4,
    }
    config = getattr(transformers, f"{kind}Config")(**(shape | changes))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = getattr(transformers, f"{kind}Model")(config).eval()
    transformers.utils.logging.disable_progress_bar()
    model.save_pretrained(folder, max_shard_size=shard)
    if do_normalize is not None:
        transformers.Wav2Vec2FeatureExtractor(do_normalize=do_normalize).save_pretrained(folder)
    return model
