"""Write a corpus from the Hugging Face hub into the layout of its official folder.

`--data hf:NAME[@REVISION]` takes the place of a folder. The files are the hub's own bytes, so the
manifests are those of the official archives. Only corpora whose layout has `from_hub` can be made.
Each revision of each data set has a folder of its own.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from bench.corpora.official._download import fetch, unpack
from bench.corpora.official._layout import ARCHIVES, HubRows, Layout
from bench.errors import InvalidDataError, MissingError, UsageError
from bench.identity import key_of
from bench.load.downloads import ask_hub, cause_of
from bench.paths import disk_errors
from bench.progress import bar, warn

PREFIX = "hf:"
# Branch in which the hub keeps Parquet files of data sets that are scripts, no longer run.
EXPORTED = "refs/convert/parquet"
COMMIT_LETTERS = 12  # of a commit, in the name of a folder


def is_hub(data: Path) -> bool:
    """Return whether `--data` names a data set of the hub."""
    return str(data).startswith(PREFIX)


def export(layout: Layout, data: Path, home: Path) -> Path:
    """Write a data set into an official folder, part by part; skip parts that exist.

    Args:
        layout: of the corpus.
        data: `hf:NAME`, or `hf:` and a local folder in the same form.
        home: the folder is made in it.

    Returns:
        the folder, as `--data` takes it.

    Raises:
        UsageError: the layout of this corpus has no `from_hub`.
        MissingError: the hub does not answer, or has no such data set, split or file.
        InvalidDataError: rows or archives that are not as expected.
    """
    rules = layout.from_hub
    if rules is None:
        raise UsageError(
            f"--data {data}: {layout.title} cannot be made from the hub: name its folder. "
            f"{layout.about}"
        )
    asked = str(data).removeprefix(PREFIX)
    source, target_folder = _located(asked, home / "hub")
    if isinstance(rules, HubRows):
        for target, (config, split) in rules.splits.items():
            if not (target_folder / target).exists():
                _write_rows(layout, target_folder / target, source, (config, split))
        return target_folder
    for target, (archive, sign) in rules.archives.items():
        if not (target_folder / target).exists():
            _unpack(target_folder / target, source, archive, sign)
    for target, file in rules.beside.items():
        if not (target_folder / target).exists():
            with disk_errors(target_folder):
                shutil.copyfile(_downloaded(source, file, target_folder), target_folder / target)
    for listed in layout.archives:  # lists that the repository has not
        if not listed.url.endswith(ARCHIVES):
            fetch(listed, target_folder)
    return target_folder


class _Source(NamedTuple):
    """A data set: its name on the hub or its local folder, and a commit (None for a folder)."""

    name: str
    commit: str | None

    def __str__(self) -> str:
        return f"{PREFIX}{self.name}"


def _located(asked: str, hub: Path) -> tuple[_Source, Path]:
    """Return a data set and the folder that its present revision is written into.

    Where the hub does not answer, the newest revision that is here stands in, with a warning.

    Args:
        asked: `NAME[@REVISION]`, or a local folder.
        hub: the folder is made below it.

    Raises:
        MissingError: the hub does not answer, and no revision is here.
    """
    if Path(asked).is_dir():
        states = [(str(path.relative_to(asked)), path.stat().st_size, path.stat().st_mtime_ns)
                  for path in sorted(Path(asked).rglob("*"))]  # fmt: skip
        state = key_of(states)[:COMMIT_LETTERS]
        return _Source(asked, None), hub / _folder_name(asked) / state
    name, _, revision = asked.partition("@")
    folder = hub / _folder_name(name)
    try:
        commit = ask_hub(name, "dataset", revision or None)
    except Exception as error:  # the hub's client has no common base class of errors
        answer = f"hf:{asked}: the hub does not give it ({cause_of(error)})"
        here = sorted(folder.glob(f"{revision[:COMMIT_LETTERS]}*"), key=lambda p: p.stat().st_mtime)
        if not here:
            raise MissingError(answer) from error
        warn(f"{answer}; revision {here[-1].name}, which is here, is used")
        return _Source(name, here[-1].name), here[-1]
    return _Source(name, commit), folder / commit[:COMMIT_LETTERS]


def _folder_name(name: str) -> str:
    """Return the name of a data set, or of a local folder, as the name of a folder."""
    return name.strip("/").replace("/", "+")[-100:]


def _temporary(target: Path) -> Path:
    """Make an empty temporary folder beside the final one."""
    part = target.with_name(f"{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    with disk_errors(part):
        part.mkdir(parents=True)
    return part


def _write_rows(layout: Layout, target: Path, source: _Source, place: tuple[str, str]) -> None:
    """Write one folder from the rows of one split.

    Raises:
        MissingError: the hub does not answer or lacks the split.
        InvalidDataError: rows with other columns.
    """
    assert layout.write_rows is not None  # every layout with HubRows has it
    config, split = place
    part = _temporary(target)
    with disk_errors(part):
        try:
            layout.write_rows(part, _rows(source, config, split))
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidDataError(
                f"{source}, {config} {split}: not the columns expected of {layout.title} "
                f"({type(error).__name__}: {error})"
            ) from error
        part.replace(target)


def _rows(source: _Source, config: str, split: str) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of one split, with sound as the bytes of its file.

    Raises:
        MissingError: the hub does not answer or lacks the split.
    """
    import datasets

    datasets.disable_progress_bars()
    try:
        rows = _split(source, config, split)
    except Exception as error:  # as in `_located`
        raise MissingError(
            f"{source}, {config} {split}: the hub does not give it ({cause_of(error)})"
        ) from error
    rows = rows.cast_column("audio", datasets.Audio(decode=False))
    with bar(total=len(rows), label=f"{config} {split}", unit="utterances") as progress:
        for row in rows:
            yield row
            progress.update(1)


