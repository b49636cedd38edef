"""What pydantic found wrong with a spec, in our words: what was found, what is allowed, the nearest choice, where.

What is allowed is read off the JSON Schema, so that it is said in one place only: the fields of `Spec`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rnnspect.errors import Problem, listed, nearest

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import BaseModel, ValidationError
    from pydantic_core import ErrorDetails

    Path = tuple[int | str, ...]

_TYPES = {
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "string": "text",
    "array": "a list",
    "object": "a mapping such as {out_features: 1}",
}
_WIDEST = 60


def problems(
    error: ValidationError, data: Any, where: Callable[[Path], str] | None, model: type[BaseModel]
) -> list[Problem]:
    """One problem a key: a key that allows several types gives one detail a type, and the first says enough."""
    schema = model.model_json_schema()
    by_path: dict[Path, Problem] = {}
    for detail in error.errors(include_url=False):
        path = _path_in(data, detail["loc"])
        if path not in by_path:
            by_path[path] = _explained(detail, schema, (where or _dotted)(path))
    return list(by_path.values())


def shown(found: Any) -> str:
    """A value as it is written in YAML and JSON, and not longer than a line."""
    text = {True: "true", False: "false", None: "nothing"}.get(found, repr(found)) if _is_plain(found) else repr(found)
    kind = {"str": "the text ", "list": "the list ", "dict": "the mapping "}.get(type(found).__name__, "")
    return kind + (text if len(text) <= _WIDEST else text[: _WIDEST - 3] + "...")


def _explained(detail: ErrorDetails, schema: dict[str, Any], where: str) -> Problem:
    context = detail.get("ctx", {})
    key, name = str(detail["loc"][-1]), str(detail["loc"][0])
    found = f"{key if name == 'head' else name} is {shown(detail['input'])}"
    match detail["type"]:
        case "rnnspect":
            return Problem(context["found"], context["allowed"], context["nearest"], where)
        case "extra_forbidden":
            keys = (schema["$defs"]["Head"] if len(detail["loc"]) > 1 else schema)["properties"]
            return Problem(f"unknown key {shown(key)[len('the text ') :]}", listed(keys), nearest(key, keys), where)
        case "missing":
            return Problem(f"{name} has no {key}", f"a mapping such as {{{key}: 1}}", where=where)
        case "literal_error":
            choices = _branches(schema["properties"][name])[0]["enum"]
            return Problem(found, listed(choices), nearest(str(detail["input"]), choices), where)
    return Problem(found, _allowed(schema, name, detail), where=where)


def _allowed(schema: dict[str, Any], name: str, detail: ErrorDetails) -> str:
    branches = [_resolved(schema, branch) for branch in _branches(schema["properties"][name])]
    inner = branches[0].get("properties", {})
    if name == "head":
        branches = [inner[str(detail["loc"][-1])]] if detail["loc"][-1] in inner else branches
    if name in {"input", "h0", "c0"}:
        return "a generator such as ramp:3, a file, or the numbers themselves"
    if name == "weights":
        return "a file, or a mapping from parameter name to numbers"
    inside = branches[0].get("items") if isinstance(detail["loc"][-1], int) else None
    said = inside or branches[0]
    if "minimum" in said and detail["type"] in {"greater_than_equal", "less_than_equal"}:
        return f"{said['minimum']} to {said['maximum']}"
    if "exclusiveMinimum" in said and detail["type"] in {"greater_than", "less_than_equal"}:
        return f"a number above {said['exclusiveMinimum']}, up to {said['maximum']:g}"
    return " or ".join(dict.fromkeys(_TYPES[branch["type"]] for branch in ([inside] if inside else branches)))


def _branches(field: dict[str, Any]) -> list[dict[str, Any]]:
    """What a key may be, without null."""
    return [branch for branch in field.get("anyOf", [field]) if branch.get("type") != "null"]


def _resolved(schema: dict[str, Any], branch: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = schema["$defs"][branch["$ref"].rpartition("/")[2]] if "$ref" in branch else branch
    return found


def _path_in(data: Any, loc: Path) -> Path:
    """The part of pydantic's location that is in the data; the rest names branches of a union."""
    path: Path = ()
    for step in loc:
        inside = step in data if isinstance(data, dict) else isinstance(data, list) and isinstance(step, int)
        if not inside:
            break
        data, path = data[step], (*path, step)
    return path or loc[:1]


def _dotted(path: Path) -> str:
    return ".".join(map(str, path))


def _is_plain(found: Any) -> bool:
    return found is None or isinstance(found, bool)
