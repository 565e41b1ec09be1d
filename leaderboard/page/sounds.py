"""Sounds in the page: a few seconds of Opus for clean speech and for the sets of conditions."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable

import soundfile

from bench.api import SAMPLE_RATE_HZ, Utterance
from bench.conditions.catalogue import catalogue, condition, noise_sources, refusal
from bench.conditions.distorter import make_distorter
from bench.conditions.noise_sources import check_source
from bench.corpora.noise import packaged
from bench.errors import UserError
from bench.features.passes import clean_sound
from bench.progress import say
from bench.registry import task_card
from bench.run.spec import read_split
from bench.session import Session
from bench.sound.audio import Wav
from leaderboard.board.conditions import LADDERS, SETS, ConditionScores

TASK, TRACK = "asr", "open"  # of the test set that is heard
SHORTEST_S, LONGEST_S = 2.0, 3.0  # of the utterance that is heard


def data_address(wav: Wav) -> str:
    """Return a sound (S,) at 16 kHz as an address `data:`, in Opus."""
    file = io.BytesIO()
    soundfile.write(file, wav, SAMPLE_RATE_HZ, format="OGG", subtype="OPUS")
    return f"data:audio/ogg;base64,{base64.b64encode(file.getvalue()).decode()}"


def condition_sounds(tables: Iterable[ConditionScores], session: Session) -> dict[str, str]:
    """Return addresses of sounds by name: clean speech, and each set and ladder.

    A set is heard by its middle member. Nothing is downloaded: without the corpus, or without a
    noise or a codec, there is no sound, and a line on stderr says so.
    """
    card = task_card(TASK, TRACK)
    try:
        utterances, _ = read_split(card, "clean", session.home)
    except UserError as error:
        say(f"no sound on the page: {error}")
        return {}
    item = next((u for u in utterances if _is_short(u)), utterances[0])
    sounds = {"clean": data_address(clean_sound(item))}
    sets, missing = catalogue().sets, {}
    for table in tables:
        if table.group not in (SETS, LADDERS) or table.name == "ladders":
            continue
        members = sets[table.name]
        chosen = condition(members[len(members) // 2])
        if refusal(chosen, card):
            continue
        try:
            for source in noise_sources([chosen]):
                for part in check_source(source):
                    packaged.opened(session.home, part)
            distorter = make_distorter(chosen, card.corpus, home=session.home)
            sounds[table.name] = data_address(distorter(item))
        except UserError as error:
            missing[table.name] = str(error)
    if missing:
        name, reason = next(iter(missing.items()))
        say(f"no sound of {len(missing)} sets of conditions, such as {name}: {reason}")
    return sounds


def _is_short(item: Utterance) -> bool:
    return SHORTEST_S <= item.num_samples / SAMPLE_RATE_HZ <= LONGEST_S
