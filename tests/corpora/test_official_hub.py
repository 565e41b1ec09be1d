"""The corpora from repositories in the form of the Hugging Face _hub, made from small folders."""

import shutil
import tarfile
import zipfile
from pathlib import Path

import datasets
import pytest
from datasets import Dataset
from official_trees import TREES, corpora

from bench.corpora.official import (
    _hub,
    audio_snips,
    fluent_speech_commands,
    librispeech,
    slurp,
    speech_commands,
    voxceleb1,
    voxceleb1_trials,
)
from bench.corpora.official._layout import HubRows
from bench.errors import InvalidDataError, MissingError, UsageError
from bench.registry import corpus_module
from bench.sound.manifests import read_table, read_trials


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """`datasets` reads the environment at import only, so its setting is replaced."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture(scope="module")
def trees(tmp_path_factory):
    """The official folder of a task, made once."""
    root = tmp_path_factory.mktemp("trees")

    def tree(task):
        folder = root / TREES[task].__name__
        if not folder.exists():
            TREES[task](folder)
        return folder

    return tree


def audio(path: Path, name: str = "") -> dict[str, object]:
    return {"bytes": path.read_bytes(), "path": name or path.name}


def librispeech_repository(tree, made):
    """As `openslr/librispeech_asr`: Parquet, configurations and splits declared in its card."""
    about = ["configs:"]
    for config in ("clean", "other"):
        about += [f"- config_name: {config}", "  data_files:"]
        for name, (own, split) in librispeech.CORPUS.layout.from_hub.splits.items():
            if own != config:
                continue
            rows = []
            for path in sorted((tree / "LibriSpeech" / name).rglob("*.trans.txt")):
                for line in path.read_text().splitlines():
                    identifier, _, text = line.partition(" ")
                    sound = audio(path.parent / f"{identifier}.flac")
                    rows.append({"id": identifier, "text": text, "audio": sound})
            file = f"{config}-{split}.parquet"
            Dataset.from_list(rows).to_parquet(str(made / file))
            about += [f"  - split: {split}", f"    path: {file}"]
    (made / "README.md").write_text("\n".join(["---", *about, "---", ""]))


def speech_commands_repository(tree, made):
    """As the hub exports `google/speech_commands`: CONFIGURATION/SPLIT/0000.parquet."""
    parts = {"train": [], "validation": [], "test": []}
    for path in sorted((tree / speech_commands.TRAIN_FOLDER).rglob("*.wav")):
        split = {"train": "train", "dev": "validation"}.get(speech_commands.split_of(path.name))
        if path.parent.name == speech_commands.NOISE_FOLDER:
            split = "validation" if path.stem == "running_tap" else "train"
        if split:  # what is left to testing is in no split
            parts[split].append(path)
    parts["test"] = sorted((tree / speech_commands.TEST_FOLDER).rglob("*.wav"))
    for split, paths in parts.items():
        rows = [{"file": f"{p.parent.name}/{p.name}", "audio": audio(p), "label": 0} for p in paths]
        folder = made / "v0.01" / split
        folder.mkdir(parents=True)
        Dataset.from_list(rows).to_parquet(str(folder / "0000.parquet"))


def fluent_repository(tree, made):
    """As `leo19941227/fluent_speech_commands`: the official archive."""
    with tarfile.open(made / "fluent.tar.gz", "w:gz") as packed:
        packed.add(tree / "fluent_speech_commands_dataset", "fluent_speech_commands_dataset")


def zipped(archive, folder, root, without=()):
    archive.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(archive, "w") as packed:
        for path in sorted(folder.rglob("*")):
            if path.name not in without:
                packed.write(path, path.relative_to(root))


def snips_repository(tree, made):
    """As `s3prl/SNIPS`: an archive, and the list of slots beside it."""
    zipped(made / "snips.zip", tree / "SNIPS", tree / "SNIPS", {"slots.txt"})
    shutil.copy(tree / "SNIPS/slots.txt", made)


def voxceleb_repository(tree, made):
    """As `ProgramComputer/voxceleb`: the two archives of waveforms."""
    for side in ("dev", "test"):
        root = tree / "VoxCeleb1" / side
        zipped(made / f"vox1/vox1_{side}_wav.zip", root, root)


CASES = {
    "asr": (librispeech, librispeech_repository),
    "ks": (speech_commands, speech_commands_repository),
    "ic": (fluent_speech_commands, fluent_repository),
    "slu": (audio_snips, snips_repository),
    "sid": (voxceleb1, voxceleb_repository),
    "asv": (voxceleb1_trials, voxceleb_repository),
}


def content(folder, table):
    items = [(i.id, i.key, i.start, i.num_samples, i.target) for i in read_table(folder, table)]
    return items, read_trials(folder, table)


@pytest.mark.parametrize("task", CASES)
def test_the_hub_gives_what_the_folder_gives(task, trees, tmp_path, monkeypatch):
    corpus, write = CASES[task]
    tree, made = trees(task), tmp_path / "repository"
    made.mkdir()
    write(tree, made)
    listed = []  # VoxCeleb1's lists come from its own page
    monkeypatch.setattr(
        _hub,
        "fetch",
        lambda item, data: listed.append(shutil.copy(tree / item.makes, data / item.makes)),
    )
    ours = corpus.prepare(tmp_path / "a", data=Path(f"hf:{made}"))
    official = corpus.prepare(tmp_path / "b", data=tree)
    for table in corpus.CORPUS.layout.sizes:
        found, expected = content(ours, table), content(official, table)
        assert found == expected and found[0]
    assert len(listed) == (task in ("sid", "asv"))
    shutil.rmtree(made)  # what is here stands in for a hub that does not answer
    assert corpus.prepare(tmp_path / "a", data=Path(f"hf:{made}")) == ours


def test_another_data_set_or_another_revision_is_downloaded(trees, tmp_path):
    """Two repositories with one kind of content, and then one of them changed."""
    small = tmp_path / "small"
    shutil.copytree(trees("ic"), small)
    path = small / "fluent_speech_commands_dataset/data/train_data.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:6]))
    counts = []
    for name, tree in (("a", trees("ic")), ("b", small), ("a", trees("ic")), ("a", small)):
        made = tmp_path / name
        made.mkdir(exist_ok=True)
        fluent_repository(tree, made)
        folder = fluent_speech_commands.prepare(tmp_path / "home", data=Path(f"hf:{made}"))
        counts.append(len(read_table(folder, "ic/train")))
    assert counts == [12, 5, 12, 5]


def test_two_tasks_on_one_corpus_share_what_was_downloaded(trees, tmp_path, monkeypatch):
    tree, made, unpacked = trees("sid"), tmp_path / "repository", []
    made.mkdir()
    voxceleb_repository(tree, made)
    monkeypatch.setattr(
        _hub, "fetch", lambda item, data: shutil.copy(tree / item.makes, data / item.makes)
    )
    real = _hub.unpack
    monkeypatch.setattr(_hub, "unpack", lambda *about: (unpacked.append(about[2]), real(*about)))
    for corpus in (voxceleb1, voxceleb1_trials):
        corpus.prepare(tmp_path / "a", data=Path(f"hf:{made}"))
    assert unpacked == ["vox1/vox1_dev_wav.zip", "vox1/vox1_test_wav.zip"]


def test_what_the_hub_has_not(tmp_path):
    data = Path(f"hf:{tmp_path / 'nothing'}")
    with pytest.raises(UsageError, match="SLURP cannot be made from the hub"):
        slurp.prepare(tmp_path / "a", data=data)
    with pytest.raises(MissingError, match="the hub does not give it"):
        speech_commands.prepare(tmp_path / "a", data=data)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(MissingError, match=r"no file fluent\.tar\.gz in it"):
        fluent_speech_commands.prepare(tmp_path / "a", data=data)
    with zipfile.ZipFile(tmp_path / "nothing/snips.zip", "w") as packed:
        packed.writestr("SNIPS/readme.txt", "")
    with pytest.raises(InvalidDataError, match=r"snips\.zip: holds no all\.iob\.snips\.txt"):
        audio_snips.prepare(tmp_path / "a", data=data)


@pytest.mark.parametrize("place", ["../../evil.wav", "a/b/c.wav", "yes/run.sh", "loose.wav"])
def test_a_row_writes_nowhere_else(place, tmp_path):
    rows = [{"file": place, "audio": {"bytes": b"x"}}]
    with pytest.raises(ValueError, match=r"WORD/FILE\.wav expected"):
        speech_commands.write_hub(tmp_path / "in", rows)
    assert not list(tmp_path.rglob("*.wav"))


def test_what_is_said_of_the_hub_is_so():
    for name in corpora():
        layout = corpus_module(name).CORPUS.layout
        assert (layout.hub is not None) == (layout.from_hub is not None or layout.title == "SLURP")
        if layout.from_hub is not None:
            assert f"--data hf:{layout.hub}" in layout.where
        if isinstance(layout.from_hub, HubRows):
            assert all(" " not in config for config, _ in layout.from_hub.splits.values())
