"""Shares of a teacher's gain, losses over sets of conditions, and the page made of them."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.errors import MissingError, UsageError
from bench.metrics.draws import Draws
from bench.records.record import read_record
from leaderboard.board.reading import BoardFolders, BoardRecord
from leaderboard.board.record_rows import measured_rows
from leaderboard.board.rows import BoardScore, Degradation, SetDraws
from leaderboard.board.shares import mean_score, over_set, share_kept
from tools.pages.family import read_family
from tools.pages.family_page import page
from tools.pages.family_plot import _levels, plot_family

ROOT = Path(__file__).resolve().parents[2]
RNG = np.random.default_rng(3)
NOISE = RNG.normal(0.0, 0.02, 1000)


def score(value, noise=NOISE):
    return BoardScore(value, draws=Draws(value + noise, clusters=300), seeds=3)


@pytest.fixture(scope="module")
def family():
    return read_family("house_teacher", "open", ROOT / "leaderboard")


@pytest.mark.parametrize("turned", [False, True], ids=["accuracy", "error"])
def test_a_share_is_the_part_of_the_way_from_control_to_teacher(turned):
    values = [1 - value if turned else value for value in (0.5, 0.6, 0.2)]
    found = share_kept(*map(score, values))
    assert found.value == pytest.approx(0.75)
    assert (found.low, found.high) == (
        pytest.approx(0.75),
        pytest.approx(0.75),
    )  # one noise for all


def test_an_interval_of_a_share_is_that_of_its_resamples():
    own, noise = RNG.normal(0.0, 0.02, 1000), RNG.normal(0.0, 0.01, 1000)
    found = share_kept(score(0.5, own), score(0.6), score(0.2, noise))
    by_hand = [
        (0.5 + a - 0.2 - c) / (0.6 + b - 0.2 - c) for a, b, c in zip(own, NOISE, noise, strict=True)
    ]
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(by_hand, [2.5, 97.5])))


def test_there_is_no_share_of_a_gain_that_is_none():
    assert share_kept(score(0.5), score(0.205, RNG.normal(0, 0.02, 1000)), score(0.2)) is None
    assert share_kept(BoardScore(0.5), BoardScore(0.2), BoardScore(0.2)) is None


def test_without_draws_a_share_has_no_interval():
    found = share_kept(BoardScore(0.5), score(0.6), score(0.2))
    assert found.value == pytest.approx(0.75) and found.low is None


def test_a_mean_over_initialisations_averages_draws():
    found = mean_score([score(0.2), score(0.4)])
    assert found.value == pytest.approx(0.3)
    assert found.draws.values == pytest.approx(0.3 + NOISE)
    assert mean_score([score(0.2), BoardScore(0.4)]).draws is None
    assert mean_score([]) is None


def test_a_set_counts_where_all_of_it_was_scored(family):
    losses = {("ks", "a"): Degradation(0.1, 0.0, 0.3), ("ks", "b"): Degradation(0.3, 0.2, 0.5)}
    scores = {
        ("ks", "accuracy", name): BoardScore(value) for name, value in (("a", 0.5), ("b", 0.3))
    }
    row = replace(family.teacher, degradations=losses, scores=scores, set_draws={})
    found = over_set(row, "ks", "accuracy", "noises", ["a", "b"])
    assert (found.mean.value, found.loss.value) == pytest.approx((0.4, 0.2))
    assert found.loss.low is None and found.loss.draws is None
    assert over_set(row, "ks", "accuracy", "noises", ["a", "b", "c"]) is None
    assert over_set(row, "ic", "accuracy", "noises", ["a", "b"]) is None
    drawn = SetDraws(Draws(0.4 + NOISE, 300), Draws(0.2 + NOISE, 300))
    found = over_set(
        replace(row, set_draws={("ks", "noises"): drawn}), "ks", "accuracy", "noises", ["a", "b"]
    )
    low, high = np.percentile(NOISE, [2.5, 97.5])
    assert (found.loss.low, found.loss.high) == pytest.approx((0.2 + low, 0.2 + high))


def test_draws_over_a_set_are_read_where_every_seed_has_them():
    """The loss is relative to each seed's own clean score, then the mean over seeds."""
    sources = BoardFolders.beside(ROOT / "leaderboard" / "results")
    found = []
    for seed, clean in ((0, 0.5), (1, 0.4)):
        path = sources.results / "open" / "house_distil" / f"ks-s{seed}.json"
        draws = {
            ("clean", "accuracy"): Draws(clean + NOISE, 305),
            ("noises", "accuracy"): Draws(0.5 * (clean + NOISE) + 0.01 * seed, 305),
        }
        found.append(BoardRecord(path, read_record(path), draws))
    (row,) = measured_rows("open", found, sources)
    read = row.set_draws["ks", "noises"]
    assert read.mean.values == pytest.approx(0.5 * (0.45 + NOISE) + 0.005)
    assert read.loss.values == pytest.approx(0.5 - 0.005 / (0.4 + NOISE))
    del found[1].draws["noises", "accuracy"]
    (row,) = measured_rows("open", found, sources)
    assert ("ks", "noises") not in row.set_draws


