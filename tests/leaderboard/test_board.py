"""The board: a golden miniature, and what it refuses."""

import re
import shutil
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest

from bench import registry
from bench.errors import InvalidDataError, MissingError, UsageError
from bench.records.record import (
    ConditionResult,
    ConditionScore,
    read_record,
    write_record,
)
from leaderboard.board.board import Stamp
from leaderboard.board.columns import FACTS, LAST
from leaderboard.page.build import build_board
from leaderboard.page.render import PAGE

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(autouse=True)
def own_tracks(monkeypatch):
    monkeypatch.setattr(registry, "TASKS", GOLDEN / "tasks")
    monkeypatch.setattr("bench.load.catalog.CARDS", GOLDEN / "cards")


@pytest.fixture
def results(tmp_path):
    shutil.copytree(GOLDEN / "items", tmp_path / "items")
    return Path(shutil.copytree(GOLDEN / "results", tmp_path / "results"))


def change(results, place, **updates):
    """Write one record again with other values."""
    path = results / place
    write_record(read_record(path).model_copy(update=updates), path)
    return path


STAMP = Stamp("0123456789ab", "2026-11-21")


def built(results, tmp_path, stamp=STAMP):
    build_board(results, tmp_path / "site", stamp)
    return tuple((tmp_path / "site" / n).read_text("utf-8") for n in ("index.html", "board.md"))


def without_code(page):
    """The page without style, script and their digests: what a reviewer wants to see change."""
    page = re.sub(r"sha256-[\w+/=]+", "sha256-...", page)
    page = re.sub(r"<style>.*?</style>", "<style>...</style>", page, flags=re.DOTALL)
    return re.sub(r"<script>.*?</script>", "<script>...</script>", page, flags=re.DOTALL)


def test_golden_board(tmp_path, request):
    page, text = built(GOLDEN / "results", tmp_path)
    site = tmp_path / "site"
    files = {"board.html": without_code(page), "board.md": text}
    files |= {n: (site / n).read_text("utf-8") for n in ("board.csv", "board.json", "board.tex")}
    if request.config.getoption("--golden"):
        for name, content in files.items():
            (GOLDEN / name).write_text(content, encoding="utf-8")
    for name, content in files.items():
        assert content == (GOLDEN / name).read_text(encoding="utf-8"), f"{name}: pytest --golden"


def test_built_twice_is_the_same_bytes(tmp_path):
    assert built(GOLDEN / "results", tmp_path) == built(GOLDEN / "results", tmp_path)


def test_summary_says_what_was_left_out(tmp_path):
    summary = build_board(GOLDEN / "results", tmp_path)
    assert (summary.records, summary.upstreams, summary.reported) == (7, 3, 3)
    assert summary.skipped == ("track quick: never on the board",)
    text = "\n".join(summary.lines())
    assert "7 records of 3 upstreams" in text and "index.html" in text


def test_scores_are_means_over_seeds_with_intervals_as_numbers_and_as_bars(tmp_path):
    page, text = built(GOLDEN / "results", tmp_path)
    assert "| 62.00 (52.57\N{EN DASH}71.43) " in text
    assert re.search(r'62\.00<svg class=iv viewBox="0 0 60 8"><path d="M[\d.]+ 4H', page)
    assert "accuracy 62.00 [52.57, 71.43], mean of 3 seeds, n = 100" in page
    assert "WER 125.00, 1 seed, 250 / 200 words" in page  # without item counts
    assert "min DCF 0.750, 1 seed, n = 2,000" in page  # a metric without intervals


def main_table(page):
    return page[page.index('<table class="main">') : page.index('<p class="legend">')]


def test_cells_say_how_many_seeds_where_it_is_not_the_usual_number(results, tmp_path):
    """One golden score is of three seeds, all others of one."""
    page, _ = built(results, tmp_path)
    assert re.findall(r"<small>(\d seeds?)</small>[\d.]+<svg", main_table(page)) == ["3 seeds"]
    assert "Scores are of 1 seed where a cell says nothing else." in page
    for score in ("asr-s0", "asv-s0", "ks-s0-shuffled"):  # most scores are now means of three
        for path in results.glob(f"open/*/{score}.json"):
            for seed in (1, 2):
                record = read_record(path).model_copy(update={"seed": seed})
                write_record(record, path.with_name(path.name.replace("s0", f"s{seed}")))
    page, _ = built(results, tmp_path)
    table = main_table(page)
    assert "<small>1 seed</small>" in table and "3 seeds</small>" not in table
    assert "Scores are of 3 seeds where a cell says nothing else." in page


