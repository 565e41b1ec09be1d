"""What reads files of others, each with a whole file to make damaged ones of."""

import gzip
import hashlib
import json
from typing import NamedTuple

import numpy as np
import soundfile
import torch
from debian_packages import FILES, PACKAGE, pack_deb, pack_tar
from game_containers import pack_drascula, pack_queen, queen_entries
from own_data import SPEAKERS, write_csv, write_digits
from safetensors.torch import save_file
from toy_track import rows
from toys import make_utterances

from bench.conditions import catalogue
from bench.conditions.noise_folders import PACKS, read_clip
from bench.config import TaskCard, UpstreamCard
from bench.corpora.games import drascula_reader, queen_reader
from bench.corpora.own.card import CardPlace, read_own_card
from bench.corpora.own.corpus import READERS
from bench.corpora.own.rows import check_rows
from bench.corpora.own.splits import with_splits
from bench.corpora.own.survey import Survey, survey
from bench.corpora.package import clip_sound, debian
from bench.corpora.package.reader import GameLine
from bench.features.shard_index import index_digest, read_index
from bench.features.tensor_file import read_sealed, write_sealed
from bench.grids.spec import read_grid
from bench.make.clips import find_clips
from bench.make.recipe import RecipeCard
from bench.records import bundle
from bench.records.record import dumps, read_record
from bench.registry import ROOT
from bench.run.evaluate import read_predictions
from bench.schema import read_card
from bench.sound import manifests
from bench.sound.audio import read_wav
from upstreams.formats.checkpoint import read_checkpoint

GRID = b"""upstreams: [fbank, ge2e+untrained:1]
tasks: [ks, sid]
track: quick
seeds: [0, 1]
conditions: distorted-seen
device: cuda
gpu_share: 0.5
"""
CONDITIONS = b"""version: 1
bands_hz: {narrow: 3400.0}
ladders:
  noise: {about: a, name: "noise-{}", effect: {effect: noise, noise: environment-seen},
    varies: snr_db, values: [20, 10, 0]}
products:
  both: {about: b, name: "both-{}", first: {none: null, up: {effect: pitch, cents: 100}},
    last: {gsm: {effect: gsm}}}
singles:
  quiet: {about: c, steps: [{effect: gain, gain_db: {from: -30, to: -20}}]}
  elsewhere: {about: d, corpus: prompts, tables: {asr: test}}
sets:
  all-of-them: {about: e, members: [noise-20, quiet]}
"""


OWN_CARD = (
    *("name: mine", "task: ks", "data: audio", "layout: files", "on_bad_row: leave_out"),
    *("pattern: '{label}_{speaker}_*'", "splits: {by: speaker, seed: 0, dev: 0.1, test: 0.2}"),
    *("recipe: {steps: 5}", "head_conf: {}", "trials: 10"),
)


class Reader(NamedTuple):
    """A reader with a file that it reads.

    Attributes:
        content: of the file.
        read: from a path.
        name: of the file; some readers look at it.
        pack: from damaged content to the file's bytes, where what is packed is damaged.
        is_input: the reader opens files of users, in whose place anything may be.
    """

    content: bytes
    read: object
    name: str = "case"
    pack: object = bytes
    is_input: bool = True


def readers(folder):
    """All of them by name; whole files are made in `folder`."""
    made = cards() | results(folder) | weights(folder) | sounds(folder) | containers(folder)
    return made | data_of_users(folder)


def text(path):
    return (ROOT / path).read_bytes()


def cards():
    """YAML."""
    return {
        "upstream card": Reader(
            text("upstreams/cards/hubert_base.yaml"), lambda path: read_card(path, UpstreamCard)
        ),
        "task card": Reader(
            text("downstreams/tasks/quick/ks.yaml"), lambda path: read_card(path, TaskCard)
        ),
        "recipe": Reader(
            text("upstreams/recipes/cards/house_whisper_distil.yaml"),
            lambda path: read_card(path, RecipeCard),
        ),
        "grid file": Reader(GRID, read_grid),
        "conditions": Reader(CONDITIONS, catalogue.catalogue.__wrapped__),
    }


def results(folder):
    """Records, predictions, manifests, indexes of features."""
    record = dumps(read_record(ROOT / "leaderboard/results/quick/random_features/ks-s0.json"))
    (folder / "audio").mkdir()
    utterances = make_utterances(folder / "audio", 8, 0)
    manifests.write_table(folder, "all", rows(folder, utterances))
    names = [item.id for item in utterances]
    pairs = [manifests.Trial(int(a == b), a, b) for a in names for b in names]
    manifests.write_trials(folder, "all", pairs)
    said = [{"id": name, "prediction": [1, "two", 3.0]} for name in names]
    lines = "".join(json.dumps(line) + "\n" for line in said)
    index = {"size_bytes": 99, "sha256": "0" * 64, "places": {"a": [0, 2], "b": [2, 5]}}
    index["index_sha256"] = index_digest(index)
    table, trials = (
        (folder / "tables" / f"all{ending}.parquet").read_bytes() for ending in ("", ".trials")
    )
    return {
        "record": Reader(record.encode(), read_record),
        "predictions": Reader(lines.encode(), read_predictions),
        "manifest": Reader(
            table, lambda path: manifests.read_table(folder, "case"), "tables/case.parquet"
        ),
        "trials": Reader(
            trials,
            lambda path: manifests.read_trials(folder, "pairs"),
            "tables/pairs.trials.parquet",
        ),
        "index of features": Reader(json.dumps(index).encode(), read_index, is_input=False),
    }


