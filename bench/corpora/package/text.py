r"""Normalise a script to a transcript.

The rules, in this order:

1. Stage directions in round or angle brackets, as `(sigh)` and `<koff>`, are dropped.
2. Letters lose their accents and become upper case.
3. A line that holds a digit or one of ``@ # $ % & * + / = ^ _ ~ | \`` is not usable: the
   spoken form of such signs is not certain (in the games: years, prices, swearing, singing).
4. Letters joined by full stops, as `D.N.A.`, are spelled: `D N A`.
5. An apostrophe is kept between two letters and where it replaces letters at either end of a word
   of such a spelling (`'EM`, `GOIN'`); every other sign becomes a space.
6. A letter written more than twice in a row is written twice: `HMMMM` is `HMM`.
7. The transcript is words of A-Z and apostrophe with one space between them.
"""

from __future__ import annotations

import re
import unicodedata

ALPHABET = " 'ABCDEFGHIJKLMNOPQRSTUVWXYZ"

_DIRECTION = re.compile(r"\([^()]{0,60}\)|<[^<>]{0,60}>")
_UNSPEAKABLE = re.compile(r"[0-9@#$%&*+/=^_~|\\()<>]")
_SPELLED = re.compile(r"\b(?:[A-Z]\.){2,}(?:[A-Z]\b)?|\b[A-Z]\.[A-Z]\b")
_NOT_A_LETTER = re.compile(r"[^A-Z']+")
_REPEATED = re.compile(r"([A-Z])\1{2,}")
_CLIPPED = re.compile(r"^'(?:EM|TIS|TWAS|CAUSE|BOUT|TIL)$|^[A-Z]{2,}(?:IN|N|O|S)'$")


def normalise(script: str) -> str | None:
    """Return the transcript of a line of script, by the rules above.

    Args:
        script: one line as in the game.

    Returns:
        words of A-Z and apostrophe; empty when nothing is spoken; None when the line is not usable.
    """
    text = _DIRECTION.sub(" ", script)
    text = unicodedata.normalize("NFKD", text)
    text = "".join(letter for letter in text if not unicodedata.combining(letter)).upper()
    if _UNSPEAKABLE.search(text):
        return None
    text = _SPELLED.sub(lambda match: " ".join(match[0].replace(".", "")), text)
    words = (_word(word) for word in _NOT_A_LETTER.sub(" ", text).split())
    return " ".join(word for word in words if word)


def _word(word: str) -> str:
    word = _REPEATED.sub(r"\1\1", word)
    return word if _CLIPPED.match(word) else word.strip("'")
