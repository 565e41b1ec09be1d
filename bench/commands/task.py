"""`slim-superb task`: task cards over your own data."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.errors import UsageError
from bench.paths import make_folder
from bench.progress import show

GROUP = "bring"
HELP = "Look at a folder of your recordings and write a task card for it."
EXAMPLE = "slim-superb task init recordings --task ks --out digits.yaml"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("action", choices=["init"], help="init: write a card")
    parser.add_argument("data", help="a folder, a CSV, TSV or JSONL file, or hf:ORG/NAME")
    parser.add_argument("--task", choices=["asr", "ks", "ic", "sid", "asv", "slu"], help="its kind")
    parser.add_argument("--name", help="of the task (default: the folder's name and the kind)")
    parser.add_argument("--out", type=Path, help="file of the card (default: NAME.yaml here)")
    parser.add_argument(
        "--column",
        action="append",
        default=[],
        metavar="FIELD=COLUMN",
        help="which column is the path, text, label, speaker, ... (may be repeated)",
    )


def run(options: argparse.Namespace) -> int:
    """Write the card and show what was seen."""
    from bench.corpora.own.survey import survey

    pairs = [text.partition("=") for text in options.column]
    for field, sign, column in pairs:
        if not (field and sign and column):
            raise UsageError(f"--column {field}{sign}{column}: expected FIELD=COLUMN")
    folder = make_folder(options.out.parent) if options.out else Path()
    result = survey(
        options.data,
        folder,
        task=options.task,
        name=options.name,
        columns={field: column for field, _, column in pairs},
    )
    file = options.out or Path(f"{result.place.card.name}.yaml")
    result.write(file)
    show(f"{options.data}:", *(f"  {line}" for line in result.lines), f"card {file}:")
    show(*(f"  {line}" for line in result.text().splitlines()[1:]))
    show("next:", f"  slim-superb eval house_whisper_distil --task-card {file}")
    return 0
