"""Write the page on generated checkpoints and on alterations: `docs/checkpoints-generated.md`."""

import re
import tempfile
from collections import Counter
from pathlib import Path

from alterations import ALTERATIONS, alter_model

from tools.checkpoints.cases import run_cases
from tools.markdown import markdown_table

HEAD = """# Generated checkpoints

Written by `make checkpoints` (`python -m tools checkpoints --cases {cases} --seed {seed}`).
{cases} checkpoints of tiny models with random weights were drawn from the seed: architecture, form,
envelope, storage type, head. Each went through `slim-superb check`. {whole} were whole: {loaded}
kept the contract and had the states and the parameters of the model's own library. {damaged} were
damaged, or of a kind that cannot
serve: {refused} were refused with one line that gives the reason. {problems} did something else.

States are compared by their relative error: 1e-5; weights in float16, bfloat16 and float64 with the
library's model of the rounded weights. It is 2e-5 for models of transformers exported to ONNX; with
the model in float32, 1e-2 for ONNX in float16, 0.3 for ONNX in int8, 0.05 for layers that torch
quantised. Parameters are equal, except where a program stores a product in the place of its
factors: a norm folded into a convolution, weight normalisation.
"""
ALTERED = """
## Identity

{count} seeded alterations of files and modules, each from the original. The identity is the digest
of all that decides a model, and the fingerprint of its states. {unseen} alterations changed the
states and left the identity as it was.
"""


def table(header, counts):
    """Return a table of counts, in the order of their names."""
    rows = [(name or "none", counts[name]) for name in sorted(counts)]
    return f"\n{markdown_table(rows, (header, 'cases'))}\n"


def short(line):
    """Return a line without names that differ from case to case."""
    line = re.sub(r"case\d+", "NAME", re.sub(r"FOLDER\S*?(?=[:\s)]|$)", "FILE", line))
    return line.removeprefix("slim-superb: ").replace("|", "/")[:160]


def refusals(outcomes):
    """Return a table of the damages, each with a line."""
    rows = []
    names = Counter((item.kind[0].partition(" (")[0], item.damage) for item in outcomes)
    for (form, name), count in sorted(names.items()):
        line = next(x.line for x in outcomes if (x.kind[0].partition(" (")[0], x.damage) ==
                    (form, name))  # fmt: skip
        rows.append((form, name, count, short(line)))
    return markdown_table(rows, ("form", "damage", "cases", "line"))


def page(outcomes, altered, seed):
    """Return the page as Markdown."""
    whole = [item for item in outcomes if not item.damage]
    damaged = [item for item in outcomes if item.damage]
    failures = [item for item in outcomes if item.problem]
    text = HEAD.format(
        cases=len(outcomes), seed=seed, whole=len(whole), damaged=len(damaged),
        loaded=sum(not item.problem for item in whole), problems=len(failures),
        refused=sum(not item.problem for item in damaged),
    )  # fmt: skip
    titles = ("form", "architecture", "", "storage", "head")
    text += "\n## By kind\n"
    for index, title in enumerate(titles):
        if title:
            text += table(title, Counter(item.kind[index] for item in outcomes))
    envelopes = {item.kind[2] for item in outcomes}
    text += f"\n{len(envelopes)} envelopes, among them: "
    text += ", ".join(f"`{name}`" for name in sorted(envelopes, key=len)[-6:]) + ".\n"
    text += f"\n## Refusals\n\n{refusals(damaged)}\n"
    if failures:
        rows = [(x.number, ", ".join(filter(None, x.kind)), x.damage, short(x.problem))
                for x in failures]  # fmt: skip
        text += f"\n## Failures\n\n{markdown_table(rows, ('case', 'kind', 'damage', 'what'))}\n"
    text += ALTERED.format(
        count=sum(map(len, altered.values())),
        unseen=sum(is_other and not key for rows in altered.values() for is_other, _, key in rows),
    )
    head = ("altered", "alterations", "other states", "other digest", "other identity")
    sums = [(name, len(rows), *map(sum, zip(*rows, strict=True))) for name, rows in altered.items()]
    return f"{text}\n{markdown_table(sums, head)}\n"


def all_alterations(seed):
    """Make every alteration; return what changed, by the name of the alteration."""
    altered = {}
    for (write, name), (_, count) in ALTERATIONS.items():
        with tempfile.TemporaryDirectory(prefix="slim-superb-alterations-") as folder:
            altered[name] = alter_model(write, name, Path(folder), count, seed)[:-1]
    return altered


def write_page(path, cases, seed, kept=None):
    """Run everything, write the page, and return the number of problems.

    Args:
        path: of the page.
        cases: number of checkpoints.
        seed: of cases and alterations.
        kept: a file of outcomes, which is read first and added to; or None.
    """
    import torch

    torch.set_num_threads(1)

    def tell(item):
        if item.number % 20 == 0 or item.problem:
            print(f"case {item.number} of {cases}: {item.problem or 'as it must be'}", flush=True)

    outcomes = run_cases(range(cases), seed, kept, tell)
    altered = all_alterations(seed)
    path.write_text(page(outcomes, altered, seed), encoding="utf-8")
    unseen = sum(is_other and not key for rows in altered.values() for is_other, _, key in rows)
    return sum(bool(item.problem) for item in outcomes) + unseen
