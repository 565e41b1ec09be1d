"""Official folders that are not as they should be, downloads, and plans without any folder."""

import hashlib
import http.server
import io
import shutil
import tarfile
import threading
from pathlib import Path

import pytest
import soundfile
import torch
from official_trees import TREES, Speech, corpora, lose_files

from bench.api import Utterance
from bench.cli import main
from bench.corpora.official import (
    _download,
    _manifest,
    audio_snips,
    librispeech,
    voxceleb1_trials,
)
from bench.corpora.official._layout import Archive, Size, content_of
from bench.errors import InvalidDataError, MissingError
from bench.metrics.metric import METRICS
from bench.registry import ROOT, corpus_module, resolve, task_card, task_names
from bench.run.plan import total_updates
from bench.run.spec import labels_of, prepare_corpora
from bench.session import Session
from bench.sound.manifests import read_table, read_trials
from bench.sound.sox import whole_sound
from downstreams.ctc import CtcBlstm, CtcOutput
from downstreams.speaker import XVector


def edit(path: Path, old: str, new: str) -> None:
    path.write_text(path.read_text().replace(old, new, 1))


def only_archives(data):
    shutil.rmtree(data / "LibriSpeech")
    (data / "train-clean-100.tar.gz").write_bytes(b"\x1f\x8b")


def emptied(data):
    for path in (data / "LibriSpeech").iterdir():
        shutil.rmtree(path)
    (data / "LibriSpeech" / "README.TXT").write_text("")


def resampled(data):
    path = next((data / "LibriSpeech/dev-clean").rglob("*.flac"))
    soundfile.write(path, Speech()(0.5), 8_000)


def truncated(data):
    path = next((data / "LibriSpeech/dev-clean").rglob("*.flac"))
    path.write_bytes(path.read_bytes()[:300])


def first(data, pattern):
    return min(data.rglob(pattern))


