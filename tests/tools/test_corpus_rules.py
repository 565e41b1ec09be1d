"""The rules that make labels, windows, trials and splits."""

from __future__ import annotations

from itertools import combinations

import pytest

from bench.corpora.package.text import normalise
from tools.corpus import (
    alignment,
    keywords,
    labels,
    lexicon,
    slot_phrases,
    speaker_trials,
    splits,
)
from tools.corpus.gazetteer import GAZETTEER
from tools.corpus.splits import GameClip


def clip(
    name: str,
    *,
    speaker: str = "JOE",
    text: str = "OKAY I KNOW",
    spans: tuple[tuple[int, int], ...] = ((8_000, 12_800), (12_800, 13_600), (24_000, 30_400)),
    num_samples: int = 32_000,
    source: str = "flight-of-the-amazon-queen",
) -> GameClip:
    return GameClip(name, speaker, source, text, False, num_samples, spans, True)


@pytest.mark.parametrize(
    ("transcript", "asks", "act"),
    [
        ("HELLO JOE", False, "greet"),
        ("OH HI THERE", False, "greet"),
        ("I GOTTA GO", False, "farewell"),
        ("NICE TALKING TO YOU", False, "farewell"),
        ("AH I SEE YOU HAVE YOUR EQUIPMENT", False, None),
        ("THANKS FOR THE TALK", False, "thank"),
        ("I'M REALLY SORRY", False, "apologise"),
        ("YEAH I THINK SO", False, "affirm"),
        ("WELL OKAY", False, "affirm"),
        ("NO WAY", False, "deny"),
        ("BUT I CAN'T", False, "deny"),
        ("GIVE ME THE KEY", False, "command"),
        ("JUST DON'T TOUCH IT", False, "command"),
        ("WHAT DO YOU WANT", True, "ask_wh"),
        ("SO WHO ARE YOU", True, "ask_wh"),
        ("DO YOU SELL COMIC BOOKS", True, "ask_yes_no"),
        ("DO YOU SELL COMIC BOOKS", False, None),
        ("IT'S A VERY CUTE DESK", False, "describe"),
        ("HELLO AND THANKS", False, None),  # two acts
        ("THE DOCTOR LIKES CHEESE", False, None),
    ],
)
def test_dialogue_act(transcript: str, asks: bool, act: str | None) -> None:
    assert labels.dialogue_act(transcript, asks) == act


@pytest.mark.parametrize(
    ("transcript", "slots"),
    [
        ("HELLO JOE", [["person", "JOE"]]),
        ("THE SKULL IS IN THE TEMPLE", [["item", "SKULL"], ["place", "TEMPLE"]]),
        ("SHE TOLD ME THAT", []),
        ("THINGS KEYED TO JOES", [["item", "THINGS"]]),
        ("THAT'S JOE'S PLANE", [["item", "PLANE"]]),
    ],
)
def test_slots(transcript: str, slots: list[list[str]]) -> None:
    assert labels.slots(transcript) == slots


def test_gazetteer_is_written_as_transcripts_are() -> None:
    values = [value for values in GAZETTEER.values() for value in values]
    assert len(values) == len(set(values))
    assert all(normalise(value) == value for value in values)
    assert set(GAZETTEER) == {"person", "item", "place"}


def line_of(text: str, *, speaker: str = "JOE", name: str = "q0") -> GameClip:
    """Return a line whose words are half a second long each, from 0.1 s on."""
    spans = tuple((1_600 + 8_000 * at, 9_600 + 8_000 * at) for at in range(len(text.split())))
    return clip(name, speaker=speaker, text=text, spans=spans, num_samples=spans[-1][1] + 400)


ALL_SLOTS = frozenset((kind, value) for kind, values in GAZETTEER.items() for value in values)


@pytest.mark.parametrize(
    ("text", "phrases"),
    [
        ("A B C D E JOE F G H I J", ["C D E JOE F G H"]),
        ("A SKULL", ["A SKULL"]),
        ("SKULL A B C D E F JOE G", ["SKULL A B C D E F JOE G"]),  # the contexts touch
        ("SKULL A B C D E F G JOE H", ["SKULL A B C", "E F G JOE H"]),
        ("A B C", []),
    ],
)
def test_a_phrase_has_three_words_on_both_sides(text: str, phrases: list[str]) -> None:
    line = line_of(text)
    rows = slot_phrases.windows([line], ALL_SLOTS)
    words = text.split()
    assert [" ".join(words[row.first_word : row.end_word]) for row in rows] == phrases
    for row in rows:
        assert row.start == max(0, 1_600 + 8_000 * row.first_word - splits.MARGIN)
        end = min(line.num_samples, 1_600 + 8_000 * row.end_word + splits.MARGIN)
        assert row.start + row.num_samples == end
        text = " ".join(words[row.first_word : row.end_word])
        assert row.target["slots"] == labels.slots(text) != []


