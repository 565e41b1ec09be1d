"""One pass and kept features, against the upstream in every step."""

from __future__ import annotations

from typing import Any

import torch

from bench.engine import Engine
from bench.features.passes import clean_sound, forward_bucket
from bench.features.rows import Rows
from tools.benchmarks._paired import cpu, in_turn, spread
from tools.benchmarks._setting import EPOCHS, SEEDS, Bed, Setting, larger, padded, scratch, smaller
from tools.markdown import markdown_table

TITLE = "One pass, then training from stored features"
# So many times the setting's utterances: keywords are half a second each, and what a file costs to
# open would be a tenth of their pass.
POOLED = {"ks": 8, "ic": 1, "sid": 1}
FRAMES = ("asr", "slu")
BATCH_OF_FRAMES = 16


def measure(setting: Setting) -> str:
    """The ratios of end-to-end times at 20 epochs, and that the scores are the same."""
    fewer = smaller(setting, BATCH_OF_FRAMES)
    rows = [_row(larger(setting, times), name) for name, times in POOLED.items()]
    rows += [_row(fewer, name) for name in FRAMES]
    head = [
        "task",
        "audio s",
        f"uncached / stored, {EPOCHS} epochs, one head",
        "grid / bare pass",
        "equality",
    ]
    table = markdown_table(rows, head)
    return f"""{table}

Stored: the pass over the utterances (writing included) and {EPOCHS} epochs of one head. Uncached:
the same head, batch size and updates with the upstream in every step; one epoch is timed in each
round and multiplied by {EPOCHS}. Grid: pass and training of the card's learning rates x 3 seeds,
divided by the pass alone. CPU seconds; {setting.utterances} utterances of the training split (KS
{POOLED["ks"]} times as many, ASR and SLU {fewer.utterances}), {setting.repeats} rounds in turn,
median (lowest to highest).

{_full_size(setting)}

{_half(setting)}"""


def _row(setting: Setting, task: str) -> list[str]:
    bed = setting.task(task)
    rates = bed.resolved.card.recipe.lr_grid
    with scratch() as root:
        source = bed.extract(root / "kept").read(bed.train)
        rounds = iter(range(1_000))
        found = in_turn(
            {
                "pass": lambda: bed.extract(root / f"pass{next(rounds)}"),
                "uncached": bed.uncached_epoch(),
                "one": lambda: bed.fit(source, rates[:1], (0,), root),
                "grid": lambda: bed.fit(source, rates, SEEDS, root),
            },
            setting.repeats,
        )
        equality = _equality(bed, bed.fit(source, rates[:1], (0,), root))
    passes, uncached = cpu(found["pass"]), cpu(found["uncached"])
    one, grid = cpu(found["one"]), cpu(found["grid"])
    factor = [EPOCHS * u / (p + o) for u, p, o in zip(uncached, passes, one, strict=True)]
    share = [(p + g) / p for p, g in zip(passes, grid, strict=True)]
    return [task, f"{bed.seconds:.0f}", spread(factor, ".1f"), spread(share), equality]


@torch.inference_mode()
def _equality(bed: Bed, trainer: Any) -> str:
    """The trained head on kept features and on the upstream's own frames."""
    probe, source = trainer.grid.points[0].probe.eval(), trainer.lesson.train
    chosen = range(min(16, len(bed.train)))
    kept = source.rows(chosen).batch(chosen)
    wavs = [clean_sound(bed.train[index]) for index in chosen]
    frames = [forward_bucket(bed.upstream, [wav], Engine())[0] for wav in wavs]
    first, second = probe(kept), probe(padded(frames))
    same = sum(
        a == b for a, b in zip(probe.head.predict(first), probe.head.predict(second), strict=True)
    )
    if isinstance(first, tuple):
        first, second = first[0], second[0]
    error = float((first - second).abs().max() / second.abs().max())
    return f"outputs within {error:.0e}, {same} of {len(frames)} predictions the same"


