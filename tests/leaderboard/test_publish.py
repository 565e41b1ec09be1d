"""Publishing, comparing in the terminal, the published rows, and the scripts of the workflow."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml

from bench import registry
from bench.conditions.catalogue import catalogue
from bench.errors import InvalidDataError, UsageError
from bench.metrics.draws import STEP, Draws, read_draws
from bench.metrics.metric import METRICS
from bench.metrics.statistics import holm, rank_bands, studentised_pairs
from bench.records.record import read_record
from bench.records.standing import Standing
from leaderboard.board.compare import compare_rows, table
from leaderboard.board.degradation import degradations
from leaderboard.board.published import read_published, reported_rows
from leaderboard.board.ranking import all_pairs, compare, rank_column
from leaderboard.board.reading import Found
from leaderboard.board.rows import Row, Score
from leaderboard.board.superb_score import anchors, superb_score
from leaderboard.board.texts import HOW_TO_READ
from leaderboard.page.export import bibtex
from leaderboard.page.pareto import LETTER, Point, draw, frontier, place_lines
from leaderboard.page.publish import feed, publish

ROOT = Path(__file__).resolve().parents[2]
BOARD = ROOT / "leaderboard"
# As SUPERB's leaderboard and STaR's table print them (whole numbers). Left out: DPHuBERT (100 h),
# which comes out as 821 where STaR's table has 819.
PRINTED = {
    "wavlm_base_plus": 1106, "lighthubert_stage_1": 959, "hubert_base": 941, "dpwavlm_960": 926,
    "lighthubert_small": 901, "dphubert_960": 866, "wav2vec2_base": 818, "distilhubert_960": 717,
    "starhubert_960": 887, "starhubert_l_960": 896, "starhubert_100": 831,
}  # fmt: skip


def test_superb_score_is_the_printed_one():
    about, rows = read_published(BOARD / "published")
    assert about is not None
    ends = anchors(about, rows)
    assert ends is not None
    found = {row.name: superb_score(made, ends) for row, made in zip(
        sorted(rows, key=lambda r: (r.params.value if r.params else 1e12, r.name)),
        reported_rows(about, rows), strict=True)}  # fmt: skip
    for name, printed in PRINTED.items():
        assert round(found[name]) == pytest.approx(printed, abs=1), name
    assert found["fbank"] == 0
    assert found["distilhubert_100"] is None  # three tasks of ten
    assert ends.as_of == "January 2024"


def test_the_score_over_the_tasks_that_are_run_is_another_number():
    about, rows = read_published(BOARD / "published")
    ends = anchors(about, rows)
    assert set(ends.here) == {"asr", "ks", "ic", "sid", "asv", "slu"}
    made = {row.card_name: row for row in reported_rows(about, rows)}
    hubert, base = made["hubert_base"], made["fbank"]
    assert superb_score(base, ends, ends.here) == 0
    six = superb_score(hubert, ends, ends.here)
    by_hand = []
    for task in ends.here:
        pairs = [pair for pair in ends.zero if pair[0] == task]
        shares = [(hubert.scores[(*pair, "clean")].value - ends.zero[pair])
                  / (ends.one[pair] - ends.zero[pair]) for pair in pairs]  # fmt: skip
        by_hand.append(sum(shares) / len(shares))
    assert six == pytest.approx(1000 * sum(by_hand) / 6)
    assert abs(six - superb_score(hubert, ends)) > 1
    # A row with these six and no other task has one, and no SUPERB score.
    scores = {key: value for key, value in hubert.scores.items() if key[0] in ends.here}
    measured = replace(hubert, scores=scores)
    assert superb_score(measured, ends) is None
    assert superb_score(measured, ends, ends.here) == six


def test_every_published_cell_has_a_source_and_conflicts_are_kept():
    about, rows = read_published(BOARD / "published")
    assert about is not None and len(rows) >= 31
    assert sum(len(row.scores) for row in rows) >= 332
    for row in reported_rows(about, rows):
        assert row.kind == "reported" and row.sources
        assert all(score.about.startswith("source ") for score in row.scores.values())
    fbank = next(row for row in rows if row.name == "fbank")
    assert fbank.scores["ks accuracy"].others[0].value == 0.0863
    assert next(row for row in rows if row.name == "hubert_base").scores["asr wer"].value == 0.0642


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"sources": ["X"]}, "unknown source 'X'"),
        ({"name": "other"}, "the file says 'large'"),
        ({"scores": {"asr wre": {"value": 0.1}}}, "unknown score 'asr wre'.*'asr wer'"),
        ({"scores": {"asr wer": {"value": "0.1"}}}, r"key 'scores\.asr wer\.value': "),
        ({"scroes": {}}, "unknown key 'scroes': did you mean 'scores'"),
    ],
)
def test_broken_published_rows_are_refused(tmp_path, change, match):
    shutil.copytree(ROOT / "tests/golden/published", tmp_path / "published")
    path = tmp_path / "published" / "large.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | change))
    with pytest.raises(UsageError, match=match):
        read_published(tmp_path / "published")


def row(name, value, noise, *, kind="measured", revoked=None):
    draws = Draws(value + noise, 200)
    return Row(
        key=name, name=name, kind=kind, role="", card_name=name, card=None, family="distilled",
        teacher="", weights="", tap="", protocol="", params=1, macs_per_second=1.0,
        macs_superb=None, cost=None, rtf=None,
        scores={("ks", "accuracy", "clean"): Score(value, value - 0.1, value + 0.1, "", draws)},
        standing=Standing(upstream=name, track="open", revoked=revoked),
    )  # fmt: skip


def test_ranks_are_bands_of_what_competes():
    rng = np.random.default_rng(0)
    shared = rng.normal(0, 0.05, 1000)
    rows = [
        row("a", 0.90, shared),
        row("b", 0.895, shared + rng.normal(0, 0.01, 1000)),
        row("c", 0.50, shared),
        row("control", 0.99, shared, kind="control"),
        row("revoked", 0.99, shared, revoked="why"),
    ]
    found = rank_column(rows, ("ks", "accuracy", "clean"), METRICS["accuracy"])
    assert {name: (r.best, r.worst, r.of) for name, r in found.items()} == {
        "a": (1, 2, 3), "b": (1, 2, 3), "c": (3, 3, 3),
    }  # fmt: skip
    assert found["b"].above == "a" and found["b"].p_above > 0.05 and found["a"].p_above is None
    assert found["c"].p_above < 1e-6
    scores = [r.scores["ks", "accuracy", "clean"] for r in rows[:3]]
    pairs = all_pairs(scores)
    for i, one in enumerate(scores):
        for j, two in enumerate(scores):
            if i != j:
                assert pairs[i, j] == pytest.approx(compare(one, two).p_value, rel=1e-6, abs=1e-12)


def told_apart(p_values):
    """Pairs that Holm's rule tells apart."""
    pairs = [(i, j) for i in range(len(p_values)) for j in range(i)]
    corrected = holm([p_values[pair] for pair in pairs])
    return {frozenset(pair) for pair, p in zip(pairs, corrected, strict=True) if p < 0.05}


