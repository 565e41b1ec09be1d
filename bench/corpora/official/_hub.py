"""A corpus from the Hugging Face hub, written into the layout of its official folder.

`--data hf:NAME` in place of a folder. The files are the hub's own bytes, so that what is prepared
from them is what the official archives give. Only corpora whose layout says how are known.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.corpora.official._download import fetch, unpack
from bench.corpora.official._layout import ARCHIVES, HubRows, Layout
from bench.errors import InvalidDataError, MissingError, UsageError
from bench.paths import disk_errors
from bench.progress import bar

PREFIX = "hf:"
# Where the hub keeps Parquet of data sets whose own form is a script, which nobody runs any more.
EXPORTED = "refs/convert/parquet"


def is_hub(data: Path) -> bool:
    """Whether `--data` names a data set of the hub."""
    return str(data).startswith(PREFIX)


def export(layout: Layout, data: Path, home: Path) -> Path:
    """Write a data set into an official folder, part by part; those that are there are kept.

    Args:
        layout: of the corpus.
        data: `hf:NAME`, or `hf:` and a local folder in the same form.
        home: where the folder is made.

    Returns:
        the folder, as `--data` takes it.

    Raises:
        UsageError: no way is known from the hub to this corpus.
        MissingError: the hub does not answer, or has no such data set, split or file.
        InvalidDataError: rows or archives that are not as expected.
    """
    known = layout.from_hub
    if known is None:
        raise UsageError(
            f"--data {data}: {layout.title} cannot be made from the hub: name its folder. "
            f"{layout.about}"
        )
    name = str(data).removeprefix(PREFIX)
    if isinstance(known, HubRows):
        made = home / "hub" / layout.name
        for target, (config, split) in known.splits.items():
            if not (made / target).exists():
                _write_rows(known, made / target, (name, config, split), layout.title)
        return made
    made = home / "hub" / (known.shared or layout.name)
    for target, (archive, sign) in known.archives.items():
        if not (made / target).exists():
            _unpack(made / target, name, archive, sign)
    for target, file in known.beside.items():
        if not (made / target).exists():
            with disk_errors(made):
                shutil.copyfile(_downloaded(name, file, made), made / target)
    for listed in layout.archives:  # lists that the repository has not
        if not listed.url.endswith(ARCHIVES):
            fetch(listed, made)
    return made


def _emptied(target: Path) -> Path:
    """A new folder beside the one that it will become."""
    part = target.with_name(f"{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    with disk_errors(part):
        part.mkdir(parents=True)
    return part


def _write_rows(known: HubRows, target: Path, place: tuple[str, str, str], title: str) -> None:
    """One folder from the rows of one split.

    Raises:
        MissingError, InvalidDataError: as `export`.
    """
    name, config, split = place
    part = _emptied(target)
    with disk_errors(part):
        try:
            known.write(part, _rows(name, config, split))
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidDataError(
                f"hf:{name}, {config} {split}: not the columns expected of {title} "
                f"({type(error).__name__}: {error})"
            ) from error
        part.replace(target)


def _rows(name: str, config: str, split: str) -> Iterator[Mapping[str, Any]]:
    """The rows of one split, sound as the bytes of its file.

    Raises:
        MissingError: as `export`.
    """
    import datasets

    datasets.disable_progress_bars()
    try:
        found = _split(name, config, split)
    except Exception as error:  # the hub's client has no common base class of errors
        reason = " ".join(str(error).split())[:200]
        raise MissingError(
            f"hf:{name}, {config} {split}: cannot be had from the hub ({reason})"
        ) from error
    found = found.cast_column("audio", datasets.Audio(decode=False))
    with bar(total=len(found), label=f"{config} {split}", unit="utterances") as progress:
        for row in found:
            yield row
            progress.update(1)


def _split(name: str, config: str, split: str) -> Any:
    """One split as a `datasets.Dataset`: as the repository declares it, or as the hub exported it.

    Raises:
        Exception: whatever the first try raised, where the second one fails as well.
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
    """One folder from an archive; what lies around it in there is left out.

    Raises:
        MissingError, InvalidDataError: as `export`.
    """
    packed, part = _downloaded(name, archive, target.parent), _emptied(target)
    with disk_errors(part):
        unpack(packed, part, archive)
        found = min(part.glob(f"**/{sign}"), key=lambda path: len(path.parts), default=None)
        if found is None:
            raise InvalidDataError(f"hf:{name}, {archive}: holds no {sign}")
        inside = found.parents[len(Path(sign).parts) - 1]
        inside.replace(target)
        shutil.rmtree(part, ignore_errors=True)
        if target.parent in packed.parents:  # a copy made for this
            packed.unlink()


def _downloaded(name: str, archive: str, folder: Path) -> Path:
    """A file of a repository; a broken download is resumed by the next one.

    Raises:
        MissingError: the hub does not answer, or has no such file.
    """
    if Path(name).is_dir():
        if not (Path(name) / archive).is_file():
            raise MissingError(f"hf:{name}: no file {archive} in it")
        return Path(name) / archive
    from huggingface_hub import hf_hub_download

    try:
        with disk_errors(folder):
            return Path(
                hf_hub_download(name, archive, repo_type="dataset", local_dir=folder / "downloads")
            )
    except Exception as error:  # as in `_rows`
        reason = " ".join(str(error).split())[:200]
        raise MissingError(f"hf:{name}, {archive}: cannot be had ({reason})") from error
