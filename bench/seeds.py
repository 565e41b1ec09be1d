"""One seed from the user, any number of independent ones from it: by hashing, never by counting."""

from __future__ import annotations

import hashlib


def derive_seed(*parts: object) -> int:
    """A 63-bit seed from a purpose, such as `derive_seed(seed, "order", epoch)`.

    Equal parts give equal seeds on every machine; any change gives an unrelated one.
    """
    text = "\x1f".join(repr(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
