"""Bundles of the toy track: submit one, change it, check it."""

import hashlib
import json
import shutil
from pathlib import Path

import yaml
from toy_track import TRACK, evaluate, make_toy
from toys import ToyUpstream

from bench.errors import UserError
from bench.load.catalog import parse_upstream_name, upstream_card
from bench.load.loader import Loaded
from bench.measure.cost import Cost
from bench.records.bundle import BundleCard, opened, write_sums
from bench.records.cost_report import BucketMacs
from bench.submit.submit import submit
from bench.submit.verify import check

SCRIPT = "<script>alert(1)</script>"
SUMS = {"short": 100_000, "medium": 100_000, "long": 100_000, "longer": 100_000, "total": 400_000}
PLAIN = {"rule": "plain", **SUMS, "per_second_min": 1000.0, "per_second_max": 2000.0}
MACS = [PLAIN, PLAIN | {"rule": "superb_slt2022"}]
COST = {
    "upstream": "fbank", "params": 1, "layers": 3, "hidden_size": 8, "stride": 320,
    "stored_bytes": 10, "macs_per_second": 2.0, "seconds": 10.0, "counted_on": "meta",
    "buckets": MACS,
}  # fmt: skip
RECORD = "records/tone-s0.json"
CLEAN = "records/tone-s0/predictions/clean.jsonl"


def edit(**changes):
    """Change keys of a record; `a__b` and `a__0__b` are keys inside it."""

    def apply(folder: Path) -> None:
        path = folder / RECORD
        data = json.loads(path.read_text("utf-8"))
        for place, value in changes.items():
            *parents, last = place.split("__")
            at = data
            for part in parents:
                at = at[int(part)] if part.isdecimal() else at[part]
            at[last] = value
        data["record_sha256"] = None  # who forges a record can leave it out
        path.write_text(json.dumps(data), encoding="utf-8")

    return apply


def about(**changes):
    """Change keys of bundle.yaml."""

    def apply(folder: Path) -> None:
        path = folder / "bundle.yaml"
        data = yaml.safe_load(path.read_text("utf-8")) | changes
        path.write_text(yaml.safe_dump(data), encoding="utf-8")

    return apply


def card(**changes):
    """Change keys of card.yaml."""

    def apply(folder: Path) -> None:
        path = folder / "card.yaml"
        data = yaml.safe_load(path.read_text("utf-8")) | changes
        path.write_text(yaml.safe_dump(data), encoding="utf-8")

    return apply


def cost(**changes):
    """Change keys of cost.json."""

    def apply(folder: Path) -> None:
        (folder / "cost.json").write_text(json.dumps(COST | changes), encoding="utf-8")

    return apply


def predictions(change):
    """Change the lines of a prediction file, and write its new digest into the record."""

    def apply(folder: Path) -> None:
        path = folder / CLEAN
        lines = change(path.read_text("utf-8").splitlines())
        text = "".join(f"{line}\n" for line in lines)
        path.write_text(text, encoding="utf-8")
        digest = hashlib.sha256(text.encode()).hexdigest()
        edit(predictions_sha256__clean=digest)(folder)

    return apply


def flip(lines):
    """Return the predictions with the first label changed."""
    flipped = lines[0].replace("high", "HIGH").replace("low", "high").replace("HIGH", "low")
    return [flipped, *lines[1:]]


def write(name, text):
    """Write a file into the bundle."""

    def apply(folder: Path) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    return apply


def link(name, target):
    """Put a symbolic link into the bundle."""

    def apply(folder: Path) -> None:
        (folder / name).symlink_to(target)

    return apply


def copy(source, target):
    """Copy a file of the bundle."""
    return lambda folder: shutil.copy(folder / source, folder / target)


def remove(name):
    """Remove a file of the bundle."""
    return lambda folder: (folder / name).unlink()


def toy_bundle(folder: Path, patch):
    """The toy track in `folder`, with a run of each of its two tasks, and an archive of them."""
    track = make_toy(folder, patch, TRACK.replace("on_board: false", "on_board: true"))
    for module in ("rerun", "submit", "verify"):
        patch.setattr(f"bench.submit.{module}.load_upstream", _load)
    patch.setattr("bench.submit.cost_check.measure", lambda upstream: Cost(1, 2.0, 3, 8, 320))
    patch.setattr("bench.submit.cost_check.stored_bytes", lambda upstream: 10)
    macs = tuple(BucketMacs.model_validate(item) for item in MACS)
    patch.setattr("bench.submit.cost_check.standard_macs", lambda upstream: macs)
    evaluate(track)
    evaluate(track, "voice")
    track.cost = folder / "cost.json"
    track.cost.write_text(json.dumps(COST), encoding="utf-8")
    track.archive = folder / "toy.tar.gz"
    track.submission = send(track, track.archive)
    return track


def _load(text, session=None):
    name = parse_upstream_name(text)
    return Loaded(ToyUpstream(), name, upstream_card("fbank"), "none", None, None, "d" * 64)


def send(toy, out, **about):
    """Submit the runs of the toy track to the archive or folder `out`."""
    card = BundleCard(upstream="fbank", track="toy", submitted_by="A. Body", **about)
    return submit(card, runs=toy.out, out=out, home=toy.home, cost=toy.cost)


def one_line(folder: Path, home: Path) -> list[str]:
    """Return the problems of a bundle, one line each."""
    write_sums(folder)
    try:
        with opened(folder) as bundle:
            return check(bundle, home)[1].problems
    except UserError as error:
        return [str(error)]
