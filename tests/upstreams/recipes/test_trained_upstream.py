"""Files of a trained upstream: weights in half precision, and copies in this project."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from recipe_toys import MEL, recipe_file
from safetensors.torch import load_file

from bench.errors import InvalidDataError, MissingError, UsageError
from bench.load.loader import load_upstream
from bench.make.compress import CompressionRequest, compress
from bench.paths import file_sha256
from bench.session import Session
from tools.ship import ship
from upstreams.encoder.state import random_state
from upstreams.house import encoder_state, read_extras
from upstreams.recipes.training.export import write_weights
from upstreams.recipes.training.objective import TrainedUpstream


def test_shipped_weights_are_found_beside_the_cards(tmp_path, monkeypatch):
    recipe = str(recipe_file(tmp_path))
    request = CompressionRequest(recipe, name="tiny", out=tmp_path / "tiny-s0")
    run = compress(request, tmp_path).parent
    for folder in ("cards", "weights", "recipes/logs"):
        (tmp_path / "upstreams" / folder).mkdir(parents=True)
    card, weights, log = ship(run, tmp_path / "upstreams")
    assert log.name == "tiny-s0.jsonl"
    monkeypatch.setattr("bench.load.catalog.CARDS", card.parent)
    monkeypatch.setattr("bench.load.files.SHIPPED", weights.parent)
    loaded = load_upstream("tiny")
    assert loaded.provenance == "house" and loaded.warning is None
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(InvalidDataError, match="sha256"):
        load_upstream("tiny")
    weights.write_bytes(b"not these")
    with pytest.raises(InvalidDataError, match="neither a safetensors nor a torch file"):
        load_upstream("tiny")
    weights.unlink()
    with pytest.raises(MissingError, match="complete checkout"):
        load_upstream("tiny", Session(strict=True))


def test_the_number_of_threads_of_the_process_changes_no_weight(tmp_path):
    recipe, before, digests = str(recipe_file(tmp_path)), torch.get_num_threads(), set()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            request = CompressionRequest(recipe, name="tiny", out=tmp_path / str(threads))
            digests.add(file_sha256(compress(request, tmp_path).with_suffix(".safetensors")))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert len(digests) == 1
    threads = CompressionRequest(recipe, name="tiny", out=tmp_path / "1", overrides={"threads": 2})
    with pytest.raises(UsageError, match="another configuration"):
        compress(threads, tmp_path)


def test_only_a_finished_run_of_one_small_card_is_shipped(tmp_path, monkeypatch):
    with pytest.raises(MissingError, match="the run has not ended"):
        ship(tmp_path)
    (tmp_path / "a.yaml").write_text("checkpoint: {}")
    (tmp_path / "a.safetensors").write_bytes(bytes(11))
    monkeypatch.setattr("tools.ship.MAX_BYTES", 10)
    with pytest.raises(UsageError, match="11 bytes, at most 10 are shipped"):
        ship(tmp_path)
    (tmp_path / "b.yaml").write_text("checkpoint: {}")
    with pytest.raises(UsageError, match=r"one card expected, found a\.yaml, b\.yaml"):
        ship(tmp_path)


def test_half_precision_weights_come_back(tmp_path):
    state = random_state(MEL, 0)
    product = TrainedUpstream({}, state, {"mask": torch.ones(16)})
    write_weights(product, tmp_path / "w.safetensors")
    found = encoder_state(load_file(tmp_path / "w.safetensors"), MEL)
    assert torch.equal(read_extras(tmp_path / "w.safetensors")["mask"], torch.ones(16))
    assert all(torch.allclose(found[key], state[key], atol=1e-3) for key in state)
    with pytest.raises(InvalidDataError, match=r"norm\.weight: expected shape"):
        encoder_state({**found, "norm.weight": torch.ones(3)}, MEL)
    with pytest.raises(InvalidDataError, match=r"missing tensors: norm\.weight"):
        encoder_state({key: value for key, value in found.items() if key != "norm.weight"}, MEL)
    with pytest.raises(InvalidDataError, match="NaN or infinite weights"):
        encoder_state({**found, "norm.weight": torch.full((16,), np.nan)}, MEL)
    big = replace(product, extras={"mask": torch.full((16,), 1e6)})
    with pytest.raises(InvalidDataError, match="not finite in half precision"):
        write_weights(big, tmp_path / "v.safetensors")
