"""How fast test sets are distorted, effect by effect."""

from __future__ import annotations

from tools.benchmarks._setting import Setting
from tools.benchmarks.distortion_speed import measure_speed, table

TITLE = "Distorting"


def measure(setting: Setting) -> str:
    """Seconds of sound a CPU second, of reading, distorting and rounding, with targets."""
    found = measure_speed(setting.home, utterances=setting.utterances)
    return f"""Lines of the corpus under one condition of every effect, one core, CPU time. Noise is
in memory; its first reading from disk is not counted.

{table(found)}"""