def test_nothing_is_bold_where_the_tests_tell_no_rows_apart(tmp_path):
    page, _ = built(GOLDEN / "results", tmp_path)
    assert "<b>" not in main_table(page)


def test_a_section_names_weights_commits_and_dates_of_its_runs(results, tmp_path):
    path = results / "open/fbank/ks-s1.json"
    record = read_record(path)
    elsewhere = {"commit": "f" * 40, "dirty": True, "started": "2026-11-23T00:00:00Z"}
    provenance = record.provenance.model_copy(update=elsewhere)
    result = condition_result("1" * 64).model_copy(update={"commit": "9" * 40})
    change(results, "open/fbank/ks-s1.json", provenance=provenance, conditions=(result,))
    page, _ = built(results, tmp_path)
    weights, commits = record.inputs.upstream_sha256[:12], "99999999, eeeeeeee, ffffffff+"
    assert f"; sha256 {weights}; commit {commits}; 2026-11-21 to 2026-11-23\n" in page
    assert "; sha256 aaaaaaaaaaaa; commit eeeeeeee; 2026-11-21\n" in page


def test_controls_stand_after_what_is_measured(tmp_path):
    _, text = built(GOLDEN / "results", tmp_path)
    names = re.findall(r"^\| (\S[^|]*?) +\|", text.split("## ")[1], flags=re.MULTILINE)
    assert names[1:] == [
        "fbank",
        "ge2e",
        "fbank (control: training labels shuffled)",
        "lighthubert_small+untrained (control: untrained)",
    ]


class Page(HTMLParser):
    """Collects tags, and every attribute that could fetch something."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.links = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.links += [v for k, v in attrs if k in ("src", "href", "srcset", "action", "data")]


def test_page_is_self_contained(tmp_path):
    page, _ = built(GOLDEN / "results", tmp_path)
    parsed = Page(page)
    tags = [tag for tag, _ in parsed.tags]
    links = [link for link in parsed.links if not link.startswith("#")]
    assert all(re.fullmatch(r"https://[\w./-]+", link) for link in links)  # papers, to be clicked
    assert not {"link", "img", "iframe", "object", "embed", "base"} & set(tags)
    assert not any("src" in attributes for _, attributes in parsed.tags)
    assert not any(name.startswith("on") for _, found in parsed.tags for name in found)
    code = "".join(re.findall(r"<(?:style|script)>(.*?)</(?:style|script)>", page, re.DOTALL))
    assert "url(" not in code and "@import" not in code and "fetch(" not in code
    assert "default-src 'none'; script-src 'sha256-" in unescape(page) and "unsafe" not in page
    assert all("scope" in attributes for tag, attributes in parsed.tags if tag == "th")
    ids = [attributes["id"] for _, attributes in parsed.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def contrast(one, two):
    """WCAG's ratio of two colours such as `#7d8490`."""

    def luminance(colour):
        digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
        parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted((luminance(one), luminance(two)))
    return (light + 0.05) / (dark + 0.05)


def test_edges_and_texts_stand_out_from_what_they_lie_on():
    """WCAG 2.2: 3:1 for the edge of an input, a button or a dot (1.4.11), 4.5:1 for text."""
    css = (PAGE / "board.css").read_text("utf-8")
    themes = [dict(re.findall(r"--([\w-]+): (#\w+)", block))
              for block in re.findall(r":root \{(.*?)\}", css, flags=re.DOTALL)]  # fmt: skip
    assert len(themes) == 2 and contrast("#000", "#ffffff") == pytest.approx(21)
    for theme in themes:
        for ground in (theme["paper"], theme["band"]):
            assert contrast(theme["strong"], ground) >= 3
            assert contrast(theme["focus"], ground) >= 3
            assert contrast(theme["soft"], ground) >= 4.5


HOSTILE = "<script>alert(1)</script>|`x` [a](javascript:b)\n# c &amp; \"'"


def test_hostile_text_in_a_record_is_text(results, tmp_path):
    change(results, "open/ge2e/asv-s0.json", family=HOSTILE)
    page, text = built(results, tmp_path)
    assert "<script>alert" not in page + text and page.count("</script>") == 2
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "\\|\\`x\\` \\[a\\](javascript:b) \\# c &amp;amp;" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    bars = {len(re.findall(r"(?<!\\)\|", line)) for line in rows[:3]}
    assert len(bars) == 1


