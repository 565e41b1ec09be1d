"""The page of a teacher and its students: scores, shares of its gain, losses under distortion."""

from __future__ import annotations

from collections.abc import Mapping

from bench.conditions.catalogue import catalogue
from bench.metrics.metric import METRICS
from leaderboard.board.columns import percent_range
from leaderboard.board.rows import BoardScore
from leaderboard.board.scores import SetScore, set_scores
from tools.family.claims import claims_section
from tools.family.ladders import ladder_section
from tools.family.members import Family, mean_score, share_kept
from tools.markdown import markdown_table

SETS = ("distorted-seen", "distorted-unseen", "codecs")
USUAL_SEEDS = 3

PREFACE = """# What is kept of `{teacher}`, track `{track}`

Written by `make docs` from the committed records, their item counts and costs (`leaderboard/`).
How the upstreams were made, and what follows from the numbers: [recipes](recipes.md).

- Means over {seeds} head seeds where nothing else is said, in percent, with the 95 % interval over
  other test speakers and other head seeds ([statistics](statistics.md)).
- **A cell is one training.** Trainings differ by more than these intervals say.
- Rates: {rates}.
- As fast as HuBERT Base: one CPU thread, in one run with it.
- Weights: `house` were trained here, `published` by their authors; `none` is a fixed transform,
  `untrained` a seeded random control. Behind it stand flags: what to know of the training."""

SHARES = """## Of the teacher's gain, in percent

(score - control) / (teacher - control): 100 is the teacher, 0 its control, the mean of
{controls} (those that were measured on the task). A dash: not measured, or the teacher itself is
not told from its control. One training of each."""

OTHER_TEST = """## On the test set `{name}`

Other speakers, recordings and style than the heads were trained and selected on: a test set of the
tasks' own cards. Scores as on clean speech; then what is kept of the teacher's gain there."""

LOSSES = """## Under `{name}`

The metric as the mean over the {count} conditions of the set, and behind it the share of the lead
over chance that is lost against clean speech, in percent, with its 95 % interval; none where the
clean score does not beat chance. Heads were trained on clean speech. To test two against each
other: `slim-superb compare ONE OTHER --condition {name}`."""


def page(family: Family) -> str:
    """Return the page as Markdown."""
    metrics = family.metrics()
    rates = "; ".join(f"{task.upper()}: {_titled(name)}" for task, name in metrics.items())
    preface = PREFACE.format(
        teacher=family.teacher.name, track=family.track, seeds=USUAL_SEEDS, rates=rates
    )
    parts = [preface, _scores(family, metrics), _shares(family, metrics)]
    parts += [_other_test(family, metrics, name) for name in family.other_tests()]
    parts += [text for name in SETS if (text := _losses(family, metrics, name))]
    parts.append(claims_section(family))
    parts += [ladders] if (ladders := ladder_section(family)) else []
    return "\n\n".join(parts) + "\n"


def _titled(metric: str) -> str:
    return f"{METRICS[metric].label} ({METRICS[metric].direction})"


def _scores(family: Family, metrics: Mapping[str, str]) -> str:
    head = ["upstream", "weights", "parameters, M", "MACs, G a second", "as fast as HuBERT Base"]
    body = []
    for row in family.rows:
        timing = row.cost.timing.relative if row.cost and row.cost.timing else None
        facts = [
            _count(row.params, 1e6),
            _count(row.macs_per_second, 1e9, 3),
            f"{1 / timing:.0f} x" if timing else "-",
        ]
        scores = [row.scores.get((task, name, "clean")) for task, name in metrics.items()]
        cells = [_score(score, name) for score, name in zip(scores, metrics.values(), strict=True)]
        weights = ", ".join([row.records[0].weights, *row.standing.flags])
        body.append([f"`{row.name}`", weights, *facts, *cells])
    head += [task.upper() for task in metrics]
    return f"## On clean speech\n\n{markdown_table(body, head)}"


def _shares(family: Family, metrics: Mapping[str, str]) -> str:
    about = SHARES.format(controls=", ".join(f"`{row.name}`" for row in family.controls))
    return f"{about}\n\n{_shares_on(family, metrics, 'clean')}"


def _other_test(family: Family, metrics: Mapping[str, str], test: str) -> str:
    metrics = {
        task: name for task, name in metrics.items() if (task, name, test) in family.teacher.scores
    }
    body = []
    for row in family.rows:
        scores = {task: row.scores.get((task, name, test)) for task, name in metrics.items()}
        cells = [_score(score, metrics[task]) for task, score in scores.items()]
        if any(scores.values()):
            body.append([f"`{row.name}`", *cells])
    scored = markdown_table(body, ["upstream", *(task.upper() for task in metrics)])
    about = OTHER_TEST.format(name=test)
    return "\n\n".join([about, scored, _shares_on(family, metrics, test)])


def _shares_on(family: Family, metrics: Mapping[str, str], test: str) -> str:
    """Return a table of each student's share of the teacher's gain on one test set."""
    body = []
    for row in family.students:
        cells = []
        for task, name in metrics.items():
            key = (task, name, test)
            control = mean_score([r.scores[key] for r in family.controls if key in r.scores])
            score, teacher = row.scores.get(key), family.teacher.scores[key]
            share = share_kept(score, teacher, control) if score and control else None
            cells.append(percent_range(share))
        body.append([f"`{row.name}`", *cells])
    return markdown_table(body, ["upstream", *(task.upper() for task in metrics)])


def _losses(family: Family, metrics: Mapping[str, str], name: str) -> str:
    """Return the section of one set of conditions; empty if no row has all of them."""
    members = catalogue().sets[name]
    over = {
        task: set_scores(family.rows, task, metric, members) for task, metric in metrics.items()
    }
    body = []
    for row in family.rows:
        cells = [_over(over[task].get(row.key), metric) for task, metric in metrics.items()]
        if set(cells) != {"-"}:
            body.append([f"`{row.name}`", *cells])
    if not body:
        return ""
    about = LOSSES.format(name=name, count=len(members))
    return f"{about}\n\n" + markdown_table(body, ["upstream", *(task.upper() for task in metrics)])


def _over(score: SetScore | None, metric: str) -> str:
    if score is None:
        return "-"
    return f"{_points(score.mean.value, metric)}: {percent_range(score.loss)}"


def _score(score: BoardScore | None, metric: str) -> str:
    if score is None:
        return "-"
    text = _points(score.value, metric)
    if score.low is not None and score.high is not None:
        text += f" [{_points(score.low, metric)}, {_points(score.high, metric)}]"
    plural = "" if score.seeds == 1 else "s"
    is_usual = score.seeds == USUAL_SEEDS or score.is_seedless
    return text if is_usual else f"{text} ({score.seeds} seed{plural})"


def _points(value: float, metric: str) -> str:
    return f"{value * METRICS[metric].scale:.1f}"


def _count(value: float | None, unit: float, digits: int = 2) -> str:
    return "-" if value is None else f"{value / unit:.{digits}f}"
