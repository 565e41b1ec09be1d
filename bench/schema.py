"""Checked models: the base class of everything that is read from disk, and its readers.

A key that no field reads is an error that names the file and the nearest key. A wrong type is an
error, never a conversion (PyYAML reads `1e-4` as a string: write `1.0e-4`). So is a key twice: a
reader may see the first value where a program takes the last. YAML is read with the safe loader and
within limits, because files come from strangers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, ValidationError

from bench.errors import InvalidDataError, UsageError, did_you_mean
from bench.paths import check_file, disk_errors, write_text

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
_BASE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_BASE):  # type: ignore[misc]
    """The safe loader, which refuses a key twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return a mapping.

        Raises:
            ConstructorError: a key twice, with its line.
        """
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"key {key.value[:60]!r} twice", key.start_mark
                    )
                seen.add((key.tag, key.value))
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


def _check_tokens(text: str, path: Path) -> None:
    """Refuse deeply nested or self-referring YAML before it is built.

    Tokens are checked while they are scanned: the time of PyYAML's scanner grows with the square
    of the depth, so that 100 kB of brackets take minutes.

    Raises:
        InvalidDataError: deeper than `MAX_YAML_DEPTH`, with aliases, or with a number of 200
            characters or more, which Python may refuse to convert.
    """
    depth = 0
    for token in yaml.scan(text, Loader=_BASE):
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
    raw = read_bytes(path, MAX_YAML_BYTES)
    try:
        text = raw.decode("utf-8")
        _check_tokens(text, path)
        data = yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InvalidDataError(f"{path}: not valid YAML: {reason[:200]}") from error
    if not isinstance(data, dict) or not all(isinstance(key, str) for key in data):
        raise InvalidDataError(f"{path}: expected a mapping with text keys")
    return data


def _with_lists_as_tuples(schema: Any) -> Any:
    """Return a part of a core schema in which tuples are not strict; their items stay so."""
    if isinstance(schema, list):
        return [_with_lists_as_tuples(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    parts = {key: _with_lists_as_tuples(value) for key, value in schema.items()}
    return parts | {"strict": False} if schema.get("type") == "tuple" else parts


class Frozen(BaseModel):
    """Base of every model on disk: immutable, no unknown keys, strict types.

    A tuple may be written as a list, which is all that YAML has. No number is NaN or infinite:
    every comparison with NaN is false, so that checks would let it pass.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> Any:
        """Return pydantic's schema of the class, in which tuples accept lists."""
        return _with_lists_as_tuples(handler(source))


ModelT = TypeVar("ModelT", bound=Frozen)
CheckedT = TypeVar("CheckedT")
UNKNOWN_KEY = ("extra_forbidden", "unexpected_keyword_argument")  # of a model, of a dataclass


def _model_in(annotation: Any) -> Any:
    """Return the first model in a type such as `CropRule | None` or `tuple[CropRule, ...]`."""
    if hasattr(annotation, "__pydantic_fields__"):
        return annotation
    return next(filter(None, map(_model_in, get_args(annotation))), None)


def _near_keys(model: Any, location: tuple[int | str, ...]) -> str:
    """Return a hint for a key that no field reads.

    Args:
        model: the outermost model.
        location: keys and indices down to the unknown key.
    """
    for part in location[:-1]:
        field = model.__pydantic_fields__.get(str(part))
        model = (field and _model_in(field.annotation)) or model
    return did_you_mean(str(location[-1]), model.__pydantic_fields__)


