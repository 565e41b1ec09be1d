"""Write a corpus from the Hugging Face hub into the layout of its official folder.

`--data hf:NAME` takes the place of a folder. The files are the hub's own bytes, so the manifests
are those of the official archives. Only corpora whose layout has `from_hub` can be made.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.corpora.official._download import fetch, unpack
from bench.corpora.official._layout import ARCHIVES, HubRows, Layout
from bench.errors import InvalidDataError, MissingError, UsageError
from bench.load.downloads import ask_hub, cause_of
from bench.paths import disk_errors
from bench.progress import bar

PREFIX = "hf:"
# Branch in which the hub keeps Parquet files of data sets that are scripts, no longer run.
EXPORTED = "refs/convert/parquet"


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
    name = str(data).removeprefix(PREFIX)
    if isinstance(rules, HubRows):
        target_folder = home / "hub" / layout.name
        for target, (config, split) in rules.splits.items():
            if not (target_folder / target).exists():
                _write_rows(layout, target_folder / target, (name, config, split))
        return target_folder
    target_folder = home / "hub" / (rules.shared or layout.name)
    for target, (archive, sign) in rules.archives.items():
        if not (target_folder / target).exists():
            _unpack(target_folder / target, name, archive, sign)
    for target, file in rules.beside.items():
        if not (target_folder / target).exists():
            with disk_errors(target_folder):
                shutil.copyfile(_downloaded(name, file, target_folder), target_folder / target)
    for listed in layout.archives:  # lists that the repository has not
        if not listed.url.endswith(ARCHIVES):
            fetch(listed, target_folder)
    return target_folder


def _temporary(target: Path) -> Path:
    """Make an empty temporary folder beside the final one."""
    part = target.with_name(f"{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    with disk_errors(part):
        part.mkdir(parents=True)
    return part


def _write_rows(layout: Layout, target: Path, place: tuple[str, str, str]) -> None:
    """Write one folder from the rows of one split.

    Raises:
        MissingError: the hub does not answer or lacks the split.
        InvalidDataError: rows with other columns.
    """
    assert layout.write_rows is not None  # every layout with HubRows has it
    name, config, split = place
    part = _temporary(target)
    with disk_errors(part):
        try:
            layout.write_rows(part, _rows(name, config, split))
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidDataError(
                f"hf:{name}, {config} {split}: not the columns expected of {layout.title} "
                f"({type(error).__name__}: {error})"
            ) from error
        part.replace(target)


def _rows(name: str, config: str, split: str) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of one split, with sound as the bytes of its file.

    Raises:
        MissingError: the hub does not answer or lacks the split.
    """
    import datasets

    datasets.disable_progress_bars()
    try:
        if not Path(name).exists():
            ask_hub(name, "dataset")
        rows = _split(name, config, split)
    except Exception as error:  # the hub's client has no common base class of errors
        raise MissingError(
            f"hf:{name}, {config} {split}: the hub does not give it ({cause_of(error)})"
        ) from error
    rows = rows.cast_column("audio", datasets.Audio(decode=False))
    with bar(total=len(rows), label=f"{config} {split}", unit="utterances") as progress:
        for row in rows:
            yield row
            progress.update(1)


def _split(name: str, config: str, split: str) -> Any:
    """Load one split as the repository declares it, or else as the hub exported it.

    Raises:
        Exception: both failed; this is the error of the first.
    """
    import datasets

    try:
        return datasets.load_dataset(name, config, split=split)
    except Exception as error:
        files = [f"{config}/{part}/*.parquet" for part in split.split("+")]
        try:
            return datasets.load_dataset(
                name, revision=EXPORTED, data_files={"rows": files}, split="rows"
            )
        except Exception:
            raise error from None


def _unpack(target: Path, name: str, archive: str, sign: str) -> None:
    """Unpack one folder of an archive, without the folders around it.

    Raises:
        MissingError: the hub does not answer or lacks the archive.
        InvalidDataError: not such an archive.
    """
    packed, part = _downloaded(name, archive, target.parent), _temporary(target)
    with disk_errors(part):
        unpack(packed, part, archive)
        inner = min(part.glob(f"**/{sign}"), key=lambda path: len(path.parts), default=None)
        if inner is None:
            raise InvalidDataError(f"hf:{name}, {archive}: holds no {sign}")
        inside = inner.parents[len(Path(sign).parts) - 1]
        inside.replace(target)
        shutil.rmtree(part, ignore_errors=True)
        if target.parent in packed.parents:  # a copy made for this
            packed.unlink()


def _downloaded(name: str, archive: str, folder: Path) -> Path:
    """Download a file of a repository; the next call resumes a broken download."""
    if Path(name).is_dir():
        if not (Path(name) / archive).is_file():
            raise MissingError(f"hf:{name}: no file {archive} in it")
        return Path(name) / archive
    from huggingface_hub import hf_hub_download

    try:
        ask_hub(name, "dataset")
        with disk_errors(folder):
            return Path(
                hf_hub_download(name, archive, repo_type="dataset", local_dir=folder / "downloads")
            )
    except Exception as error:  # as in `_rows`
        raise MissingError(
            f"hf:{name}, {archive}: the hub does not give it ({cause_of(error)})"
        ) from error
