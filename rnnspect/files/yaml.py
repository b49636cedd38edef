"""Reads a spec file: YAML from which nothing can be run. Remembers the line of each value."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from rnnspect.errors import FileError, KeyPath, Problem, SpecError, Where
from rnnspect.files import sources
from rnnspect.files.free_memory import in_words
from rnnspect.files.reading import decoded, read_bytes, size_of

MAX_BYTES = 8 * 2**20
MAX_DEPTH = 32
MAX_VALUES = 100_000
"""The most keys and values of a file: reading so many takes about a second and 100 MB."""
MAX_TEXT = 4096
"""The most characters of one key or value: no path and no number is longer, and an error message shows it."""
MAX_KEYS = 1000
_AS_A_FILE = "save the numbers in a .npy or .csv file and name it: input: x.npy"
_PATHS = ("weights", "input", "h0", "c0")


class _Loader(yaml.CSafeLoader):
    """YAML's plain types, except that 1e-3 is a number, and that 010, 1:30 and 2020-01-01 are text: YAML 1.1 takes
    these for an octal number, one of base 60 and a date."""


_NUMBERS = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float", "tag:yaml.org,2002:timestamp"
_Loader.yaml_implicit_resolvers = {
    first: [pair for pair in resolvers if pair[0] not in _NUMBERS]
    for first, resolvers in _Loader.yaml_implicit_resolvers.items()
}
for _tag, _pattern in (
    ("int", r"^[-+]?(0|[1-9][0-9_]*|0x[0-9a-fA-F_]+)$"),
    ("float", r"^[-+]?(\d[\d_]*\.?[\d_]*|\.\d[\d_]*)([eE][-+]?\d+)?$|^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$"),
):
    _plain = re.compile(_pattern if _tag == "int" else rf"(?!^[-+]?0\d+$){_pattern}")
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", _plain, list("-+0123456789."))


def read_spec_file(path: Path) -> tuple[dict[str, Any], Where]:
    """The mapping in a spec file, and a function that says where in the file a path of keys stands.

    Paths of files in it are counted from the file's own folder.

    Raises `FileError` for a file that cannot be read and `SpecError` for one that is not a mapping, has a key
    twice, uses tags, anchors or aliases, or is longer than a spec can be: many numbers belong into a file of their own.
    """
    if (size := size_of(path)) > MAX_BYTES:
        found = f"this spec is {in_words(size)} long"
        raise SpecError(found, allowed=f"at most {in_words(MAX_BYTES)}", advice=_AS_A_FILE, where=str(path))
    return read_spec(decoded(read_bytes(path, MAX_BYTES), str(path), "a spec in YAML"), path)


def read_spec(text: str, path: Path) -> tuple[dict[str, Any], Where]:
    """As `read_spec_file`, of a text in YAML or JSON that came from `path`."""
    try:
        _refuse_code_and_bombs(text, path)
        root = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise SpecError(f"this is not valid YAML: {error.problem or error.context}", where=_at(path, mark)) from None
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        place = f"{path}:{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"
        raise SpecError("this character is not allowed in YAML", where=place) from None
    except yaml.YAMLError as error:
        raise SpecError(f"this is not valid YAML: {str(error).partition(chr(10))[0]}", where=str(path)) from None
    if root is None:
        raise FileError("the file is empty", allowed="lines such as `cell: lstm`", where=str(path))
    if not isinstance(root, yaml.MappingNode):
        raise SpecError("this is not a spec", allowed="lines such as `cell: lstm`", where=_at(path, root.start_mark))
    if len(root.value) > MAX_KEYS:
        found = f"this spec has {len(root.value)} keys"
        raise SpecError(found, advice="`rnnspect schema` lists the keys there are", where=str(path))
    marks: dict[KeyPath, Any] = {}
    twice: list[Problem] = []
    data = _value(root, (), marks, twice, path)
    if twice:
        raise SpecError(twice)
    for key in _PATHS:
        if isinstance(data.get(key), str):
            data[key] = sources.relative_to(path.parent, data[key])
    if isinstance(weights := data.get("weights"), dict):
        for name, value in weights.items():
            if isinstance(value, str):
                weights[name] = sources.relative_to(path.parent, value)

    def where(keys: KeyPath) -> str:
        while keys and keys not in marks:
            keys = keys[:-1]
        return _at(path, marks.get(keys, root.start_mark))

    return data, where


def _refuse_code_and_bombs(text: str, path: Path) -> None:
    """Raises for tags, which can name code, for aliases, which can multiply, for lists nested too deeply, and for more
    values, or a longer one, than can be read in a second or two."""
    depth = documents = values = 0
    for event in yaml.parse(text, Loader=_Loader):
        mark = event.start_mark
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            found = "YAML anchors and aliases are not allowed in a spec"
            raise SpecError(found, advice="write each value out", where=_at(path, mark))
        if tag := getattr(event, "tag", None):
            found = f"the YAML tag {tag!r} is not allowed in a spec"
            raise SpecError(found, advice="write a plain value", where=_at(path, mark))
        if isinstance(event, yaml.ScalarEvent):
            values += 1
            if values > MAX_VALUES:
                found = f"this spec has more than {MAX_VALUES:,} values"
                raise SpecError(found, advice=_AS_A_FILE, where=_at(path, mark))
            if len(event.value) > MAX_TEXT:
                found = f"this value has {len(event.value):,} characters"
                place = _at(path, mark)
                raise SpecError(found, allowed=f"at most {MAX_TEXT:,}", advice=_AS_A_FILE, where=place)
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise SpecError("a second YAML document", allowed="one spec per file", where=_at(path, mark))
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            allowed = f"at most {MAX_DEPTH} levels"
            raise SpecError("the lists are nested too deeply", allowed=allowed, where=_at(path, mark))


def _value(node: yaml.Node, keys: KeyPath, marks: dict[KeyPath, Any], twice: list[Problem], path: Path) -> Any:
    marks.setdefault(keys, node.start_mark)
    if isinstance(node, yaml.MappingNode):
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                place = _at(path, key_node.start_mark)
                raise SpecError("a key cannot be a list or a mapping", allowed="text", where=place)
            key = str(key_node.value)
            if key == "<<" and not key_node.style:
                found = "YAML merges (<<) are not read in a spec, and no anchors"
                raise SpecError(found, advice="write each value out", where=_at(path, key_node.start_mark))
            if key in mapping:
                first = marks[(*keys, key)].line + 1
                found = f"the key {key!r} is repeated (first on line {first})"
                twice.append(Problem(found, where=_at(path, key_node.start_mark)))
                continue
            marks[(*keys, key)] = key_node.start_mark
            mapping[key] = _value(value_node, (*keys, key), marks, twice, path)
        return mapping
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, (*keys, at), marks, twice, path) for at, item in enumerate(node.value)]
    return _scalar(node, path)


def _scalar(node: yaml.Node, path: Path) -> Any:
    loader = _Loader("")
    try:
        return loader.construct_object(node)
    except (ValueError, yaml.YAMLError):
        raise SpecError(f"cannot read the value {node.value!r}", where=_at(path, node.start_mark)) from None
    finally:
        loader.dispose()


def _at(path: Path, mark: Any) -> str:
    return f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
