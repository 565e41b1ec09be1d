"""An utterance before and after a condition: two WAV files and their spectrograms."""

from __future__ import annotations

from pathlib import Path

from bench.api import SAMPLE_RATE_HZ, Utterance
from bench.conditions.choice import condition, why_not
from bench.conditions.distorter import make_distorter
from bench.errors import UsageError, did_you_mean
from bench.features.passes import clean_sound
from bench.paths import atomic_path
from bench.progress import say
from bench.registry import task_card
from bench.run.spec import prepare_corpora, read_split
from bench.session import Session
from bench.sound.audio import Wav, write_wav


def listen(
    name: str,
    session: Session,
    *,
    task: str,
    track: str,
    utterance: str | None,
    out: Path,
) -> list[Path]:
    """Write `<id>.clean.wav`, `<id>.<condition>.wav` and a picture of both.

    Args:
        name: of the condition.
        session: where corpora and noise are.
        task: whose clean test set the utterance is from.
        track: of the task.
        utterance: its id; None takes the longest.
        out: folder, made where it is missing.

    Returns:
        the files; without matplotlib there is no picture, and a line on stderr says so.

    Raises:
        UsageError: no such condition or utterance, or a condition that is another test set.
        MissingError, InvalidDataError: corpus or noise cannot be had.
    """
    chosen, card = condition(name), task_card(task, track)
    reason = why_not(chosen, card)
    if reason:
        raise UsageError(f"condition {name!r}: {reason}")
    prepare_corpora(card, session)
    utterances, _ = read_split(card, "clean", session.home)
    item = _find(utterances, utterance)
    distorter = make_distorter(
        chosen,
        card.corpus,
        home=session.home,
        deb_dir=session.deb_dir,
        noise_dir=session.noise_dir,
    )
    sounds = {"clean": clean_sound(item), chosen.name: distorter(item)}
    written = []
    for label, wav in sounds.items():
        written.append(out / f"{item.id}.{label}.wav")
        write_wav(written[-1], wav)
    picture = out / f"{item.id}.{chosen.name}.png"
    return [*written, picture] if draw(sounds, picture) else written


def _find(table: list[Utterance], utterance: str | None) -> Utterance:
    """One utterance of a table.

    Raises:
        UsageError: no such id (with near ones).
    """
    if utterance is None:
        return max(table, key=lambda item: item.num_samples)
    by_id = {item.id: item for item in table}
    if utterance not in by_id:
        near = did_you_mean(utterance, by_id)
        hint = near if near.startswith("did") else f"such as {table[0].id!r}"
        raise UsageError(f"no utterance {utterance!r} in this test set: {hint}")
    return by_id[utterance]


def draw(sounds: dict[str, Wav], path: Path) -> bool:
    """Spectrograms of some sounds, one below the other, as PNG; False without matplotlib."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        say("no picture: it needs matplotlib (pip install 'slim-superb[plots]')")
        return False
    figure = Figure(figsize=(9, 2.6 * len(sounds)), layout="constrained")
    FigureCanvasAgg(figure)
    for place, (label, wav) in enumerate(sounds.items(), start=1):
        axes = figure.add_subplot(len(sounds), 1, place)
        # A floor, so that digital silence has a logarithm.
        axes.specgram(wav + 1e-6, NFFT=512, Fs=SAMPLE_RATE_HZ, noverlap=384, vmin=-130, vmax=-30)
        axes.set(title=label, xlabel="seconds", ylabel="hertz", ylim=(0, 8_000))
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=100)
    return True