def _split(source: _Source, config: str, split: str) -> Any:
    """Load one split as the repository declares it, or else as the hub exported it.

    Raises:
        Exception: both failed; this is the error of the first.
    """
    import datasets

    try:
        return datasets.load_dataset(source.name, config, split=split, revision=source.commit)
    except Exception as error:
        files = [f"{config}/{part}/*.parquet" for part in split.split("+")]
        try:
            return datasets.load_dataset(
                source.name, revision=EXPORTED, data_files={"rows": files}, split="rows"
            )
        except Exception:
            raise error from None


def _unpack(target: Path, source: _Source, archive: str, sign: str) -> None:
    """Unpack one folder of an archive, without the folders around it.

    Raises:
        MissingError: the hub does not answer or lacks the archive.
        InvalidDataError: not such an archive.
    """
    packed, part = _downloaded(source, archive, target.parent), _temporary(target)
    with disk_errors(part):
        unpack(packed, part, archive)
        inner = min(part.glob(f"**/{sign}"), key=lambda path: len(path.parts), default=None)
        if inner is None:
            raise InvalidDataError(f"{source}, {archive}: holds no {sign}")
        inside = inner.parents[len(Path(sign).parts) - 1]
        inside.replace(target)
        shutil.rmtree(part, ignore_errors=True)
        if target.parent in packed.parents:  # a copy made for this
            packed.unlink()


def _downloaded(source: _Source, archive: str, folder: Path) -> Path:
    """Download a file of a repository; the next call resumes a broken download."""
    if source.commit is None:
        if not (Path(source.name) / archive).is_file():
            raise MissingError(f"{source}: no file {archive} in it")
        return Path(source.name) / archive
    from huggingface_hub import hf_hub_download

    try:
        with disk_errors(folder):
            return Path(
                hf_hub_download(
                    source.name,
                    archive,
                    repo_type="dataset",
                    revision=source.commit,
                    local_dir=folder / "downloads",
                )
            )
    except Exception as error:  # as in `_located`
        raise MissingError(
            f"{source}, {archive}: the hub does not give it ({cause_of(error)})"
        ) from error