def test_bands_that_do_not_overlap_tell_apart_and_others_may():
    """What `HOW_TO_READ` says of bands."""
    rng = np.random.default_rng(3)
    apart_and_overlapping = 0
    for _ in range(20):
        values = np.sort(rng.normal(0, 0.05, 12))
        draws = values[:, None] + rng.normal(0, 1, (12, 400)) * rng.uniform(0.005, 0.05, (12, 1))
        p_values = studentised_pairs(values, draws, 300)
        bands = rank_bands(values.tolist(), p_values, higher_is_better=True)
        apart = told_apart(p_values)
        for i, one in enumerate(bands):
            for j, two in enumerate(bands[:i]):
                overlap = one[0] <= two[1] and two[0] <= one[1]
                assert overlap or frozenset((i, j)) in apart
                apart_and_overlapping += overlap and frozenset((i, j)) in apart
    assert apart_and_overlapping > 0
    assert "rows whose bands do not overlap are told apart" in HOW_TO_READ
    assert "bands overlap are not told apart" not in HOW_TO_READ


def test_other_test_sets_are_not_compared():
    one, two = Score(0.5, draws=Draws(np.zeros(9), 5)), Score(0.5, draws=Draws(np.zeros(9), 6))
    with pytest.raises(InvalidDataError, match="not the same test set"):
        compare(one, two)
    with pytest.raises(InvalidDataError, match="no draws"):
        compare(one, Score(0.5))


