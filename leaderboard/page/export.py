"""Exports of the board: Markdown, CSV, JSON and LaTeX. Text in a record is never markup."""

from __future__ import annotations

import csv
import io
import json
import re
from functools import lru_cache
from importlib.resources import files
from typing import Any

from tabulate import tabulate

from leaderboard.board.board import Board, BoardCell, Column, View
from leaderboard.board.rows import Row
from leaderboard.page.sections import own_head_lines
from leaderboard.page.texts import HOW_TO_READ, HOW_TO_READ_OWN_HEADS, KINDS

# Characters that Markdown or the HTML inside it would read as markup.
_MARKUP = re.compile(r"([\\`*\[\]|~!#])")
_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "\N{EN DASH}": "--", "\N{MINUS SIGN}": "$-$",
    "\N{MULTIPLICATION SIGN}": r"$\times$", "<": r"\textless{}", ">": r"\textgreater{}",
}  # fmt: skip

# What LaTeX's first fonts lack: all but ASCII and the accented letters of Latin-1.
_NOT_IN_LATEX = re.compile(r"[^ -~\xc0-\xcf\xd1-\xd6\xd8-\xdd\xdf-\xef\xf1-\xf6\xf8-\xfd\xff]")


def exports(board: Board) -> dict[str, str]:
    """Return the content of every export, by file name."""
    return {
        "board.md": markdown(board),
        "board.csv": as_csv(board),
        "board.json": as_json(board),
        "board.tex": latex(board),
    }


def plain(text: str) -> str:
    """Return text for a Markdown table: one line without markup."""
    one_line = " ".join(text.split())
    safe = one_line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKUP.sub(r"\\\1", safe)


def name_of(row: Row) -> str:
    """Return the name of a row, with its role, kind or revocation in brackets."""
    parts = [row.role or KINDS[row.kind]] if row.kind != "measured" else []
    parts += [f"revoked: {row.standing.revoked}"] if row.standing.revoked is not None else []
    return f"{row.name} ({'; '.join(parts)})" if parts else row.name


def _cell(cell: BoardCell) -> str:
    interval = cell.note.strip("[]").split("]")[0].replace(", ", "\N{EN DASH}")
    return plain(f"{cell.text} ({interval})" if cell.low is not None else cell.text)


def _head(column: Column) -> str:
    sign = {True: " \N{UPWARDS ARROW}", False: " \N{DOWNWARDS ARROW}", None: ""}
    return plain(column.title) + (sign[column.higher_is_better] if column.metric else "")


def _table(view: View) -> str:
    shown = [i for i, column in enumerate(view.columns) if column.is_first]
    head = ["Model", "Family", *(_head(view.columns[i]) for i in shown)]
    body = [
        [plain(name_of(row)), plain(row.family), *(_cell(cells[i]) for i in shown)]
        for row, cells in zip(view.rows, view.cells, strict=True)
    ]
    return str(tabulate(body, headers=head, tablefmt="pipe", disable_numparse=True))


def _own_heads_table(view: View) -> str:
    lines = own_head_lines(view.own_heads)
    names = list(dict.fromkeys(name for line in lines for name in line.scores))
    body = [
        [plain(line.record.upstream), plain(line.record.task.upper()), plain(line.metric)]
        + [plain(line.scores.get(name, "\N{EN DASH}")) for name in names]
        for line in lines
    ]
    head = ["Model", "Task", "Metric", *map(plain, names)]
    return str(tabulate(body, headers=head, tablefmt="pipe", disable_numparse=True))


def markdown(board: Board) -> str:
    """Return the first columns of every track on clean speech as tables that GitHub shows."""
    lines = ["# Slim-SUPERB", "", HOW_TO_READ, ""]
    if board.protocols:
        protocols = plain(", ".join(board.protocols))
        lines += [f"{board.num_records} records, protocol {protocols}.", ""]
    if str(board.stamp):
        lines += [f"Built from {plain(str(board.stamp))}.", ""]
    lines += ["Every metric and condition: board.csv and board.json.", ""]
    for view in board.views:
        lines += [f"## {plain(view.title)}", "", plain(view.about), ""]
        if view.informative:
            tasks = plain(", ".join(view.informative).upper())
            lines += [
                f"Mean: lead over chance in %, over the tasks that tell rows apart: {tasks}.",
                "",
            ]
        lines += [_table(view), ""]
        if view.own_heads:
            lines += ["### Fine-tuned models, own head", "", HOW_TO_READ_OWN_HEADS, ""]
            lines += [_own_heads_table(view), ""]
    return "\n".join(lines)


def _safe(text: str) -> str:
    """Return text for a spreadsheet, which would evaluate text that begins with these signs."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


CSV_HEAD = (
    "track", "upstream", "kind", "role", "family", "teacher", "weights", "verified", "division",
    "flags", "revoked", "params", "macs_per_second_plain", "macs_32_utterances_superb_slt2022",
    "task", "metric", "condition", "value", "low", "high", "about",
)  # fmt: skip


def as_csv(board: Board) -> str:
    """Return the scores as CSV, a line each: fractions, unrounded."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(CSV_HEAD)
    for view in board.views:
        for row in view.rows:
            standing = row.standing
            texts = (view.key, row.name, row.kind, row.role, row.family, row.teacher, row.weights,
                     row.verified, standing.division, " ".join(standing.flags),
                     standing.revoked or "")  # fmt: skip
            facts = [*map(_safe, texts), row.params, row.macs_per_second, row.macs_superb]
            for (task, metric, condition), score in row.scores.items():
                where = [_safe(task), _safe(metric), _safe(condition)]
                numbers = [score.value, score.low, score.high]
                writer.writerow([*facts, *where, *numbers, _safe(score.about)])
    return out.getvalue()


