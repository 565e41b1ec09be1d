"""Broken and hostile bundles are refused, each in one line that names the fault."""

import gzip
import io
import json
import tarfile

import pytest
import yaml
from bundles import (
    CLEAN,
    RECORD,
    SCRIPT,
    about,
    card,
    copy,
    cost,
    edit,
    flip,
    link,
    one_line,
    predictions,
    remove,
    write,
)

from bench.config import UpstreamCard
from bench.errors import InvalidDataError, MissingError
from bench.load.catalog import upstream_card
from bench.records.archive import pack
from bench.records.bundle import opened
from bench.records.record import read_record
from bench.records.standing import Standing
from bench.schema import read_card
from bench.submit.verify import check
from leaderboard.board.board import Stamp
from leaderboard.page.build import build_board

# The change to a good bundle, and words of the refusal.
BROKEN = {
    # text fields: markup, script, control signs, size
    "script in family": (edit(family=SCRIPT), "'<' is not allowed"),
    "script in tap": (edit(tap=SCRIPT), "'<' is not allowed"),
    "script in labels": (edit(labels=SCRIPT), "'<' is not allowed"),
    "script in device": (edit(provenance__device=SCRIPT), "'<' is not allowed"),
    "script in started": (edit(provenance__started=SCRIPT), "'<' is not allowed"),
    "script in commit": (edit(provenance__commit=SCRIPT), "'<' is not allowed"),
    "script in package": (edit(provenance__packages={SCRIPT: "1"}), "'<' is not allowed"),
    "script in condition": (edit(scores__0__condition=SCRIPT), "'<' is not allowed"),
    "script in metric": (edit(scores__0__metric=SCRIPT), "'<' is not allowed"),
    "script in submitter": (about(submitted_by=SCRIPT), "'<' is not allowed"),
    "script in card title": (card(title=SCRIPT), "'<' is not allowed"),
    "script in card notes": (card(notes=SCRIPT), "'<' is not allowed"),
    "script in card licence": (card(license=SCRIPT), "'<' is not allowed"),
    "javascript link": (card(paper="javascript:alert(1)"), "'javascript:' is not allowed"),
    "javascript link, mixed case": (card(paper="JaVaScRiPt:x"), "is not allowed"),
    "data link": (card(paper="data:text/html,x"), "an https:// address expected"),
    "plain http link": (card(paper="http://example.org"), "an https:// address expected"),
    "link with quotes": (card(paper="https://a/\"onclick='x'"), "an https:// address expected"),
    "right-to-left override": (about(submitted_by="\u202egnp.exe"), "is not allowed"),
    "escape sequence": (edit(provenance__device="\x1b[31mred"), "is not allowed"),
    "million characters in a text": (edit(provenance__device="x" * 10**6), "at most 2000"),
    "million characters in the name": (about(upstream="x" * 10**6), "at most 256000 expected"),
    "thousand characters in the name": (about(upstream="x" * 1000), "yaml: key 'upstream': "),
    # names and places
    "path in the upstream": (about(upstream="../../etc"), "expected NAME"),
    "another upstream": (about(upstream="ge2e"), "card.yaml: name 'fbank'"),
    "unknown upstream": (about(upstream="fbnak"), "card.yaml: name 'fbank'"),
    "unknown track": (about(track="opne"), "unknown track"),
    "unknown key": (about(admin=True), "unknown key 'admin'"),
    "unknown flag": (about(flags=["none-of-these"]), "flags"),
    "no bundle.yaml": (remove("bundle.yaml"), "bundle.yaml: no such file"),
    "no card": (remove("card.yaml"), "card.yaml: no such file"),
    "another card": (card(title="Best of all"), "differs from upstreams/cards/fbank.yaml"),
    "yaml bomb": (write("card.yaml", "a: &a [x]\nb: [*a, *a]\n"), "aliases"),
    "yaml object": (write("card.yaml", "!!python/object/apply:os.system [id]"), "not valid YAML"),
    "record under another name": (copy(RECORD, "records/tone-s7.json"), "holds tone-s0"),
    "one run twice": (copy(RECORD, "records/tone-s0-b.json"), "one task and seed twice"),
    "task that there is not": (edit(task="xyz"), "no task 'xyz'"),
    "not JSON": (write(RECORD, "{"), "not a record"),
    "unknown key in a record": (edit(rank=1), "not a record: unknown key 'rank'"),
    # protocol
    "wrong protocol": (edit(protocol="2025.9"), "protocol '2025.9'"),
    "track quick": (edit(track="quick"), "track 'quick'"),
    "limited": (edit(limit=8), "limited to 8"),
    "cut short": (edit(steps=8), "limited to 8 updates"),
    "failed run": (edit(status="error"), "status 'error'"),
    "old task version": (edit(task_version=7), "task version 7"),
    "other task card": (edit(inputs__task_card_sha256="0" * 64), "another task card"),
    "other corpus": (edit(inputs__manifests__clean="0" * 64), "another manifest of 'clean'"),
    "other weights": (edit(inputs__upstream_sha256="0" * 64), "another upstream"),
    "other grid": (edit(selection__grid=[{"lr": 0.5, "step": 1, "value": 1.0}]), "learning rates"),
    "chosen on test": (edit(selection__lr=0.5), "not the one that dev chose"),
    "weights claimed": (edit(weights="published"), "weights"),
    # numbers
    "NaN": (edit(scores__0__value=float("nan")), "not a record"),
    "infinity": (edit(scores__0__high=float("inf")), "not a record"),
    "forged value": (edit(scores__0__value=0.999), "value 0.999 in the record"),
    "forged counts": (edit(scores__0__numerator=3.0), "numerator 3.0 in the record"),
    "forged n": (edit(scores__0__n=10**6), "n 1000000 in the record"),
    "narrowed interval": (edit(scores__0__low=0.0001), "low 0.0001 in the record"),
    "text for a number": (edit(scores__0__value="0.9"), "not a record"),
    "forged parameters": (edit(cost__params=1000), "1,000 parameters, 1 measured"),
    "forged MACs": (edit(cost__macs_per_second=0.5), "MACs a second"),
    "forged cost report": (cost(params=7), "7 parameters, 1 measured"),
    "broken cost report": (write("cost.json", "[]"), "not a cost report"),
    "weights of layers": (edit(head__layer_weights=[9.0, 1.0]), "layer weights sum to 10"),
    # predictions
    "edited predictions": (write(CLEAN, '{"id": "x", "prediction": "low"}\n'), "altered"),
    "edited and hidden": (predictions(flip), "from the predictions"),
    "missing id": (predictions(lambda lines: lines[1:]), "1 missing, first"),
    "extra id": (
        predictions(lambda x: [*x, '{"id": "e", "prediction": ""}']), "1 of unknown utterances"
    ),
    "duplicate id": (predictions(lambda lines: [*lines, lines[0]]), "duplicate id"),
    "no JSON lines": (predictions(lambda lines: ["<html>"]), "not predictions"),
    "wrong kind": (
        predictions(lambda lines: [lines[0].replace('"high"', "[1]").replace('"low"', "[1]"),
                                   *lines[1:]]),
        "expected text",
    ),
    "no predictions": (remove(CLEAN), "no predictions"),
    "a condition left out": (edit(predictions_sha256={}), "no predictions of condition"),
    # files
    "link out": (link("records/tone-s9.json", "/etc/passwd"), "is a link"),
    "linked folder": (link("records/more", "/etc"), "is a link"),
    "a file too many": (write("run.sh", "rm -rf /"), "is no file of a bundle"),
    "a hidden file": (write("records/.htaccess", "x"), "is no file of a bundle"),
    "markup in a file name": (write("records/<b>-s0.json", "{}"), "is no file of a bundle"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_broken_and_hostile_bundles_are_refused(toy, folder, name):
    change, expected = BROKEN[name]
    change(folder)
    problems = one_line(folder, toy.home)
    assert any(expected in line for line in problems), problems
    for line in problems:
        assert "\n" not in line and len(line) < 600 and SCRIPT not in line


@pytest.mark.parametrize(
    ("checkpoint", "expected"),
    [
        ({"hub": "a/b", "file": "c.pt"}, "pins no digest to compare the file eeee"),
        ({"hub": "a/b", "file": "c.pt", "sha256": "f" * 64}, "of the file eeee"),
        ({"hub": "a/b", "file": "c.pt", "known_sha256": ["f" * 64]}, "of the file eeee"),
        ({"hub": "a/b", "file": "c.pt", "sha256": "e" * 64}, None),
        ({"hub": "a/b", "file": "c.pt", "known_sha256": ["f" * 64, "e" * 64]}, None),
    ],
)
def test_published_weights_are_those_of_a_file_that_the_card_vouches_for(
    toy, folder, monkeypatch, checkpoint, expected
):
    ours = upstream_card("fbank").model_dump() | {"checkpoint": checkpoint}
    given = UpstreamCard.model_validate(ours | {"provenance": "published"})
    monkeypatch.setattr("bench.submit.verify.upstream_card", lambda name: given)
    (folder / "card.yaml").write_text(yaml.safe_dump(given.model_dump(mode="json")), "utf-8")
    for path in (folder / "records").glob("*.json"):
        record = json.loads(path.read_text("utf-8")) | {
            "weights": "published",
            "record_sha256": None,
        }
        record["inputs"]["checkpoint_sha256"] = "e" * 64
        path.write_text(json.dumps(record), encoding="utf-8")
    problems = check(folder, toy.home)[1].problems
    if expected is None:
        assert not problems
    else:
        (line,) = problems
        assert expected in line


def archive(path, *members, data=b"x"):
    with tarfile.open(path, "w:gz") as out:
        for member in members:
            info = tarfile.TarInfo(member) if isinstance(member, str) else member
            info.size = len(data) if info.isreg() else 0
            out.addfile(info, io.BytesIO(data))
    return path


def special(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        (["../evil.json"], "points outside"),
        (["/etc/passwd"], "points outside"),
        (["records/../../x.json"], "points outside"),
        (["records\\..\\x.json"], "points outside"),
        ([special("bundle.yaml", tarfile.SYMTYPE, "/etc/passwd")], "is a link"),
        ([special("bundle.yaml", tarfile.LNKTYPE, "/etc/passwd")], "is a link"),
        ([special("bundle.yaml", tarfile.CHRTYPE)], "is no plain file"),
        ([special("bundle.yaml", tarfile.FIFOTYPE)], "is no plain file"),
        (["bundle.yaml", "bundle.yaml"], "twice"),
        (["x" * 300], "longer than 200"),
        (["x" * 10**6], "unpacks to more than"),
        (["setup.py"], "is no file of a bundle"),
        ([f"records/t-s{i}.json" for i in range(2100)], "more than 2000 files"),
    ],
)
def test_hostile_archives_are_refused(tmp_path, members, expected):
    path = archive(tmp_path / "a.tar.gz", *members)
    with pytest.raises(InvalidDataError, match=expected) as error, opened(path):
        pass
    assert len(str(error.value)) < 600 + len(str(tmp_path))


def test_bombs_end_early(tmp_path):
    path = tmp_path / "bomb.tar.gz"
    archive(path, "records/tone-s0.json", data=bytes(60_000_000))
    assert path.stat().st_size < 100_000
    with pytest.raises(InvalidDataError, match="unpacks to more than"), opened(path):
        pass
    path.write_bytes(gzip.compress(b"not a tar"))
    with pytest.raises(InvalidDataError, match=r"not a \.tar\.gz"), opened(path):
        pass
    path.write_bytes(b"PK\x03\x04 a zip")
    with pytest.raises(InvalidDataError, match=r"not a \.tar\.gz"), opened(path):
        pass
    with pytest.raises(MissingError, match="no bundle"), opened(tmp_path / "none"):
        pass


def test_what_lands_in_spite_of_all_is_text(toy, folder, tmp_path):
    """The page escapes by itself: hostile records are put on the board without a check."""
    board = tmp_path / "leaderboard"
    target = board / "results/toy/fbank"
    target.mkdir(parents=True)
    hostile = {"family": SCRIPT, "tap": SCRIPT, "record_sha256": None}
    for path in sorted((folder / "records").glob("*.json")):
        data = json.loads(path.read_text("utf-8")) | hostile
        (target / path.name).write_text(json.dumps(data), encoding="utf-8")
    standing = Standing(upstream="fbank", track="toy", submitted_by=f'"{SCRIPT}', revoked=SCRIPT)
    path = board / "standing/toy/fbank.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(yaml.safe_dump(standing.model_dump(mode="json")), encoding="utf-8")
    build_board(board / "results", tmp_path / "site", Stamp("", ""))
    for name in ("index.html", "board.md"):
        assert SCRIPT not in (tmp_path / "site" / name).read_text("utf-8")
    assert read_record(next(target.iterdir())).family == SCRIPT


def test_a_card_of_the_bundle_is_a_card(folder):
    assert read_card(folder / "card.yaml", UpstreamCard).name == "fbank"


def test_a_folder_packs_to_the_same_archive(toy, folder, tmp_path):
    pack(folder, tmp_path / "b.tar.gz")
    assert (tmp_path / "b.tar.gz").read_bytes() == toy.archive.read_bytes()
