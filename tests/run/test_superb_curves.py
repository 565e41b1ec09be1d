"""A hundred updates of ours and of s3prl's modules: one initial state, the same batches.

Dropout and SpecAugment are off, their draws being of different generators; everything else is on:
weighted sum, head, loss, clipping, Adam. The loss before every update must agree.
"""

import torch
from s3prl_parts import POST, copy_linear, ctc_pair, part
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from bench.config import Recipe
from bench.features.rows import Batch
from bench.probe.grids import Looped, Stacked
from bench.probe.heads import Point, Probe, optimizer_of
from downstreams.classify import UtteranceClassifier
from downstreams.superb import LetterCtc

UPDATES, LAYERS, SIZE, BATCH = 100, 3, 6, 4
RECIPE = Recipe(lr_grid=(1e-3,), steps=UPDATES, batch_size=BATCH, eval_every=UPDATES, clip=1.0)


def batches(count: int, seed: int = 0):
    """Hidden states of utterances of other lengths: L lists of (T, D) a batch."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        lengths = torch.randint(24, 40, (BATCH,), generator=generator).tolist()
        yield [
            [2.0 * torch.randn(length, SIZE, generator=generator) for length in lengths]
            for _ in range(LAYERS)
        ]


def as_batch(layers, *, pooled: bool = False) -> Batch:
    """What our trainer sees: padded frames, or their means."""
    if pooled:
        means = [torch.stack([row.mean(dim=0) for row in rows]) for rows in layers]
        return Batch(torch.stack(means).unsqueeze(2), torch.ones(BATCH, dtype=torch.int64))
    lengths = torch.tensor([len(row) for row in layers[0]])
    return Batch(torch.stack([pad_sequence(rows, batch_first=True) for rows in layers]), lengths)


class Reference(nn.Module):
    """s3prl's featurizer, projector and model, stepped as its runner steps them."""

    def __init__(self, projector, model, objective, lr):
        super().__init__()
        featurizer = part("upstream.interfaces").Featurizer
        self.featurizer = featurizer.__new__(featurizer)
        nn.Module.__init__(self.featurizer)
        self.featurizer.weights = nn.Parameter(torch.zeros(LAYERS))
        self.featurizer.normalize, self.featurizer.layer_num = False, LAYERS
        self.projector, self.model, self._objective = projector, model, objective
        self._optimizer = torch.optim.Adam(self.parameters(), lr=lr)

    def update(self, layers, targets) -> float:
        lengths = torch.tensor([len(row) for row in layers[0]])
        padded = [pad_sequence(rows, batch_first=True) for rows in layers]
        features = self.featurizer._weighted_sum(padded)
        rows = [row[:length] for row, length in zip(features, lengths, strict=True)]
        projected = self.projector(pad_sequence(rows, batch_first=True))
        output, output_lengths = self.model(projected, lengths)
        loss = self._objective(output, output_lengths, targets)
        loss.backward()
        nn.utils.clip_grad_norm_(list(self.parameters()), 1.0)
        self._optimizer.step()
        self._optimizer.zero_grad()
        return float(loss.detach())


def compare(kind, head, reference, draw, *, lr: float, pooled: bool) -> None:
    """Train both; every loss within 1e-4 of the other, and the last far from the first."""
    probe = Probe(LAYERS, SIZE, lambda size: head, None)
    optimizer = optimizer_of(probe.parameters(), RECIPE, lr)
    grid = kind([Point(lr, 0, probe, optimizer)], RECIPE.clip)
    losses = []
    for step, layers in enumerate(batches(UPDATES)):
        targets = draw(step, layers)
        encoded, batch = head.encode(targets), as_batch(layers, pooled=pooled)
        (own,) = grid.update(step, {0: batch}, {0: encoded}).tolist()
        losses.append((own, reference.update(layers, encoded)))
    for step, (own, theirs) in enumerate(losses):
        assert abs(own - theirs) <= 1e-4 * abs(theirs), (step, own, theirs)
    first, last = (sum(own for own, _ in part) / 20 for part in (losses[:20], losses[-20:]))
    assert last < 0.9 * first, (first, last)


def test_keyword_spotting_trains_alike_on_means_of_frames():
    torch.manual_seed(0)
    labels = ["a", "b", "c"]
    head = UtteranceClassifier(SIZE, 320, labels, projection=16)
    projector = nn.Linear(SIZE, 16)
    model = part("downstream.model").UtteranceLevel(16, 3, pooling="MeanPooling", post_net=POST)
    copy_linear(head.project, projector)
    copy_linear(head.classify, model.post_net.linear)
    criterion = nn.CrossEntropyLoss()
    reference = Reference(
        projector, model, lambda output, _, target: criterion(output, target), lr=1e-2
    )

    def draw(step, layers):
        return [labels[int(row.mean(dim=0)[:3].argmax())] for row in layers[1]]

    compare(Stacked, head, reference, draw, lr=1e-2, pooled=True)


def test_speech_recognition_trains_alike():
    torch.manual_seed(0)
    head = LetterCtc(SIZE, 320, [], projection=8, hidden=6, dropout=0.0)
    projector, model = ctc_pair(head, 32)
    for layer in model.rnns:
        layer.dropout = 0.0
    criterion = nn.CTCLoss(blank=0, zero_infinity=True)

    def objective(logits, lengths, targets):
        padded = pad_sequence(targets, batch_first=True, padding_value=1)
        target_lengths = torch.tensor([len(target) for target in targets])
        log_probs = nn.functional.log_softmax(logits, dim=-1).transpose(0, 1)
        return criterion(log_probs, padded, lengths, target_lengths)

    words = ["A CAB", "BEE", "A", "NO", "SEE IT"]

    def draw(step, layers):
        return [words[(step + place) % len(words)] for place in range(BATCH)]

    compare(
        Looped, head, Reference(projector, model, objective, lr=1e-3), draw, lr=1e-3, pooled=False
    )
