"""Small trees in exactly the layout of the official corpora, with real speech where it is there."""

import csv
import hashlib
import json
from functools import cache
from itertools import count

import numpy as np
import soundfile

from bench import paths
from bench.corpora.embedded import games
from bench.corpora.official import audio_snips, speech_commands, voxceleb1_trials
from bench.registry import task_card, task_names

RATE = 16_000
# At import: tests have homes of their own.
AUDIO = games.folder(paths.home()) / "audio"


def corpora():
    """The corpora that the tasks of track superb need."""
    cards = [task_card(name, "superb") for name in task_names("superb")]
    return sorted({name for card in cards for name in card.corpora})


@cache
def longer_clips():
    """The first clips of the embedded corpus that are longer than a second."""
    files = sorted(AUDIO.rglob("*.wav"))[:60]
    return [path for path in files if soundfile.info(path).frames > RATE]


class Speech:
    """Pieces of real speech from the embedded corpus; coloured noise where it is not prepared."""

    def __init__(self):
        self.files, self.numbers = longer_clips(), count()

    def __call__(self, seconds: float) -> np.ndarray:
        """Samples (S,) as 16-bit numbers, other ones at every call."""
        number, size = next(self.numbers), int(seconds * RATE)
        if not self.files:
            noise = np.random.default_rng(number).standard_normal(size + 64)
            smooth = np.convolve(noise, np.hanning(64) / 16, mode="valid")[:size]
            return np.round(3_000 * smooth).astype(np.int16)
        parts = []
        while sum(map(len, parts)) < size:
            path = self.files[(number + len(parts)) % len(self.files)]
            parts.append(soundfile.read(path, dtype="int16")[0])
        return np.roll(np.concatenate(parts), -number)[:size]

    def write(self, path, seconds: float) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, self(seconds), RATE, subtype="PCM_16")


def write(path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def librispeech(data):
    speech, root = Speech(), data / "LibriSpeech"
    sizes = {"train-clean-100": (3, 4), "dev-clean": (2, 2), "test-clean": (2, 2)}
    for split, (speakers, lines) in (sizes | {"test-other": (2, 1)}).items():
        for speaker in range(speakers):
            name = f"{100 + speaker}-{1240 + speaker}"
            chapter = root / split / str(100 + speaker) / str(1240 + speaker)
            words = [f"{name}-{n:04d} THE CAT'S MAT NUMBER {'ABCD'[n]}" for n in range(lines)]
            for line in words:
                speech.write(chapter / f"{line.split()[0]}.flac", 0.9 + 0.1 * speaker)
            write(chapter / f"{name}.trans.txt", "\n".join(words) + "\n")


def speaker_hash(split: str, start: int) -> str:
    """A speaker's hash that Google's rule puts into a split."""
    for number in count(start * 1_000):
        name = hashlib.sha1(str(number).encode()).hexdigest()[:8]
        if speech_commands.split_of(f"{name}_nohash_0.wav") == split:
            return name
    raise AssertionError


def speech_commands_v1(data):
    speech = Speech()
    for word in (*speech_commands.KEYWORDS, "bed", "marvin"):
        for split, files in (("train", 2), ("dev", 1), ("test", 1)):
            for number in range(files):
                name = f"{speaker_hash(split, number)}_nohash_{number}.wav"
                speech.write(data / speech_commands.TRAIN_FOLDER / word / name, 1.0)
    for name in ("white_noise", "running_tap"):
        folder = data / speech_commands.TRAIN_FOLDER / speech_commands.NOISE_FOLDER
        speech.write(folder / f"{name}.wav", 3.0)
    for name in speech_commands.CLASSES:
        for number in range(2):
            file = data / speech_commands.TEST_FOLDER / name / f"{number}_nohash_0.wav"
            speech.write(file, 1.0)


def fluent_speech_commands(data):
    speech, root = Speech(), data / "fluent_speech_commands_dataset"
    intents = [("activate", "lights", "kitchen"), ("increase", "volume", "none"),
               ("activate", "music", "none"), ("bring", "newspaper", "none")]  # fmt: skip
    for split, files in (("train", 12), ("valid", 4), ("test", 4)):
        rows = []
        for number in range(files):
            path = f"wavs/speakers/spk{number % 3}/{split}-{number}.wav"
            speech.write(root / path, 0.8)
            rows.append([number, path, f"spk{number % 3}", "Turn it on", *intents[number % 4]])
        (root / "data").mkdir(exist_ok=True)
        with (root / "data" / f"{split}_data.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["", "path", "speakerId", "transcription", "action", "object",
                             "location"])  # fmt: skip
            writer.writerows(rows)


