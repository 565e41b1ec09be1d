"""The page docs/statistics.md: the rule of intervals and ranks, and how it was tested."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from bench.metrics.metric import METRICS
from bench.metrics.statistics import SIGNIFICANT, SeedVariance, difference
from bench.paths import write_text
from leaderboard.board.rows import Row
from tools.markdown import markdown_table
from tools.pages.conditions import read_rows
from tools.pages.levels import column_levels, levels_table
from tools.pages.simulation import Population, Rates, simulate, trial_coverage

COLUMNS = 200  # of a simulation: a share of 5 % of columns is known to 1.5 points
TRIAL_SETS = 400

# Utterances of the test speakers on track `open`, and an unequal test set of 18.
SETS = {
    "KS clean": (67, 50, 28, 28, 23, 21, 21, 20, 19, 12, 11, 5),
    "ASR clean": (158, 124, 97, 83, 71, 64, 63, 59, 38, 36, 32, 17),
    "SLU clean": (57, 45, 34, 30, 26, 23, 23, 19, 11, 10, 6, 2),
    "SID clean": (12,) * 18,
    "18 unequal": (40, 30, 25, 20, 18, 16, 14, 12, 12, 10, 9, 8, 7, 6, 5, 4, 3, 2),
    "KS ood": (99, 20, 18, 13, 13, 11, 7, 6, 4, 4),
    "ASR ood": (334, 52, 44, 22, 21, 20, 19, 18, 15, 10),
}

PAGE = """# Statistics: what an interval, a band and "told apart" mean

Written by `make statistics`. The rule is one module, `bench/metrics/statistics.py`; cells,
comparisons, shares and heat maps all use it.

**What varies.** A score would be another one (1) with other test speakers, (2) with another seed of
the downstream head, (3) with another training of the upstream. An interval covers 1 and 2. It does
not cover 3: *a row is one training*, and every statement about a recipe that rests on one training
says no more than that about this model.

**The rule.**

- *Speakers*: each test speaker is left out in turn; the variance is the sum of squared changes of
  the score, each times one less the speaker's share of the test set. For speakers of equal shares
  it is the jackknife's; for unequal ones the jackknife's is too large (Bell and McCaffrey 2002).
  Where speakers are unknown, or fewer than six, utterances are left out. It needs only counts per
  item, which are committed with every record (`leaderboard/items`), and it is exact: nothing is
  drawn at random.
- *Head seeds*: the mean square between the seeds of a row, pooled over the rows of the column,
  less the part that is only the noise of single items (which the first variance has already), and
  divided by the number of seeds of the row. It may be negative: what one head gains at some items
  it loses at others, so that their rates differ less than coins would; and in ASV a trial is left
  out with either of its speakers, so that its noise counts twice. It then takes off of the first
  variance, at most in the ratio of the two, if eight rows of three seeds or more say so.
- *Interval*: Student's t. The degrees of freedom are those of Satterthwaite (1946) for the sum,
  with (sum of sizes)^2 / (sum of squared sizes) - 1 for speakers of unequal sizes, never below 1.
- *Told apart*: the difference of two rows, on the same items, so that what is hard for both
  cancels; its 95 % interval excludes 0. Where several differences are looked at together (a
  column, a comparison), p values are corrected by Holm's rule.
- *Band*: the ranks that these tests leave open, all pairs of a column corrected together: all bands
  of a column are right with a probability of 95 %. A row with one head seed or a control has no
  rank.
- *May be the best* (bold on the board): no other row is better in a one-sided test at 5 % divided
  by the number of other rows, or a lower row may be the best. The row that is truly the best is
  among these with a probability of 95 % (Gupta 1965). This asks less than bands, and so shows more.
- *Relative degradation*: 1 - (score - chance) / (clean score - chance), the share of the lead over
  chance that is lost. Chance is the best guess that ignores the sound. A row that does not beat
  chance on clean speech, beyond its interval, has none.

## The same upstream against itself

Two heads of one upstream that differ in their seed only, on the committed records of track
`{track}`: a test at 5 % should reject 5 % of such pairs. {pairs} pairs of {rows} rows at most are
not independent, so that 0 to 10 % are what luck allows for a single line; all lines together reject
{share:.1f} % of {total}: fewer than 5 %, so the tests are cautious here. By task: {by_task}.
Where two heads differ at few utterances, few pairs are rejected: the difference and its standard
error are small together, and many pairs do not differ at all. (Resampling utterances
with the head seed held fixed, as in an earlier version, rejected 44 % in ASR, 45 % in SLU, 18 % in
IC, 12 % in KS and 6 % in SID.)

{observed}

On `ood` one speaker has half to two thirds of the utterances: the rule then counts two to four
speakers, and its tests are cautious.

## What a column tells apart

The main metrics of track `{track}` on clean speech. All pairs of a column are corrected together,
so that more rows ask for a larger difference: the last column says how many standard errors the
first pair needs. With few speakers that is a lot, whatever the models know. *Levels* are the most
rows whose bands do not overlap.

{levels}

## Simulated

