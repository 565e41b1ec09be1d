"""Checkpoints are data: published layouts are read, and nothing in a file is ever run."""

import argparse
import collections
import io
import os
import pickle
import struct
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from bench.errors import InvalidDataError, MissingError
from upstreams.formats.checkpoint import Inert, plain, read_checkpoint

STATE = {"weight": torch.arange(6.0).view(2, 3), "bias": torch.ones(3)}


class Calls:
    """Pickles as a call of any function."""

    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


def save(path, data, *, legacy=False):
    torch.save(data, path, _use_new_zipfile_serialization=not legacy)
    return path


@pytest.mark.parametrize("legacy", [False, True])
def test_torch_files_are_read(tmp_path, legacy):
    path = save(tmp_path / "a.pt", {"model": STATE, "step": 3}, legacy=legacy)
    actual = read_checkpoint(path)
    assert actual["step"] == 3 and torch.equal(actual["model"]["weight"], STATE["weight"])


def test_safetensors_are_read(tmp_path):
    save_file(STATE, tmp_path / "a.safetensors")
    actual = read_checkpoint(tmp_path / "a.safetensors")
    assert torch.equal(actual["bias"], STATE["bias"])


@pytest.mark.parametrize("legacy", [False, True])
def test_configuration_objects_become_plain_data(tmp_path, legacy):
    omegaconf = pytest.importorskip("omegaconf")
    cfg = {"model": {"_name": "hubert_pruner", "sizes": [1, 2], "none": None}, "seed": 7}
    args = argparse.Namespace(arch="hubert", nested=argparse.Namespace(depth=2))
    data = {"cfg": omegaconf.OmegaConf.create(cfg), "args": args, "model": STATE}
    actual = read_checkpoint(save(tmp_path / "a.pt", data, legacy=legacy))
    assert isinstance(actual["cfg"], Inert) and isinstance(actual["args"], Inert)
    assert plain(actual["cfg"]) == cfg
    assert plain(actual["args"]) == {"arch": "hubert", "nested": {"depth": 2}}
    assert torch.equal(actual["model"]["bias"], STATE["bias"])


def forged(module, name, *, call=None):
    """A pickle (protocol 2) that names a global, and calls it with one text if given."""
    body = b"\x80\x02c" + f"{module}\n{name}\n".encode()
    if call is not None:
        text = call.encode()
        body += b"X" + struct.pack("<I", len(text)) + text + b"\x85R"
    return body + b"."


