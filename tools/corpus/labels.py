"""Derived labels: dialogue acts (IC) and entity slots (SLU), by rules from the script.

Nobody annotated these lines. A label is the result of the rules below on the transcript (and, for
the two kinds of question, on the question mark in the script). Task cards and reports call such
labels derived.

Dialogue acts: each rule is a regular expression on the transcript; filler words (`WELL`, `OH`,
`AND`, names) may stand before an anchored one. A line counts only when exactly one rule matches.
Lines that match none, mostly remarks, and those that match several are left out of the task.

- `greet`: begins with a greeting.
- `farewell`: a phrase of leaving, anywhere.
- `thank`, `apologise`: a phrase of thanks or apology, anywhere.
- `affirm`, `deny`: begins with a word of consent or of refusal, and does not ask.
- `command`: begins with an imperative from a list or with `DON'T`, and does not ask.
- `ask_wh`: asks, and begins with a wh-word.
- `ask_yes_no`: asks, and begins with an auxiliary verb.
- `describe`: a statement of what something is or looks like (begins with `IT'S`, `THAT'S`,
  `LOOKS LIKE` and such), and does not ask.

Entity slots: the longest entries of a gazetteer (`tools.corpus.gazetteer`) in the
transcript, left to right, without overlap. The value of a slot is the words themselves.
"""

from __future__ import annotations

import re
from functools import cache

from tools.corpus.gazetteer import GAZETTEER

_OPENING = (
    r"^(?:(?:WELL|OH|AND|BUT|SO|NOW|HEY|AH|UM|UMM|HMM|ER|ERR|GEE|BOY|LOOK|SAY|THEN|OR|HUH|WOW|"
    r"GOSH|ACTUALLY|PLEASE|JUST|JOE|SPARKY|BOB|JIM|FAYE|LOU|NAOMI|SIR|BUD|PAL|LADY) )*"
)
_ASKS_WH = r"(?:WHAT|WHERE|WHO|WHY|HOW|WHEN|WHICH|WHOSE)(?:'S|'RE|'D|'VE|'LL)?\b"
_ASKS_YES_NO = (
    r"(?:DO|DOES|DID|ARE|IS|WAS|WERE|AM|CAN|COULD|WILL|WOULD|SHOULD|MAY|SHALL|HAVE|HAS|HAD|DON'T|"
    r"DOESN'T|DIDN'T|AREN'T|ISN'T|WASN'T|AIN'T|CAN'T|COULDN'T|WON'T|WOULDN'T|SHOULDN'T|HAVEN'T|"
    r"HASN'T)\b"
)
_COMMAND = (
    r"(?:DON'T|GIVE|TELL|GET|GO|COME|LET|LET'S|TAKE|BRING|LEAVE|WAIT|STOP|SHOW|TRY|KEEP|PUT|"
    r"MAKE|LISTEN|HURRY|ASK|HELP|FORGET|HANG|HOLD|STAY|BE|TURN|READ|USE|STAND|SHUT|LIGHTEN|"
    r"QUIT|REMEMBER|RELAX|FOLLOW|CALL|CATCH|GUESS|ENJOY|PROMISE|BEAT|WATCH|SAY|SIT|CHECK|OPEN|"
    r"CLOSE|SEND|FIND|PICK|SWAP|TALK|TRUST|CALM|CUT|GRAB|RUN|MOVE|PREPARE|CONSIDER|IMAGINE)\b"
)
_DESCRIBE = (
    r"(?:IT'S|IT IS|IT LOOKS|IT WAS|IT SEEMS|IT MUST|LOOKS LIKE|THAT'S|THAT IS|THIS IS|THERE'S|"
    r"THERE IS|THERE ARE|HE'S|SHE'S|THEY'RE|HE LOOKS|SHE LOOKS|THEY LOOK|THESE ARE|THOSE ARE|"
    r"HE IS|SHE IS|THEY ARE)\b"
)
_ACTS: tuple[tuple[str, bool | None, re.Pattern[str]], ...] = tuple(
    (name, asks, re.compile(pattern))
    for name, asks, pattern in (
        ("greet", None, _OPENING + r"(?:HELLO|HI|HIYA|HOWDY|GREETINGS|WELCOME|HEY THERE|"
         r"GOOD (?:MORNING|EVENING|AFTERNOON|DAY))\b"),
        ("farewell", None, r"\b(?:GOODBYE|BYE|FAREWELL|SEE YOU (?:AROUND|LATER|SOON)|SEE YA|"
         r"TALK TO YOU LATER|SO LONG|GOOD LUCK|GOOD NIGHT|NICE TALKING|"
         r"(?:I|I'VE) (?:GOTTA|GOT TO|BETTER) (?:GO|RUN|BE OFF))\b"),
        ("thank", None, r"\b(?:THANKS|THANK YOU|MUCH OBLIGED|I APPRECIATE)\b"),
        ("apologise", None, r"\b(?:SORRY|EXCUSE ME|PARDON|FORGIVE ME|I APOLOGI[SZ]E|APOLOGIES)\b"),
        ("affirm", False, _OPENING + r"(?:YES|YEAH|YEP|YUP|SURE|OF COURSE|OKAY|OK|ALL RIGHT|"
         r"ALRIGHT|YOU BET|UH HUH|CERTAINLY|ABSOLUTELY|EXACTLY|INDEED|GOOD IDEA|FINE|RIGHT|"
         r"THAT'S RIGHT|THAT'S OKAY|NO PROBLEM|I GUESS SO|I THINK SO|SURE THING|VERY WELL)\b"),
        ("deny", False, _OPENING + r"(?:NO|NOPE|NAH|NEVER|NOT|I'M NOT|I AIN'T|I DON'T|I CAN'T|"
         r"I WON'T|I'D RATHER NOT|I DIDN'T|I HAVEN'T|I COULDN'T|I WOULDN'T|WE DON'T|WE CAN'T|"
         r"FORGET IT)\b(?! PROBLEM)"),
        ("command", False, _OPENING + _COMMAND),
        ("ask_wh", True, _OPENING + _ASKS_WH),
        ("ask_yes_no", True, _OPENING + _ASKS_YES_NO),
        ("describe", False, _OPENING + _DESCRIBE + r"(?! RIGHT| OKAY)"),
    )
)  # fmt: skip


