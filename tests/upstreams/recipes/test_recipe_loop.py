"""What recipes share: the stream, masks, schedule, checkpoints, log, export, the command."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from recipe_toys import MEL, first_batch, ingredients, stream
from safetensors.torch import load_file
from toys import write_tone

from bench.cli import main
from bench.errors import InvalidDataError, MissingError, UsageError
from bench.make.compress import Request, compress
from bench.make.recipe import RECIPES, recipe_card, recipe_names
from bench.registry import resolve
from bench.session import Session
from upstreams.house import split_state
from upstreams.recipes.training.loop import Run
from upstreams.recipes.training.masking import span_mask
from upstreams.recipes.training.objective import Objective, Product
from upstreams.recipes.training.runlog import RunLog
from upstreams.recipes.training.section import read_section
from upstreams.recipes.training.settings import Training
from upstreams.recipes.training.ship import ship
from upstreams.recipes.training.stream import Stream


class Line(Objective):
    """Fits the mean of the sound: a loss whose course is easy to know."""

    min_samples = 400

    def __init__(self, at: float = 1.0):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.full((2, 2), at))
        self.bias = torch.nn.Parameter(torch.zeros(2))
        self.begun: list[int] = []

    def begin(self, stage):
        self.begun.append(stage)

    def loss(self, batch, at):
        noise = torch.rand(2, generator=at.generator)
        value = ((self.weight @ noise + self.bias) ** 2).mean() * batch.wavs.abs().mean()
        return value, {"noise": float(noise[0])}

    def product(self):
        return Product({}, {"weight": self.weight.detach().clone()})


def make_run(folder, source, *, hours=0.004, objective=None, **training):
    objective = objective or Line()
    kept = []
    run = Run(
        objective,
        stream(source),
        [first_batch(source)],
        Training(hours=hours, log_steps=2, lr=0.1, **training),
        folder=folder,
        identity="this",
        seed=5,
        device=torch.device("cpu"),
        keep=lambda product, at: kept.append(at),
    )
    return run, objective, kept


@pytest.fixture
def source(tmp_path):
    return ingredients(tmp_path, {})


def test_an_epoch_has_every_clip_once_and_batches_fit(source):
    data = stream(source)
    plan = data.plan(0)
    parts = [part for batch in plan for part in batch]
    assert sorted(part.index for part in parts) == list(range(len(source.clips)))
    for batch in plan:
        assert len(batch) * max(part.num_samples for part in batch) <= 1.2 * 16_000
    assert plan == stream(source).plan(0)
    assert plan != data.plan(1)
    assert plan != stream(source, seed=1).plan(0)


def test_a_long_clip_is_cut_on_the_frame_grid(source):
    parts = [part for epoch in range(4) for batch in stream(source).plan(epoch) for part in batch]
    cut = [part for part in parts if source.clips[part.index].num_samples > 8_000]
    assert cut and all(part.start % 320 == 0 and part.num_samples == 7_680 for part in cut)
    assert len({(part.index, part.start) for part in cut}) > len({part.index for part in cut})
    batch = stream(source).load([cut[-1]])
    clip = source.clips[cut[-1].index]
    whole = source.read(clip, 0, clip.num_samples)
    assert torch.equal(batch.wavs[0], whole[cut[-1].start :][:7_680])


def test_lengths_are_on_a_grid_where_that_leaves_enough(source):
    for part in stream(source).plan(0)[0]:
        assert part.num_samples % 2_560 == 0
        assert part.start + part.num_samples <= source.clips[part.index].num_samples
    whole = Stream(
        source.clips, source.read, batch_s=2, max_s=1, min_samples=400, seed=0, whole=True
    )
    uncut = {part.index: part.num_samples for batch in whole.plan(0) for part in batch}
    assert uncut == {index: clip.num_samples for index, clip in enumerate(source.clips)}
    few = Stream(source.clips, source.read, batch_s=2, max_s=1, min_samples=3_000, seed=0)
    lengths = {part.num_samples for batch in few.plan(0) for part in batch}
    short = {clip.num_samples for clip in source.clips if clip.num_samples < 5_120}
    assert short and min(lengths) >= 3_000
    assert {length for length in lengths if length % 2_560} == short


def test_batches_go_on_where_they_stopped(source):
    def first(count, epoch, skip):
        found = stream(source).batches(epoch, skip)
        return [
            (place[:2], place[2].indices) for place, _ in zip(found, range(count), strict=False)
        ]

    every = first(8, 0, 0)
    (epoch, number), _ = every[4]
    assert first(3, epoch, number) == every[5:8]


def test_clips_that_are_too_short_are_named(source):
    with pytest.raises(InvalidDataError, match=r"u0-\d+.wav: \d+ samples; at least 20000"):
        Stream(source.clips, source.read, batch_s=2, max_s=1, min_samples=20_000, seed=0)
    with pytest.raises(UsageError, match="no clips"):
        Stream([], source.read, batch_s=2, max_s=1, min_samples=400, seed=0)
    with pytest.raises(UsageError, match="one clip must fit"):
        Stream(source.clips, source.read, batch_s=1, max_s=2, min_samples=400, seed=0)


def test_masks_have_the_share_that_spans_give():
    frames = torch.tensor([2_000] * 20 + [1_000])
    mask = span_mask(
        frames, 2_000, start_prob=0.08, span=6, generator=torch.Generator().manual_seed(0)
    )
    assert not mask[20, 1_000:].any()
    assert abs(mask[:20].float().mean().item() - (1 - 0.92**6)) < 0.01
    lonely = span_mask(
        torch.tensor([5, 9]), 9, start_prob=0.0, span=3, generator=torch.Generator().manual_seed(1)
    )
    assert lonely.any(dim=1).all() and not lonely[0, 5:].any()


def test_schedule():
    training = Training(warmup=0.1, decay=0.5)
    found = [round(training.factor(at), 6) for at in (0.0, 0.05, 0.1, 0.5, 0.75, 1.0)]
    assert found == [0.0, 0.5, 1.0, 1.0, 0.5, 0.0]


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ({"hour": 1}, "did you mean 'hours'"),
        ({"hours": "two"}, "'hours' must be float"),
        ({"hours": 0}, "above 0"),
        ({"warmup": 0.7, "decay": 0.6}, "shares of a stage"),
    ],
)
def test_training_that_does_not_hold(section, told):
    with pytest.raises(UsageError, match=told):
        read_section(Training, section, "training")


def test_killed_and_resumed_gives_the_same_weights(tmp_path, source):
    whole, expected, kept = make_run(tmp_path / "a", source, keep_hours=(0.002,))
    whole.run(lambda *_: None)
    assert kept == [0.002, 0.004]

    class Killed(BaseException):
        pass

    broken, _, _ = make_run(tmp_path / "b", source, save_s=0.0)

    def kill(_, __):
        if broken.place.step == 7:
            raise Killed

    with pytest.raises(Killed):
        broken.run(kill)
    again, found, _ = make_run(tmp_path / "b", source, save_s=0.0)
    again.run(lambda *_: None)
    assert again.place.step == whole.place.step > 8
    assert torch.equal(found.weight, expected.weight) and torch.equal(found.bias, expected.bias)
    lines = [
        [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        for name in ("a", "b")
    ]
    steps = [[line["step"] for line in log if "loss" in line] for log in lines]
    assert steps[0] == steps[1]
    done, untouched, _ = make_run(tmp_path / "b", source)
    done.run(lambda *_: None)
    assert torch.equal(untouched.weight, expected.weight)


def test_stages_begin_in_order_and_again_on_resume(tmp_path, source):
    objective = Line()
    objective.stages = (0.5, 0.5)
    run, _, _ = make_run(tmp_path / "a", source, objective=objective)
    run.run(lambda *_: None)
    assert objective.begun == [0, 1]
    rates = [
        json.loads(line)["lr"]
        for line in (tmp_path / "a" / "log.jsonl").read_text().splitlines()
        if "loss" in json.loads(line)
    ]
    half = len(rates) // 2
    assert max(rates[half:]) > min(rates[1 : half + 1])  # it starts anew


def test_a_checkpoint_of_another_run_is_refused(tmp_path, source):
    run, _, _ = make_run(tmp_path / "a", source)
    run.save()
    other, _, _ = make_run(tmp_path / "a", source)
    other.identity = "that"
    with pytest.raises(UsageError, match="another configuration or other data"):
        other.run(lambda *_: None)
    (tmp_path / "a" / "checkpoint.pt").write_bytes(b"PK\x03\x04")
    with pytest.raises(InvalidDataError, match="damaged"):
        other.run(lambda *_: None)


def test_a_loss_that_is_not_finite_stops_and_keeps_the_checkpoint(tmp_path, source):
    run, objective, _ = make_run(tmp_path / "a", source, objective=Line(1.0))

    def poison(_, __):
        if run.place.step == 2:
            run.save()
        if run.place.step == 3:
            with torch.no_grad():
                objective.weight.fill_(float("nan"))

    with pytest.raises(InvalidDataError, match=r"update 3: loss nan.*last checkpoint is kept"):
        run.run(poison)
    kept = torch.load(tmp_path / "a" / "checkpoint.pt", weights_only=True)
    assert kept["place"]["step"] == 2
    assert torch.isfinite(kept["objective"]["weight"]).all()


def test_the_log_has_means_over_the_updates_that_have_a_figure(tmp_path):
    log = RunLog(tmp_path)
    for figures in ({"loss": 1.0, "sparsity": 0.5}, {"loss": 3.0}, {"loss": 5.0}):
        log.add(figures)
    assert log.write(step=3, hours=0.1, lr=0.01, wall_s=2.0) == {"loss": 3.0, "sparsity": 0.5}
    log.add({"loss": 7.0})
    assert log.write(step=4, hours=0.1, lr=0.01, wall_s=2.0) == {"loss": 7.0}


def recipe_file(folder, **changes):
    encoder = {
        "extractor_mode": "mel",
        "conv_layers": [[40, 400, 320]],
        "mel_top_hz": 3800.0,
        "normalize_wav": True,
        "feature_norm": False,
        "embed_dim": 16,
        "heads": 2,
        "head_dim": 8,
        "ffn": 32,
        "num_layers": 2,
        "pos_conv_kernel": 8,
        "pos_conv_groups": 4,
        "pos_conv_gain": False,
        "layer_norm_first": True,
    }
    card = {
        "name": "tiny",
        "title": "Tiny",
        "family": "teacher",
        "make": "upstreams.recipes.pretraining.pretrain:make",
        "data": str(folder / "speech"),
        "config": {"encoder": encoder, "codebooks": ["mfcc:8"], "code_dim": 4},
        "training": {"hours": 0.004, "batch_s": 1.5, "max_s": 1.0, "held_out": 2},
    } | changes
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(card))
    (folder / "speech").mkdir(exist_ok=True)
    for index in range(8):
        write_tone(folder / "speech", f"t{index}", 200 + 150 * index, 9_600, index)
    return path


def test_the_command_trains_exports_and_is_done(tmp_path, capsys):
    path = recipe_file(tmp_path)
    out = tmp_path / "run"
    assert main(["compress", str(path), "--out", str(out)]) == 0
    card = yaml.safe_load((out / "tiny-s0.yaml").read_text())
    assert card["name"] == "tiny-s0" and "license" not in card  # the user's to say
    weights = load_file(out / "tiny-s0.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float16}
    assert main(["check", "--card", str(out / "tiny-s0.yaml")]) == 0
    before = (out / "tiny-s0.safetensors").read_bytes()
    assert main(["compress", str(path), "--out", str(out)]) == 0
    assert (out / "tiny-s0.safetensors").read_bytes() == before
    capsys.readouterr()
    assert main(["compress", str(path), "--out", str(out), "--seed", "1"]) == 2
    assert "another configuration" in capsys.readouterr().err


def test_a_dry_run_says_how_long_and_keeps_nothing(tmp_path, capsys):
    path = recipe_file(tmp_path)
    assert main(["compress", str(path), "--out", str(tmp_path / "run"), "--dry-run"]) == 0
    told = capsys.readouterr().err
    assert "h would take about" in told and "'embed_dim': 16" in told
    assert not list((tmp_path / "run").glob("checkpoint*"))
    assert not list((tmp_path / "run").glob("*.safetensors"))


def test_a_dry_run_of_less_than_two_batches_has_nothing_to_time(tmp_path, capsys):
    path = recipe_file(tmp_path)
    command = ["compress", str(path), "--out", str(tmp_path / "run"), "--dry-run"]
    assert main([*command, "--hours", "0.0001"]) == 2
    assert "0.0001 h are less than two batches" in capsys.readouterr().err


def test_too_little_memory_is_one_line(tmp_path, source):
    class Large(Line):
        def loss(self, batch, at):
            raise torch.OutOfMemoryError

    run, _, _ = make_run(tmp_path / "a", source, objective=Large(), batch_s=30.0)
    with pytest.raises(MissingError, match="not enough memory for batches of 30 s: lower"):
        run.run(lambda *_: None)


def test_a_folder_must_hold_sound_of_the_right_kind(tmp_path, capsys):
    import soundfile

    path = recipe_file(tmp_path)
    soundfile.write(tmp_path / "speech" / "cd.wav", np.zeros(44_100), 44_100)
    assert main(["compress", str(path), "--out", str(tmp_path / "run")]) == 4
    assert "cd.wav: expected 16000 Hz mono, found 44100 Hz" in capsys.readouterr().err
    (tmp_path / "speech" / "cd.wav").write_bytes(b"no sound")
    assert main(["compress", str(path), "--out", str(tmp_path / "run")]) == 4
    assert "not readable as sound" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in recipe_names() if name.startswith("hubert_")])
def test_recipes_for_hubert_base_run(tmp_path, name, capsys):
    recipe_file(tmp_path)
    command = ["compress", name, "--dry-run", "--teacher", "hubert_base+untrained"]
    command += ["--data", str(tmp_path / "speech"), "--out", str(tmp_path / "run")]
    assert main(command) == 0
    assert "would take about" in capsys.readouterr().err


def test_shipped_weights_are_found_beside_the_cards(tmp_path, monkeypatch):
    from bench.load.loader import load_upstream

    recipe = str(recipe_file(tmp_path))
    run = compress(Request(recipe, name="tiny", out=tmp_path / "tiny-s0"), tmp_path).parent
    for folder in ("cards", "weights", "recipes/logs"):
        (tmp_path / "upstreams" / folder).mkdir(parents=True)
    card, weights, log = ship(run, tmp_path / "upstreams")
    assert log.name == "tiny-s0.jsonl"
    monkeypatch.setattr("bench.registry.CARDS", card.parent)
    monkeypatch.setattr("bench.load.weights.SHIPPED", weights.parent)
    loaded = load_upstream("tiny")
    assert loaded.provenance == "house" and loaded.warning is None
    weights.write_bytes(b"not these")
    with pytest.raises(InvalidDataError, match="sha256"):
        load_upstream("tiny")
    weights.unlink()
    with pytest.raises(MissingError, match="complete checkout"):
        load_upstream("tiny", Session(strict=True))


def test_only_a_finished_run_of_one_small_card_is_shipped(tmp_path, monkeypatch):
    with pytest.raises(MissingError, match="the run has not ended"):
        ship(tmp_path)
    (tmp_path / "a.yaml").write_text("checkpoint: {}")
    (tmp_path / "a.safetensors").write_bytes(bytes(11))
    monkeypatch.setattr("upstreams.recipes.training.ship.MAX_BYTES", 10)
    with pytest.raises(UsageError, match="11 bytes, at most 10 are shipped"):
        ship(tmp_path)
    (tmp_path / "b.yaml").write_text("checkpoint: {}")
    with pytest.raises(UsageError, match=r"one card expected, found a\.yaml, b\.yaml"):
        ship(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["no_such_recipe"], "unknown recipe"),
        (["house_mel", "--name", "a/b"], "--name 'a/b'"),
        (["house_mel", "--seed", "1"], "'house_mel-s1' is an upstream of this project"),
        (["house_distil", "--teacher-card", "no.yaml"], "no.yaml: no such card"),
        (["house_mel", "--teacher", "ge2e"], "takes no teacher"),
        (["house_mel", "--data", "nowhere"], "no audio files"),
        (["house_mel", "--data", "gamez:x"], "unknown corpus"),
    ],
)
def test_bad_requests_are_one_line(arguments, told, capsys, tmp_path):
    assert main(["compress", *arguments, "--out", str(tmp_path / "run")]) in (2, 3)
    err = capsys.readouterr().err.strip().splitlines()
    assert told in err[-1] and "Traceback" not in "".join(err)


@pytest.mark.parametrize("name", recipe_names())
def test_recipes_hold(name):
    card = recipe_card(name)
    read_section(Training, card.training, "training")
    assert callable(resolve(card.make))
    assert (RECIPES / f"{name}.yaml").stat().st_size < 10_000


def test_half_precision_weights_come_back(tmp_path):
    from upstreams.encoder.state import random_state
    from upstreams.recipes.training.export import write_weights

    state = random_state(MEL, 0)
    product = Product({}, state, {"mask": torch.ones(16)})
    write_weights(product, tmp_path / "w.safetensors")
    found, extras = split_state(load_file(tmp_path / "w.safetensors"), MEL)
    assert torch.equal(extras["mask"], torch.ones(16))
    assert all(torch.allclose(found[key], state[key], atol=1e-3) for key in state)
    with pytest.raises(InvalidDataError, match="has shape"):
        split_state({**found, "norm.weight": torch.ones(3)}, MEL)
    with pytest.raises(InvalidDataError, match=r"lacks norm\.weight"):
        split_state({key: value for key, value in found.items() if key != "norm.weight"}, MEL)
    with pytest.raises(InvalidDataError, match="not a finite tensor"):
        split_state({**found, "norm.weight": torch.full((16,), np.nan)}, MEL)
    big = replace(product, extras={"mask": torch.full((16,), 1e6)})
    with pytest.raises(InvalidDataError, match="not finite in half precision"):
        write_weights(big, tmp_path / "v.safetensors")


def test_training_data_have_no_speaker_of_dev_or_test():
    """What the house family learns from may hold nobody who is tested on."""
    cards = [recipe_card(name) for name in recipe_names() if name.startswith("house_")]
    data = {card.data for card in cards if card.data}
    assert data == {"games:unlabelled/train"}  # which tests/corpora/test_corpus_games.py looks into
    tasks = {card.task for card in cards if card.task}
    assert tasks <= {"open/asr", "open/slu"}  # whose training tables have other speakers