KS, FSC, VOX = "speech_commands_v0.01", "fluent_speech_commands_dataset", "VoxCeleb1"
# What is broken how, and what must be said of it.
WRONG = {
    "archives are not unpacked": ("asr", only_archives, ["train-clean-100.tar.gz", "not unpacked"]),
    "nothing in the folder": ("asr", emptied, ["found LibriSpeech with README.TXT", "openslr"]),
    "a split is missing": (
        "asr", lambda d: shutil.rmtree(d / "LibriSpeech/test-other"),
        ["test-other missing, found dev-clean, test-clean, train-clean-100", "data fetch"]),
    "a sound is missing": (
        "asr", lambda d: first(d, "*.flac").unlink(),
        ["transcript of its chapter names it", "(1 of 4"]),
    "a transcript is missing": ("asr", lambda d: first(d, "*.trans.txt").unlink(), ["transcript"]),
    "a transcript is another's": (
        "asr", lambda d: edit(first(d, "*.trans.txt"), "100-", "999-"), ["line 1", "UTTERANCE"]),
    "sound without words": (
        "asr", lambda d: shutil.copy(first(d, "*.flac"), first(d, "*.flac").with_name("x.flac")),
        ["has no line for x.flac"]),
    "another sampling rate": ("asr", resampled, ["expected 16000 Hz mono, found 8000 Hz"]),
    "truncated sound": ("asr", truncated, [".flac", "not readable|truncated|no samples|ample"]),
    "no test archive": (
        "ks", lambda d: shutil.rmtree(d / "speech_commands_test_set_v0.01"), ["test archive"]),
    "a word is missing": ("ks", lambda d: shutil.rmtree(d / KS / "stop"), ["'stop'"]),
    "version 0.02": ("ks", lambda d: (d / KS / "bed").rename(d / KS / "backward"), ["0.02"]),
    "no noises": ("ks", lambda d: shutil.rmtree(d / KS / "_background_noise_"), ["noise"]),
    "a class of the test archive": (
        "ks", lambda d: shutil.rmtree(d / "speech_commands_test_set_v0.01/_silence_"),
        ["_silence_", "12 folders"]),
    "a column is missing": (
        "ic", lambda d: edit(d / FSC / "data/train_data.csv", "location", "place"),
        ["lacks the column location"]),
    "a named file is missing": (
        "ic", lambda d: (d / FSC / "wavs/speakers/spk0/valid-0.wav").unlink(),
        ["valid_data.csv names it", "(1 of 4 files"]),
    "the list of splits is missing": (
        "sid", lambda d: (d / VOX / "iden_split.txt").unlink(), ["iden_split.txt", "robots.ox"]),
    "a malformed split": (
        "sid", lambda d: edit(d / VOX / "iden_split.txt", "1 id", "4 id"), ["line 1", "1|2|3"]),
    "compressed sound": (
        "sid", lambda d: [p.rename(p.with_suffix(".m4a")) for p in d.rglob("dev/wav/*/*/*.wav")],
        [".m4a", "waveform"]),
    "a file of the trials is missing": (
        "asv", lambda d: first(d / VOX / "test", "*.wav").unlink(), ["veri_test.txt names it"]),
    "a malformed trial": (
        "asv", lambda d: edit(d / VOX / "veri_test.txt", " ", "\t0 x "), ["line 1", "0|1 FILE FILE"]
    ),
    "slots are missing": ("slu", lambda d: (d / "SNIPS/slots.txt").unlink(), ["list of slots"]),
    "fewer slots than words": (
        "slu", lambda d: edit(d / "SNIPS/all.iob.snips.txt", "PLAY ", ""), ["words and", "line 1"]),
    "an unknown slot": (
        "slu", lambda d: edit(d / "SNIPS/slots.txt", "artist", "singer"), ["'artist' is not in"]),
    "a speaker is missing": (
        "slu", lambda d: [p.unlink() for p in d.rglob("Raveena-*.wav")], ["no recording of Raveena"]
    ),
    "a list that is not JSON": (
        "slurp", lambda d: edit(d / "slurp/dataset/slurp/devel.jsonl", "{", ""), ["line 1", "JSON"]
    ),
    "a recording is missing": (
        "slurp", lambda d: (d / "slurp/audio/slurp_real/audio-test0.flac").unlink(),
        ["test.jsonl names it"]),
}  # fmt: skip


@pytest.fixture(scope="module")
def trees(tmp_path_factory):
    """One whole tree a corpus, made once."""
    root = tmp_path_factory.mktemp("trees")
    for task in ("asr", "ks", "ic", "sid", "slu", "slurp"):
        TREES[task](root / task)
    shutil.copytree(root / "sid", root / "asv")
    return root


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_folder_is_named_precisely(what, trees, tmp_path, monkeypatch, capsys):
    task, breaks, said = WRONG[what]
    monkeypatch.setenv("SLIM_SUPERB_HOME", str(tmp_path / "home"))
    data = tmp_path / "data"
    shutil.copytree(trees / task, data)
    breaks(data)
    command = ["data", "prepare", "--track", "superb", "--task", task, "--data", str(data)]
    assert main(command) in (3, 4)
    out, err = capsys.readouterr()
    lines = [text for text in err.splitlines() if "slim-superb:" in text]
    line = (lines or out.splitlines()[1:])[0]  # of a part that can be prepared, after its size
    for words in said:
        assert any(word in line for word in words.split("|")), (words, line)


def test_data_that_is_no_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SLIM_SUPERB_HOME", str(tmp_path / "home"))
    packed = tmp_path / "corpora.tar.gz"
    packed.write_bytes(b"")
    command = ["data", "prepare", "--track", "superb", "--task", "asr"]
    assert main([*command, "--data", str(tmp_path / "none")]) == 3
    assert main([*command, "--data", str(packed)]) == 4
    assert main(command) == 3
    assert main(["data", "prepare", "--track", "quick", "--data", str(tmp_path)]) == 2
    plan = ["eval", "fbank", "asr", "--track", "superb", "--plan", "--data"]
    assert main([*plan, str(tmp_path / "none")]) == 3 and main([*plan, "hf:org/name"]) == 2
    said = capsys.readouterr().err
    assert "no such folder" in said and "unpack it first" in said and "--data DIR" in said
    assert "--data is for the official corpora of track superb" in said


