"""Every card at its full size, without memory: parameters and MACs beside the published figures."""

import csv
import importlib
import pkgutil
from fractions import Fraction
from pathlib import Path

import pytest
import torch

import upstreams.importers
from bench.api import UpstreamSource
from bench.cli import _parser
from bench.load.catalog import upstream_card, upstream_names
from bench.load.files import SHIPPED, find_checkpoint
from bench.make.recipe import recipe_names
from bench.measure.claims import claim_problem
from bench.measure.cost import SLT2022_BUCKETS, num_params, standard_macs
from bench.measure.macs import count
from bench.registry import ROOT, resolve
from upstreams.encoder.state import shapes

# Parameters that are published to the last digit, or follow from what is (methods of the authors).
EXACT = {
    "hubert_base": 94_371_712,
    "wav2vec2_base": 94_371_712,
    "hubert_large": 315_434_112 + 1_024,  # torchaudio's, and the mask embedding
    "wav2vec2_large": 315_437_696 + 1_024,
    "wavlm_base": 94_381_936,
    "wavlm_base_plus": 94_381_936,
    "wavlm_large": 315_452_096 + 1_024,
    "distilhubert": 23_491_200,
    "distilhubert_heads": 27_034_752,
    "lighthubert_small": 26_879_744,
    "lighthubert_base": 66_897_664,
    "lighthubert_stage1": 94_377_728,
    "fithubert": 22_492_064,
    "armhubert": 26_447_968,
    "armhubert_s": 22_393_648,
    "armwavlm_s": 22_393_648,
    "maskhubert": 26_635_360,
    "starhubert": 22_308_592,
    "starhubert_l": 26_626_672,
    "rd_hubert": 23_491_200,
    "melhubert_20ms": 89_837_696,
    "melhubert_10ms": 89_806_976,
}
SHAPE_IN_FILE = ("dphubert", "dpwavlm")
PAGE = Path(__file__).parents[2] / "docs/upstreams.md"
BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"
HEAD = ["card", "parameters, reported", "measured", "G MACs, reported"]
HEAD += ["`superb_slt2022`", "`plain`", "where they differ"]
with (ROOT / "upstreams" / "costs.csv").open(encoding="utf-8") as file:
    COSTS = {line["upstream"]: int(line["params"]) for line in csv.DictReader(file)}
BUFFERS = ("mfcc_units", "random_features")  # weights that are no parameters count too
CARDS = [name for name in upstream_names() if name not in SHAPE_IN_FILE]


def on_meta(config, seed):
    """What `random_state` gives, as shapes alone."""
    return {name: torch.empty(shape, device="meta") for name, shape in shapes(config).items()}


@pytest.fixture
def loaded(monkeypatch):
    """Load a card's module on the meta device, where its importer draws a random state."""
    for found in pkgutil.iter_modules(upstreams.importers.__path__):
        module = importlib.import_module(f"upstreams.importers.{found.name}")
        if hasattr(module, "random_state"):
            monkeypatch.setattr(module, "random_state", on_meta)

    def load(card):
        return resolve(card.load)(UpstreamSource(card.config, tap=card.tap))

    return load


@pytest.mark.parametrize("name", CARDS)
def test_parameters(name, loaded):
    """To the digits that are reported, or the card says what was counted besides."""
    card = upstream_card(name)
    params = num_params(loaded(card))
    if name in EXACT:
        assert params == EXACT[name]
    assert COSTS[name] == params or name in BUFFERS
    assert claim_problem(card, "params", params) == ""


LENGTHS = [length for bucket in SLT2022_BUCKETS.values() for length in bucket]


def front_end_macs(upstream, num_samples):
    """kernel * inputs * outputs * frames, over the convolutions."""
    total, inputs, frames = 0, 1, num_samples
    for channels, kernel, stride in upstream.config.conv_layers:
        frames = (frames - kernel) // stride + 1
        total += kernel * inputs * channels * frames
        inputs = channels
    return total


def arm_macs(*, cropped=False, positional=1, projections=12):
    """ARMHuBERT-S over the 32 utterances by hand: 12 layers, every second takes the map below.

    Args:
        cropped: an odd number of frames loses one.
        positional: frames that the positional convolution gives beyond its input's.
        projections: onto the teacher's width.
    """
    width, ffn, teacher, total = 432, 816, 768, 0
    stem = [(128, 10, 5), (256, 1, 1), *((256, 3, 2),) * 4, (432, 1, 1), *((432, 2, 2),) * 2]
    for frames in LENGTHS:
        inputs = 1
        for channels, kernel, stride in stem:
            frames = (frames - kernel) // stride + 1
            total += kernel * inputs * channels * frames
            inputs = channels
        frames -= frames % 2 if cropped else 0
        total += 128 * width * width // 16 * (frames + positional)
        total += 6 * (4 + 2) * width**2 * frames + 12 * 2 * width * ffn * frames
        total += 6 * (2 + 1) * width * frames**2 + projections * width * teacher * frames
    return total