def test_degradation_pairs_what_is_paired():
    rng = np.random.default_rng(1)
    shared = rng.normal(0, 0.05, 1000)
    scores = {
        ("ks", "accuracy", "clean"): Score(0.8, draws=Draws(0.8 + shared, 100)),
        ("ks", "accuracy", "noise"): Score(0.6, draws=Draws(0.6 + shared, 100)),
        ("asr", "wer", "clean"): Score(0.0),
        ("asr", "wer", "noise"): Score(0.1),
    }
    same = {("ks", "clean"): "x", ("ks", "noise"): "x"}
    other = {("ks", "clean"): "x", ("ks", "noise"): "y"}
    main = {"ks": "accuracy", "asr": "wer"}
    paired, apart = (degradations(scores, main, m)["ks", "noise"] for m in (same, other))
    assert paired.value == apart.value == pytest.approx(0.25)
    assert paired.high - paired.low < 0.5 * (apart.high - apart.low)
    assert ("asr", "noise") not in degradations(scores, main, same)  # nothing of 0 is a fraction


def points(*pairs, **options):
    return [Point(f"p{i}", f"p{i}", "measured", x, y, "", True, **options)
            for i, (x, y) in enumerate(pairs)]  # fmt: skip


def test_frontier_by_hand():
    found = points((1, 5), (2, 4), (2, 6), (3, 6), (4, 7))
    assert [p.key for p in frontier(found, higher_is_better=True)] == ["p0", "p2", "p4"]
    assert [p.key for p in frontier(found, higher_is_better=False)] == ["p0", "p1"]
    picture = draw(points((0, 1), (10, 2), (1000, 3)), higher_is_better=True)
    assert picture is not None and picture.x_ticks[0][1] == "0"
    xs = [dot.x for dot in picture.dots]
    assert xs == sorted(xs) and all(dot.label for dot in picture.dots)
    assert draw([], higher_is_better=True) is None


def test_the_line_of_a_teacher_has_its_name_where_nothing_else_stands():
    students = points(*((2.0**i, 1 + i / 10) for i in range(12)))
    teacher = replace(students[-1], key="t", name="wise_teacher", teaches=True, y=1.05)
    picture = draw([*students, teacher], higher_is_better=True)
    (line,) = picture.teachers
    assert line.text == "teacher: wise_teacher" and line.label is not None
    assert line.y == next(dot.y for dot in picture.dots if dot.point.key == "t")
    assert 0 < abs(line.label.y - line.y) < 15
    left, right = line.label.x - LETTER * len(line.text), line.label.x
    for dot in picture.dots:
        beside = dot.x + 5 <= left or dot.x - 5 >= right
        assert beside or not line.label.y - 15 < dot.y < line.label.y + 8
    assert place_lines([("t", 100.0)], [(0.0, 0.0, 999.0, 999.0)])[0].label is None