def test_a_phrase_with_a_rare_entity_is_left_out() -> None:
    lines = [line_of("HELLO JOE", name=f"q{n}") for n in range(slot_phrases.MIN_TRAIN)]
    lines += [line_of("A SKULL", name=f"k{n}") for n in range(slot_phrases.MIN_TRAIN - 1)]
    lines += [line_of("A SKULL", name="t0", speaker="LOU")]  # not of the training split
    frequent = slot_phrases.frequent_slots(lines)
    assert frequent == {("person", "JOE")}
    phrases = slot_phrases.windows([line_of("JOE HAS A SKULL"), line_of("I AM JOE")], frequent)
    assert [row.target["slots"] for row in phrases] == [[["person", "JOE"]]]


def test_no_value_is_too_frequent_outside_training() -> None:
    lines = [line_of("JOE MEETS JOE", name=f"q{n:02}") for n in range(20)]
    phrases = slot_phrases.windows(lines, ALL_SLOTS)
    assert len(slot_phrases.limit(phrases, "train")) == 20
    for split, most in slot_phrases.MOST.items():
        assert len(slot_phrases.limit(phrases, split)) == most // 2
    assert slot_phrases.limit(phrases, "dev") == slot_phrases.limit(phrases[::-1], "dev")


def test_lexicon_is_written_as_transcripts_are() -> None:
    assert all(normalise(word) == word for word in lexicon.PRONUNCIATIONS)
    assert all(phones.split() for phones in lexicon.PRONUNCIATIONS.values())


def test_look_alikes_are_on_one_side() -> None:
    for (one, other), cosine in splits.LOOK_ALIKES.items():
        assert one < other
        assert cosine >= splits.LOOK_ALIKE_COSINE
        source = "drascula" if one.startswith("DR-") else "flight-of-the-amazon-queen"
        sides = {splits.split_of(one, source), splits.split_of(other, source)}
        assert len(sides) == 1 or cosine < splits.SAME_SIDE_COSINE
    assert not splits.DEV & splits.TEST


def test_keyword_windows() -> None:
    found = {w.target: w for w in keywords.windows([clip("a0")], "train")}
    assert found["OKAY"].start == 8_000 - splits.MARGIN
    assert found["OKAY"].num_samples == 4_800 + 2 * splits.MARGIN
    assert found["KNOW"].num_samples <= 16_000
    assert found["KNOW"].start + found["KNOW"].num_samples <= 32_000
    assert set(found) <= {"OKAY", "KNOW", keywords.SILENCE, keywords.UNKNOWN}


def test_trials_are_balanced_and_fair() -> None:
    speakers = ("LOU", "SPARKY", "CHIEF", "NAOMI")
    clips = [
        clip(f"q{speaker}{scene}{part}", speaker=speaker, text=f"LINE {scene} {part}")
        for speaker in speakers
        for scene in range(5)
        for part in range(3)
    ]
    by_id = {item.id: item for item in clips}
    trials = speaker_trials.trials(clips, "test", 200)
    assert len(trials) == len(set(trials)) == 200
    assert sum(trial.label for trial in trials) == 100
    for trial in trials:
        one, two = by_id[trial.enrolment], by_id[trial.test]
        assert (one.speaker == two.speaker) == bool(trial.label)
        assert one.scene != two.scene
        assert not splits.look_alike(one.speaker, two.speaker)
    assert trials == speaker_trials.trials(clips[::-1][::-1], "test", 200)
    pairs = {(by_id[t.enrolment].speaker, by_id[t.test].speaker) for t in trials if not t.label}
    allowed = {pair for pair in combinations(sorted(speakers), 2) if not splits.look_alike(*pair)}
    assert pairs == allowed


def test_the_committed_alignment_holds_spans_and_no_words() -> None:
    table = alignment.read()
    assert sum(item.verdict == "ok" for item in table.values()) > 4_000
    for name, item in table.items():
        assert name.startswith(("queen-", "drascula-"))
        assert len(item.identity) == 24
        edges = [edge for span in item.words for edge in span]
        assert edges == sorted(edges)
        assert bool(item.words) == (item.verdict in ("ok", "rate"))
    assert alignment.TABLE.stat().st_size < 1_000_000