def _first_problem(error: ValidationError, model: Any, *, quotes: bool) -> str:
    """Return the first problem as one line, with a hint for a misspelt key.

    Args:
        error: of pydantic.
        model: the outermost model.
        quotes: show the wrong value, and what YAML makes of it; not for the files of strangers,
            which are JSON.
    """
    problems = error.errors(include_url=False)
    # A misspelt key also leaves its right spelling missing: report the misspelt one.
    problem = next((p for p in problems if p["type"] in UNKNOWN_KEY), problems[0])
    # Of a union the place ends with the name of the type that was tried first.
    where = ".".join(str(part) for part in problem["loc"] if part not in ("float", "int", "str"))
    told = str(problem["msg"]).removeprefix("Value error, ")
    if problem["type"] in UNKNOWN_KEY:
        return f"unknown key '{where}': {_near_keys(model, problem['loc'])}"
    if not where:
        return told
    value = problem.get("input")
    is_shown = quotes and problem["type"] != "missing"
    shown = f" (found {str(value)[:60]!r})" if is_shown else ""
    is_text_for_number = isinstance(value, str) and problem["type"].startswith(("float", "int"))
    is_bool_for_text = isinstance(value, bool) and problem["type"].startswith("string")
    hint = "; YAML reads 1e-4 as text, write 1.0e-4" if is_text_for_number else ""
    hint = "; YAML reads off as false and on as true, write 'off'" if is_bool_for_text else hint
    return f"key '{where}': {told}{shown}{hint if quotes else ''}"


def make_model(model: Callable[..., CheckedT], values: Mapping[str, Any], where: str) -> CheckedT:
    """Make a model of values that a user gave.

    Args:
        model: class of the result, a model or a dataclass of pydantic's.
        values: by field; tuples may be lists.
        where: begins the message: a file, or what the values are options of.

    Raises:
        UsageError: an unknown key, a missing key or a wrong value.
    """
    try:
        return model(**values)
    except ValidationError as error:
        raise UsageError(f"{where}: {_first_problem(error, model, quotes=True)}") from error


def read_card(path: Path, model: type[ModelT]) -> ModelT:
    """Read one YAML file that a person wrote.

    Raises:
        UsageError: an unknown key, a missing key or a wrong value.
        InvalidDataError: the file cannot be read, is too large, or is no YAML mapping.
    """
    return make_model(model, read_yaml(path), str(path))


def write_card(card: Frozen, path: Path) -> None:
    """Write one YAML file atomically, keys in the order of the fields.

    Raises:
        MissingError: no space or no permission.
    """
    data = card.model_dump(mode="json")
    write_text(path, yaml.safe_dump(data, sort_keys=False, allow_unicode=True))


def _each_key_once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object as a mapping.

    Raises:
        ValueError: a key twice.
    """
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        keys = [key for key, _ in pairs]
        name = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"key {name[:60]!r} twice")
    return mapping


def parse_json(text: str | bytes) -> Any:
    """Return the value of a JSON text in which no object has a key twice.

    Raises:
        ValueError: not JSON, a key twice, a number of too many digits, or nested too deeply.
    """
    try:
        return json.loads(text, object_pairs_hook=_each_key_once)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def parse_model(raw: bytes, model: type[ModelT], path: Path, *, what: str) -> ModelT:
    """Parse JSON that a program wrote.

    Args:
        raw: JSON text.
        model: class of the result.
        path: file that it comes from, for messages.
        what: noun for such a file, such as `record`, for messages.

    Raises:
        InvalidDataError: not JSON, an unknown key, a key twice, a missing key or a wrong value.
    """
    try:
        checked = model.model_validate_json(raw)
        parse_json(raw)
    except ValidationError as error:
        reason = _first_problem(error, model, quotes=False) if raw else "the file is empty"
        raise InvalidDataError(f"{path}: not a {what}: {reason}") from error
    except ValueError as error:
        raise InvalidDataError(f"{path}: not a {what}: {error}") from error
    return checked


def read_bytes(path: Path, max_bytes: int) -> bytes:
    """Read a whole file.

    Raises:
        MissingError: no such file, or it cannot be read.
        InvalidDataError: not a regular file, or larger than `max_bytes`.
    """
    size = check_file(path).st_size
    if size > max_bytes:
        raise InvalidDataError(f"{path}: {size} bytes, at most {max_bytes} expected")
    with disk_errors(path):
        return path.read_bytes()


def read_model(path: Path, model: type[ModelT], *, max_bytes: int, what: str) -> ModelT:
    """Read one JSON file that a program wrote; arguments as in `parse_model`.

    Raises:
        InvalidDataError: the file cannot be read, is larger than `max_bytes`, or is not a `what`.
    """
    return parse_model(read_bytes(path, max_bytes), model, path, what=what)