def _row_data(row: Row) -> dict[str, Any]:
    scores = [
        {"task": task, "metric": metric, "condition": condition, "value": score.value,
         "low": score.low, "high": score.high, "about": score.about}
        for (task, metric, condition), score in row.scores.items()
    ]  # fmt: skip
    degradation = [
        {"task": task, "condition": condition, "relative": item.value, "low": item.low,
         "high": item.high}
        for (task, condition), item in row.degradations.items()
    ]  # fmt: skip
    names = ("name", "kind", "role", "family", "teacher", "weights", "tap", "protocol", "verified",
             "params", "macs_per_second", "macs_superb")  # fmt: skip
    return {
        **{name: getattr(row, name) for name in names},
        "standing": row.standing.model_dump(mode="json"),
        "cost": row.cost.model_dump(mode="json") if row.cost else None,
        "modified_costs": {
            name: cost.model_dump(mode="json") for name, cost in row.modified_costs.items()
        },
        "sources": [list(source) for source in row.sources],
        "note": row.note,
        "scores": scores,
        "degradation": degradation,
    }


def _track_data(view: View) -> dict[str, Any]:
    data = {"track": view.key, "title": view.title, "rows": [_row_data(row) for row in view.rows]}
    heads = [record.model_dump(mode="json") for record in view.own_heads]
    return data | ({"fine_tuned_with_own_head": heads} if heads else {})


def as_json(board: Board) -> str:
    """Return the whole board as JSON: fractions, unrounded."""
    data = {
        "schema": board.schema,
        "commit": board.stamp.commit,
        "date": board.stamp.date,
        "records": board.num_records,
        "protocols": list(board.protocols),
        "tracks": [_track_data(view) for view in board.views],
    }
    return json.dumps(data, indent=1, allow_nan=False) + "\n"


def tex(text: str) -> str:
    """Return text for LaTeX without commands; a sign that its usual fonts lack becomes `?`."""
    signs = "".join(_LATEX.get(sign, sign) for sign in " ".join(text.split()))
    return _NOT_IN_LATEX.sub("?", signs)


LATEX_HEAD = r"""% A document for pdflatex. For a paper, copy the rows that you need into a tabular.
\documentclass{article}
\usepackage[a4paper,landscape,margin=12mm]{geometry}
\usepackage{booktabs,longtable}
\setlength{\tabcolsep}{4pt}
\begin{document}\footnotesize
"""


def _latex_table(view: View) -> str:
    shown = [i for i, column in enumerate(view.columns) if column.is_first]
    titles = [tex(view.columns[i].title) for i in shown]
    lines = [
        rf"\begin{{longtable}}{{l{'r' * len(shown)}}}",
        rf"\caption{{{tex(view.title)}: scores on clean speech.}}\\",
        rf"\toprule {' & '.join(['Model', *titles])} \\ \midrule \endhead",
    ]
    for row, cells in zip(view.rows, view.cells, strict=True):
        lines.append(" & ".join([tex(name_of(row)), *(tex(cells[i].text) for i in shown)]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{longtable}", ""])


def latex(board: Board) -> str:
    """Return a document with the first columns of every track on clean speech."""
    tables = "\n".join(_latex_table(view) for view in board.views)
    return f"% Slim-SUPERB, {tex(str(board.stamp))}\n{LATEX_HEAD}{tables}\\end{{document}}\n"


@lru_cache(maxsize=1)
def references() -> dict[str, str]:
    """Return the committed BibTeX entries, by key and by address of the paper."""
    text = (files("leaderboard") / "published" / "references.bib").read_text(encoding="utf-8")
    entries: dict[str, str] = {}
    for match in re.finditer(r"^@\w+\{(.+?),\n.*?^\}", text, flags=re.MULTILINE | re.DOTALL):
        entries[match[1]] = match[0]
        if address := re.search(r"url = \{(.+?)\}", match[0]):
            entries[address[1]] = match[0]
    return entries


def bibtex(row: Row) -> str:
    """Return the entry of the paper of a row's model; empty without one.

    A paper that is not among the committed entries is named in a note, under the model's title.
    """
    if not re.fullmatch(r"https://[\w./%-]+", row.paper):
        return ""
    if row.paper in references():
        return references()[row.paper]
    title = row.card.title if row.card is not None else row.name
    fields = [
        f"  title = {{{tex(title)}}}",
        "  author = {{Unknown}}",
        "  howpublished = {Upstream card of Slim-SUPERB}",
        f"  note = {{Paper: \\url{{{row.paper}}}}}",
    ]
    return f"@misc{{{row.key},\n" + ",\n".join(fields) + "\n}"