@pytest.mark.parametrize(
    ("place", "updates", "match"),
    [
        ("open/ge2e/ks-s0.json", {"protocol": "2027.1"}, "two of protocol, 2026.1 .* 2027.1"),
        ("open/ge2e/ks-s0.json", {"task_version": 2}, "two of task version, 1 .* 2"),
        ("open/fbank/ks-s1.json", {"protocol": "2027.1"}, "two of protocol"),
        ("open/fbank/ks-s1.json", {"weights": "house"}, "different weights"),
        ("open/fbank/ks-s1.json", {"seed": 7}, "belongs elsewhere"),
        ("open/fbank/ks-s1.json", {"upstream": "other"}, "belongs elsewhere"),
        ("open/fbank/ks-s1.json", {"track": "quick"}, "belongs elsewhere"),
    ],
)
def test_what_cannot_be_compared_is_refused(results, tmp_path, place, updates, match):
    if not (results / place).exists():
        record = read_record(results / "open/fbank/ks-s0.json")
        ge2e = read_record(results / "open/ge2e/asv-s0.json")
        same = {name: getattr(ge2e, name) for name in ("upstream", "family", "weights", "cost")}
        write_record(record.model_copy(update=same), results / place)
    change(results, place, **updates)
    with pytest.raises(InvalidDataError, match=match):
        build_board(results, tmp_path / "site")
    assert not (tmp_path / "site").exists()


def test_two_test_sets_in_one_column_are_refused(results, tmp_path):
    path = results / "open/fbank/ks-s1.json"
    record = read_record(path)
    manifests = record.inputs.manifests | {"clean": "9" * 64}
    change(
        results,
        "open/fbank/ks-s1.json",
        inputs=record.inputs.model_copy(update={"manifests": manifests}),
    )
    with pytest.raises(InvalidDataError, match="two of test set"):
        build_board(results, tmp_path / "site")


def condition_result(sha256):
    score = ConditionScore(
        condition="gsm", metric="accuracy", value=0.5, n=9, low=0.4, high=0.6, chance=0.1
    )
    return ConditionResult(condition="gsm", sha256=sha256, predictions_sha256="0" * 64,
                           commit=None, dirty=False, scores=(score,))  # fmt: skip


def test_two_distortions_under_one_name_are_refused(results, tmp_path):
    change(results, "open/fbank/ks-s0.json", conditions=(condition_result("1" * 64),))
    change(results, "open/fbank/ks-s1.json", conditions=(condition_result("1" * 64),))
    build_board(results, tmp_path / "site")
    change(results, "open/fbank/ks-s1.json", conditions=(condition_result("2" * 64),))
    match = "column ks gsm: two of distortion, 1{16} in ks-s0.json of fbank and 2{16} in"
    with pytest.raises(InvalidDataError, match=match) as caught:
        build_board(results, tmp_path / "site")
    assert "\n" not in str(caught.value)


def test_one_seed_twice_and_two_sizes_are_refused(results, tmp_path):
    folder = results / "open/fbank"
    shutil.copy(folder / "ks-s0.json", folder / "ks-s0-lr0.1.json")
    with pytest.raises(InvalidDataError, match="one task and seed twice"):
        build_board(results, tmp_path)
    (folder / "ks-s0-lr0.1.json").unlink()
    cost = read_record(folder / "ks-s1.json").cost.model_copy(update={"params": 5})
    change(results, "open/fbank/ks-s1.json", cost=cost)
    with pytest.raises(InvalidDataError, match="different size"):
        build_board(results, tmp_path)


@pytest.mark.parametrize(
    ("updates", "reason"),
    [({"limit": 8}, "limited to 8"), ({"status": "error", "error": "x"}, "the run failed")],
)
def test_no_results_are_left_out_and_named(results, tmp_path, updates, reason):
    change(results, "open/fbank/asr-s0.json", **updates)
    summary = build_board(results, tmp_path)
    assert summary.records == 6
    assert any(reason in item and "asr-s0.json" in item for item in summary.skipped)


def test_broken_files_and_unknown_tracks_are_errors(results, tmp_path):
    (results / "open/fbank/ks-s9.json").write_text("{", encoding="utf-8")
    with pytest.raises(InvalidDataError, match=r"ks-s9\.json"):
        build_board(results, tmp_path)
    (results / "open/fbank/ks-s9.json").unlink()
    (results / "opne").mkdir()
    with pytest.raises(UsageError, match="did you mean 'open'"):
        build_board(results, tmp_path)


def test_a_board_without_records_is_an_error(tmp_path):
    for folder in ("missing", "empty", "track"):
        results = tmp_path / folder
        if folder != "missing":
            results.mkdir()
        if folder == "track":
            (results / "open").mkdir()
        with pytest.raises(MissingError, match=r"no record in .*: name a folder with records"):
            build_board(results, tmp_path / "site")
        assert not (tmp_path / "site").exists()


def test_a_column_is_one_entry():
    keys = [column.key for column in (*FACTS, *LAST)]
    assert len(set(keys)) == len(keys)
