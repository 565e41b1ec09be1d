"""Submitting: what is gathered holds; what is broken or hostile is refused in one clear line."""

import gzip
import io
import json
import shutil
import tarfile
from pathlib import Path

import pytest
import yaml
from toy_track import TRACK, evaluate, make_toy

from bench.config import UpstreamCard
from bench.engine import Engine
from bench.errors import InvalidDataError, MissingError, UsageError, UserError
from bench.features.store import FeatureStore
from bench.load.loader import Loaded
from bench.measure.cost import Cost
from bench.metrics.draws import read_draws
from bench.records.bundle import BundleCard, opened, pack
from bench.records.record import read_record
from bench.records.standing import Standing
from bench.registry import upstream_card
from bench.schema import read_card
from bench.submit.accept import accept, differences
from bench.submit.rerun import compare, rerun
from bench.submit.submit import submit
from bench.submit.verify import check
from leaderboard.board.board import Stamp
from leaderboard.page.build import build_board

ON_BOARD = TRACK.replace("on_board: false", "on_board: true")
SCRIPT = "<script>alert(1)</script>"
COST = {
    "upstream": "fbank", "params": 1, "layers": 3, "hidden_size": 8, "stride": 320,
    "stored_bytes": 10, "macs_per_second": 2.0, "seconds": 10.0, "counted_on": "meta",
    "buckets": [],
}  # fmt: skip


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """The toy track with three runs, and an archive of them."""
    folder = tmp_path_factory.mktemp("submit")
    with pytest.MonkeyPatch.context() as patch:
        made = make_toy(folder, patch, ON_BOARD)
        for module in ("rerun", "submit", "cost_check"):
            patch.setattr(f"bench.submit.{module}.load_upstream", _load)
        patch.setattr("bench.submit.cost_check.measure", lambda upstream: Cost(1, 2.0, 3, 8, 320))
        patch.setattr("bench.submit.cost_check.stored_bytes", lambda upstream: 10)
        evaluate(made)
        evaluate(made, "voice")
        made.cost = folder / "cost.json"
        made.cost.write_text(json.dumps(COST), encoding="utf-8")
        made.archive = folder / "toy.tar.gz"
        made.found = send(made, made.archive)
        yield made


def _load(text, session=None):
    from toys import ToyUpstream

    from bench.names import parse_upstream_name
    from bench.registry import upstream_card

    name = parse_upstream_name(text)
    return Loaded(ToyUpstream(), name, upstream_card("fbank"), "none", None, None, "d" * 64)


def send(toy, out, **about):
    card = BundleCard(upstream="fbank", track="toy", submitted_by="A. Body", **about)
    return submit(card, runs=toy.out, out=out, home=toy.home, cost=toy.cost)


@pytest.fixture
def folder(toy, tmp_path):
    """An unpacked bundle to break."""
    target = tmp_path / "bundle"
    with opened(toy.archive) as found:
        shutil.copytree(found, target)
    return target


def test_what_is_gathered_holds_and_the_same_gives_the_same_bytes(toy, tmp_path):
    assert toy.found.report.problems == []
    assert toy.found.path == toy.archive
    again = tmp_path / "again.tar.gz"
    send(toy, again)
    assert again.read_bytes() == toy.archive.read_bytes()
    with opened(toy.archive) as folder:
        names = {path.relative_to(folder).as_posix() for path in folder.rglob("*.*")}
    assert {"bundle.yaml", "card.yaml", "cost.json", "records/tone-s0.json"} <= names
    assert "records/tone-s0/predictions/clean.jsonl" in names


def test_a_folder_is_never_overwritten_and_quick_never_sent(toy, tmp_path):
    send(toy, tmp_path / "bundle")
    with pytest.raises(UsageError, match="exists: name another"):
        send(toy, tmp_path / "bundle")
    track = toy.out.parent / "tasks" / "toy" / "track.yaml"
    text = track.read_text("utf-8")
    track.write_text(TRACK)
    try:
        with pytest.raises(UsageError, match="never on the board"):
            send(toy, tmp_path / "x.tar.gz")
        with opened(toy.archive) as folder:
            assert "never on the board" in check(folder, toy.home)[1].problems[0]
    finally:
        track.write_text(text)
    with pytest.raises(MissingError, match="no records"):
        submit(BundleCard(upstream="ge2e", track="toy"), runs=toy.out, out=tmp_path / "y",
               home=toy.home, cost=None)  # fmt: skip