def test_students_of_students_are_of_the_family(family):
    names = {row.name for row in family.students}
    assert {"house_distil", "house_fbank", "house_ofa@min", "house_pruned40"} <= names
    assert not names & {"house_mel", "house_teacher", "house_teacher-s1", "ge2e"}
    assert [row.name for row in family.again] == ["house_teacher-s1", "house_teacher-s2"]
    assert len(family.controls) == 3
    assert len(family.rows) == len({row.name for row in family.rows})


def test_every_row_of_the_board_is_on_the_page(family):
    text = page(family)
    for folder in (ROOT / "leaderboard" / "results" / "open").glob("*/"):
        assert f"`{folder.name.replace('+untrained=', '+untrained:')}`" in text


def test_the_committed_page_is_that_of_the_records(family):
    assert (ROOT / "docs" / "recipes-results.md").read_text(encoding="utf-8") == page(family), (
        "make recipe-results"
    )


def test_a_teacher_must_be_there_with_its_control():
    with pytest.raises(UsageError, match=r"no row 'house_techer'.*house_teacher"):
        read_family("house_techer", "open", ROOT / "leaderboard")
    with pytest.raises(MissingError, match=r"no 'ge2e\+untrained', from which gains count"):
        read_family("ge2e", "open", ROOT / "leaderboard")


def test_flags_stand_behind_the_weights(family):
    (line,) = [line for line in page(family).splitlines() if "| `house_pruned_asr50`" in line][:1]
    assert "| house, fine-tuned " in line


def test_the_picture_says_what_is_fine_tuned_and_shows_every_task(family, tmp_path):
    plot_family(family, tmp_path / "one.svg")
    plot_family(family, tmp_path / "two.svg")
    drawn = (tmp_path / "one.svg").read_text(encoding="utf-8")
    assert drawn == (tmp_path / "two.svg").read_text(encoding="utf-8")
    said = set(re.findall(r">([^<>]+)</text>", drawn))
    assert {"pruned", "pruned, fine-tuned", "robust, seen-conditions", "untrained"} <= said
    assert {"ASR: CER", "ASV: EER", "KS: accuracy", "SLU: slot-value F1"} <= said


def test_levels_are_the_mean_control_and_the_best_transform(family):
    levels = {text: score.value for text, _, score in _levels(family, ("asv", "eer", "clean"))}
    plain = [row for row in family.others if row.name.startswith("fbank")]
    of = [row.scores["asv", "eer", "clean"].value for row in (*family.controls, *plain)]
    assert levels["untrained"] == pytest.approx(np.mean(of[:3]))
    assert levels["best without weights"] == min(of[3:])


def test_the_second_test_set_has_the_scores_and_shares_of_its_own(family):
    """Shares count from the controls on that test set, not on the clean one."""
    _, _, section = page(family).partition("## On the test set `ood`")
    scores, shares = section.partition("\n## ")[0].strip().split("\n\n")[1:]
    head = [cell.strip() for cell in scores.splitlines()[0].split("|")[1:-1]]
    assert head == ["upstream", "ASR", "ASV", "IC", "KS", "SLU"]  # its speakers are not SID's

    def cell(table, name):
        (line,) = [line for line in table.splitlines() if line.startswith(f"| `{name}` ")]
        return line.split("|")[head.index("KS") + 1].strip()

    found = {row.name: row.scores["ks", "accuracy", "ood"].value for row in family.rows}
    control = np.mean([found[row.name] for row in family.controls])
    kept = (found["house_pruned60"] - control) / (found["house_teacher"] - control)
    assert cell(scores, "house_pruned60").startswith(f"{100 * found['house_pruned60']:.1f} [")
    assert cell(shares, "house_pruned60").startswith(f"{100 * kept:.0f} [")
    assert "`house_teacher` " in scores and "`house_teacher` " not in shares