def test_no_reading_of_armhubert_s_gives_the_reported_figure():
    """449.4 G in the table of the STaR paper; 449.94 counted (`differs` of the card)."""
    assert arm_macs() == 449_944_628_832
    others = [arm_macs(cropped=True), arm_macs(positional=0), arm_macs(projections=11)]
    assert [f"{macs / 1e9:.2f}" for macs in others] == ["449.60", "449.90", "446.22"]
    assert all(f"{macs / 1e9:.1f}" != "449.4" for macs in (arm_macs(), *others))


COUNTED = {}  # by shape: several cards have the same


def count_once(upstream, length):
    key = (repr(upstream.config), length)
    if key not in COUNTED:
        COUNTED[key] = count(upstream, length)
    return COUNTED[key]


def total_macs(upstream, rule):
    """Over the 32 utterances, exactly, from four counts instead of 32.

    Behind the front end all is c + a n + b n^2 in the number of frames n: three counts give it, the
    fourth proves it. (For HuBERT Base all 32 are counted, in test_cost.py.)
    """
    points = {}
    for length in (LENGTHS[0], LENGTHS[9], LENGTHS[18], LENGTHS[-1]):
        rest = count_once(upstream, length).macs(rule) - front_end_macs(upstream, length)
        points[upstream.num_frames(length)] = rest
    (x0, y0), (x1, y1), (x2, y2), (x3, y3) = ((x, Fraction(y)) for x, y in points.items())

    def rest(x):
        return (
            y0 * (x - x1) * (x - x2) / ((x0 - x1) * (x0 - x2))
            + y1 * (x - x0) * (x - x2) / ((x1 - x0) * (x1 - x2))
            + y2 * (x - x0) * (x - x1) / ((x2 - x0) * (x2 - x1))
        )

    assert rest(x3) == y3
    return int(
        sum(front_end_macs(upstream, size) + rest(upstream.num_frames(size)) for size in LENGTHS)
    )


def lighthubert_small_as_published(upstream):
    """860.7 G: attention written out (no terms), even lengths, the prediction head of 384 to 768.

    A frame more costs its share of 12 layers (4 d^2 + 2 d f), 2 d (2n + 1) in attention, and d 768.
    """
    total = total_macs(upstream, "plain")
    layers, width, ffn, head = 12, 384, 1_536, 768
    for length in LENGTHS:
        frames = upstream.num_frames(length)
        odd = frames % 2
        total += odd * layers * (4 * width**2 + 2 * width * ffn + 2 * width * (2 * frames + 1))
        total += (frames + odd) * width * head
    return total


def test_what_lighthubert_small_published_is_explained(loaded):
    card = upstream_card("lighthubert_small")
    published = lighthubert_small_as_published(loaded(card))
    assert f"{published:.3e}" == f"{card.reported['macs_superb']:.3e}"


def macs_in_both_rules(upstream):
    """Plain and superb_slt2022, over the 32 utterances."""
    if not hasattr(upstream, "config"):
        return tuple(item.total for item in standard_macs(upstream))
    return total_macs(upstream, "plain"), total_macs(upstream, "superb_slt2022")


@pytest.mark.parametrize(
    "name", [name for name in CARDS if "macs_superb" in upstream_card(name).reported]
)
def test_macs_beside_the_published_figure(name, loaded):
    """To four digits in the rule that the card names, or the card says why not."""
    card = upstream_card(name)
    plain, official = macs_in_both_rules(loaded(card))
    counted = plain if card.macs_rule == "plain" else official
    assert claim_problem(card, "macs_superb", counted) == ""


