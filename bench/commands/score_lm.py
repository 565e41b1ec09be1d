"""`slim-superb score-lm`: decode a finished run of speech recognition with a language model."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from bench.commands._options import session_of
from bench.features.engine_options import add_device
from bench.progress import show_text

GROUP = "evaluate"
HELP = "Decode a finished ASR run of track superb with a language model."
EXAMPLE = (
    "slim-superb score-lm runs/superb/hubert_base/asr-s0.json --lm 4-gram.arpa "
    "--lexicon librispeech_lexicon.lst"
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("record", type=Path, help="of a finished run")
    parser.add_argument("--lm", type=Path, required=True, help="ARPA or KenLM file")
    parser.add_argument("--lexicon", type=Path, required=True, help="words and their letters")
    parser.add_argument("--weights", type=Path, help="checkpoint file, instead of downloading it")
    parser.add_argument("--card", type=Path, action="append", default=[], metavar="FILE")
    parser.add_argument("--allow-code", action="store_true", help="run the code that a card names")
    parser.add_argument("--upstream", help="KIND:PLACE of the evaluated model, if it has no card")
    add_device(parser)


def run(options: argparse.Namespace) -> int:
    """Decode, score and print the scores beside the greedy ones."""
    from tabulate import tabulate

    from bench.records.record import read_record
    from bench.run.language_model import score_with_lm
    from bench.run.report import interval_text

    session = replace(session_of(options), upstream=options.upstream)
    scores = score_with_lm(options.record, options.lm, options.lexicon, session)
    record = read_record(options.record)
    rows = [
        [
            score.condition,
            score.metric,
            f"{100 * record.score(score.condition, score.metric).value:.2f} %",
            f"{100 * score.value:.2f} % ({interval_text(score)})",
            f"{score.numerator:g} / {score.denominator:g}",
        ]
        for score in scores
    ]
    head = ["test set", "metric", "greedy", "with LM", "counts with LM"]
    show_text(tabulate(rows, headers=head, disable_numparse=True))
    return 0