def dialogue_act(transcript: str, asks: bool) -> str | None:
    """Return the act of a line, by the rules above.

    Args:
        transcript: normalised text.
        asks: the script of the line ends in a question mark.

    Returns:
        the label; None when no rule or more than one matches.
    """
    acts = [
        name
        for name, question, pattern in _ACTS
        if question in (None, asks) and pattern.search(transcript)
    ]
    return acts[0] if len(acts) == 1 else None


@cache
def _entities() -> tuple[re.Pattern[str], dict[str, str]]:
    kinds = {value: kind for kind, values in GAZETTEER.items() for value in values}
    longest_first = sorted(kinds, key=lambda value: (-len(value), value))
    return re.compile(rf"(?<![A-Z'])(?:{'|'.join(longest_first)})(?![A-Z'])"), kinds


def slot_spans(transcript: str) -> list[tuple[str, str, int, int]]:
    """Return the entities of a line in order: type, value, first word, word after the last."""
    pattern, kinds = _entities()
    spans = []
    for match in pattern.finditer(transcript):
        first = transcript[: match.start()].count(" ")
        value = match.group()
        spans.append((kinds[value], value, first, first + value.count(" ") + 1))
    return spans


def slots(transcript: str) -> list[list[str]]:
    """Return the entities of a line, as `[["person", "FRANK"], ...]` in order of occurrence."""
    return [[kind, value] for kind, value, _, _ in slot_spans(transcript)]