def test_what_the_filter_bank_costs_in_print():
    """Mel filters of 257 bins, and two differences over five frames, at every frame of 10 ms."""
    frames = sum((length - 400) // 160 + 1 for length in LENGTHS)
    by_hand = frames * (257 * 80 + 2 * 5 * 80)
    assert f"{by_hand:.3e}" == f"{upstream_card('fbank').reported['macs_superb']:.3e}"
    assert f"{frames:,} frames" in upstream_card("fbank").differs["macs_superb"]


def test_armhubert_small_by_hand(loaded):
    """Front end, position, six whole attentions, six that reuse a map, 12 of all else."""
    upstream = loaded(upstream_card("armhubert_s"))
    d, ffn, teacher, total = 432, 816, 768, 0
    for length in LENGTHS:
        n = upstream.num_frames(length)
        total += front_end_macs(upstream, length) + (n + 1) * d * (d // 16) * 128
        total += 6 * (4 * n * d * d + 2 * n * n * d) + 6 * (2 * n * d * d + n * n * d)
        total += 12 * (2 * n * d * ffn + n * d * teacher)
    assert total == total_macs(upstream, "plain") == total_macs(upstream, "superb_slt2022")
    assert f"{total / 1e9:.2f} G" in upstream_card("armhubert_s").differs["macs_superb"]


def checkpoints():
    """Of every card that has one."""
    cards = map(upstream_card, upstream_names())
    return {card.name: card.checkpoint for card in cards if card.checkpoint is not None}


def test_the_shipped_files_are_those_that_the_cards_name(monkeypatch):
    monkeypatch.delenv("SLIM_SUPERB_WEIGHTS", raising=False)
    shipped = {name: source for name, source in checkpoints().items() if source.shipped}
    for name, source in shipped.items():
        file = find_checkpoint(upstream_card(name))
        assert file.is_vouched and file.path == SHIPPED / source.file
        assert file.path.stat().st_size == source.size_bytes
    assert {source.file for source in shipped.values()} == {path.name for path in SHIPPED.iterdir()}


MADE_BY = [source.made_by.split("&&") for source in checkpoints().values() if source.made_by]


@pytest.mark.parametrize("command", [command for commands in MADE_BY for command in commands])
def test_a_command_that_makes_a_card_again_is_one(command):
    program, *arguments = command.split()
    options = _parser().parse_args(arguments)
    assert program == "slim-superb" and options.recipe in recipe_names()
    assert options.name not in upstream_names()  # compress refuses the names of this project


def test_no_card_of_a_published_figure_is_left_out():
    """The figures of the SUPERB leaderboard and of the papers' tables, for the cards here."""
    reported = {
        name: upstream_card(name).reported["macs_superb"] / 1e9
        for name in upstream_names()
        if "macs_superb" in upstream_card(name).reported
    }
    known = {
        "hubert_base": 1669, "hubert_large": 4324, "wav2vec2_base": 1669, "wav2vec2_large": 4326,
        "wavlm_base": 1670, "wavlm_base_plus": 1670, "wavlm_large": 4326,
        "lighthubert_small": 860.7, "dphubert": 654.1, "dpwavlm": 589.2,
        "starhubert": 463.5, "starhubert_l": 511.9, "armhubert_s": 449.4, "fbank": 0.4791,
    }  # fmt: skip
    assert known.items() <= {key: pytest.approx(value) for key, value in reported.items()}.items()


def figures(name, loaded):
    """One row of the table in docs: what is reported of a card beside what is measured."""
    card, upstream = upstream_card(name), None
    if name not in SHAPE_IN_FILE:
        upstream = loaded(card)
    said, macs = card.reported.get("params"), card.reported.get("macs_superb")
    plain, official = "", ""
    if macs is not None and upstream is not None:
        plain, official = (f"{total / 1e9:,.2f}" for total in macs_in_both_rules(upstream))
        in_rule = f"**{plain if card.macs_rule == 'plain' else official}**"
        plain, official = (in_rule, official) if card.macs_rule == "plain" else (plain, in_rule)
    return [
        f"`{name}`",
        "" if said is None else f"{said:,.0f}",
        "in the file" if upstream is None else f"{num_params(upstream):,}",
        "" if macs is None else f"{macs / 1e9:,.4g}".replace("e+03", "e3"),
        official,
        plain,
        " ".join(f"{what}: {' '.join(why.split())}" for what, why in card.differs.items()),
    ]


def test_the_table_of_figures_is_what_is_measured(request, loaded):
    """docs/upstreams.md, which `make golden` writes."""
    text = PAGE.read_text(encoding="utf-8")
    head, begin, rest = text.partition(BEGIN)
    _, end, foot = rest.partition(END)
    assert begin and end
    rows = [figures(name, loaded) for name in upstream_names() if upstream_card(name).reported]
    table = "\n".join(f"| {' | '.join(row)} |" for row in [HEAD, ["---"] * len(HEAD), *rows])
    made = f"{head}{BEGIN}\n{table}\n{END}{foot}"
    if request.config.getoption("--golden"):
        PAGE.write_text(made, encoding="utf-8")
    else:
        assert made == text, "pytest --golden tests/load/test_cards.py"