def test_status_tells_of_every_task_whether_its_corpus_is_whole(trees, tmp_path, capsys):
    """Missing and incomplete corpora exit alike, and every task refuses both."""
    data = tmp_path / "data"
    for task in ("asr", "ks", "ic", "asv", "slu", "slurp"):
        for folder in (trees / task).iterdir():
            (data / folder.name).parent.mkdir(exist_ok=True)
            (data / folder.name).symlink_to(folder)
    command = ["data", "status", "--track", "superb", "--data"]
    for folder, state in ((data, "incomplete"), (tmp_path, "missing")):
        assert main([*command, str(folder)]) == 4
        said = capsys.readouterr().out
        rows = [line.split() for line in said.splitlines() if line.endswith(state)]
        assert {row[0] for row in rows} == set(task_names("superb"))
        assert "8 of 8 tasks refuse this folder" in said
        for name in corpora():
            layout = corpus_module(name).CORPUS.layout
            assert layout.title in said
            assert {row[3] for row in rows} >= {f"{s.utterances:,}" for s in layout.sizes.values()}
    assert "after a form" in said and "Hugging Face" in said and "zenodo" in said
    assert main([*command, str(tmp_path / "none")]) == 3
    assert main([*command, "hf:org/name"]) == 2


def test_status_of_what_is_not_prepared_and_of_a_part_exit_alike(trees, tmp_path, monkeypatch):
    monkeypatch.setenv("SLIM_SUPERB_HOME", str(tmp_path / "home"))
    status = ["data", "status", "--track", "superb", "--task", "asr"]
    assert main(status) == 4
    prepare = ["data", "prepare", "--track", "superb", "--task", "asr", "--data"]
    assert main([*prepare, str(trees / "asr")]) == main(status) == 4


@pytest.mark.parametrize("task", TREES)
def test_a_whole_folder_is_official(task, trees, tmp_path, monkeypatch, capsys):
    """Where the sizes are as published, and no file of the lists is missing."""
    monkeypatch.setenv("SLIM_SUPERB_HOME", str(tmp_path / "home"))
    folder, card = (
        trees / ("asv" if task == "asv_test_selected" else task),
        task_card(task, "superb"),
    )
    corpus = corpus_module(card.corpus).CORPUS
    tables = corpus.layout.read(corpus.layout.find(folder))
    sizes = {name: Size(utterances=len(part.clips), hours=1) for name, part in tables.items()}
    monkeypatch.setattr(corpus, "layout", corpus.layout.model_copy(update={"sizes": sizes}))
    command = ["data", "status", "--track", "superb", "--task", task, "--data", str(folder)]
    assert main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[-1] for line in lines[2:] if line.startswith(task)} == {"whole"}
    session = Session(home=tmp_path / "home", data=folder)
    prepare_corpora(card, session, partial=False)
    assert labels_of(card, session.home) == "official"


