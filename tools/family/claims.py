"""The section of a family's page on the claims of the papers: paired differences of its members."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from bench.conditions.catalogue import catalogue
from bench.metrics.jackknife import Influences, mean_influences
from bench.metrics.metric import METRICS
from bench.metrics.statistics import SIGNIFICANT, Comparison, difference, holm, seed_variance
from leaderboard.board.ranking import compare
from leaderboard.board.rows import BoardScore, Row
from leaderboard.board.scores import set_scores
from tools.family.members import Family
from tools.markdown import markdown_table

SEEN, UNSEEN = "distorted-seen", "distorted-unseen"
MIN_TRAININGS = 2  # of a recipe, to compare recipes and not models; a teacher has one
AGAIN = "another training of the same recipe"
TASKS_WANTED = 3  # of a pair of sizes, to count as told apart

SECTION = """## Claims of the papers

Differences in points, the first model less the second, on the same utterances, with 95 % intervals;
on `clean` of the metric ({lower}: lower is better), on a set of conditions of the share of the lead
over chance that is lost (lower is better). **Bold**: told apart, corrected by Holm's rule over the
tasks of the line. A line compares two models, and those of another training of one recipe say how
much a training alone changes; a line of several trainings compares their means, and its interval
holds the variance of trainings, pooled over the recipes that were trained more than once. Teachers
were trained once; that variance counts for them as well.

{table}

**Another training** of a recipe is told apart from the first one in {again}.