def _full_size(setting: Setting) -> str:
    """SUPERB's head of ASR: what reading from the store costs beside features in memory."""
    bed = smaller(setting, BATCH_OF_FRAMES).task("asr", full_size=True)
    with scratch() as root:
        store = bed.extract(root / "kept")
        source, rates = store.read(bed.train), (1e-4,)
        memory = _Memory(source)
        rounds = iter(range(1_000))
        found = in_turn(
            {
                "pass": lambda: bed.extract(root / f"pass{next(rounds)}"),
                "store": lambda: bed.fit(source, rates, (0,), root, epochs=1),
                "memory": lambda: bed.fit(memory, rates, (0,), root, epochs=1),
            },
            setting.repeats,
        )
    passes, stored, held = (cpu(found[name]) for name in ("pass", "store", "memory"))
    factor = [
        (p + EPOCHS * s) / (p + EPOCHS * m) for p, s, m in zip(passes, stored, held, strict=True)
    ]
    return (
        f"SUPERB's full-size head of ASR (two BiLSTM layers of 1,024): pass and {EPOCHS} epochs "
        f"from the store take **{spread(factor, '.3f')}** times a bare pass plus the same training "
        f"on features already in memory ({len(bed.train)} utterances, one epoch timed in each "
        "round)."
    )


def _half(setting: Setting) -> str:
    """What half precision does to a head of ASR, beside what another seed does."""
    bed = smaller(setting, BATCH_OF_FRAMES).task("asr")
    with scratch() as root:
        kept = _Memory(bed.extract(root / "kept").read(bed.train))
        exact = _Memory(kept, [hidden_states(bed, index) for index in range(len(bed.train))])
        states = kept.rows(range(len(kept))).states, exact.rows(range(len(kept))).states
        scale = states[1].abs().amax(dim=(0, 2))
        error = ((states[0].float() - states[1]).abs().amax(dim=(0, 2)) / scale).max()
        losses = [_losses(bed, bed.fit(source, (2e-3,), SEEDS, root)) for source in (kept, exact)]
    moved = max(abs(a - b) for a, b in zip(*losses, strict=True))
    between = max(losses[1]) - min(losses[1])
    return (
        f"Half-precision frames differ from single precision by at most {float(error):.1e} of a "
        f"layer's largest value. After {EPOCHS} epochs on either, the training losses of ASR's "
        f"head in track open differ by at most {moved:.1e}; those of its three seeds differ by "
        f"{between:.1e} ({len(bed.train)} utterances)."
    )


def hidden_states(bed: Bed, index: int) -> torch.Tensor:
    """Hidden states (T, L, D) of one utterance in single precision."""
    return forward_bucket(bed.upstream, [clean_sound(bed.train[index])], Engine())[0]


@torch.no_grad()
def _losses(bed: Bed, trainer: Any) -> list[float]:
    """The loss of every point on the training utterances, in evaluation mode."""
    indices = range(len(bed.train))
    batch = trainer.lesson.train.rows(indices).batch(indices)
    found = []
    for point in trainer.grid.points:
        head = point.probe.eval().head
        targets = head.encode([item.target for item in bed.train])
        found.append(float(head.loss(point.probe(batch), targets)))
    return found


class _Memory:
    """A source whose rows are in memory already; other states (T, L, D) may stand in for them."""

    def __init__(self, source: Any, states: list[torch.Tensor] | None = None) -> None:
        self.num_layers, self.hidden_size = source.num_layers, source.hidden_size
        self._lengths = source.lengths()
        self._all = source.rows(range(len(source)))
        if states is not None:
            lengths = torch.tensor([len(item) for item in states])
            block = torch.cat([*states, torch.zeros_like(states[0][:1])])
            self._all = Rows(block, lengths.cumsum(0) - lengths, lengths)

    def __len__(self) -> int:
        return len(self._lengths)

    def lengths(self) -> list[int]:
        """Frames of each utterance."""
        lengths: list[int] = self._lengths
        return lengths

    def rows(self, indices: Any) -> Any:
        """The same block with other places."""
        chosen = torch.as_tensor(list(indices))
        return Rows(self._all.states, self._all.first[chosen], self._all.lengths[chosen])
