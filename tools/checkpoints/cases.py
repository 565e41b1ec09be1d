"""Give generated checkpoints to `slim-superb check`: each loads as it must, or the line says why.

A case is drawn from the seed and its number. Three of four are whole; the others are damaged.
"""

import io
import json
import logging
import random
import re
import tempfile
import warnings
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from references import noise, relative_error

from bench.cli import main
from bench.load.loader import load_upstream
from bench.measure.cost import measure
from bench.session import Session
from tools.checkpoints.damages import damage
from tools.checkpoints.folders import adapter, heard, hf_folder
from tools.checkpoints.programs import builder, onnx_file, onnx_hubert, pt2, torchscript
from tools.checkpoints.weight_files import file_and_card

DAMAGED = 0.25  # share of the cases
SAMPLES = 12_001
MAKERS = {  # weights of a draw
    hf_folder: 80,
    file_and_card: 90,
    heard: 24,
    adapter: 20,
    onnx_file: 28,
    onnx_hubert: 10,
    torchscript: 14,
    pt2: 12,
    builder: 22,
}


@dataclass(frozen=True)
class CheckedCase:
    """What came of a case.

    Attributes:
        number: of the case.
        kind: form, architecture, envelope, storage type and head.
        damage: its name; empty for a whole checkpoint.
        line: what `check` says of a damaged one.
        problem: what should not have happened; empty where all is as it must be.
    """

    number: int
    kind: tuple[str, str, str, str, str]
    damage: str
    line: str
    problem: str


def run_command(words):
    """Run a command in this process; return its exit code, its output and its error lines."""
    out, errors = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(errors), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        code = main(words)
    lines = [line for line in errors.getvalue().splitlines() if line.startswith("slim-superb: ")]
    return code, out.getvalue(), lines


def loaded_problem(made, words):
    """Return what is wrong with the upstream that a name gives; empty where nothing is."""
    cards = [Path(words[index + 1]) for index, word in enumerate(words) if word == "--card"]
    session = Session(cards=tuple(cards), allow_code="--allow-code" in words)
    upstream, wav = load_upstream(words[0], session).upstream, noise(SAMPLES)
    with torch.no_grad():
        actual = upstream(wav[None], torch.tensor([SAMPLES])).states
        expected = made.states(wav)
    if len(actual) != len(expected):
        return f"{len(actual)} states, {len(expected)} expected"
    worst = max(map(relative_error, actual, expected))
    if not worst <= made.tolerance:
        return f"states differ by {worst:.1e}"
    params = measure(upstream, seconds=1.0).params
    if abs(params - made.params) > made.params_tolerance * made.params:
        return f"{params} parameters, {made.params} expected"
    return ""


def refusal_problem(code, output, lines, reason):
    """Return what is wrong with a refusal, and the line that gives the reason."""
    told = [line for line in [*lines, *output.splitlines()] if re.search(reason, line)]
    if code not in (2, 3, 4) or any("a defect of" in line for line in lines):
        return f"exit code {code}: {' '.join(lines)[:200]}", ""
    if len(lines) > 1:
        return f"{len(lines)} lines", ""
    if not told:
        return f"the line does not say {reason!r}: {(lines or [output[-300:]])[0]}", ""
    return "", told[0]


def run_case(number, seed, folder):
    """Make a checkpoint in an empty folder, and check it."""
    rng = random.Random(f"{seed} {number}")
    make = rng.choices(list(MAKERS), weights=list(MAKERS.values()))[0]
    logging.disable(logging.WARNING)
    with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        made = make(rng, folder)
        (name, reason), words = made.broken or ("", ""), made.words
        if rng.random() < DAMAGED:
            name, reason, words = damage(rng, made)
    logging.disable(logging.NOTSET)
    code, output, lines = run_command(("check", *words))
    if name:
        problem, line = refusal_problem(code, output, lines, reason)
        return CheckedCase(number, made.kind, name, plain(line, folder), plain(problem, folder))
    if code:
        failed = [line for line in output.splitlines() if line.startswith("FAILED")]
        problem = f"exit code {code}: {' '.join([*lines, *failed])}"
    else:
        problem = loaded_problem(made, words)
    return CheckedCase(number, made.kind, "", "", plain(problem, folder))


def plain(text, folder):
    """Return a text without the path of the folder and in one line."""
    return " ".join(text.replace(str(folder), "FOLDER").split())


def run_cases(numbers, seed, kept=None, tell=lambda outcome: None):
    """Run cases, each in a folder of its own, and return their outcomes.

    Args:
        numbers: of the cases.
        seed: of all.
        kept: a file of outcomes of earlier calls, which is read first and added to; or None.
        tell: called with each outcome.
    """
    done = {}
    if kept is not None and kept.exists():
        lines = map(json.loads, kept.read_text().splitlines())
        done = {line["number"]: CheckedCase(**line) for line in lines}
    outcomes = []
    for number in numbers:
        outcome = done.get(number)
        if outcome is None:
            with tempfile.TemporaryDirectory(prefix="slim-superb-checkpoints-") as name:
                folder = Path(name) / f"case{number}"
                folder.mkdir()
                outcome = run_case(number, seed, folder)
            if kept is not None:
                with kept.open("a") as file:
                    file.write(json.dumps(asdict(outcome)) + "\n")
            tell(outcome)
        outcomes.append(outcome)
    return outcomes
