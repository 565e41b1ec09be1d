"""The words for how a row stands on the board: light to import, for the command line's choices."""

from __future__ import annotations

from typing import Literal

Division = Literal["closed", "open"]
Flag = Literal["extra-data", "seen-conditions", "fine-tuned"]
Level = Literal["recorded", "rescored", "rerun"]