def test_an_accepted_bundle_is_on_the_board(toy, tmp_path):
    board = tmp_path / "leaderboard"
    with opened(toy.archive) as folder:
        bundle, report = check(folder, toy.home)
        assert bundle is not None and not report.problems
        assert "new: tone-s0" in list(
            differences(bundle.records, bundle.draws, bundle.about, board)
        )
        accept(bundle, board, "rescored")
        lines = list(differences(bundle.records, bundle.draws, bundle.about, board))
        assert any("accuracy" in line and line.endswith("the same") for line in lines)
    assert read_card(board / "standing/toy/fbank.yaml", Standing).verified == "rescored"
    draws = read_draws(board / "draws/toy/fbank/tone-s0.draws")
    assert draws["clean", "accuracy"].clusters == 16
    build_board(board / "results", tmp_path / "site", Stamp("", ""))
    page = (tmp_path / "site/index.html").read_text("utf-8")
    assert "A. Body" in page and "rescored" in page


def test_a_revoked_row_stays_with_its_reason(toy, tmp_path):
    board = tmp_path / "leaderboard"
    with opened(toy.archive) as folder:
        bundle, _ = check(folder, toy.home)
        accept(bundle, board, "rescored")
    standing = {"upstream": "fbank", "track": "toy", "revoked": f"test set seen {SCRIPT}"}
    (board / "standing/toy/fbank.yaml").write_text(yaml.safe_dump(standing), encoding="utf-8")
    build_board(board / "results", tmp_path / "site", Stamp("", ""))
    page = (tmp_path / "site/index.html").read_text("utf-8")
    assert "revoked: test set seen &lt;script&gt;" in page and SCRIPT not in page


def test_rerun_from_the_weights(toy, folder):
    assert rerun(folder, "tone:5", toy.home).agreements == (
        "rerun tone: 5 of 5 predictions are the recorded ones",
    )
    file = folder / "records/tone-s0/predictions/clean.jsonl"
    lines = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    flipped = {"high": "low", "low": "high"}
    lines = [{**line, "prediction": flipped[line["prediction"]]} for line in lines]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    (problem,) = rerun(folder, "tone:5", toy.home).problems
    assert "5 of 5 predictions differ" in problem
    assert rerun(folder, "voice:4", toy.home).problems == ()
    for asked in ("sid", "tone:x", "tone:0", "tone:99999999"):
        with pytest.raises(UsageError, match="--rerun"):
            rerun(folder, asked, toy.home)


@pytest.mark.parametrize(
    ("recorded", "used"), [("float32", "float32"), ("bf16", "bf16"), ("tf32", "float32")]
)
def test_rerun_computes_as_recorded_where_the_device_can(toy, folder, monkeypatch, recorded, used):
    file = folder / "records/tone-s0.json"
    content = json.loads(file.read_text("utf-8"))
    content["provenance"]["precision"] = recorded
    file.write_text(json.dumps(content), encoding="utf-8")
    engines = []

    def watched(*arguments, **options):
        engines.append(options["engine"])
        return FeatureStore(*arguments, **options)

    monkeypatch.setattr("bench.submit.rerun.FeatureStore", watched)
    rerun(folder, "tone:5", toy.home)
    assert engines == [Engine(precision=used)]
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(MissingError, match="finds no GPU"):
        rerun(folder, "tone:5", toy.home, engine=Engine("cuda"))


def test_embeddings_may_differ_by_rounding_only():
    item = type("Item", (), {"id": "a"})
    assert compare("t", [item], [[1.0, 2.0]], {"a": [1.0001, 2.0]}).problems == ()
    assert compare("t", [item], [[1.0, 2.0]], {"a": [2.0, -1.0]}).problems
    assert compare("t", [item], [[1.0, 2.0]], {"a": [1.0]}).problems


