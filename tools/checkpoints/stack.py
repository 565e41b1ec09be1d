"""A small encoder as people write their own: a convolution, a norm, and one of several bodies."""

import torch
from torch import nn

BODIES = ("linear", "gru", "lstm", "attention", "depthwise", "prelu")


class Stack(nn.Module):
    """Two states of a waveform (1, S) or (1, 1, S): after the convolution, and after the body."""

    def __init__(self, body="linear", norm="none", width=16, kernel=400, seed=0):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.conv = nn.Conv1d(1, width, kernel, 320)
            norms = {"batch": nn.BatchNorm1d(width), "group": nn.GroupNorm(4, width)}
            self.norm = norms.get(norm, nn.Identity())
            if norm == "batch":
                self.norm.running_mean.normal_(0, 0.1)
                self.norm.running_var.uniform_(0.5, 2.0)
            bodies = {
                "linear": lambda: nn.Linear(width, width),
                "gru": lambda: nn.GRU(width, width, batch_first=True),
                "lstm": lambda: nn.LSTM(width, width, batch_first=True),
                "attention": lambda: nn.TransformerEncoderLayer(
                    width, 2, 2 * width, batch_first=True, activation="gelu"
                ),
                "depthwise": lambda: nn.Conv1d(width, width, 5, padding=2, groups=width),
                "prelu": lambda: nn.PReLU(width),
            }
            self.body = bodies[body]()
        self.kind = body
        self.eval()

    def forward(self, wavs):
        first = self.norm(self.conv(wavs.reshape(1, 1, -1)))
        if self.kind in ("depthwise", "prelu"):
            return first.transpose(1, 2), torch.tanh(self.body(first)).transpose(1, 2)
        first = first.transpose(1, 2)
        second = self.body(first)
        return first, second[0] if self.kind in ("gru", "lstm") else second
