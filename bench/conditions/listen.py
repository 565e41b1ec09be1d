"""Write an utterance before and after a condition: two WAV files and their spectrograms."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from bench.api import SAMPLE_RATE_HZ, Utterance
from bench.conditions.catalogue import condition, refusal
from bench.conditions.distorter import make_distorter
from bench.errors import UsageError, did_you_mean
from bench.features.passes import clean_sound
from bench.metrics.plots import picture
from bench.paths import make_folder
from bench.progress import say
from bench.registry import task_card
from bench.run.spec import prepare_corpora, read_split
from bench.session import Session
from bench.sound.audio import Wav, write_wav

MAX_STEM = 80  # characters of a file name


def listen(
    name: str,
    session: Session,
    *,
    task: str,
    track: str,
    utterance: str | None,
    out: Path,
) -> list[Path]:
    """Write `<id>.clean.wav`, `<id>.<condition>.wav` and a picture of both; `_` for `/` in ids.

    Args:
        name: of the condition.
        session: where corpora and noise are.
        task: whose clean test set the utterance is from.
        track: of the task.
        utterance: its id; None takes the longest.
        out: folder, created where it is missing.

    Returns:
        the files; without matplotlib there is no picture, and a line on stderr says so.

    Raises:
        UsageError: no such condition or utterance, or a condition that is another test set.
        MissingError: a corpus or noise is not available.
        InvalidDataError: a corpus or noise is damaged.
    """
    item, card = condition(name), task_card(task, track)
    reason = refusal(item, card)
    if reason:
        raise UsageError(f"condition {name!r}: {reason}")
    make_folder(out)
    prepare_corpora(card, session)
    utterances, _ = read_split(card, "clean", session.home)
    source = _select(utterances, utterance)
    distorter = make_distorter(
        item,
        card.corpus,
        home=session.home,
        deb_dir=session.deb_dir,
        noise_dir=session.noise_dir,
    )
    sounds = {"clean": clean_sound(source), item.name: distorter(source)}
    files = []
    stem = source.id.replace("/", "_")[-MAX_STEM:]  # ids of a user's corpus are paths of the data
    for label, wav in sounds.items():
        files.append(out / f"{stem}.{label}.wav")
        write_wav(files[-1], wav)
    if find_spec("matplotlib") is None:
        say("no picture: it needs matplotlib (pip install 'slim-superb[plots]')")
        return files
    files.append(out / f"{stem}.{item.name}.png")
    draw_spectrograms(sounds, files[-1])
    return files


def _select(table: list[Utterance], utterance: str | None) -> Utterance:
    """Return one utterance of a table by its id; the longest for None.

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


def draw_spectrograms(sounds: dict[str, Wav], path: Path) -> None:
    """Draw spectrograms of sounds by label, one below the other, as PNG."""
    with picture(path, 9, 2.6 * len(sounds)) as figure:
        for place, (label, wav) in enumerate(sounds.items(), start=1):
            axes = figure.add_subplot(len(sounds), 1, place)
            # An offset, because digital silence has no logarithm.
            axes.specgram(
                wav + 1e-6, NFFT=512, Fs=SAMPLE_RATE_HZ, noverlap=384, vmin=-130, vmax=-30
            )
            axes.set(title=label, xlabel="seconds", ylabel="hertz", ylim=(0, SAMPLE_RATE_HZ // 2))
