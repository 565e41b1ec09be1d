"""Submit a bundle, verify it, accept it, and run it again."""

import json
import shutil

import pytest
import yaml
from bundles import SCRIPT, edit, send
from toy_track import TRACK
from toys import ToyUpstream

from bench.engine import Engine
from bench.errors import MissingError, UsageError
from bench.features.store import FeatureStore
from bench.identity import card_digest
from bench.load.catalog import parse_upstream_name, user_card
from bench.load.loader import Loaded
from bench.metrics.item_file import read_items
from bench.metrics.jackknife import jackknife
from bench.records.bundle import BundleCard, opened
from bench.records.record import read_record, write_record
from bench.records.standing import Standing
from bench.schema import read_card
from bench.session import Session
from bench.submit.accept import accept, differences
from bench.submit.rerun import compare, rerun
from bench.submit.submit import submit
from bench.submit.verify import check
from leaderboard.board.board import Stamp
from leaderboard.page.build import build_board


def test_what_is_gathered_holds_and_the_same_gives_the_same_bytes(toy, tmp_path):
    assert toy.submission.report.problems == []
    assert toy.submission.path == toy.archive
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
        assert "new: tone-s0" in list(differences(bundle.records, bundle.about, board))
        accept(bundle, board, "rescored")
        lines = list(differences(bundle.records, bundle.about, board))
        assert any("accuracy" in line and line.endswith("(the same)") for line in lines)
    assert read_card(board / "standing/toy/fbank.yaml", Standing).verified == "rescored"
    items = read_items(board / "items/toy/fbank/tone-s0.items").items["clean", "accuracy"]
    assert len(jackknife(items).changes) == 16
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
    edit(provenance__precision=recorded)(folder)
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


def loaded_with(card):
    """Return a loader of the toy upstream under a card."""

    def load(text, session=None):
        name = parse_upstream_name(text)
        return Loaded(ToyUpstream(), name, card, "none", None, None, "d" * 64)

    return load


def test_a_model_that_is_given_by_its_card(toy, tmp_path, monkeypatch):
    """Its records were made with `--card`; nothing needs to lie in the checkout."""
    card = {
        "name": "mine", "title": "Mine", "family": "baseline", "builder": "mine:Mine",
        "license": "MIT", "provenance": "none",
    }  # fmt: skip
    path = tmp_path / "card.yaml"
    path.write_text(yaml.safe_dump(card), encoding="utf-8")
    about = BundleCard(upstream="mine", track="toy", submitted_by="A. Body")
    runs = tmp_path / "runs"
    shutil.copytree(toy.out / "toy" / "fbank", runs / "toy" / "mine")
    for file in (runs / "toy" / "mine").glob("*.json"):
        sha = card_digest(user_card(path))
        record = read_record(file)
        inputs = record.inputs.model_copy(update={"upstream_card_sha256": sha})
        write_record(record.model_copy(update={"upstream": "mine", "inputs": inputs}), file)
    monkeypatch.setattr("bench.submit.verify.load_upstream", loaded_with(user_card(path)))
    cost = tmp_path / "cost.json"
    cost.write_text(toy.cost.read_text().replace('"fbank"', '"mine"'), encoding="utf-8")
    given = {"runs": runs, "home": toy.home, "cost": cost}
    with pytest.raises(UsageError, match="unknown upstream 'mine'"):
        submit(about, out=tmp_path / "a", **given)
    whole = submit(about, out=tmp_path / "b", session=Session(cards=[path]), **given)
    assert whole.report.problems == [] and whole.path == tmp_path / "b"
    assert yaml.safe_load((tmp_path / "b" / "card.yaml").read_text())["name"] == "mine"
    with opened(tmp_path / "b") as folder:  # the reviewer needs the card in the checkout
        assert "unknown upstream 'mine'" in check(folder, toy.home)[1].problems[0]
