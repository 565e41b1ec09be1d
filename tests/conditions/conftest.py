"""The fixture that tests of scores under conditions share."""

import pytest
from trained_toy import make_trained


@pytest.fixture
def trained(tmp_path, monkeypatch):
    return make_trained(tmp_path, monkeypatch)
