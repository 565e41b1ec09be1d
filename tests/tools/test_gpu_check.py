"""The check of a GPU: its parts, its time, its table; the device itself is not tested here."""

import time
from types import SimpleNamespace

import pytest
import torch

from bench.engine import Engine
from bench.errors import MissingError, UsageError
from bench.features import placement
from tools.pages import gpu, gpu_throughput
from tools.pages.gpu import GpuCheck, write_page
from tools.pages.gpu_throughput import DeviceThroughput


def test_parts_that_fail_or_come_too_late_are_named_and_counted(tmp_path, monkeypatch):
    check, path = GpuCheck("cpu", rehearse=True), tmp_path / "gpu.md"

    def fail(_):
        raise UsageError("no such thing")

    parts = {"Good": lambda _: "fine", "Bad": fail}
    monkeypatch.setattr(gpu, "PARTS", parts)
    assert write_page(check, path) == 1
    text = path.read_text("utf-8")
    assert "## Good\n\nfine" in text and "## Bad\n\n**Failed**: no such thing" in text
    assert "A rehearsal on a CPU" in text
    monkeypatch.setattr(gpu, "SECONDS", 0.0)
    assert write_page(check, path) == 2
    assert path.read_text("utf-8").count("left out: the 0 s of the check are over") == 2


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is here")
def test_a_device_that_is_missing_ends_the_check(tmp_path):
    with pytest.raises(MissingError, match="finds no GPU"):
        write_page(GpuCheck("cuda"), tmp_path / "gpu.md")


def test_the_table_of_throughput_has_a_row_a_precision(monkeypatch):
    monkeypatch.setattr(gpu_throughput, "UTTERANCE_SECONDS", 1.0)
    text = DeviceThroughput(Engine("cpu"), rehearse=True).text()
    rows = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("| house")]
    assert [row[1].strip() for row in rows] == ["float32", "bf16"]
    rates, errors = ([float(row[column]) for row in rows] for column in (2, 5))
    assert min(rates) > 0
    assert errors[0] < 1e-4 < errors[1] < 0.1
    assert "All devices together (cpu, cpu)" in text


def test_a_part_that_takes_too_long_ends(tmp_path, monkeypatch):
    def never(_):
        while True:
            time.sleep(0.01)

    monkeypatch.setattr(gpu, "PARTS", {"Endless": never, "Next": lambda _: "fine"})
    monkeypatch.setattr(gpu, "SECONDS", 0.2)
    monkeypatch.setattr(gpu, "LEAST_SECONDS", 0.0)
    assert write_page(GpuCheck("cpu", rehearse=True), tmp_path / "gpu.md") == 2
    assert "s of the check are over" in (tmp_path / "gpu.md").read_text("utf-8")


def test_every_gpu_is_listed(monkeypatch):
    facts = SimpleNamespace(name="H200", total_memory=139 * 2**30)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: facts)
    assert "cuda:0 H200, 139 GiB; cuda:1 H200, 139 GiB" in gpu._head(GpuCheck("cuda"))


def test_buckets_follow_the_memory_of_the_gpu(monkeypatch):
    facts = SimpleNamespace(total_memory=2 * 60 * 16_000 * placement.GPU_BYTES_PER_SAMPLE)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: facts)
    assert placement.bucket_seconds(Engine("cuda")) == 60.0
    assert placement.bucket_seconds(Engine("cuda", bucket_seconds=9.0)) == 9.0
    assert placement.bucket_seconds(Engine("cpu")) == 0.0