**Sizes.** Models whose parameters differ at least twofold. Of two recipes (the teacher counts as
one, and of several trainings the first): {between}. Of one supernet: {within}."""


@dataclass(frozen=True)
class Claim:
    """Two members of a family whose difference answers a claim.

    Attributes:
        text: the claim.
        first, second: their names.
        condition: a test set, or a set of conditions.
    """

    text: str
    first: str
    second: str
    condition: str = "clean"


WHISPER_PAIR = ("house_whisper_robust", "house_whisper_distil")
ADVERSARY_PAIR = ("house_whisper_robust_adv", "house_whisper_robust")
SUPERNET = "house_whisper_ofa"
SUBNET = f"{SUPERNET}@embed=288,layers=3,heads=3,ffn=2.0"  # 1.84 M parameters
CLAIMS = (
    Claim("other front ends keep the teacher", "house_whisper_wave", "whisper_tiny_en"),
    Claim("other front ends keep the teacher", "house_whisper_fbank", "whisper_tiny_en"),
    Claim("a filter bank costs little", "house_whisper_fbank", "house_whisper_wave"),
    Claim("half of the layers keep the teacher", "house_whisper_distil", "house_whisper_fbank"),
    Claim("Whisper's layers are better than new ones", "house_whisper_distil", "house_wave"),
    Claim("Whisper's layers are better than new ones", "house_whisper_pruned60", "house_wave"),
    Claim("distorted input narrows the loss, seen", *WHISPER_PAIR, SEEN),
    Claim("distorted input narrows the loss, unseen", *WHISPER_PAIR, UNSEEN),
    Claim("at no cost on clean speech", *WHISPER_PAIR),
    Claim("an adversary narrows it further, seen", *ADVERSARY_PAIR, SEEN),
    Claim("an adversary narrows it further, unseen", *ADVERSARY_PAIR, UNSEEN),
    Claim("at no cost on clean speech", *ADVERSARY_PAIR),
    Claim("the discriminative loss helps", "house_whisper_distil_disc", "house_whisper_distil"),
    Claim("half of Whisper is less robust, seen", "house_whisper_distil", "whisper_tiny_en", SEEN),
    Claim(
        "half of Whisper is less robust, unseen", "house_whisper_distil", "whisper_tiny_en", UNSEEN
    ),
    Claim("convolutions made it less robust, seen", "house_whisper_wave", "whisper_tiny_en", SEEN),
    Claim(
        "convolutions made it less robust, unseen", "house_whisper_wave", "whisper_tiny_en", UNSEEN
    ),
    Claim("pruning keeps the teacher", "house_whisper_pruned60", "house_whisper_wave"),
    Claim("a filter bank costs little", "house_fbank", "house_distil"),
    Claim("deep and thin against shallow and wide", "house_distil_thin", "house_distil_wide"),
    Claim("starting from the teacher's layers helps", "house_distil", "house_distil_wide"),
    Claim("a subnet 4 times smaller keeps the teacher", SUBNET, "house_whisper_fbank"),
    Claim("the whole supernet keeps the teacher", f"{SUPERNET}@max", "house_whisper_fbank"),
    Claim("it is as good as a student of its size", f"{SUPERNET}@max", "house_whisper_distil"),
    Claim("a subnet keeps the whole supernet", SUBNET, f"{SUPERNET}@max"),
    Claim("the smallest keeps the whole supernet", f"{SUPERNET}@min", f"{SUPERNET}@max"),
    Claim("pruning keeps the teacher", "house_pruned60", "house_wave"),
    Claim("pruned is better than small", "house_pruned60", "house_distil"),
    Claim("same MACs: chosen by MACs, or by size", "house_pruned_macs40", "house_pruned60"),
    Claim("pruning with a task keeps the teacher", "house_pruned_asr50", "house_wave"),
    Claim("pruned with a task is better than small", "house_pruned_asr50", "house_distil"),
    Claim("90 % hurts more than 60 %", "house_pruned90", "house_pruned60"),
)


def claims_section(family: Family) -> str:
    """Return the section; claims whose models are not on the board are left out."""
    rows = {row.name: row for row in family.rows}
    metrics = family.metrics()
    body = []
    told = tests = 0
    for claim in (*CLAIMS, *_other_trainings(family)):
        if claim.first not in rows or claim.second not in rows:
            continue
        tested = differences(family, rows[claim.first], rows[claim.second], claim.condition)
        pair = f"`{claim.first}` - `{claim.second}`"
        if claim.text == AGAIN:
            told, tests = told + len(told_apart(tested)), tests + len(tested)
        if tested:
            body.append([claim.text, pair, f"`{claim.condition}`", *_cells(tested, metrics)])
        tested = over_trainings(family, claim.first, claim.second, claim.condition)
        if tested:
            counts = [len(trainings(family, name)) for name in (claim.first, claim.second)]
            pair += ", {} and {} trainings".format(*counts)
            body.append([claim.text, pair, f"`{claim.condition}`", *_cells(tested, metrics)])
    head = ["claim", "models", "test", *(task.upper() for task in metrics)]
    lower = ", ".join(t.upper() for t, m in metrics.items() if not METRICS[m].higher_is_better)
    between: list[int] = []
    within: list[int] = []
    for one, two in _sizes(family):
        count = len(told_apart(differences(family, one, two, "clean")))
        is_one_recipe = one.name.partition("@")[0] == two.name.partition("@")[0]
        (within if is_one_recipe else between).append(count)
    return SECTION.format(
        lower=lower,
        table=markdown_table(body, head),
        again=f"{told} of {tests} tests",
        between=_size_counts(between),
        within=_size_counts(within),
    )


def _other_trainings(family: Family) -> list[Claim]:
    """Return the comparison of each further training of a recipe with the first one."""
    recipes = sorted({_recipe(row) for row in family.rows if _recipe(row) != row.name})
    return [
        Claim(AGAIN, row.name, recipe)
        for recipe in recipes
        for row in trainings(family, recipe)
        if row.name != recipe
    ]


def _recipe(row: Row) -> str:
    """Return the name of a row without its training seed: `NAME` of `NAME-s1`."""
    return re.sub(r"-s\d+$", "", row.name)


def _size_counts(counts: Sequence[int]) -> str:
    """Return a sentence of pairs, from the number of tasks on which each is told apart."""
    told = sum(count >= TASKS_WANTED for count in counts)
    once = sum(count > 0 for count in counts)
    return (
        f"{told} of {len(counts)} pairs are told apart on {TASKS_WANTED} tasks or more, {once} on "
        "one or more"
    )


def differences(family: Family, one: Row, two: Row, condition: str) -> dict[str, Comparison]:
    """Return the paired difference of two rows in every task that both have, by task.

    Args:
        family: whose rows make the variance of head seeds under a set of conditions.
        one: a row of it.
        two: another one.
        condition: a test set, or a set of conditions: then of relative degradations.
    """
    found = {}
    for task, metric in family.metrics().items():
        scores = _scores(family, task, metric, condition)
        if one.key in scores and two.key in scores:
            comparison = compare(scores[one.key], scores[two.key])
            if comparison is not None:
                found[task] = comparison
    return found


def trainings(family: Family, name: str) -> list[Row]:
    """Return the rows of a recipe, one a training seed: `NAME`, `NAME-s1`, `NAME-s2`, ..."""
    return [row for row in family.rows if _recipe(row) == name]


def over_trainings(
    family: Family, first: str, second: str, condition: str
) -> dict[str, Comparison]:
    """Return the difference of the means of two recipes over their trainings, by task.

    The variance of trainings takes the place that the variance of head seeds has between two rows:
    a training counts with its mean over head seeds. It is pooled over all recipes of the family.

    Args:
        family: whose rows are compared.
        first: a recipe, by the name of its first training.
        second: another one; tasks in which one of both has fewer than two trainings are left out,
            unless it is the teacher of the first.
        condition: as in `differences`.
    """
    found = {}
    recipes = {row.name: trainings(family, row.name) for row in family.rows}
    is_teacher = any(row.teacher == second for row in recipes[first])
    needed = {first: MIN_TRAININGS, second: 1 if is_teacher else MIN_TRAININGS}
    for task, metric in family.metrics().items():
        scores = _scores(family, task, metric, condition)
        means = {
            name: [mean_influences(runs) for row in rows if (runs := _runs(scores, row))]
            for name, rows in recipes.items()
        }
        spread = seed_variance(means.values())
        if spread is not None and all(len(means[name]) >= needed[name] for name in needed):
            found[task] = difference(means[first], means[second], spread)
    return found


def _runs(scores: Mapping[str, BoardScore], row: Row) -> tuple[Influences, ...]:
    return scores[row.key].runs if row.key in scores else ()


def _scores(family: Family, task: str, metric: str, condition: str) -> dict[str, BoardScore]:
    """Return what is compared of every row that has it, by row key."""
    if condition in catalogue().sets:
        over = set_scores(family.rows, task, metric, catalogue().sets[condition])
        return {key: score.loss for key, score in over.items() if score.loss is not None}
    key = (task, metric, condition)
    return {row.key: row.scores[key] for row in family.rows if key in row.scores}


def told_apart(tested: Mapping[str, Comparison]) -> set[str]:
    """Return the tasks whose differences are significant, all of them corrected together."""
    corrected = holm([item.p_value for item in tested.values()])
    return {task for task, p in zip(tested, corrected, strict=True) if p < SIGNIFICANT}


def _sizes(family: Family) -> Iterator[tuple[Row, Row]]:
    """Yield the pairs of teacher and students whose parameters differ at least twofold.

    Of several trainings of a recipe the first one counts.
    """
    students = (row for row in family.students if _recipe(row) == row.name)
    for one, two in combinations((family.teacher, *students), 2):
        small, large = sorted((one.params or 0.0, two.params or 0.0))
        if small and large >= 2.0 * small:
            yield one, two


def _cells(tested: Mapping[str, Comparison], tasks: Iterable[str]) -> list[str]:
    """Return the cells of a line, one a task."""
    told = told_apart(tested)
    return [_cell(tested.get(task), task in told) for task in tasks]


def _cell(item: Comparison | None, is_told: bool) -> str:
    if item is None:
        return "-"
    text = f"{100 * item.difference:+.1f} [{100 * item.low:+.1f}, {100 * item.high:+.1f}]"
    return f"**{text}**" if is_told else text
