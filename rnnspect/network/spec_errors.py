"""Says what is wrong with a spec: what was found, what is expected, the nearest choice, and where.

pydantic finds what is wrong; what is allowed is read off the JSON Schema, which says it already.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from rnnspect.errors import KeyPath, Problem, Where, listed, nearest
from rnnspect.network.spec_keys import KEYS

_TYPES = {
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "string": "text",
    "array": "a list",
    "object": "a mapping such as {out_features: 1}",
}
_WIDEST = 60


def problems(error: ValidationError, data: Any, where: Where | None, model: type[BaseModel]) -> list[Problem]:
    """One problem for each key of `data` that is wrong; `where` says where a key was given.

    pydantic reports a key of several types once for each type; the first report is enough.
    """
    schema = model.model_json_schema()
    by_path: dict[KeyPath, Problem] = {}
    for detail in error.errors(include_url=False):
        key = detail.get("ctx", {}).get("key")
        path: KeyPath = (key,) if key is not None and key in data else _path_in(data, detail["loc"])
        if path not in by_path:
            place = where(path) if where else ".".join(map(str, path))
            by_path[path] = _explained(detail, schema, place)
    return list(by_path.values())


def shown(found: Any) -> str:
    """A value as YAML and JSON write it, cut to the length of a line."""
    if found is None or isinstance(found, bool):
        return "empty" if found is None else str(found).lower()
    text = repr(found)
    kind = {"str": "the text ", "list": "the list ", "dict": "the mapping "}.get(type(found).__name__, "")
    return kind + (text if len(text) <= _WIDEST else text[: _WIDEST - 3] + "...")


def _explained(detail: ErrorDetails, schema: dict[str, Any], where: str) -> Problem:
    context = detail.get("ctx", {})
    key, name = str(detail["loc"][-1]), str(detail["loc"][0])
    found = f"{key if name == 'head' else name} is {shown(detail['input'])}"
    match detail["type"]:
        case "rnnspect":
            return Problem(context["found"], context["allowed"], context["nearest"], where, context["advice"])
        case "extra_forbidden":
            keys = (schema["$defs"]["Head"] if len(detail["loc"]) > 1 else schema)["properties"]
            return Problem(
                f"unknown key {shown(key).removeprefix('the text ')}", listed(keys), nearest(key, keys), where
            )
        case "missing":
            return Problem(f"{name} has no {key}", f"a mapping such as {{{key}: 1}}", where=where)
        case "literal_error":
            choices = _branches(schema["properties"][name])[0]["enum"]
            return Problem(found, listed(choices), nearest(str(detail["input"]), choices), where)
    return Problem(found, _allowed(schema, name, detail), where=where)


def _allowed(schema: dict[str, Any], name: str, detail: ErrorDetails) -> str:
    if KEYS[name].allowed:
        return KEYS[name].allowed
    branches = [_resolved(schema, branch) for branch in _branches(schema["properties"][name])]
    last = detail["loc"][-1]
    if isinstance(last, int):  # an item of a list
        branches = [branches[0]["items"]]
    elif last in branches[0].get("properties", {}):  # a key of the head
        branches = [branches[0]["properties"][last]]
    limits: dict[str, Any] = branches[0]
    if "minimum" in limits and detail["type"] in {"greater_than_equal", "less_than_equal"}:
        return f"{limits['minimum']} to {limits['maximum']}"
    if "exclusiveMinimum" in limits and detail["type"] in {"greater_than", "less_than_equal"}:
        return f"a number above {limits['exclusiveMinimum']}, up to {limits['maximum']:g}"
    return " or ".join(dict.fromkeys(_TYPES[branch["type"]] for branch in branches))


def _branches(field: dict[str, Any]) -> list[dict[str, Any]]:
    """What a key may be, without null."""
    return [branch for branch in field.get("anyOf", [field]) if branch.get("type") != "null"]


def _resolved(schema: dict[str, Any], branch: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = schema["$defs"][branch["$ref"].rpartition("/")[2]] if "$ref" in branch else branch
    return found


def _path_in(data: Any, loc: KeyPath) -> KeyPath:
    """The part of pydantic's location that is in the data; the rest names branches of a union."""
    path: KeyPath = ()
    for step in loc:
        inside = step in data if isinstance(data, dict) else isinstance(data, list) and isinstance(step, int)
        if not inside:
            break
        data, path = data[step], (*path, step)
    return path or loc[:1]
