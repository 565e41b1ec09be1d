"""From a verified bundle to the committed files, and what it changes on the board."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from bench.bundle import BundleCard
from bench.divisions import Level
from bench.draws import DrawnScore, Draws, decoded, draws_path, read_draws, write_draws
from bench.names import path_name, runs_folder
from bench.record import Record, read_record
from bench.standing import Standing, standing_path, write_standing
from bench.stats import studentised
from bench.verify import Bundle


def differences(
    records: Mapping[Path, Record],
    draws: Mapping[Path, tuple[DrawnScore, ...]],
    about: BundleCard,
    board: Path,
) -> Iterator[str]:
    """A line for every clean score that the board already has: old, new, paired difference."""
    for path, record in records.items():
        old_path = runs_folder(board / "results", about.track, about.upstream) / path.name
        if not old_path.exists():
            yield f"new: {path.stem}"
            continue
        old = read_record(old_path)
        kept = draws_path(board / "draws", about.track, about.upstream, path.stem)
        before = read_draws(kept) if kept.exists() else {}
        after = {(item.condition, item.metric): decoded(item, path) for item in draws.get(path, ())}
        for score in record.scores:
            known = [s for s in old.scores
                     if (s.condition, s.metric) == (score.condition, score.metric)]  # fmt: skip
            if score.condition != "clean" or not known:
                continue
            line = f"{path.stem} {score.metric}: {100 * known[0].value:.2f} on the board, "
            line += f"{100 * score.value:.2f}"
            key = ("clean", score.metric)
            yield line + _tested(score.value - known[0].value, before.get(key), after.get(key))


def _tested(difference: float, before: Draws | None, after: Draws | None) -> str:
    """The paired difference, where draws of both are there."""
    if difference == 0:
        return " here: the same"
    if before is None or after is None:
        return " here"
    found = studentised(difference, after.values - before.values, after.clusters)
    return f" here ({100 * difference:+.2f} points, p = {found.p_value:.3f})"


def accept(bundle: Bundle, board: Path, level: Level) -> list[Path]:
    """Write records, draws, costs and standing of a verified bundle below `board`.

    Returns:
        the files written.

    Raises:
        MissingError: no space or no permission.
    """
    about = bundle.about
    written = []
    for path in bundle.records:
        record = runs_folder(board / "results", about.track, about.upstream) / path.name
        record.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, record)
        draws = draws_path(board / "draws", about.track, about.upstream, path.stem)
        write_draws(bundle.draws[path], draws)
        written += [record, draws]
    if bundle.cost is not None and bundle.cost.upstream == about.upstream:
        cost = board / "costs" / f"{path_name(about.upstream)}.json"
        cost.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(bundle.folder / "cost.json", cost)
        written.append(cost)
    standing = standing_path(board / "standing", about.track, about.upstream)
    write_standing(
        Standing(
            upstream=about.upstream,
            track=about.track,
            division=about.division,
            flags=about.flags,
            submitted_by=about.submitted_by,
            verified=level,
        ),
        standing,
    )
    return [*written, standing]