@pytest.mark.parametrize("task", TREES)
def test_an_incomplete_corpus_is_refused_before_its_sound_is_read(task, trees, tmp_path,
                                                                  monkeypatch, capsys):  # fmt: skip
    monkeypatch.setenv("SLIM_SUPERB_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(_manifest, "listen", None)
    folder = trees / ("asv" if task == "asv_test_selected" else task)
    command = ["eval", "fbank", task, "--track", "superb", "--out", str(tmp_path / "runs")]
    for plan in ([], ["--plan"]):
        assert main([*command, *plan, "--data", str(folder)]) == 4
        assert "utterances, the official corpus" in capsys.readouterr().err
    shutil.copytree(folder, tmp_path / "data")
    lose_files(task, tmp_path / "data")
    assert main([*command, "--data", str(tmp_path / "data")]) == 4
    (line,) = [text for text in capsys.readouterr().err.splitlines() if "slim-superb:" in text]
    assert any(words in line for words in ("is not there, though", "no recording", "no transcript"))
    assert "--limit N runs on the present part" in line
    assert not (tmp_path / "runs").exists() and not (tmp_path / "home/corpora").exists()


EMPTY = {  # of one table
    "asr": "*/dev-clean/*", "ks": "*_v0.01/[!_]*", "ic": "*/wavs/*/*/valid*", "asv": "*/dev",
    "sid": "*/*/wav/*/*/00003.wav", "slu": "*/valid/*.wav", "slurp": "*/audio/*/*test*-headset*",
}  # fmt: skip


@pytest.mark.parametrize("task", EMPTY)
def test_every_table_needs_a_file(task, trees, tmp_path):
    shutil.copytree(trees / task, tmp_path / "data")
    for path in (tmp_path / "data").glob(EMPTY[task]):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    layout = corpus_module(task_card(task, "superb").corpus).CORPUS.layout
    with pytest.raises((MissingError, InvalidDataError)):
        layout.read(layout.find(tmp_path / "data"))


def test_one_side_of_voxceleb_is_enough_to_try_identification(trees, tmp_path):
    shutil.copytree(trees / "sid", tmp_path / "data")
    shutil.rmtree(tmp_path / "data/VoxCeleb1/dev")
    layout = corpus_module("voxceleb1").CORPUS.layout
    tables = layout.read(layout.find(tmp_path / "data"))
    assert {name: len(part.clips) for name, part in tables.items()} == {
        "sid/train": 9, "sid/dev": 3, "sid/test": 6}  # fmt: skip
    assert (
        "dev/wav/id10001/vid0/00000.wav is not there" in layout.differences(content_of(tables))[0]
    )


def test_a_recording_with_two_sentences_is_two_utterances(trees):
    layout = corpus_module("slurp").CORPUS.layout
    clips = layout.read(layout.find(trees / "slurp"))["intent/train"].clips
    assert len({clip.id for clip in clips}) == len(clips) == 13
    first, second = (clip for clip in clips if "audio-train1-headset" in clip.id)
    assert (first.path, first.sound) == (second.path, second.sound)
    assert (first.target, second.target) == ("weather_query", "weather_remove")


def test_a_failed_preparation_leaves_the_good_one(trees, tmp_path):
    home, wrong = tmp_path / "home", tmp_path / "wrong"
    librispeech.prepare(home, data=trees / "asr")
    good = read_table(librispeech.prepare(home), "asr/train")
    for spoil, error in ((resampled, InvalidDataError), (emptied, MissingError)):
        shutil.copytree(trees / "asr", wrong)
        spoil(wrong)
        with pytest.raises(error):
            librispeech.prepare(home, data=wrong)
        shutil.rmtree(wrong)
        folder = librispeech.prepare(home)
        assert read_table(folder, "asr/train") == good and not librispeech.validate(folder)


def spoken(head, targets):
    """What a head says whose outputs are its targets: greedy paths, classes, or one vector each."""
    encoded = head.encode(targets)
    if isinstance(head, CtcBlstm):
        texts = []
        for tokens in encoded:
            path = torch.stack([tokens, torch.zeros_like(tokens)], dim=1).flatten()
            output = torch.nn.functional.one_hot(path, len(head.vocabulary)).float()[None]
            texts += head.predict(CtcOutput(output, torch.tensor([len(path)])))
        return texts
    if isinstance(head, XVector):
        return torch.eye(100)[encoded].tolist()
    sizes = [len(slot) for slot in getattr(head, "slots", [head.labels])]
    columns = encoded.reshape(len(targets), -1).T
    pairs = zip(columns, sizes, strict=True)
    return head.predict(torch.cat([torch.nn.functional.one_hot(c, n) for c, n in pairs], 1).float())


@pytest.mark.parametrize("task", TREES)
def test_an_oracle_makes_no_error(task, trees):
    """Targets go through the head's own encoding, decoding and every metric of the task."""
    card = task_card(task, "superb")
    layout = corpus_module(card.corpus).CORPUS.layout
    parts = layout.read(layout.find(trees / ("asv" if task == "asv_test_selected" else task)))
    sizes = {name: 4 for name in card.head_conf if name in ("projection", "hidden", "width")}
    targets = [clip.target for table in card.tables.values() for clip in parts[table].clips]
    head = resolve(card.head)(6, 320, targets, **(card.head_conf | sizes))
    for split in ("dev", *card.conditions):
        part = parts[card.tables[split]]
        items = [Utterance(c.id, None, 0, 1, c.target, c.speaker, "", "") for c in part.clips]
        said = spoken(head, [item.target for item in items])
        by_id = {item.id: one for item, one in zip(items, said, strict=True)}
        for name in (*card.metrics, card.selects_by):
            best = 1.0 if METRICS[name].higher_is_better else 0.0
            assert METRICS[name].score(by_id, items, part.trials).value == pytest.approx(best), name


def windows_ends(path: Path) -> None:
    """Write a text file again as editors do: byte-order mark, CRLF, blank lines at the end."""
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n") + b"\r\n\r\n")


@pytest.mark.parametrize("task", ["asr", "ks", "ic", "sid", "asv", "slu", "slurp"])
def test_what_computers_add_changes_nothing(task, trees, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(trees / task, data)
    (name,) = task_card(task, "superb").corpora
    layout = corpus_module(name).CORPUS.layout
    before = layout.read(layout.find(data))
    for path in list(data.rglob("*")):
        if path.suffix in (".txt", ".csv", ".jsonl"):
            windows_ends(path)
        if path.is_file():
            path.with_name(f"._{path.name}").write_bytes(b"\x00\x05\x16\x07")
        else:
            (path / ".DS_Store").write_bytes(b"")
            (path / "@eaDir").mkdir()
    assert layout.read(layout.find(data)) == before


@pytest.mark.parametrize("task", ["sid", "asv"])
def test_voxceleb_with_both_archives_in_one_folder(task, trees, tmp_path):
    shutil.copytree(trees / task, tmp_path / "data")
    root = tmp_path / "data" / VOX
    (name,) = task_card(task, "superb").corpora
    layout = corpus_module(name).CORPUS.layout
    apart = layout.read(root)
    shutil.copytree(root / "dev/wav", root / "wav")
    shutil.copytree(root / "test/wav", root / "wav", dirs_exist_ok=True)
    for side in ("dev", "test"):
        shutil.rmtree(root / side)
    together = layout.read(layout.find(tmp_path / "data"))
    for table, part in apart.items():
        assert together[table].trials == part.trials
        files = [(clip.id, f"wav/{clip.path.split('/wav/')[1]}") for clip in part.clips]
        assert [(clip.id, clip.path) for clip in together[table].clips] == files


def test_preparation_reads_every_sound_once(trees, tmp_path, monkeypatch):
    home, read = tmp_path / "home", []
    real = _manifest.listen
    monkeypatch.setattr(
        _manifest, "listen", lambda root, clip: (read.append(clip.path), real(root, clip))[1]
    )
    data = tmp_path / "data"
    shutil.copytree(trees / "asr", data)
    librispeech.prepare(home, data=data)
    assert len(read) == 22
    folder = librispeech.prepare(home)
    before = read_table(folder, "asr/train")
    assert len(before) == 12 and before[0].target == "THE CAT'S MAT NUMBER A"
    assert {len(item.key) for item in before} == {64}
    assert librispeech.validate(folder) == []
    changed = next((data / "LibriSpeech/train-clean-100").rglob("*.flac"))
    soundfile.write(changed, Speech()(0.7), 16_000)
    assert len(librispeech.validate(folder)) == 1
    read.clear()
    librispeech.prepare(home, data=data)  # its size is not the official one: looked at again
    assert [Path(path).name for path in read] == [changed.name]


def test_verification_holds_dev_utterances_out_of_training(trees, tmp_path):
    folder = voxceleb1_trials.prepare(tmp_path, data=trees / "asv")
    tables = {name: read_table(folder, f"asv/{name}") for name in ("train", "train-all", "dev")}
    ids = {name: {item.id for item in items} for name, items in tables.items()}
    assert not ids["train"] & ids["dev"] and ids["train"] | ids["dev"] == ids["train-all"]
    speakers = {name: {item.speaker for item in items} for name, items in tables.items()}
    assert speakers["train"] == speakers["train-all"] >= speakers["dev"]
    trials = read_trials(folder, "asv/dev")
    assert sum(trial.label for trial in trials) * 2 == len(trials) > 0
    known = {item.id: item.speaker for item in tables["dev"]}
    assert all((known[t.enrolment] == known[t.test]) == t.label for t in trials)
    for item in tables["train"][:3]:
        assert whole_sound(item).size == item.num_samples > 32_000


class Server(http.server.SimpleHTTPRequestHandler):
    """Files of a folder, with ranges, breaking off the first answer when told to."""

    breaks_at = 0

    def do_GET(self):
        content = (Path(self.directory) / self.path.lstrip("/")).read_bytes()
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        if start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        end = Server.breaks_at or len(content)
        Server.breaks_at = 0
        self.wfile.write(content[start:end])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "server"
    folder.mkdir()
    with tarfile.open(folder / "words.tar.gz", "w:gz") as packed:
        content = bytes(range(256)) * 400
        info = tarfile.TarInfo("words/a.bin")
        info.size = len(content)
        packed.addfile(info, io.BytesIO(content))
    handler = lambda *a, **k: Server(*a, directory=str(folder), **k)  # noqa: E731
    served = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=served.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{served.server_port}", folder
    served.shutdown()


def test_a_download_goes_on_where_it_broke_off_and_is_checked(server, tmp_path):
    url, folder = server
    digest = hashlib.sha256((folder / "words.tar.gz").read_bytes()).hexdigest()
    archive = Archive(url=f"{url}/words.tar.gz", makes="words", sha256=digest)
    data = tmp_path / "data"
    Server.breaks_at = 200
    with pytest.raises(MissingError, match="run it again"):
        _download.fetch(archive, data)
    assert (data / "words.tar.gz.part").stat().st_size == 200
    assert "checked" in _download.fetch(archive, data)
    assert (data / "words/a.bin").stat().st_size == 102_400
    assert not list(data.glob("*.part"))
    assert "exists already" in _download.fetch(archive, data)
    wrong = Archive(url=f"{url}/words.tar.gz", makes="other", sha256="0" * 64)
    with pytest.raises(InvalidDataError, match=f"{digest} found"):
        _download.fetch(wrong, data)
    with pytest.raises(MissingError, match="cannot be downloaded"):
        _download.fetch(Archive(url="http://127.0.0.1:9/none.zip", makes="none"), data)


def test_what_was_not_unpacked_to_the_end_is_unpacked_again(server, tmp_path, monkeypatch):
    """A folder of the archive's own name, as Speech Commands has, may be half full."""
    url, _ = server
    archive = Archive(url=f"{url}/words.tar.gz", makes="own", folder="own")
    Server.breaks_at = 200
    with pytest.raises(MissingError, match="run it again"):
        _download.fetch(archive, tmp_path)
    assert not (tmp_path / "own").exists()
    real = _download.unpack

    def killed(path, folder, name):
        (folder / "words").mkdir()
        raise KeyboardInterrupt

    monkeypatch.setattr(_download, "unpack", killed)
    with pytest.raises(KeyboardInterrupt):
        _download.fetch(archive, tmp_path)
    monkeypatch.setattr(_download, "unpack", real)
    assert "downloaded" in _download.fetch(archive, tmp_path)
    assert (tmp_path / "own/words/a.bin").stat().st_size == 102_400
    assert "exists already" in _download.fetch(archive, tmp_path)


def test_a_hostile_archive_stays_in_its_folder(tmp_path):
    packed = tmp_path / "evil.tar.gz"
    with tarfile.open(packed, "w:gz") as file:
        info = tarfile.TarInfo("../outside.txt")
        info.size = 1
        file.addfile(info, io.BytesIO(b"x"))
    with pytest.raises(InvalidDataError, match="cannot be unpacked"):
        _download.unpack(packed, tmp_path / "in", "evil.tar.gz")
    assert not (tmp_path / "outside.txt").exists()


@pytest.mark.parametrize(("task", "train", "hours"), [("ks", "51,688", "14.4"),
                                                      ("ic", "23,132", "14.7")])  # fmt: skip
def test_a_plan_needs_no_corpus(task, train, hours, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SLIM_SUPERB_HOME", str(tmp_path / "home"))
    assert main(["eval", "fbank", task, "--track", "superb", "--plan"]) == 0
    said = capsys.readouterr().out
    assert f"train: {train} utterances, {hours} h" in said and "published sizes" in said
    assert "200,000 at the best" in said and "GB of new features" in said
    assert "228,000 updates" in said  # seven rates for a fiftieth each, one in full
    assert not (tmp_path / "home").exists()


def test_sizes_of_every_table_are_known():
    for name in task_names("superb"):
        card = task_card(name, "superb")
        for split in card.tables:
            for corpus, table in card.parts(split):
                size = corpus_module(corpus).CORPUS.layout.sizes[table]
                assert size.utterances > 1_000 and size.hours > 0.5
    assert total_updates(task_card("asr", "superb").recipe, 3, 1) == 212_000
    assert total_updates(task_card("asv", "superb").recipe, 1, 1) == 200_000


def test_the_page_has_the_sizes_that_the_reader_demands():
    page = (ROOT / "docs" / "superb.md").read_text(encoding="utf-8")
    for name in task_names("superb"):
        card = task_card(name, "superb")
        layout = corpus_module(card.corpus).CORPUS.layout
        tables = dict.fromkeys(card.tables.values())
        sizes = " / ".join(f"{layout.sizes[table].utterances:,}" for table in tables)
        cells = [f"`{name}`", layout.title, sizes, layout.sizes_from,
                 layout.tried, "refused"]  # fmt: skip
        assert f"| {' | '.join(cells)} |" in page


@pytest.mark.parametrize(
    ("name", "estimate"),
    [
        ("audio_snips", lambda size: 3 * size / 3_600),
        ("speech_commands", lambda size: size / 3_600),
        ("slurp", lambda size: 58 * size / (50_628 + 8_690 + 6_281 + 6_797)),
        ("voxceleb1", lambda size: 352 * size / 153_516),
    ],
)
def test_hours_that_nobody_published_are_marked_and_computed(name, estimate):
    layout = corpus_module(name).CORPUS.layout
    assert layout.hours_from.startswith("estimated")
    if name == "audio_snips":  # sentences times speakers
        for table, speakers in audio_snips.SPEAKERS.items():
            sentences = {"slu/train": 13_084}.get(table, 700)
            assert layout.sizes[table].utterances == sentences * len(speakers)
    for size in layout.sizes.values():
        assert size.hours == pytest.approx(estimate(size.utterances), abs=0.05)


def test_published_rates_by_name(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SLIM_SUPERB_HOME", str(tmp_path / "home"))
    command = ["eval", "lighthubert_small@min+untrained", "--track", "superb", "--plan"]
    assert main([*command[:2], "ks", *command[2:], "--lr", "published"]) == 0
    assert "200,000 updates at 0.0001" in capsys.readouterr().out
    assert main(["eval", "fbank", "sid", "--track", "superb", "--lr", "published"]) == 2
    assert "no rate is published for fbank" in capsys.readouterr().err
    assert main(["eval", "fbank", "sid", "--track", "superb", "--lr", "fast"]) == 2
