"""The corpus of single voices: what is read, what is joined, that the real one is the one meant."""

from __future__ import annotations

import io
from collections import Counter

import numpy as np
import pytest
import soundfile

from bench import paths
from bench.config import TaskCard
from bench.corpora.embedded import voices
from bench.registry import task_card
from bench.sound.manifests import read_table


def sound(seconds: float, rate_hz: int = 8_000, channels: int = 1, seed: int = 0) -> bytes:
    noise = np.random.default_rng(seed).normal(0, 0.1, (int(seconds * rate_hz), channels))
    file = io.BytesIO()
    soundfile.write(file, noise, rate_hz, format="WAV", subtype="PCM_16")
    return file.getvalue()


def test_a_folder_is_a_voice() -> None:
    files = {
        "klettres-data": {
            "./usr/share/klettres/de/alpha/a.ogg": b"1",
            "./usr/share/klettres/de/syllab/ba.ogg": b"2",
            "./usr/share/doc/klettres-data/copyright": b"3",
        },
        "asterisk-core-sounds-it-wav": {
            "./usr/share/asterisk/sounds/it_IT_m_Carlo/digits/1.wav": b"4",
        },
    }
    found = {voice.name: len(voice.sounds) for voice in voices.voices(files)}
    assert found == {"ASTERISK-IT_IT_M_CARLO": 1, "KLETTRES-DE": 2}


def test_clips_are_joined_until_they_are_long_enough(tmp_path) -> None:
    sounds = {f"{n}.wav": sound(0.6, 16_000, 2, seed=n) for n in range(7)}
    sounds["again.wav"] = sounds["0.wav"]
    sounds["silent.wav"] = sound(0.6)[:44] + bytes(9_600)
    sounds["broken.wav"] = b"RIFF"
    sounds["slow.wav"] = sound(0.6, 4_000)
    dropped: Counter[str] = Counter()
    voice, limits = voices.Voice("A-B", "a", sounds), {"most": 40, "max_seconds": 6.0}
    rows = voices.write_utterances(voice, tmp_path, dropped, **limits)
    assert [row["id"] for row in rows] == ["A-B-000", "A-B-001"]  # seven clips, three each
    assert [row["num_samples"] for row in rows] == [28_800, 28_800]
    assert dropped == {"duplicate": 1, "silent": 1, "undecodable": 2}
    assert voices.write_utterances(voice, tmp_path, Counter(), **limits) == rows


def test_a_card_may_join_tables_of_several_corpora() -> None:
    card = task_card("asv", "quick")
    assert card.parts("train") == [("games", "quick/asv/train"), ("voices", "quick/asv/train")]
    assert card.corpora == ("games", "voices")
    assert isinstance(card, TaskCard)
    assert task_card("asr", "quick").corpora == ("games",)


@pytest.mark.corpus
def test_the_real_voices() -> None:
    corpus = voices.prepare(paths.home())
    assert voices.validate(corpus) == []
    rows = read_table(corpus, "open/asv/train")
    counts = Counter(row.speaker for row in rows)
    assert (len(rows), len(counts)) == (1_281, 36)
    assert set(counts.values()) <= set(range(voices.MIN_UTTERANCES, 41))
    assert {row.id for row in read_table(corpus, "quick/asv/train")} <= {row.id for row in rows}
    assert min(row.num_samples for row in rows) >= 24_000
