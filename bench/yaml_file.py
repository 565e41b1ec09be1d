"""Read a YAML mapping with the safe loader and within limits, because files come from strangers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from bench.errors import InvalidDataError

MAX_YAML_BYTES = 256_000
MAX_YAML_DEPTH = 20

_OPENS = (
    yaml.BlockMappingStartToken,
    yaml.BlockSequenceStartToken,
    yaml.FlowMappingStartToken,
    yaml.FlowSequenceStartToken,
)
_LONG_NUMBER = re.compile(r"[-+]?[0-9.][0-9a-fA-FxXoO_:.]{199,}")
_CLOSES = (yaml.BlockEndToken, yaml.FlowMappingEndToken, yaml.FlowSequenceEndToken)
# The loader of the C library where PyYAML was built with it: a command reads dozens of cards.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _check_tokens(text: str, path: Path) -> None:
    """Refuse deeply nested or self-referring YAML before it is built.

    Tokens are checked while they are scanned: the time of PyYAML's scanner grows with the square
    of the depth, so that 100 kB of brackets take minutes.

    Raises:
        InvalidDataError: deeper than `MAX_YAML_DEPTH`, with aliases, or with a number of 200
            characters or more, which Python may refuse to convert.
    """
    depth = 0
    for token in yaml.scan(text, Loader=_LOADER):
        depth += isinstance(token, _OPENS) - isinstance(token, _CLOSES)
        if depth > MAX_YAML_DEPTH:
            raise InvalidDataError(f"{path}: nested deeper than {MAX_YAML_DEPTH} levels")
        if isinstance(token, yaml.AliasToken):
            raise InvalidDataError(f"{path}: YAML aliases (*name) are not allowed")
        if isinstance(token, yaml.ScalarToken) and _LONG_NUMBER.fullmatch(token.value):
            raise InvalidDataError(f"{path}: a number of {len(token.value)} characters")


def read_yaml(path: Path) -> dict[str, Any]:
    """Read one YAML mapping.

    Raises:
        InvalidDataError: the file cannot be read, is too large or too deep, has aliases, or is no
            mapping with text keys.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InvalidDataError(f"{path}: cannot be read ({error.strerror})") from error
    if len(raw) > MAX_YAML_BYTES:
        raise InvalidDataError(f"{path}: {len(raw)} bytes, at most {MAX_YAML_BYTES} expected")
    try:
        text = raw.decode("utf-8")
        _check_tokens(text, path)
        data = yaml.load(text, Loader=_LOADER)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InvalidDataError(f"{path}: not valid YAML: {reason[:200]}") from error
    if not isinstance(data, dict) or not all(isinstance(key, str) for key in data):
        raise InvalidDataError(f"{path}: expected a mapping with text keys")
    return data
