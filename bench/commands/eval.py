"""`slim-superb eval`: evaluate one upstream on one task."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench.commands._options import (
    add_task_card,
    add_upstream,
    control_lines,
    session_of,
    set_task,
    upstream_name,
)
from bench.errors import CONTROL_CODE, UsageError
from bench.features.engine_options import add_engine, seeds_of
from bench.progress import say, show, show_text

if TYPE_CHECKING:
    from bench.records.record import Record

GROUP = "evaluate"
HELP = "Evaluate a frozen upstream on a task."
EXAMPLE = "slim-superb eval lighthubert_small asr --track quick"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_upstream(parser)
    parser.add_argument(
        "task", nargs="?", help="asr, ks, ic, sid, asv, slu or words ('list tasks'), or your own"
    )
    add_task_card(parser)
    parser.add_argument("--track", help="quick (default), open, superb or own")
    parser.add_argument("--seed", type=int, default=0, help="of the head (default 0)")
    parser.add_argument(
        "--seeds", help="several, such as 0,1,2: trained together, a record each (words: one)"
    )
    parser.add_argument(
        "--lr", help="one learning rate instead of the card's grid; 'published': the card's preset"
    )
    parser.add_argument(
        "--force", action="store_true", help="compute a finished run again, or replace it"
    )
    parser.add_argument("--shuffle-labels", action="store_true", help="the shuffled control")
    parser.add_argument("--limit", type=int, help="utterances a split: a smoke test, no result")
    parser.add_argument("--steps", type=int, help="updates of a head: a smoke test, no result")
    parser.add_argument("--conditions", help="names and sets, or all ('list conditions')")
    parser.add_argument("--noise-dir", type=Path, help="folder of noise corpora (MUSAN, ...)")
    parser.add_argument("--data", type=Path, help="folder of official corpora (track superb)")
    parser.add_argument("--plan", action="store_true", help="print the plan of the run, and stop")
    parser.add_argument("--deb-dir", type=Path, help="folder of Debian packages, without apt")
    parser.add_argument("--out", type=Path, default=Path("runs"), help="folder of records (runs)")
    parser.add_argument(
        "--json", action="store_true", help="print the record; with --seeds a list of records"
    )
    add_engine(parser)


def run(options: argparse.Namespace) -> int:
    """Run, or print the records of finished runs."""
    from bench import stopping
    from bench.conditions.catalogue import expand
    from bench.conditions.report import condition_report, warn_unused_noise
    from bench.conditions.scorer import score_conditions
    from bench.load.catalog import parse_upstream_name
    from bench.records.record import dumps
    from bench.registry import task_card
    from bench.reports.run_report import run_report
    from bench.run.plan import plan_run
    from bench.run.run import run_seeds
    from bench.run.spec import RunSpec
    from bench.terminal.table import show_report

    stopping.install()
    set_task(options)
    spec = RunSpec(
        upstream=upstream_name(options),
        task=options.task,
        track=options.track,
        seed=options.seed,
        lr=learning_rate(options),
        shuffle_labels=options.shuffle_labels,
        limit=options.limit,
        steps=options.steps,
    )
    session = session_of(options)
    if options.plan:
        show(*plan_run(spec, seeds_of(options), session).lines())
        return 0
    if options.conditions:  # refuse a misspelt name now, not after the training
        card = task_card(options.task, options.track)
        chosen = expand(options.conditions, card, has_noise_dir=options.noise_dir is not None)
        if options.noise_dir is not None:
            warn_unused_noise(chosen)
    records = []
    for outcome in run_seeds(spec, seeds_of(options), session, force=options.force):
        if outcome.was_done:
            say("this run is already done (--force computes it again)")
        if options.conditions:
            of_place = parse_upstream_name(spec.upstream).kind is not None
            (record,) = score_conditions(
                [outcome.path],
                options.conditions,
                replace(session, upstream=spec.upstream if of_place else None),
            )
            report = condition_report(record, outcome.path)
        else:
            record, report = outcome.record, run_report(outcome.record, outcome.path)
        records.append(record)
        if not options.json:
            show_report(*report)
            show("")
    last = control_lines(records[0].upstream, spec.upstream)
    if options.json:
        texts = [
            _control_json(record, spec.upstream) if last else dumps(record).rstrip()
            for record in records
        ]
        # With --seeds one document too: a list, of one record for one seed.
        show_text("[" + ",\n".join(texts) + "]" if options.seeds is not None else texts[0])
    else:
        _show_yardsticks(records[0], options.out)
        show(*(line for text in last for line in ("", text)))
    return CONTROL_CODE if last else 0


def _control_json(record: Record, asked: str) -> str:
    """Return the record of an untrained control, with the upstream for which it stands in."""
    return json.dumps({"untrained_instead_of": asked, **record.model_dump(mode="json")}, indent=2)


def _show_yardsticks(record: Record, runs: Path) -> None:
    """Show what the score is to be held against, and what to type next."""
    from bench.paths import board_folder
    from bench.terminal.table import show_report
    from leaderboard.terminal.yardsticks import comparable_runs, held_against, next_step

    others = [] if record.restriction else comparable_runs(record, runs, board_folder())
    show_report(held_against(record, others), next_step(record, others))


def learning_rate(options: argparse.Namespace) -> float | None:
    """Return the learning rate of `--lr`; None for the card's grid.

    Raises:
        UsageError: not a number, or no rate was published for this upstream and task.
    """
    from bench.load.catalog import parse_upstream_name
    from bench.registry import task_card

    if options.lr is None:
        return None
    if options.lr != "published":
        try:
            return float(options.lr)
        except ValueError as error:
            raise UsageError(f"--lr {options.lr}: expected a number or 'published'") from error
    presets = task_card(options.task, options.track).lr_presets
    name = parse_upstream_name(upstream_name(options)).card
    if name not in presets:
        listed = ", ".join(f"{one} {rate:g}" for one, rate in sorted(presets.items())) or "none"
        raise UsageError(
            f"--lr published: no rate is published for {name} on {options.task}, track "
            f"{options.track} (published: {listed})"
        )
    return presets[name]
