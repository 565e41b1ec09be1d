"""A user's recordings, small: tones whose height is the class and whose buzz is the speaker."""

import csv
import json
from pathlib import Path

import numpy as np
import soundfile

SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
# Five updates: tests ask whether a run is made, not what it learns.
QUICK = "recipe: {lr_grid: [1.0e-2], steps: 5, eval_every: 5, batch_size: 8}\n"


def sound(digit, speaker, take=0, *, rate=8_000, channels=1, seconds=0.3):
    """Samples (S,) or (S, channels)."""
    rng = np.random.default_rng([digit, speaker, take])
    time = np.arange(round(rate * seconds)) / rate
    wav = 0.3 * np.sin(2 * np.pi * (300 + 150 * digit) * time)
    wav += 0.2 * np.sin(2 * np.pi * (90 + 30 * speaker) * time) + 0.01 * rng.normal(size=time.size)
    return wav if channels == 1 else np.stack([wav] * channels, axis=1)


def write_digits(folder, *, digits=3, speakers=SPEAKERS, takes=2, name="{d}_{s}_{t}.wav"):
    """The layout of the Free Spoken Digit Dataset: DIGIT_SPEAKER_TAKE.wav at 8 kHz."""
    files = []
    for digit in range(digits):
        for number, speaker in enumerate(speakers):
            for take in range(takes):
                path = Path(folder) / name.format(d=digit, s=speaker, t=take)
                path.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(path, sound(digit, number, take), 8_000)
                files.append((path, digit, speaker))
    return files


def write_csv(file, rows, columns=None):
    """A CSV file of mappings."""
    with Path(file).open("w", encoding="utf-8", newline="") as opened:
        writer = csv.DictWriter(opened, columns or list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return file


def write_jsonl(file, rows):
    Path(file).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file
