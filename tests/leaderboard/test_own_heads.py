"""The division of fine-tuned models with their own heads."""

import json
import shutil
from pathlib import Path

import pytest

from bench import registry
from bench.errors import InvalidDataError
from bench.records.own_head import OWN_HEAD, OwnHeadRecord
from bench.records.record import read_record
from leaderboard.board.board import Stamp
from leaderboard.board.reading import read_own_heads
from leaderboard.page.build import PageRequest, build_board

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "TASKS", GOLDEN / "tasks")
    monkeypatch.setattr("bench.load.catalog.CARDS", GOLDEN / "cards")
    return Path(shutil.copytree(GOLDEN / "results", tmp_path / "results"))


def record_of(results, name):
    """The record of a fine-tuned model, with the scores of a committed record."""
    records = map(read_record, sorted(results.glob("*/*/*.json")))
    record = next(record for record in records if record.scores[0].numerator is not None)
    shared = {key: getattr(record, key) for key in ("track", "task", "task_version", "provenance")}
    scores = [record.scores[0].model_copy(update={"condition": name}) for name in ("clean", "dev")]
    return OwnHeadRecord(
        upstream=name, title="T", family="pruned", teacher="big", recipe="hj", seed=3,
        length="12 h of audio presented", subset="10h", encoder_params=1_500_000,
        head_params=20_000, weights_sha256="0", labels="script", manifests={},
        predictions_sha256={}, scores=tuple(scores), **shared,
    )  # fmt: skip


def write(record, path):
    path.parent.mkdir(parents=True)
    path.write_text(record.model_dump_json())


def test_fine_tuned_models_have_a_table_of_their_own(results, tmp_path):
    shipped, mine = record_of(results, "shipped_one"), record_of(results, "<b>mine")
    write(shipped, results / shipped.track / "shipped_one" / OWN_HEAD / f"{shipped.task}.json")
    write(mine, tmp_path / "runs" / "compress" / "mine" / "own-head.json")
    site = tmp_path / "site"
    build_board(results, site, Stamp("0123456789ab", "2026-11-21"), PageRequest(tmp_path / "runs"))
    page = (site / "index.html").read_text("utf-8")
    section = page.split('class="own-heads"')[1].split("</section>")[0]
    assert "&lt;b&gt;mine" in section and "hj, 12 h of audio presented, on 10h, seed 3" in section
    assert section.index(">dev</th>") < section.index(">clean</th>") and "1.50 + 0.02" in section
    assert "shipped_one" not in page.split('class="main"')[1].split("</table>")[0]
    assert f"{shipped.scores[0].numerator:,g} of" in section
    assert (
        "| shipped\\_one" in (site / "board.md").read_text()
        or "| shipped_one" in (site / "board.md").read_text()
    )
    tracks = json.loads((site / "board.json").read_text())["tracks"]
    names = [r["upstream"] for t in tracks for r in t.get("fine_tuned_with_own_head", [])]
    assert sorted(names) == ["<b>mine", "shipped_one"]
    assert "shipped_one" not in (site / "board.csv").read_text()
    write(shipped, results / shipped.track / "another" / OWN_HEAD / f"{shipped.task}.json")
    with pytest.raises(InvalidDataError, match=r"holds .*/shipped_one/"):
        read_own_heads(results, shipped.track)