def torch_zip(path, data_pkl):
    """A torch archive around any pickle."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", data_pkl)
        archive.writestr("archive/byteorder", "little")
        archive.writestr("archive/version", "3\n")
    return path


def test_classes_of_fairseq_are_kept_inert_without_the_package(tmp_path):
    body = forged("fairseq.models.hubert.hubert", "HubertConfig")[:-1]
    body += b")\x81}X\x05\x00\x00\x00_nameX\x06\x00\x00\x00huberts" + b"b."
    actual = read_checkpoint(torch_zip(tmp_path / "a.pt", body))
    assert isinstance(actual, Inert) and plain(actual) == {"_name": "hubert"}


def evil_files(folder):
    """Files that would leave `folder/trace` behind if anything in them ran, and what they name."""
    touch = f"touch {folder}/trace"
    write = f"open({str(folder / 'trace')!r}, 'w').write('x')"
    nested = {"cfg": {"model": [STATE, {"x": (Calls(os.system, touch),)}]}, "model": STATE}
    cases = {
        "system": Calls(os.system, touch),
        "eval": Calls(eval, write),
        "exec": Calls(exec, write),
        "popen": Calls(os.popen, touch),
        "path": Calls(Path.touch, folder / "trace"),
        "getattr": Calls(getattr, "x", "upper"),
        "nested": nested,
        "namespace": argparse.Namespace(x=Calls(os.system, touch)),
        "tensor": {**STATE, "weight": Calls(os.system, touch)},
        "import": Calls(__import__, "antigravity"),
    }
    for name, data in cases.items():
        yield save(folder / f"{name}.pt", data)
        yield save(folder / f"{name}-legacy.pt", data, legacy=True)
        raw = folder / f"{name}.pkl"
        raw.write_bytes(pickle.dumps(data, protocol=2))
        yield raw
        raw = folder / f"{name}-4.pkl"
        raw.write_bytes(pickle.dumps(data, protocol=4))
        yield raw
        buffer = io.BytesIO()
        pickle.dump(data, buffer, protocol=2)
        yield torch_zip(folder / f"{name}-zip.pt", buffer.getvalue())
    for module, name in [("posix", "system"), ("builtins", "eval"), ("fairseqx.a", "b")]:
        yield torch_zip(folder / f"forged-{name}.pt", forged(module, name, call=write))
    # An allowed package's name must not open the door to what is in it.
    yield torch_zip(folder / "forged-inst.pt", b"\x80\x02(X\x01\x00\x00\x00aios\nsystem\n.")


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_nothing_in_a_hostile_file_runs(tmp_path):
    count = 0
    for path in evil_files(tmp_path):
        with pytest.raises(InvalidDataError) as caught:
            read_checkpoint(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)
        count += 1
    assert count == 54
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    ("data", "name"),
    [
        (Calls(os.system, "true"), "posix.system"),
        (Calls(eval, "1"), "builtins.eval"),
        (Calls(collections.deque, [1]), "collections.deque"),
    ],
)
def test_the_global_is_named(tmp_path, data, name, legacy):
    with pytest.raises(InvalidDataError, match=f"would run '{name}' when loaded"):
        read_checkpoint(save(tmp_path / "a.pt", data, legacy=legacy))


def test_an_allowed_name_runs_nothing_either(tmp_path):
    """A call of an allowed name gives a stand-in that holds the arguments."""
    for module in ("fairseq.utils", "omegaconf.base"):
        path = torch_zip(tmp_path / "a.pt", forged(module, "import_user_module", call="x"))
        actual = read_checkpoint(path)
        assert isinstance(actual, Inert) and actual.args == ("x",)


@pytest.mark.parametrize("legacy", [False, True])
def test_truncated_torch_files_are_told(tmp_path, legacy):
    whole = save(tmp_path / "a.pt", {"model": STATE}, legacy=legacy).read_bytes()
    for part in (3, 20, len(whole) // 2, len(whole) - 30, len(whole) - 4):
        path = tmp_path / "b.pt"
        path.write_bytes(whole[:part])
        with pytest.raises(InvalidDataError) as caught:
            read_checkpoint(path)
        assert "\n" not in str(caught.value)


def test_truncated_or_damaged_safetensors_are_told(tmp_path):
    path = tmp_path / "a.safetensors"
    save_file(STATE, path)
    whole = path.read_bytes()
    for damaged in (whole[:-4], whole[:30], whole[:9], b"\xff" * 7 + b"\x00{" + whole[9:]):
        path.write_bytes(damaged)
        with pytest.raises(InvalidDataError):
            read_checkpoint(path)


def test_other_files_are_told(tmp_path):
    with pytest.raises(MissingError, match="no such file"):
        read_checkpoint(tmp_path / "none.pt")
    for name, content in {"empty": b"", "text": b"hello, this is no checkpoint"}.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(InvalidDataError, match="neither a safetensors nor a torch file"):
            read_checkpoint(path)
    with pytest.raises(InvalidDataError):
        read_checkpoint(tmp_path)


def test_torchscript_is_refused(tmp_path):
    path = tmp_path / "script.pt"
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)
    with pytest.raises(InvalidDataError, match="TorchScript"):
        read_checkpoint(path)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_name_of_a_megabyte_is_refused_at_once(tmp_path, legacy):
    """Torch's own refusal would take hours."""
    path = save(tmp_path / "a.pt", {"model": torch.zeros(3)})
    name = b"x" * 1_000_000
    data = b"\x80\x02c" + name + b"\n" + name + b"\n)R."
    if legacy:
        path.write_bytes(pickle.dumps(0x1950A86A20F9469CFC6C, 2) + data)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a/data.pkl", data)
            archive.writestr("a/version", "3\n")
    with pytest.raises(InvalidDataError, match="its pickle has a name of 2000001 characters"):
        read_checkpoint(path)


def test_an_archive_of_another_version_of_zip_is_told(tmp_path):
    path = save(tmp_path / "a.pt", {"model": torch.zeros(3)})
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 6] = 140  # version needed to extract: 14.0
    path.write_bytes(content)
    with pytest.raises(InvalidDataError, match=r"a\.pt: truncated or corrupt") as caught:
        read_checkpoint(path)
    assert isinstance(caught.value.__cause__, NotImplementedError)


def test_archives_larger_than_they_may_be(tmp_path, monkeypatch):
    path = save(tmp_path / "a.pt", {"model": torch.zeros(10_000)})
    with monkeypatch.context() as patch:
        patch.setattr("bench.paths.MAX_WEIGHTS_BYTES", 30_000)
        with pytest.raises(InvalidDataError, match="at most 30000 expected"):
            read_checkpoint(path)
    with monkeypatch.context() as patch:
        patch.setattr("upstreams.formats.checkpoint.MAX_PICKLE_BYTES", 10)
        with pytest.raises(InvalidDataError, match="its pickle has more"):
            read_checkpoint(path)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb", bytes(1_000_000))
    with pytest.raises(InvalidDataError, match="compressed inside"):
        read_checkpoint(path)


def test_configuration_within_itself_is_told():
    loop = Inert()
    loop.state = {"again": loop}
    with pytest.raises(InvalidDataError, match="nested deeper"):
        plain(loop)