def test_bibtex_is_of_the_card_and_claims_nothing_of_the_paper():
    card = registry.upstream_card("distilhubert")
    entry = bibtex(replace(row("a", 0.5, 0.0), card=card))
    assert f"  title = {{{card.title}}},\n" in entry and "Upstream card of Slim-SUPERB" in entry
    assert f"  note = {{Paper: \\url{{{card.paper}}}}}\n}}" in entry
    assert re.findall(r"^  (\w+) = ", entry, re.MULTILINE) == ["title", "howpublished", "note"]
    assert bibtex(row("a", 0.5, 0.0)) == ""


def test_compare_in_the_terminal():
    lines = compare_rows("ge2e", "fbank", track="open", condition="clean", board=BOARD)
    assert {"ic", "ks"} <= {line.task for line in lines}
    assert any(line.found is not None for line in lines)
    text = table(lines, "ge2e", "fbank")
    keywords = next(line for line in lines if line.task == "ks" and line.found is not None)
    # Means over seeds, by hand, of the committed records.
    one, two = (
        [
            score["value"]
            for path in (BOARD / "results/open" / name).glob("ks-s?.json")
            for score in json.loads(path.read_text())["scores"]
            if (score["condition"], score["metric"]) == ("clean", "accuracy")
        ]
        for name in ("ge2e", "fbank")
    )
    difference = sum(one) / len(one) - sum(two) / len(two)
    assert keywords.found.difference == pytest.approx(difference)
    shown = re.escape(f"{100 * difference:+.2f}")
    assert re.search(rf"ks +accuracy .* {shown} \[\+\d+.* ge2e", text)
    with pytest.raises(UsageError, match=r"no row 'ge2f'.*'ge2e'"):
        compare_rows("ge2f", "fbank", track="open", condition="clean", board=BOARD)


@pytest.mark.parametrize(
    ("updates", "what"),
    [({"protocol": "2027.1"}, "protocol"), ({"task_version": 99}, "task version")],
)
def test_own_records_of_another_protocol_are_never_paired_with_the_board(updates, what):
    path = BOARD / "results/open/ge2e/ks-s0.json"
    record = read_record(path).model_copy(update={"upstream": "mine", **updates})
    own = [Found(Path("runs/ks-s0.json"), record, {})]
    with pytest.raises(InvalidDataError, match=f"column ks clean: two of {what}, .* of mine"):
        compare_rows("mine", "ge2e", track="open", condition="clean", board=BOARD, own=own)
    assert compare_rows("fbank", "ge2e", track="open", condition="clean", board=BOARD, own=own)


def test_committed_draws_are_those_of_the_committed_records():
    """A draw's percentiles are the interval in the record: made of the same predictions."""
    for path in sorted((BOARD / "draws").rglob("*.draws")):
        beside = path.relative_to(BOARD / "draws").with_suffix(".json")
        record = read_record(BOARD / "results" / beside)
        for (condition, metric), draws in read_draws(path).items():
            if condition not in {score.condition for score in record.scores}:  # a set
                by_name = {item.condition: item.scores[0].value for item in record.conditions}
                mean = fmean(by_name[name] for name in catalogue().sets[condition])
                assert np.nanmin(draws.values) < mean < np.nanmax(draws.values), path
                continue
            score = record.score(condition, metric)
            found = np.nanpercentile(draws.values, (2.5, 97.5))
            expected = pytest.approx((score.low, score.high), abs=STEP)
            assert found == expected, f"{path}: send the record again: submit, verify --accept"


def test_published_folder_is_ready_to_serve(tmp_path):
    dest = tmp_path / "public"
    said = publish(BOARD, dest, address="https://example.org/board")
    assert "published in" in said
    for name in ("index.html", "board.csv", "board.json", "feed.xml", "results/open"):
        assert (dest / name).exists()
    assert not (dest / "results" / "quick").exists()
    root = ElementTree.fromstring((dest / "feed.xml").read_text("utf-8"))
    assert root.tag == "{http://www.w3.org/2005/Atom}feed"
    first = {p.name: p.read_bytes() for p in dest.iterdir() if p.is_file()}
    publish(BOARD, dest, address="https://example.org/board")
    assert first == {p.name: p.read_bytes() for p in dest.iterdir() if p.is_file()}