Columns of 25 equal rows with three head seeds each, {columns} of each kind: rates of speakers vary
by 10 points, those of one upstream with a speaker by 3, heads by 2, items as coins fall. Wanted:
5 % of tests reject where nothing differs, 95 % of intervals hold the truth, and at most 5 % of
columns have any wrong band, or miss the best row.

{simulated}

Metrics of trials, {sets} test sets of 12 or 18 speakers, embeddings of a linear model: the interval
of the equal error rate covers. That of the minimum detection cost does not: a minimum over
thresholds is biased, and so min DCF has **no interval, no test and no rank** anywhere.

{trials}
"""


@dataclass(frozen=True)
class SelfTests:
    """Tests of head seeds against each other in one column.

    Attributes:
        title: task, test set and metric.
        rows: with two seeds or more.
        pairs: of seeds of one row.
        rejected: of them, at 5 %.
        spread: variance over head seeds.
    """

    title: str
    rows: int
    pairs: int
    rejected: int
    spread: SeedVariance


def self_tests(rows: Sequence[Row]) -> Iterator[SelfTests]:
    """Yield the tests of every column with item counts and heads of several seeds.

    Args:
        rows: of one track.
    """
    keys = sorted({key for row in rows for key in row.scores})
    for task, metric, condition in keys:
        scores = [
            row.scores[task, metric, condition]
            for row in rows
            if row.pools and (task, metric, condition) in row.scores
        ]
        tested = [score for score in scores if score.is_tested and not score.is_seedless]
        if not tested:
            continue
        spread = tested[0].spread
        assert spread is not None  # of tested scores
        p_values = [
            difference([one], [two], spread).p_value
            for score in tested
            for one, two in combinations(score.runs, 2)
        ]
        title = f"{task.upper()} {METRICS[metric].label}, {condition}"
        rejected = sum(p_value < SIGNIFICANT for p_value in p_values)
        yield SelfTests(title, len(tested), len(p_values), rejected, spread)


def write_page(board: Path, track: str, path: Path, *, columns: int = COLUMNS) -> None:
    """Write the page.

    Args:
        board: folder of results and items.
        track: whose committed records are tested.
        path: of the page.
        columns: of a simulation.
    """
    rows = read_rows(board, track)
    tests = list(self_tests(rows))
    pairs = sum(item.pairs for item in tests)
    text = PAGE.format(
        track=track,
        pairs=max(item.pairs for item in tests),
        rows=max(item.rows for item in tests),
        total=pairs,
        share=100 * sum(item.rejected for item in tests) / pairs,
        by_task=", ".join(f"{task} {100 * part:.1f} %" for task, part in by_task(tests).items()),
        observed=observed(tests),
        levels=levels_table(column_levels(rows)),
        columns=columns,
        simulated=_simulated(columns),
        sets=TRIAL_SETS,
        trials=_trials(),
    )
    write_text(path, text)


def by_task(tests: Sequence[SelfTests]) -> dict[str, float]:
    """Return the share of pairs that is rejected, by task."""
    shares = {}
    for task in dict.fromkeys(item.title.split()[0] for item in tests):
        own = [item for item in tests if item.title.split()[0] == task]
        shares[task] = sum(item.rejected for item in own) / sum(item.pairs for item in own)
    return shares


def observed(tests: Sequence[SelfTests]) -> str:
    """Return the table of upstreams against themselves."""
    body = [
        [
            item.title,
            item.rows,
            item.pairs,
            f"{item.rejected} ({100 * item.rejected / item.pairs:.0f} %)",
            f"{100 * item.spread.total**0.5:.2f}",
            f"{100 * max(item.spread.between, 0.0) ** 0.5:.2f}",
        ]
        for item in tests
    ]
    head = ["column", "rows", "pairs", "rejected", "s.d. of head seeds, points"]
    return markdown_table(body, [*head, "without the noise of items"])


def _simulated(columns: int) -> str:
    body = []
    for index, (name, sizes) in enumerate(SETS.items()):
        rates = simulate(Population(sizes), columns, index)
        body.append([name, len(sizes), _effective(sizes), *_percents(rates)])
    head = ["sizes of", "speakers", "effective", "same upstream, other head: rejected"]
    head += ["two equal upstreams: rejected", "intervals that cover", "columns with a wrong band"]
    head += ["best row missed"]
    return markdown_table(body, head)


def _effective(sizes: Sequence[int]) -> str:
    return f"{sum(sizes) ** 2 / sum(size**2 for size in sizes):.1f}"


def _percents(rates: Rates) -> list[str]:
    shares = (rates.same_head, rates.same_rate, rates.coverage, rates.bands, rates.missed)
    return [f"{100 * share:.1f} %" for share in shares]


def _trials() -> str:
    body = []
    for metric in ("eer", "min_dcf"):
        for speakers in (12, 18):
            covered, truth = trial_coverage(metric, speakers, TRIAL_SETS, speakers)
            shown = "yes" if METRICS[metric].has_interval else "none is shown"
            body.append(
                [METRICS[metric].label, speakers, f"{truth:.3f}", f"{100 * covered:.1f} %", shown]
            )
    head = ["metric", "speakers", "true value", "intervals that cover", "shown"]
    return markdown_table(body, head)
