"""Debian packages with chosen content."""

import io
import tarfile
from pathlib import Path

from bench.corpora.package import debian

PACKAGE = debian.Package("talkie", "0" * 64, r"/voice\.dat$")


def pack_tar(files: dict[str, bytes]) -> bytes:
    """Return a tar archive of the files."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def pack_deb(path: Path, data: bytes, ending: str = ".xz") -> Path:
    """Write a package whose data.tar has the given bytes; return its path."""
    deb = b"!<arch>\n"
    for name, content in (("debian-binary", b"2.0\n"), (f"data.tar{ending}", data)):
        header = f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}".encode() + b"`\n"
        deb += header + content + b"\n" * (len(content) % 2)
    path.write_bytes(deb)
    return path


FILES = {"./usr/share/voice.dat": b"hello" * 100, "./usr/share/other": b"no"}
