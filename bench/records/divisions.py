"""Divisions, flags and levels of a row of the board; light to import, for the command line."""

from __future__ import annotations

from typing import Literal

Division = Literal["closed", "open"]
Flag = Literal["extra-data", "seen-conditions", "fine-tuned"]
Level = Literal["recorded", "rescored", "rerun"]
