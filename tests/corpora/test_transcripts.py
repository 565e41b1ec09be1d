"""The rules that make a transcript of a script."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.corpora.package.text import ALPHABET, normalise


@pytest.mark.parametrize(
    ("script", "transcript"),
    [
        ("What's up?", "WHAT'S UP"),
        ("  Hello,   JOE!! ", "HELLO JOE"),
        ("(sigh) I miss her...", "I MISS HER"),
        ("<koff> <hack> Oh.", "OH"),
        ("Stuck-up, half-witted...", "STUCK UP HALF WITTED"),
        ("D.N.A. and the C.I.A", "D N A AND THE C I A"),
        ("B.J.'s handbag", "B J'S HANDBAG"),
        ("HMMMMM... Gorrrilla", "HMM GORRILLA"),
        ("'Hello' he said, I found 'em", "HELLO HE SAID I FOUND 'EM"),
        ("goin' 'round the girls' room", "GOIN' ROUND THE GIRLS' ROOM"),
        ("TOUPEÉ", "TOUPEE"),
        ('"Quoted"', "QUOTED"),
        ("...", ""),
        ("(WHISTLE)", ""),
        ("It's 1948", None),
        ("@@ singing @@", None),
        ("&#($!!, he got away!", None),
    ],
)
def test_transcript(script: str, transcript: str | None) -> None:
    assert normalise(script) == transcript


@given(st.text(max_size=200))
def test_a_transcript_is_clean(script: str) -> None:
    found = normalise(script)
    if found is not None:
        assert set(found) <= set(ALPHABET)
        assert found == " ".join(found.split())
        assert normalise(found) == found
