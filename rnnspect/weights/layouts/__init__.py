"""How frameworks pack the same recurrent parameters, as data: one framework a file in `known/`, found by its name.

A file is TOML: `title` and, where there is one, `leading_direction` of the `Layout`, then a table for each form that
the framework has, with the fields of its `Packing` (`interface.py`). A field that stands above the tables holds for
all of them; quirks there come before a form's own. With `like = "gru"` a form has the fields of another one where it
leaves them out.

Loads no framework and no numpy.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rnnspect.errors import FileError, InputError, in_one_line, listed
from rnnspect.files import installed
from rnnspect.weights.layouts.interface import FORMS, ORIENTATIONS, Layout, Packing, blocks_in

__all__ = ["FORMS", "Layout", "Packing", "every", "find", "names", "of_packages"]

_FOLDER = Path(__file__).with_name("known")
_OF_LAYOUT = {"title": str, "leading_direction": bool}
_OF_PACKING = {
    "where": str,
    "arrays": dict,
    "orientation": str,
    "source": str,
    "states": str,
    "bias_always": bool,
    "forget_bias": float,
    "peepholes": str,
    "quirks": list,
}


@functools.cache
def names() -> list[str]:
    """The layouts that there are, tf1 before tf-block-lstm; none of them is read."""
    return sorted((path.stem for path in _FOLDER.glob("*.toml")), key=lambda name: name.replace("-", "_"))


def find(name: str, where: str | None = None) -> Layout:
    """The layout of that name; of a name that is none of ours, that of the TOML file whose path an installed
    package has under it. Raises `InputError` for another name, `FileError` for a file that says no layout."""
    known = names()
    if name not in known:
        return _of_package(name, where)
    return read(_FOLDER / f"{name}.toml")


def _of_package(name: str, where: str | None) -> Layout:
    file = installed.load(installed.LAYOUTS, name, where)
    if file is None:
        known = [*names(), *installed.names(installed.LAYOUTS)]
        raise InputError.unknown(f"unknown layout {name!r}", name, known, where)
    if not isinstance(file, str | Path) or not Path(file).is_file():
        found = f"what a package has as layout {name!r} is not a file: {in_one_line(str(file))}"
        raise FileError(found, allowed="the path of a TOML file", where=where)
    return replace(read(Path(file)), name=name)


def every() -> Iterator[Layout]:
    """All layouts of ours, by name."""
    return map(find, names())


def of_packages() -> tuple[list[Layout], dict[str, InputError]]:
    """The layouts that installed packages add; and by name what is wrong with those that cannot be read."""
    found, broken = [], {}
    for name in installed.names(installed.LAYOUTS):
        if name in names():
            continue
        try:
            found.append(find(name))
        except InputError as error:
            broken[name] = error
    return found, broken


@functools.cache
def read(path: Path) -> Layout:
    """The layout in a file. Raises `FileError` with the file and the key for what is not as it has to be."""
    import tomllib

    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FileError(str(error), where=path.name) from None
    forms = {form: data.pop(form) for form in FORMS if form in data}
    common = {key: data.pop(key) for key in _OF_PACKING if key in data}
    _check(data, _OF_LAYOUT, ("title",), path.name)
    if not forms:
        raise FileError("no cell", allowed=f"a table [{'], ['.join(FORMS)}]", where=path.name)
    return Layout(path.stem, packings=tuple(_packing(form, forms, common, path.name) for form in forms), **data)


def _packing(form: str, forms: Mapping[str, dict[str, Any]], common: Mapping[str, Any], file: str) -> Packing:
    where = f"{file}: {form}"
    own = dict(forms[form])
    if (like := own.pop("like", None)) is not None:
        if like not in forms:
            raise FileError(f"like = {like!r}", allowed=listed(forms), where=where)
        own = {**forms[like], **own}
    fields = {**common, **own}
    _check(fields, _OF_PACKING, ("where", "arrays", "orientation", "source"), where)
    if fields["orientation"] not in ORIENTATIONS:
        raise FileError(f"orientation = {fields['orientation']!r}", allowed=listed(ORIENTATIONS), where=where)
    for name, line in fields["arrays"].items():
        try:
            blocks_in(str(line), form)
        except ValueError as error:
            allowed = f"W_i, W_h, b_i, b_h or b_ followed by one of {listed(FORMS[form])}"
            raise FileError(f"unknown block {error}", allowed=allowed, where=f"{where}.arrays.{name}") from None
    if "quirks" in common and "quirks" in own:
        fields["quirks"] = [*common["quirks"], *own["quirks"]]
    return Packing(form, **{**fields, "quirks": tuple(fields.get("quirks", ()))})


def _check(given: Mapping[str, Any], kinds: Mapping[str, type], needed: tuple[str, ...], where: str) -> None:
    """Raises `FileError` for a key that there is not, one of another type, or one that is missing."""
    for key, value in given.items():
        if key not in kinds:
            raise FileError.unknown(f"unknown key {key!r}", key, kinds, where)
        if type(value) is not kinds[key]:
            found = f"{key} = {value!r} is a {type(value).__name__}"
            raise FileError(found, allowed=f"a {kinds[key].__name__}", where=where)
    if missing := [key for key in needed if key not in given]:
        raise FileError(f"missing: {listed(missing)}", where=where)
