"""Shares of a teacher's gain, losses over sets of conditions, and the page made of them."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.errors import MissingError, UsageError
from bench.make.recipe import recipe_names
from bench.metrics.jackknife import Influences
from bench.metrics.statistics import Comparison, SeedVariance
from leaderboard.board.rows import BoardScore
from tools.commands.docs import TEACHER
from tools.family.claims import CLAIMS, WHISPER_PAIR, differences, over_trainings, told_apart
from tools.family.members import mean_score, read_family, share_kept
from tools.family.page import page
from tools.family.plot import _levels, plot_family

ROOT = Path(__file__).resolve().parents[2]
RNG = np.random.default_rng(3)
NOISE = RNG.normal(0.0, 0.002, 100)
SEEDS = SeedVariance(1e-12, 0.0, 30, 99.0)


def score(value, changes=NOISE):
    runs = tuple(Influences(value, changes, float(len(changes))) for _ in range(3))
    return BoardScore(value, runs=runs, spread=SEEDS, seeds=3)


@pytest.mark.parametrize("turned", [False, True], ids=["accuracy", "error"])
def test_a_share_is_the_part_of_the_way_from_control_to_teacher(turned):
    values = [1 - value if turned else value for value in (0.5, 0.6, 0.2)]
    found = share_kept(*map(score, values))
    assert found.value == pytest.approx(0.75)
    assert (found.low, found.high) == pytest.approx((0.75, 0.75), abs=1e-4)  # one noise for all


def test_an_interval_of_a_share_is_that_of_the_ratio_without_each_speaker():
    own, noise = RNG.normal(0.0, 0.002, 100), RNG.normal(0.0, 0.001, 100)
    found = share_kept(score(0.5, own), score(0.6), score(0.2, noise))
    by_hand = (0.5 + own - 0.2 - noise) / (0.6 + NOISE - 0.2 - noise) - 0.75
    half = 1.984 * np.sqrt(np.square(by_hand).sum())
    assert (found.low, found.high) == pytest.approx((0.75 - half, 0.75 + half), rel=0.01)


def test_head_seeds_widen_the_interval_of_a_share():
    loud = SeedVariance(0.01**2, 0.0, 30, 99.0)
    one, two, three = (replace(score(value), spread=loud) for value in (0.5, 0.6, 0.2))
    found = share_kept(one, two, three)
    error = np.sqrt((1 + 0.75**2 + 0.25**2) / 3) * 0.01 / 0.4
    assert (found.high - found.low) / 2 == pytest.approx(2.042 * error, rel=0.01)


def test_there_is_no_share_of_a_gain_that_is_none():
    assert share_kept(score(0.5), score(0.205, RNG.normal(0, 0.002, 100)), score(0.2)) is None
    assert share_kept(BoardScore(0.5), BoardScore(0.2), BoardScore(0.2)) is None


def test_without_item_counts_a_share_has_no_interval():
    found = share_kept(BoardScore(0.5), score(0.6), score(0.2))
    assert found.value == pytest.approx(0.75) and found.low is None


def test_a_mean_over_initialisations_has_the_seeds_of_all():
    found = mean_score([score(0.2), score(0.4)])
    assert found.value == pytest.approx(0.3) and len(found.runs) == found.seeds == 6
    assert mean_score([score(0.2), BoardScore(0.4)]).runs == ()
    assert mean_score([]) is None


def test_students_of_students_are_of_the_family(house_family):
    names = {row.name for row in house_family.students}
    assert {"house_distil", "house_fbank", "house_ofa@min", "house_pruned60"} <= names
    assert {"house_wave", "house_whisper_pruned60"} <= names
    assert not names & {"whisper_tiny_en", "whisper_base", "whisper_tiny_en+untrained", "ge2e"}
    assert [row.name for row in house_family.controls] == ["whisper_tiny_en+untrained"]
    assert len(house_family.rows) == len({row.name for row in house_family.rows})


def test_every_row_of_the_board_is_on_the_page(house_family):
    """Controls without a network are no relatives, and no encoders; models with a head of their own
    alone have no row.
    """
    text = page(house_family)
    for folder in (ROOT / "leaderboard" / "results" / "open").glob("*/"):
        is_row = any(folder.glob("*.json"))
        if not is_row or folder.name in ("mfcc_units", "random_features"):
            continue
        assert f"`{folder.name.replace('+untrained=', '+untrained:')}`" in text


def test_claims_are_of_models_that_a_recipe_makes():
    for claim in CLAIMS:
        for name in (claim.first, claim.second):
            assert name.partition("@")[0] in (*recipe_names(), TEACHER)


def test_a_claim_is_the_paired_difference_of_two_rows(house_family):
    rows = {row.name: row for row in house_family.rows}
    one, two = rows["house_ofa@min"], rows["house_ofa@max"]
    tested = differences(house_family, one, two, "clean")
    key = ("ks", "accuracy", "clean")
    assert tested["ks"].difference == pytest.approx(one.scores[key].value - two.scores[key].value)
    assert told_apart(tested) == {"asr", "ic", "ks", "slu", "words"}
    back = differences(house_family, two, one, "clean")
    assert back["ks"].low == pytest.approx(-tested["ks"].high)
    under = differences(house_family, *(rows[name] for name in WHISPER_PAIR), "distorted-seen")
    assert {task for task, item in under.items() if item.high < 0} == {"ic", "ks", "sid", "words"}


def test_recipes_are_compared_over_their_trainings(house_family):
    rows = {row.name: row for row in house_family.rows}
    of = {
        "a": "house_whisper_distil",
        "a-s1": "house_whisper_distil-s1",
        "b": "house_whisper_robust",
        "b-s1": "house_whisper_ofa@min",
    }
    renamed = tuple(replace(rows[name], name=new) for new, name in of.items())
    students = (*renamed, rows["house_whisper_fbank"])
    family = replace(house_family, students=students, others=())
    tested = over_trainings(family, "a", "b", "clean")["ks"]
    values = {name: row.scores["ks", "accuracy", "clean"].value for name, row in rows.items()}
    first, second = ((values[of[name]] + values[of[f"{name}-s1"]]) / 2 for name in "ab")
    assert tested.difference == pytest.approx(first - second)
    alone = differences(family, renamed[0], renamed[2], "clean")["ks"]
    assert tested.high - tested.low > alone.high - alone.low  # two unlike trainings tell little
    assert over_trainings(family, "a", "house_whisper_fbank", "clean").keys() >= {
        "ks"
    }  # their teacher
    assert over_trainings(family, "a", "whisper_tiny_en", "clean") == {}  # that one's teacher
    family = replace(family, students=renamed[:3])
    assert over_trainings(family, "a", "b", "clean") == {}


def test_several_tasks_are_corrected_together():
    def item(p):
        return Comparison(0.1, 0.0, 0.2, p)

    assert told_apart({"ks": item(0.03), "ic": item(0.04)}) == set()
    assert told_apart({"ks": item(0.03), "ic": item(0.04), "sid": item(0.01)}) == {"sid"}
    assert told_apart({"ks": item(0.04)}) == {"ks"}


def test_a_teacher_must_be_there_with_its_control():
    with pytest.raises(UsageError, match=r"no row 'house_weve'.*house_wave"):
        read_family("house_weve", "open", ROOT / "leaderboard")
    with pytest.raises(MissingError, match=r"no 'ge2e\+untrained', from which gains count"):
        read_family("ge2e", "open", ROOT / "leaderboard")


def test_flags_stand_behind_the_weights(house_family):
    lines = page(house_family).splitlines()
    line = next(line for line in lines if "| `house_whisper_robust`" in line)
    assert "| house, seen-conditions " in line


def test_the_picture_says_what_is_fine_tuned_and_shows_every_task(house_family, tmp_path):
    plot_family(house_family, tmp_path / "one.svg")
    plot_family(house_family, tmp_path / "two.svg")
    drawn = (tmp_path / "one.svg").read_text(encoding="utf-8")
    assert drawn == (tmp_path / "two.svg").read_text(encoding="utf-8")
    said = set(re.findall(r">([^<>]+)</text>", drawn))
    assert {"pruned", "robust, seen-conditions", "untrained"} <= said
    assert {"ASR: CER", "ASV: EER", "KS: accuracy", "SLU: slot F1"} <= said


def test_levels_are_the_mean_control_and_the_best_transform(house_family):
    key = ("asv", "eer", "clean")
    levels = {text: score.value for text, _, score in _levels(house_family, key)}
    plain = [row for row in house_family.others if row.name.startswith("fbank")]
    of = [row.scores[key].value for row in (*house_family.controls, *plain)]
    assert levels["untrained"] == pytest.approx(np.mean(of[:1]))
    assert levels["best without weights"] == min(of[1:])


def test_the_second_test_set_has_the_scores_and_shares_of_its_own(house_family):
    """Shares count from the controls on that test set, not on the clean one."""
    _, _, section = page(house_family).partition("## On the test set `ood`")
    scores, shares = section.partition("\n## ")[0].strip().split("\n\n")[1:]
    head = [cell.strip() for cell in scores.splitlines()[0].split("|")[1:-1]]
    assert head == [
        "upstream",
        "ASR",
        "ASV",
        "IC",
        "KS",
        "SLU",
        "WORDS",
    ]  # its speakers are not SID's

    def cell(table, name):
        (line,) = [line for line in table.splitlines() if line.startswith(f"| `{name}` ")]
        return line.split("|")[head.index("KS") + 1].strip()

    found = {row.name: row.scores["ks", "accuracy", "ood"].value for row in house_family.rows}
    control = np.mean([found[row.name] for row in house_family.controls])
    kept = (found["house_pruned60"] - control) / (found["whisper_tiny_en"] - control)
    assert cell(scores, "house_pruned60").startswith(f"{100 * found['house_pruned60']:.1f} [")
    assert cell(shares, "house_pruned60").startswith(f"{100 * kept:.0f} [")
    assert "`whisper_tiny_en` " in scores and "`whisper_tiny_en` " not in shares
