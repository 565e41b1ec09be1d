"""Tasks over a user's own data: from a folder to records, with every layout and every fault."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from own_data import QUICK, SPEAKERS, sound, write_csv, write_digits, write_jsonl
from toy_track import use_toy_upstream

from bench import cli
from bench.corpora.own.card import OwnTaskCard, place_of, remember
from bench.corpora.own.corpus import OwnCorpus
from bench.corpora.own.layouts import path_pattern
from bench.corpora.own.rows import RawRow, SoundFile, check_rows
from bench.corpora.own.sounds import read_part
from bench.corpora.own.tables import table_rows
from bench.corpora.package import corpus_folder
from bench.errors import InvalidDataError, MissingError, UsageError
from bench.records.record import read_record
from bench.registry import make_head, task_card
from bench.schema import read_card
from bench.sound.audio import read_wav, samples_digest
from bench.sound.manifests import read_table, read_trials


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """An empty folder to work in, and a home."""
    monkeypatch.setenv("SLIM_SUPERB_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def command(*words):
    """Run a command that must succeed."""
    assert cli.main([*map(str, words)]) == 0


def card(name, text, **keys):
    """Write a card, make its task known, and return its corpus."""
    lines = "".join(f"{key}: {json.dumps(value)}\n" for key, value in keys.items())
    Path(f"{name}.yaml").write_text(f"name: {name}\n{text}{lines}", encoding="utf-8")
    remember(Path(f"{name}.yaml"))
    return OwnCorpus(name)


FILES = 'task: ks\ndata: fsdd\nlayout: files\npattern: "{label}_{speaker}_*"\n'
BY_SPEAKER = {"by": "speaker", "seed": 0, "dev": 0.1, "test": 0.2}
BY_UTTERANCE = BY_SPEAKER | {"by": "utterance"}


def prepared(corpus):
    """The tables of a corpus, by split."""
    folder = corpus.prepare(Path("home"))
    return {split: read_table(folder, split) for split in ("train", "dev", "test")}


def test_free_spoken_digits_from_one_generated_card_each(monkeypatch, capsys):
    use_toy_upstream(monkeypatch)
    write_digits("recordings")
    for task in ("ks", "sid"):
        command("task", "init", "recordings", "--task", task, "--out", f"{task}.yaml")
        said = capsys.readouterr().out
        assert "36 utterances, 10.8 s: 36 of 8000 Hz mono" in said and "6 speakers" in said
        with Path(f"{task}.yaml").open("a") as file:
            file.write(QUICK)
        command("eval", "fbank", "--task-card", f"{task}.yaml", "-q")
    record = read_record(Path("runs/own/fbank/recordings-ks-s0.json"))
    assert (record.track, record.labels, record.score().n) == ("own", "user", 12)
    assert record.score().chance == pytest.approx(1 / 3)
    assert len({item.speaker for item in prepared(OwnCorpus("recordings-ks"))["test"]}) == 2
    targets = {item.target for item in prepared(OwnCorpus("recordings-sid"))["test"]}
    assert targets == set(SPEAKERS)
    capsys.readouterr()
    command("score", "runs/own/fbank/recordings-ks-s0.json")
    assert "computed again from the predictions: identical" in capsys.readouterr().out
    command("score-conditions", "runs/own/fbank/recordings-ks-s0.json", "--conditions", "gsm")
    command("layers", "fbank", "recordings-sid", "--track", "own")
    command("eval", "fbank", "recordings-ks", "--track", "own")
    assert "already done" in capsys.readouterr().err
    command("eval", "fbank", "recordings-ks", "--track", "own", "--limit", 8, "--plan")
    assert "8 utterances" in capsys.readouterr().out


def test_a_table_with_text_is_a_task_of_speech_recognition(monkeypatch, capsys):
    use_toy_upstream(monkeypatch)
    files = write_digits("audio")
    rows = [{"path": f"audio/{p.name}", "text": f"Number {d}!", "speaker": s} for p, d, s in files]
    write_csv("read.csv", rows)
    command("task", "init", "read.csv", "--out", "read.yaml", "--name", "read")
    head = "head_conf: {projection: 8, hidden: 8, layers: 1}\n"
    with Path("read.yaml").open("a") as file:
        file.write(QUICK + head)
    command("eval", "fbank", "--task-card", "read.yaml", "--plan")
    assert "utterances from manifests" in capsys.readouterr().out
    command("eval", "fbank", "--task-card", "read.yaml", "-q")
    record = read_record(Path("runs/own/fbank/read-s0.json"))
    assert [score.metric for score in record.scores] == ["cer", "wer"]
    assert {item.target for item in prepared(OwnCorpus("read"))["test"]} <= {
        f"NUMBER {digit}" for digit in range(3)
    }


def test_verification_draws_trials_of_unseen_speakers(monkeypatch):
    use_toy_upstream(monkeypatch)
    write_digits("fsdd", digits=4)
    corpus = card("who", FILES.replace("ks", "asv") + QUICK, splits=BY_SPEAKER, trials=9)
    tables = prepared(corpus)
    speakers = [{item.speaker for item in table} for table in tables.values()]
    assert [len(names) for names in speakers] == [2, 2, 2] and len(set.union(*speakers)) == 6
    trials = read_trials(corpus.folder(Path("home")), "test")
    assert [trial.label for trial in trials] == [1] * 9 + [0] * 9
    assert len(set(trials)) == 18
    command("eval", "fbank", "who", "--track", "own", "-q")
    assert read_record(Path("runs/own/fbank/who-s0.json")).score().metric == "eer"
    ids = [trial[1:] for trial in trials]
    lines = [f"{a} {b} {'target' if i < 9 else 'nontarget'}" for i, (a, b) in enumerate(ids)]
    Path("fsdd/trials.txt").write_text("\n".join([*lines, "1 nobody x", f"0 {' '.join(ids[0])}"]))
    given = card(
        "given", FILES.replace("ks", "asv"), splits=BY_SPEAKER, trials={"test": "trials.txt"}
    )
    with pytest.raises(InvalidDataError, match="2 bad rows"):
        given.prepare(Path("home"))
    bad = (given.folder(Path("home")) / "bad-rows.tsv").read_text().splitlines()
    assert bad == [
        "trials.txt:19\t'nobody' is no usable utterance of this split",
        "trials.txt:20\tlabel 0 contradicts the speakers",
    ]


def test_intents_of_several_fields_and_slots_in_the_text(monkeypatch):
    use_toy_upstream(monkeypatch)
    files = write_digits("audio")
    texts = ["set [time : five am]", "B-what lights E-what on", "<what>heat</what>, <who>Ann</who>"]
    rows = [
        {"file": f"audio/{p.name}", "action": "ab"[d % 2], "object": str(d), "sentence": texts[d],
         "speaker": s}
        for p, d, s in files
    ]  # fmt: skip
    write_jsonl("intents.jsonl", rows)
    intent = card(
        "act", "task: ic\ndata: intents.jsonl\nlayout: table\n" + QUICK,
        labels=["action", "object"], splits=BY_SPEAKER,
    )  # fmt: skip
    slots = card("slots", "task: slu\ndata: intents.jsonl\nlayout: table\n", splits=BY_SPEAKER)
    assert {item.target for item in prepared(intent)["test"]} == {"a|0", "b|1", "a|2"}
    targets = {item.target["text"]: item.target["slots"] for item in prepared(slots)["test"]}
    assert targets == {
        "SET FIVE AM": [["time", "FIVE AM"]],
        "LIGHTS ON": [["what", "LIGHTS"]],
        "HEAT ANN": [["what", "HEAT"], ["who", "ANN"]],
    }
    command("eval", "fbank", "act", "--track", "own", "-q")
    assert read_record(Path("runs/own/fbank/act-s0.json")).score().n == 12


def write_kaldi(folder, files, text):
    """One Kaldi data directory; utterance ids are `SPEAKER-DIGIT-TAKE`."""
    folder.mkdir(parents=True)
    ids = [f"{s}-{d}-{p.stem[-1]}" for p, d, s in files]
    lines = {
        "wav.scp": [f"{i} {p.resolve()}" for i, (p, _, _) in zip(ids, files, strict=True)],
        "text": [f"{i} {text}{d}" for i, (_, d, _) in zip(ids, files, strict=True)],
        "utt2spk": [f"{i} {s}" for i, (_, _, s) in zip(ids, files, strict=True)],
    }
    for name, rows in lines.items():
        (folder / name).write_text("\n".join(rows) + "\n")


def write_datasets(folder, files, *, parquet):
    """A data set of Hugging Face: saved by `datasets`, or Parquet files, with a class label."""
    import datasets

    digit = datasets.ClassLabel(names=["d0", "d1", "d2"])
    rows = [
        {"audio": {"bytes": p.read_bytes(), "path": p.name}, "digit": d, "speaker": s}
        for p, d, s in files
    ]
    split = {
        name: datasets.Dataset.from_list(rows[start::3])
        .cast_column("audio", datasets.Audio(decode=False))
        .cast_column("digit", digit)
        for start, name in enumerate(("train", "validation", "test"))
    }
    if parquet:
        for name, part in split.items():
            part.to_parquet(str(folder / f"{name}-00000-of-00001.parquet"))
    else:
        datasets.DatasetDict(split).save_to_disk(str(folder))


@pytest.mark.parametrize("layout", ["folders", "splits", "csv", "tsv", "kaldi", "saved", "parquet"])
def test_every_layout_is_recognised_and_read(layout, capsys):
    files = write_digits("audio")
    data, columns = Path("data"), []
    if layout == "folders":
        write_digits(data, name="d{d}/{s}_nohash_{t}.wav")
    elif layout == "splits":
        for name in ("train", "dev", "test"):
            write_digits(data / name, name="d{d}/{s} ünd {t}.wav")
    elif layout in ("csv", "tsv"):
        rows = [{"path": f"clips/{p.name}", "word": f"d{d}", "client_id": s} for p, d, s in files]
        Path("audio").rename("clips")
        data = Path(write_csv(f"data.{layout}", rows))
        if layout == "tsv":
            data.write_text(data.read_text().replace(",", "\t"))
    elif layout == "kaldi":
        for index, name in enumerate(("train", "dev", "test")):
            write_kaldi(data / name, files[index::3], "d")
    else:
        data.mkdir()
        write_datasets(data, files, parquet=layout == "parquet")
        columns = ["--column", "label=digit"]
    command("task", "init", data, "--task", "ks", "--out", "c.yaml", "--name", "c", *columns)
    command("data", "prepare", "--task-card", "c.yaml")
    command("data", "status", "--task-card", "c.yaml")
    assert "3 classes of" in capsys.readouterr().out
    tables = prepared(OwnCorpus("c"))
    assert {item.target for table in tables.values() for item in table} == {"d0", "d1", "d2"}
    count = 108 if layout == "splits" else 36
    assert sum(map(len, tables.values())) == count
    if layout != "splits":
        assert {item.speaker for table in tables.values() for item in table} == set(SPEAKERS)
    item = tables["test"][0]
    assert samples_digest(read_wav(item.path)) == item.key


def test_sound_of_any_kind_becomes_16_khz_mono(capsys):
    Path("in").mkdir()
    kinds = [("wav", 8_000, 1), ("wav", 44_100, 2), ("flac", 48_000, 1), ("ogg", 22_050, 1)]
    kinds += [("mp3", 16_000, 2), ("aiff", 16_000, 1), ("wav", 16_000, 1)]
    for digit in "ab":
        for take, (ending, rate, channels) in enumerate(kinds):
            wav = sound(1 + (digit == "b"), 1, take, rate=rate, channels=channels)
            soundfile.write(f"in/{digit} {take} é.{ending}", wav, rate)
    text = 'task: ks\ndata: in\nlayout: files\npattern: "{label} *"\n'
    corpus = card("kinds", text, splits=BY_UTTERANCE)
    items = [item for table in prepared(corpus).values() for item in table]
    assert len(items) == 14
    for item in items:
        wav, rate = soundfile.read(item.path)
        assert rate == 16_000 and wav.ndim == 1 and abs(wav.size - 4_800) < 1_300  # MP3 pads
    wav = sound(1, 1, rate=8_000, seconds=0.6)
    soundfile.write("gsm.wav", wav, 8_000, subtype="GSM610")  # not seekable
    whole, end = (read_part(Path("gsm.wav"), start, None)[0] for start in (0.0, 0.3))
    assert np.allclose(whole[4_900:9_500], end[100:4_700], atol=0.01)
    about = " ".join(corpus.about(Path("home")))
    assert "2 of 8000 Hz" in about and "8 resampled to 16000 Hz" in about
    assert "4 of several channels" in about
    plain = next(item for item in items if item.id == "a 6 é.wav")
    assert plain.key == samples_digest(soundfile.read("in/a 6 é.wav", dtype="float32")[0])


BAD = [
    ({"path": "nothere.wav"}, "no such sound file"),
    ({"text": " "}, "empty text"),
    ({"text": "?!"}, "no word in text"),
    ({"speaker": ""}, "no speaker"),
    ({"id": "u20"}, "id 'u20' twice, first in bad.csv:22"),
    ({"split": "later"}, "split 'later'"),
    ({"start": "x"}, "start 'x'"),
    ({"start": "0.2", "end": "0.1"}, "ends at 0.1 s, starts at 0.2 s"),
    ({"path": ""}, "no path"),
    ({"path": "text.wav"}, "not readable as sound"),
    ({"end": "9"}, "0 to 9.0 s of 0.30 s"),
    ({"end": "0.01"}, "at least 0.05 needed"),
]
NUM_LISTED = 9  # those that are seen without reading sound


def test_bad_rows_are_listed_and_refused_or_left_out_and_counted(capsys):
    files = write_digits("audio")
    Path("text.wav").write_text("hello")
    rows = [
        {"id": f"u{n}", "path": f"audio/{p.name}", "text": f"n {d}", "speaker": s, "start": "",
         "end": "", "split": ""}
        for n, (p, d, s) in enumerate(files)
    ]  # fmt: skip
    changed = [row | change for row, (change, _) in zip(rows[24:], BAD, strict=False)]
    write_csv("bad.csv", [*rows[:24], *changed, *rows[24 + len(BAD) :]])
    text = "task: asr\ndata: bad.csv\nlayout: table\n"
    corpus = card("bad", text, splits=BY_SPEAKER)
    with pytest.raises(InvalidDataError, match=f"{NUM_LISTED} bad rows, all listed in"):
        corpus.prepare(Path("home"))
    assert "bad row bad.csv:26: " in capsys.readouterr().err
    corpus = card("bad", text, splits=BY_SPEAKER, on_bad_row="leave_out")
    assert sum(map(len, prepared(corpus).values())) == len(rows) - len(BAD)
    assert corpus.left_out(Path("home")) == len(BAD)
    assert f"{len(BAD)} bad rows left out" in capsys.readouterr().err
    listed = (corpus.folder(Path("home")) / "bad-rows.tsv").read_text().splitlines()
    reasons = dict(line.split("\t") for line in listed)
    assert len(reasons) == len(BAD)
    for number, (_, what) in enumerate(BAD, start=26):
        assert what in reasons[f"bad.csv:{number}"]


HOSTILE = [
    ({"path": "a\0b.wav"}, "control character"),
    ({"text": "a\ud800b"}, "not UTF-8"),
    ({"id": "a\u2028b"}, "control character"),
    ({"speaker": "\x1b[2J"}, "control character"),
    ({"end": "1e308"}, "0 to 3600"),
    ({"text": "B-x " * 20_000}, "at most 5000"),
    ({"text": "[" + " " * 60_000}, "is no slot"),
    ({"text": "[ : x]"}, "empty"),
    ({"text": "B-a b " * 800}, "is no slot"),
]


@pytest.mark.parametrize(("change", "message"), HOSTILE)
def test_a_hostile_row_is_refused_at_once(change, message):
    fields = {"path": "a.wav", "text": "play [what : music]", "speaker": "s", "id": "u"} | change
    place = OwnTaskCard(name="x", task="slu", data=".", layout="table", splits=BY_SPEAKER)
    listing = check_rows([RawRow("t.csv:2", fields, SoundFile(Path("a.wav")))], place)
    assert message in listing.bad[0].what and len(listing.bad[0].what) < 200


def test_hostile_cards_and_tables_are_refused_in_one_line():
    for pattern in ("{1a}_{label}", "{label}{label}", "x"):
        with pytest.raises(UsageError, match="expected fields such as"):
            path_pattern(pattern)
    Path("wide.csv").write_text("path," + "x" * 200_000 + "\na,b\n")
    with pytest.raises(InvalidDataError, match="its first line is not readable"):
        list(table_rows(Path("wide.csv")))
    with pytest.raises(UsageError, match="'columns' is not for layout 'files'"):
        card("a", FILES, columns={"label": "x"})
    with pytest.raises(UsageError, match="no home folder of that user"):
        card("a", FILES.replace("fsdd", "~nobody-here/x")).listing()
    write_digits("fsdd")
    card("bad-head", FILES, splits=BY_SPEAKER, head_conf={"nope": 1})
    with pytest.raises(UsageError, match="task card bad-head: head_conf: got an unexpected"):
        make_head(task_card("bad-head", "own"), 8, 320, ["a", "b"])


def test_the_record_counts_rows_that_were_left_out(monkeypatch):
    use_toy_upstream(monkeypatch)
    write_digits("fsdd")
    Path("fsdd/0_broken.wav").write_bytes(b"")
    Path("fsdd/1_george_9.m4a").write_bytes(b"x")
    card("ks", FILES + QUICK, splits=BY_SPEAKER, on_bad_row="leave_out")
    command("eval", "fbank", "ks", "--track", "own", "--plan")  # leaves out what the run does
    command("eval", "fbank", "ks", "--track", "own", "-q")
    assert read_record(Path("runs/own/fbank/ks-s0.json")).inputs.left_out == 2


@pytest.mark.parametrize(
    ("digits", "speakers", "task", "splits", "message"),
    [
        (3, ("one",), "ks", BY_SPEAKER, "1 speaker.s., 3 needed"),
        (1, SPEAKERS, "ks", BY_SPEAKER, "one class"),
        (3, SPEAKERS, "ks", None, "no rows of train, dev, test"),
        (3, SPEAKERS[:5], "asv", BY_SPEAKER, "5 speaker.s., 6 needed"),
    ],
)
def test_data_that_are_too_few(digits, speakers, task, splits, message):
    write_digits("fsdd", digits=digits, speakers=speakers)
    keys = {} if splits is None else {"splits": splits}
    with pytest.raises(InvalidDataError, match=message):
        card("few", FILES.replace("ks", task), **keys).prepare(Path("home"))


def test_a_split_that_unknown_labels_empty_is_refused_with_a_reason():
    rows = [
        {"path": p.as_posix(), "speaker": s, "split": ("train", "dev", "test")[min(d, 2)]}
        for p, d, s in write_digits("fsdd", speakers=SPEAKERS[:2])
        if d or s == SPEAKERS[0]
    ]
    rows += [rows[0] | {"speaker": "other", "id": "other"}]
    rows = [row | {"speaker": "new"} if row["split"] == "dev" else row for row in rows]
    write_jsonl("given.jsonl", rows)
    with pytest.raises(InvalidDataError, match=r"no usable row of dev .*'new' is in dev and in no"):
        card("sid", "task: sid\ndata: given.jsonl\nlayout: table\n").prepare(Path("home"))


def test_a_class_with_one_file_is_trained_on():
    write_digits("fsdd", digits=2, speakers=("one",), takes=10)
    soundfile.write("fsdd/9_one_0.wav", sound(9, 0), 8_000)
    tables = prepared(card("one", FILES, splits=BY_UTTERANCE))
    assert "9" in {item.target for item in tables["train"]}
    assert [len(table) for table in tables.values()] == [15, 2, 4]


def test_splits_are_seeded_written_down_and_never_share_a_speaker():
    write_digits("fsdd")
    first = prepared(card("a", FILES, splits=BY_SPEAKER))
    lines = (OwnCorpus("a").folder(Path("home")) / "splits.tsv").read_text().splitlines()
    assert dict(line.split("\t") for line in lines) == {
        item.id: split for split, table in first.items() for item in table
    }
    speakers = [{item.speaker for item in table} for table in first.values()]
    assert sum(map(len, speakers)) == len(set.union(*speakers)) == 6
    again = prepared(card("b", FILES, splits=BY_SPEAKER))
    other = prepared(card("c", FILES, splits=BY_SPEAKER | {"seed": 1}))
    ids = [[item.id for item in tables["test"]] for tables in (first, again, other)]
    assert ids[0] == ids[1] != ids[2]
    assert task_card("c", "own").splits == BY_SPEAKER | {"seed": 1}


def test_missing_splits_are_made_of_train():
    files = write_digits("audio")
    rows = [
        {"path": f"audio/{p.name}", "label": d, "speaker": s, "split": "test" if s == "theo" else
         "train"}
        for p, d, s in files
    ]  # fmt: skip
    write_csv("t.csv", rows)
    tables = prepared(card("t", "task: ks\ndata: t.csv\nlayout: table\n", splits=BY_SPEAKER))
    assert {item.speaker for item in tables["test"]} == {"theo"}
    assert [len(table) for table in tables.values()] == [24, 6, 6]


def test_the_data_decide_the_run_and_not_their_place(monkeypatch, capsys):
    from bench.run.spec import RunSpec, read_tables

    def manifests():
        OwnCorpus("ks").prepare(Path("home"))
        tables = read_tables(task_card("ks", "own"), Path("home"), RunSpec("fbank", "ks", "own"))
        return {name: table.sha256 for name, table in tables.items()}

    write_digits("fsdd")
    card("ks", FILES, splits=BY_SPEAKER)
    before = manifests()
    Path("fsdd").rename("moved")
    with pytest.raises(MissingError, match="fsdd: no such folder"):
        manifests()
    card("ks", FILES.replace("fsdd", "moved"), splits=BY_SPEAKER)
    assert manifests() == before
    soundfile.write("moved/0_george_0.wav", sound(7, 0), 8_000)
    assert not OwnCorpus("ks").is_current(Path("home"))
    changed = manifests()
    assert changed != before and len(changed) == len(before)


def test_own_tasks_never_reach_the_board(monkeypatch, capsys):
    use_toy_upstream(monkeypatch)
    write_digits("fsdd")
    card("ks", FILES + QUICK, splits=BY_SPEAKER)
    command("eval", "fbank", "ks", "--track", "own", "-q")
    capsys.readouterr()
    assert cli.main(["submit", "fbank", "--track", "own"]) == 2
    assert "track 'own' is never on the board" in capsys.readouterr().err


def test_cards_are_checked_and_found_again():
    write_digits("fsdd")
    with pytest.raises(UsageError, match="'pattern' and layout 'files' go together"):
        card("a", "task: ks\ndata: fsdd\nlayout: files\n")
    with pytest.raises(UsageError, match="tells known speakers apart"):
        card("a", FILES.replace("ks", "sid"), splits=BY_SPEAKER)
    with pytest.raises(UsageError, match="did you mean 'layout'"):
        card("a", FILES.replace("layout", "layuot"))
    card("near", FILES)
    with pytest.raises(UsageError, match="did you mean 'near'"):
        task_card("neer", "own")
    Path("near.yaml").rename("far.yaml")
    with pytest.raises(MissingError, match="--task-card FILE"):
        place_of("near")
    Path("cards").mkdir()
    Path("far.yaml").rename("cards/far.yaml")
    assert remember(Path("cards")) == ["near"] and place_of("near").card.task == "ks"
    assert isinstance(read_card(Path("cards/far.yaml"), OwnTaskCard), OwnTaskCard)


def test_a_grid_takes_task_cards(monkeypatch, capsys):
    write_digits("fsdd")
    card("ks", FILES, splits=BY_SPEAKER)
    command("grid", "--upstreams", "fbank;house_whisper_distil", "--task-card", "ks.yaml", "--plan")
    assert "2 cells" in capsys.readouterr().out
    Path("grid.yaml").write_text(
        "upstreams: [fbank]\ntasks: [ks]\ntrack: own\ntask_cards: [ks.yaml]\n"
    )
    command("grid", "grid.yaml", "--plan")


@pytest.mark.parametrize(
    ("names", "task", "pattern"),
    [
        (["{d}_{s}_{t}"], "ks", "{label}_{speaker}_*"),
        (["{s}_{d}_{t}"], "ks", "{speaker}_{label}_*"),
        (["{s}/{d}_{s}_{t}"], "ks", "{speaker}/{label}_*"),
        (["yes{d}/a1b2c{k}d_nohash_{t}"], "ks", "{label}/{speaker}_nohash_*"),
        (["train/w{d}/{k}{t}", "test/w{d}/{k}{t}"], "ks", "{split}/{label}/*"),
        (["id1000{k}/v{d}x/0000{t}"], "sid", "{speaker}/*/*"),
        (["{d}-{t}"], "ks", "{label}-*"),
        (["u{d}{k}{t}"], "asr", "*"),
    ],
)
def test_the_parts_of_names_are_guessed(names, task, pattern):
    from bench.corpora.own.patterns import guess_pattern

    every = [
        name.format(d=d, s=s, t=t, k=k)
        for name in names for d in range(5) for k, s in enumerate(SPEAKERS) for t in range(3)
    ]  # fmt: skip
    assert guess_pattern(every, task)[0] == pattern


def test_the_cards_on_the_page_are_cards():
    text = (Path(__file__).parents[2] / "docs" / "own-data.md").read_text(encoding="utf-8")
    cards = [yaml.safe_load(part.split("```")[0]) for part in text.split("```yaml\n")[1:]]
    assert {OwnTaskCard.model_validate(card).layout for card in cards} == {
        "files", "table", "kaldi", "datasets",
    }  # fmt: skip
    missing = set(OwnTaskCard.model_fields) - {
        key for key in OwnTaskCard.model_fields if key in text
    }
    assert not missing


def test_the_same_sound_in_two_splits_is_said(capsys):
    write_digits("fsdd")
    Path("fsdd/0_theo_7.wav").write_bytes(Path("fsdd/0_george_0.wav").read_bytes())
    corpus = card("ks", FILES, splits=BY_SPEAKER)
    tables = prepared(corpus)
    splits = {item.id: name for name, table in tables.items() for item in table}
    assert splits["0_theo_7.wav"] != splits["0_george_0.wav"]
    line = "1 sound is in"
    assert f"ks: the same sound: {line}" in capsys.readouterr().err
    assert any(line in text for text in corpus.about(Path("home")))


def test_who_waited_for_another_preparation_makes_nothing(monkeypatch, capsys):
    write_digits("fsdd")
    corpus, lock = card("ks", FILES, splits=BY_SPEAKER), corpus_folder.alone

    def held_by_another(target):
        monkeypatch.setattr(corpus_folder, "alone", lock)
        corpus.prepare(Path("home"))
        return lock(target)

    monkeypatch.setattr(corpus_folder, "alone", held_by_another)
    corpus.prepare(Path("home"))
    assert capsys.readouterr().err.count("ks: prepared in") == 1


def test_speakers_of_the_test_that_also_train_are_counted():
    write_digits("fsdd", speakers=SPEAKERS[:3])
    for rule, is_said in ((BY_SPEAKER, False), (BY_UTTERANCE, True)):
        corpus = card("ks", FILES, splits=rule)
        prepared(corpus)
        assert ("in test are also in train" in " ".join(corpus.about(Path("home")))) is is_said


def test_a_table_without_the_target_leaves_the_files(capsys):
    files = write_digits("fsdd")
    rows = [{"path": p.name, "text": f"n {d}", "speaker": s} for p, d, s in files]
    write_csv("fsdd/read.csv", rows)
    command("task", "init", "fsdd", "--task", "ks", "--out", "ks.yaml")
    assert "tables in the folder are not used (task ks needs a label" in capsys.readouterr().out
    assert yaml.safe_load(Path("ks.yaml").read_text())["pattern"] == "{label}_{speaker}_*"
    command("task", "init", "fsdd", "--task", "asr", "--out", "asr.yaml")
    assert yaml.safe_load(Path("asr.yaml").read_text())["layout"] == "table"


def test_kaldi_segments_and_their_words_as_classes(capsys):
    """Parts of one recording a speaker; the table `text` is the target of `ks`."""
    for take, split in enumerate(("train", "dev", "test")):
        folder = Path("kaldi", split)
        folder.mkdir(parents=True)
        lines = {"wav.scp": [], "segments": [], "text": [], "utt2spk": []}
        for number, speaker in enumerate(SPEAKERS):
            whole = np.concatenate([sound(digit, number, take) for digit in range(3)])
            soundfile.write(folder / f"{speaker}.wav", whole, 8_000)
            lines["wav.scp"].append(f"{speaker} {speaker}.wav")
            for digit in range(3):
                name = f"{speaker}-{digit}"
                start_s = 0.3 * digit
                end = "-1" if digit == 2 else f"{start_s + 0.3:.2f}"
                lines["segments"].append(f"{name}-{split} {speaker} {start_s:.2f} {end}")
                lines["text"].append(f"{name}-{split} D{digit}")
                lines["utt2spk"].append(f"{name}-{split} {speaker}")
        for file, rows in lines.items():
            (folder / file).write_text("\n".join(rows) + "\n")
    command("task", "init", "kaldi", "--task", "ks", "--out", "c.yaml", "--name", "c")
    said = capsys.readouterr().out
    assert "54 utterances, 16.2 s" in said and "3 classes of 18" in said and "bad row" not in said
    remember(Path("c.yaml"))
    tables = prepared(OwnCorpus("c"))
    assert {item.target for item in tables["test"]} == {"D0", "D1", "D2"}
    assert {item.num_samples for item in tables["test"]} == {4_800}


def test_a_data_set_of_the_hub_out_of_reach_is_one_line_at_once(monkeypatch, capsys):
    asked = []

    def refuse(self, repository, *, repo_type, revision, timeout):
        asked.append((repository, repo_type, revision))
        raise OSError("Name or service not known")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.HfApi.repo_info", refuse)
    assert cli.main(["task", "init", "hf:org/words", "--task", "ks"]) == MissingError.exit_code
    (line,) = capsys.readouterr().err.splitlines()
    assert "hf:org/words: the data set cannot be reached (Name or service not known)" in line
    assert asked == [("org/words", "dataset", None)]


def test_a_package_offers_a_task(monkeypatch, tmp_path):
    write_digits("site/mywords/digits")
    text = FILES.replace("fsdd", "digits") + "splits: {by: speaker}\nname: mywords\n"
    Path("site/mywords/card.yaml").write_text(text)
    about = Path("site/mywords-1.dist-info")
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: mywords\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[slim_superb.tasks]\nmywords = mywords:card.yaml\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    assert task_card("mywords", "own").title.endswith("mywords")
    assert sum(map(len, prepared(OwnCorpus("mywords")).values())) == 36
