"""An upstream that a committed record names is still the upstream that was measured."""

import pytest

from bench.errors import MissingError
from bench.load.catalog import parse_upstream_name, upstream_card
from bench.load.loader import load_upstream
from bench.records.record import read_record
from bench.registry import ROOT
from bench.session import Session

RESULTS = ROOT / "leaderboard" / "results"
PATHS = {path.parent.name: path for path in sorted(RESULTS.glob("*/*/*.json"))}


@pytest.mark.parametrize("folder", sorted(PATHS))
def test_the_digest_of_an_upstream_is_the_recorded_one(folder, tmp_path):
    record = read_record(PATHS[folder])
    try:
        loaded = load_upstream(record.upstream, Session(home=tmp_path, strict=True))
    except MissingError as error:  # weights that lie elsewhere: nothing to compare here
        checkpoint = upstream_card(parse_upstream_name(record.upstream).card).checkpoint
        assert checkpoint is not None and not checkpoint.shipped
        pytest.skip(str(error))
    assert loaded.digest == record.inputs.upstream_sha256
    assert loaded.checkpoint_sha256 == record.inputs.checkpoint_sha256