def test_the_feed_names_changes_of_what_the_page_shows(tmp_path):
    board = tmp_path / "leaderboard"

    def git(*arguments):
        names = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        subprocess.run(["git", "-C", tmp_path, *names, *arguments], check=True, capture_output=True)

    git("init", "-q")
    places = ("results/open/a", "results/quick/a", "costs", "standing/open", "standing/quick",
              "published", "draws/open/a", "draws/quick/a", "page")  # fmt: skip
    for place in places:
        (board / place).mkdir(parents=True)
    for place in places:
        (board / place / "a.json").write_text("{}")
        git("add", ".")
        git("commit", "-qm", f"Change {place}")
    root = ElementTree.fromstring(feed(board, ""))
    titles = root.findall(".//{*}entry/{*}title")
    shown = ("draws/open/a", "published", "standing/open", "costs", "results/open/a")
    assert [title.text for title in titles] == [f"Change {place}" for place in shown]


def test_a_folder_of_other_things_is_left_alone(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("years")
    with pytest.raises(UsageError, match="holds other things"):
        publish(BOARD, tmp_path / "home")
    assert (tmp_path / "home" / "thesis.tex").read_text() == "years"
    with pytest.raises(UsageError, match="expected https"):
        publish(BOARD, tmp_path / "new", address="javascript:x")


def script(name, *arguments, cwd):
    environment = {**os.environ, "CLI": f"{sys.executable} -m bench.cli", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [cwd / ".ci" / name, *arguments], cwd=cwd, env=environment, capture_output=True, text=True
    )


@pytest.fixture
def checkout(tmp_path):
    """What the workflow's scripts need of a checkout."""
    shutil.copytree(ROOT / ".ci", tmp_path / "co" / ".ci")
    (tmp_path / "co" / "submissions").mkdir()
    return tmp_path / "co"


def test_the_workflow_script_refuses_and_reports(checkout):
    report = checkout / "report.md"
    done = script("verify", str(report), cwd=checkout)
    assert done.returncode == 0 and "no bundle" in done.stdout
    (checkout / "submissions" / "evil$(id).tar.gz").write_bytes(b"# <b>not</b> an archive")
    done = script("verify", str(report), cwd=checkout)
    assert done.returncode == 1
    text = report.read_text("utf-8")
    assert "### evilid.tar.gz: refused" in text
    assert re.search(r"^    slim-superb: .*not a \.tar\.gz archive", text, flags=re.MULTILINE)


def test_the_workflow_script_publishes(checkout):
    shutil.copytree(BOARD, checkout / "leaderboard")
    done = script("publish", "public", cwd=checkout)
    assert done.returncode == 0, done.stderr
    assert (checkout / "public" / "index.html").stat().st_size > 50_000


def test_the_page_is_published_anew_when_a_card_on_it_changes():
    flow = yaml.safe_load((ROOT / ".github/workflows/board.yml").read_text("utf-8"))
    paths = (flow.get("on") or flow[True])["push"]["paths"]
    for folder in (BOARD, registry.CARDS, registry.TASKS):
        assert f"{folder.relative_to(ROOT)}/**" in paths


def test_the_workflow_has_no_more_rights_than_it_needs():
    flow = yaml.safe_load((ROOT / ".github/workflows/board.yml").read_text("utf-8"))
    assert flow["permissions"] == {"contents": "read"}
    assert "permissions" not in flow["jobs"]["verify"]
    assert "pull_request_target" not in (flow.get("on") or flow[True])
    for job in flow["jobs"].values():
        for step in job["steps"]:
            command = step.get("run", "")
            assert "${{" not in command  # nothing from outside is pasted into a shell
            if command:
                assert (ROOT / command.split()[0]).exists()