def voxceleb1(data):
    """Both sides, the list of splits and the list of trials."""
    speech, root = Speech(), data / "VoxCeleb1"
    lines, test = [], []
    for side, speakers in (("dev", range(1, 5)), ("test", range(5, 8))):
        for speaker in speakers:
            for number in range(6):
                file = f"id{10000 + speaker}/vid{number // 3}/{number:05d}.wav"
                speech.write(root / side / "wav" / file, 2.6)
                lines.append(f"{(1, 1, 1, 2, 3, 3)[number]} {file}")
                if side == "test" and number < 3:
                    test.append(file)
    trials = [
        f"{int(a.split('/')[0] == b.split('/')[0])} {a} {b}" for a in test for b in test if a < b
    ]
    write(root / "iden_split.txt", "\n".join(lines) + "\n")
    write(root / voxceleb1_trials.LISTS[0], "\n".join(trials) + "\n")


SENTENCES = (
    "BOS PLAY MILES DAVIS , PLEASE EOS\tO O B-ignored B-ignored O O PlayMusic",
    "BOS ADD TUNE & LYRICS TO MY LIST . EOS\tO O entity entity entity O O list O AddToPlaylist",
    "BOS RATE THIS BOOK FIVE STARS EOS\tO O O object rating unit RateBook",
    # As real sentences are: letters outside A-Z, digits, apostrophes, two spaces in a row.
    "BOS PLAY BJÖRK  FROM THE '90S EOS\tO O artist O O O unit PlayMusic",
    "BOS ADD ÉL CAMINO Ş 2 TO DON'S LIST EOS\tO O entity entity entity entity O list O AddTo",
)


def audio_snips_v1(data):
    speech, root, lines = Speech(), data / "SNIPS", []
    sentences = [SENTENCES[0].replace("B-ignored", "artist"), *SENTENCES[1:]]
    for table, folder in audio_snips.FOLDERS.items():
        for speaker in audio_snips.SPEAKERS[table]:
            for number, sentence in enumerate(sentences):
                name = f"{speaker}-snips-{folder}-{number}"
                speech.write(root / folder / f"{name}.wav", 1.6)
                lines.append(f"{name} {sentence}")
    write(root / audio_snips.LABELS, "\n".join(lines) + "\n")
    slots = ["O", "entity", "artist", "object", "rating", "unit", "list"]
    write(root / audio_snips.SLOTS, "\n".join(slots))


def slurp(data):
    speech, root = Speech(), data / "slurp"
    for split, prompts in (("train", 6), ("devel", 3), ("test", 4)):
        entries = []
        for number in range(prompts):
            files = [f"audio-{split}{number}.flac", f"audio-{split}{number}-headset.flac"]
            for file in files:
                speech.write(root / "audio" / "slurp_real" / file, 0.7)
            if (split, number) == ("train", 5):  # as some of the corpus' are, with two sentences
                files.append("audio-train1-headset.flac")
            entry = {
                "slurp_id": number,
                "sentence": "wake me up at nine",
                "intent": "alarm_set",
                "action": ("set", "query", "remove")[number % 3],
                "scenario": ("alarm", "weather")[number % 2],
                "recordings": [{"file": file, "wer": 0.0, "status": "correct"} for file in files],
            }
            entries.append(json.dumps(entry))
        write(root / "dataset" / "slurp" / f"{split}.jsonl", "\n".join(entries) + "\n")


TREES = {
    "asr": librispeech,
    "ks": speech_commands_v1,
    "ic": fluent_speech_commands,
    "sid": voxceleb1,
    "asv": voxceleb1,
    "asv_test_selected": voxceleb1,
    "slu": audio_snips_v1,
    "slurp": slurp,
}


# Files that an archive unpacked halfway may lack; every table keeps some.
LOST = {
    "asr": ("*/*/100/*/*-0000.flac", "*/train*/102/*/*.trans.txt"),
    "ks": ("*_v0.01/stop/*.wav", "*_v0.01/yes/*_1.wav", "*_test_set_v0.01/_silence_/*.wav"),
    "ic": ("*/wavs/speakers/spk0/*.wav",),
    "sid": ("*/dev/wav/id10001/*/*.wav", "*/test/wav/*/*/00001.wav"),
    "asv": ("*/dev/wav/*/vid0/00000.wav", "*/test/wav/id10005/*/00001.wav"),
    "slu": ("*/train/Ivy-*", "*/valid/Amy-*", "*/test/Emma-*"),
    "slurp": ("*/audio/slurp_real/audio-*0*.flac",),
}


def lose_files(task: str, data) -> None:
    """Remove a part of the tree of a task's corpus."""
    lost = {path for pattern in LOST[task.partition("_")[0]] for path in data.glob(pattern)}
    assert lost
    for path in lost:
        path.unlink()