def weights(folder):
    """Checkpoints, and what training keeps."""
    state = {"cfg": {"width": 8}, "model": {"w": torch.arange(12.0).view(3, 4)}}
    torch.save(state, folder / "a.pt")
    torch.save(state, folder / "old.pt", _use_new_zipfile_serialization=False)
    save_file(state["model"] | {"b": torch.ones(3).half()}, folder / "a.safetensors")
    write_sealed(state, folder / "a.sealed")
    return {
        "checkpoint (torch)": Reader((folder / "a.pt").read_bytes(), read_checkpoint),
        "checkpoint (old torch)": Reader((folder / "old.pt").read_bytes(), read_checkpoint),
        "checkpoint (safetensors)": Reader(
            (folder / "a.safetensors").read_bytes(), read_checkpoint
        ),
        "sealed state": Reader((folder / "a.sealed").read_bytes(), read_sealed, is_input=False),
    }


def sounds(folder):
    """Sound in files, and in the games' containers."""
    wav = 0.1 * np.sin(np.arange(1_600) / 7)
    for ending, subtype in (("wav", "PCM_16"), ("flac", "PCM_16"), ("mp3", "MPEG_LAYER_III")):
        soundfile.write(folder / f"a.{ending}", wav, 16_000, subtype=subtype)

    soundfile.write(folder / "float.wav", wav, 16_000, subtype="FLOAT")
    (folder / "training").mkdir()

    def noise(path):
        return read_clip(path, PACKS["folder"])

    def training(path):
        return find_clips(str(path.parent), folder)

    def clip(path):
        return clip_sound._decode(
            GameLine("queen-a", "queen", "JOE", "Hello", path.read_bytes(), "mp3")
        )

    return {
        "sound (WAV)": Reader((folder / "a.wav").read_bytes(), read_wav),
        "sound (FLAC)": Reader((folder / "a.flac").read_bytes(), read_wav),
        "sound (float)": Reader((folder / "float.wav").read_bytes(), read_wav),
        "sound (noise)": Reader((folder / "a.flac").read_bytes(), noise),
        "sound (training)": Reader((folder / "a.wav").read_bytes(), training, "training/case.wav"),
        "sound (MP3 clip)": Reader((folder / "a.mp3").read_bytes(), clip, is_input=False),
    }


def containers(folder):
    """The games' containers, Debian packages, bundles."""
    pack_deb(folder / "a.deb", pack_tar(FILES), "")
    record = text("leaderboard/results/quick/random_features/ks-s0.json")
    files = {"bundle.yaml": b"upstream: a\ntrack: quick\n", "records/ks-s0.json": record}
    sums = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in files.items())
    tar = pack_tar(files | {bundle.SUMS: sums.encode()})

    def unpack(path):
        with bundle.opened(path):
            return

    others = {"0.ALS": b"a", "1.ALS": b"b"}
    return {
        "container (Queen)": Reader(
            pack_queen(queen_entries()),
            lambda path: queen_reader.parse(path.read_bytes()),
            is_input=False,
        ),
        "container (Drascula)": Reader(
            pack_drascula(["Hello", "Who?"], {}),
            lambda path: drascula_reader.parse(path.read_bytes(), others),
            is_input=False,
        ),
        "Debian package": Reader(
            (folder / "a.deb").read_bytes(), lambda path: debian.read(PACKAGE, path), "case.deb"
        ),
        "bundle": Reader(
            tar, unpack, "case.tar.gz", lambda content: gzip.compress(content, 1, mtime=0)
        ),
    }


def data_of_users(folder):
    """Tables, Kaldi directories and task cards of users, as `task init` and `eval` read them."""
    (folder / "own").mkdir()
    files = write_digits(folder / "own" / "audio", digits=2, speakers=SPEAKERS[:3], takes=1)
    rows = [
        {"path": f"audio/{path.name}", "label": "ab"[digit], "speaker": speaker, "start": "0",
         "text": f"B-n number E-n [digit : {digit}]"}
        for path, digit, speaker in files
    ]  # fmt: skip
    write_csv(folder / "own" / "whole.csv", rows)
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    segments = "".join(f"u{n} r{n} 0 0.2\n" for n in range(len(files)))
    kaldi = folder / "own" / "kaldi"
    kaldi.mkdir()
    (kaldi / "wav.scp").write_text("".join(f"r{n} {x[0]}\n" for n, x in enumerate(files)))
    (kaldi / "text").write_text("".join(f"u{n} word {x[1]}\n" for n, x in enumerate(files)))
    card = "".join(f"{line}\n" for line in OWN_CARD)

    def look(path):
        for task in ("ks", "slu"):
            _listed(survey(str(path), path.parent, task=task, name=None, columns={}))

    return {
        "own table (CSV)": Reader((folder / "own/whole.csv").read_bytes(), look, "own/case.csv"),
        "own table (JSONL)": Reader(lines.encode(), look, "own/case.jsonl"),
        "own data (Kaldi)": Reader(
            segments.encode(),
            lambda path: _listed(survey(str(kaldi), folder, task="asr", name="k", columns={})),
            "own/kaldi/segments",
        ),
        "own task card": Reader(
            card.encode(),
            lambda path: _listed(Survey(CardPlace(read_own_card(path), path.parent), [])),
            "own/card.yaml",
        ),
    }


def _listed(seen):
    """List the rows of a user's data, with their splits."""
    place = seen.place
    listing = check_rows(READERS[place.card.layout](place), place.card)
    listing.digest()
    with_splits(listing.rows, place)