# Broken and hostile bundles: what is done to a good one, and what the refusal must say.

RECORD = "records/tone-s0.json"
CLEAN = "records/tone-s0/predictions/clean.jsonl"


def edit(**changes):
    """Change keys of a record; `a.b` and `a.0.b` reach into it."""

    def apply(folder: Path) -> None:
        path = folder / RECORD
        data = json.loads(path.read_text("utf-8"))
        for place, value in changes.items():
            *parents, last = place.split("__")
            at = data
            for part in parents:
                at = at[int(part)] if part.isdecimal() else at[part]
            at[last] = value
        path.write_text(json.dumps(data), encoding="utf-8")

    return apply


def about(**changes):
    def apply(folder: Path) -> None:
        path = folder / "bundle.yaml"
        data = yaml.safe_load(path.read_text("utf-8")) | changes
        path.write_text(yaml.safe_dump(data), encoding="utf-8")

    return apply


def card(**changes):
    def apply(folder: Path) -> None:
        path = folder / "card.yaml"
        data = yaml.safe_load(path.read_text("utf-8")) | changes
        path.write_text(yaml.safe_dump(data), encoding="utf-8")

    return apply


def cost(**changes):
    def apply(folder: Path) -> None:
        (folder / "cost.json").write_text(json.dumps(COST | changes), encoding="utf-8")

    return apply


def predictions(change):
    """Change the lines of a prediction file, and forge its digest so that it is not noticed."""

    def apply(folder: Path) -> None:
        import hashlib

        path = folder / CLEAN
        lines = change(path.read_text("utf-8").splitlines())
        text = "".join(f"{line}\n" for line in lines)
        path.write_text(text, encoding="utf-8")
        digest = hashlib.sha256(text.encode()).hexdigest()
        edit(predictions_sha256__clean=digest)(folder)

    return apply


def flip(lines):
    flipped = lines[0].replace("high", "HIGH").replace("low", "high").replace("HIGH", "low")
    return [flipped, *lines[1:]]


def write(name, text):
    def apply(folder: Path) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    return apply


def link(name, target):
    def apply(folder: Path) -> None:
        (folder / name).symlink_to(target)

    return apply


def copy(source, target):
    return lambda folder: shutil.copy(folder / source, folder / target)


def remove(name):
    return lambda folder: (folder / name).unlink()


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
    "no bundle.yaml": (remove("bundle.yaml"), "bundle.yaml: cannot be read"),
    "no card": (remove("card.yaml"), "card.yaml: cannot be read"),
    "another card": (card(title="Best of all"), "differs from upstreams/cards/fbank.yaml"),
    "yaml bomb": (write("card.yaml", "a: &a [x]\nb: [*a, *a]\n"), "aliases"),
    "yaml object": (write("card.yaml", "!!python/object/apply:os.system [id]"), "not valid YAML"),
    "record under another name": (copy(RECORD, "records/tone-s7.json"), "holds tone-s0"),
    "one run twice": (copy(RECORD, "records/tone-s0-b.json"), "one task and seed twice"),
    "task that there is not": (edit(task="xyz"), "no task 'xyz'"),
    "not JSON": (write(RECORD, "{"), "not a record"),
    "unknown key in a record": (edit(rank=1), "not a record: rank: "),
    # protocol
    "wrong protocol": (edit(protocol="2025.9"), "protocol '2025.9'"),
    "track quick": (edit(track="quick"), "track 'quick'"),
    "limited": (edit(limit=8), "limited to 8"),
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


def one_line(folder: Path, home: Path) -> list[str]:
    try:
        with opened(folder) as found:
            return check(found, home)[1].problems
    except UserError as error:
        return [str(error)]


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
    for module in ("verify", "record_check"):
        monkeypatch.setattr(f"bench.submit.{module}.upstream_card", lambda name: given)
    (folder / "card.yaml").write_text(yaml.safe_dump(given.model_dump(mode="json")), "utf-8")
    for path in (folder / "records").glob("*.json"):
        record = json.loads(path.read_text("utf-8")) | {"weights": "published"}
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
    hostile = {"family": SCRIPT, "tap": SCRIPT}
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
