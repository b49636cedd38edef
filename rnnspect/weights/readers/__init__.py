"""The kinds of files that are read: which recurrent modules are in one, and the spec and the parameters of each.

`READERS` lists them. Everything that takes a file of weights asks here which reader it is for.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from typing import Any

from rnnspect.cells import Cell, named
from rnnspect.errors import FileError, InputError
from rnnspect.files.first_bytes import glimpse
from rnnspect.files.reading import Tensors
from rnnspect.weights.readers import interface, named_tensors, own_names
from rnnspect.weights.readers.counted_names import is_counted, numbered
from rnnspect.weights.readers.interface import Module, Reader, Told
from rnnspect.weights.readers.unread import is_spec, unread

_CHECKPOINTS = (
    *("safetensors", "safetensors_index", "npz", "torch_export", "torchscript", "torch_checkpoint", "pickles"),
)
READERS = {
    **dict.fromkeys(_CHECKPOINTS, "checkpoints"),
    **{name: name for name in ("keras", "tflite", "coreml")},
    **dict.fromkeys(("tensorflow_graph", "tensorflow_checkpoint", "tensorflow_saved_model"), "tensorflow_files"),
    "onnx": "onnx",
    **dict.fromkeys(("dynet", "flax"), "checkpoints"),
}
"""Each kind of file with the module here that reads it, in the order in which they are asked whether they know one."""
IN_FOLDER = (
    *("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "model.onnx", "onnx/model.onnx"),
    *("model.keras", "model.h5", "tf_model.h5", "weights.npz"),
)
"""Files of weights in a folder, the first that is there is read."""


def find(kind: str) -> Reader:
    """The reader of that name, imported now."""
    reader: Reader = importlib.import_module(f"{__name__}.{READERS[kind]}").READERS[kind]
    return reader


def inner_file(path: Path) -> Path:
    """Of a folder as Hugging Face lays one out, the file of weights in it; any other path as it is."""
    inside = (path / name for name in IN_FOLDER) if path.is_dir() else ()
    return next((file for file in inside if file.is_file()), path)


def kind_of(path: Path) -> str | None:
    """The name in `READERS` of the reader of a file, by its content; where nobody knows that, by the end of its name.
    None for a text, which may be a spec.

    Raises `FileError` where there is no file, and for what no reader knows.
    """
    seen = glimpse(inner_file(path))
    for kind in READERS:
        if find(kind).recognises(seen):
            return kind
    end = path.suffix.lower()
    if by_name := next((kind for kind in READERS if end in find(kind).ends), None):
        return by_name
    if is_spec(seen):
        return None
    raise unread(seen)


def modules_in(path: Path, flags: Mapping[str, Any], name: str | None = None) -> dict[str, Module]:
    """The recurrent modules of a file in its order: all, the one of that name, or the only one whose name ends with it,
    or those that match it as a pattern.
    `flags` are keys of a spec that are known, `names`, by PyTorch's names those of tensors in the file, and `as_stored`
    where the numbers of the file are wanted, not the dtype in which its framework computes with them.

    Raises as `kind_of`, and `FileError` for a file that is broken, or holds no such module.
    """
    path = inner_file(path)
    reader = _reader_of(path)
    cell = _own_cell(flags)
    if names := flags.get("names"):
        tensors = named_tensors.renamed(tensors_in(path), names, path)
        every = _named(tensors, path, flags, cell)
        every = {
            name: replace(one, tell=functools.partial(_with_names, one, names, path)) for name, one in every.items()
        }
    elif cell and reader.tensors:
        every = _named(reader.tensors(path), path, flags, cell)
    else:
        every = _modules(reader, path, flags)
    named = [name] if name in every else [known for known in every if known.endswith(f".{name}")]
    if len(named) == 1:
        return {named[0]: every[named[0]]}
    own = {known: module for known, module in every.items() if not module.in_stack}
    return interface.matching(own, name, str(path), reader.noun, _in_words)


def _own_cell(flags: Mapping[str, Any]) -> Cell | None:
    """The cell of somebody's own whose parameters are to be read; None where no such cell, or a layout, is said."""
    said = flags.get("cell")
    cell = said if isinstance(said, Cell) else named(said or "")
    return None if cell is None or cell.torch_name or flags.get("layout") not in (None, "pytorch") else cell


def _named(tensors: Tensors, path: Path, flags: Mapping[str, Any], cell: Cell | None) -> dict[str, Module]:
    """The modules among tensors that have nothing but names."""
    if cell is not None:
        return own_names.modules_of(tensors, str(path), cell, flags)
    return named_tensors.modules_of(tensors, path, flags)


_kept: ContextVar[dict[object, dict[str, Module]] | None] = ContextVar("_kept", default=None)


@contextmanager
def each_file_once() -> Iterator[None]:
    """Inside, the modules of a file are listed once, however many of them are asked for one after the other. Outside
    nothing of a file is kept."""
    token = _kept.set({})
    try:
        yield
    finally:
        _kept.reset(token)


def _modules(reader: Reader, path: Path, flags: Mapping[str, Any]) -> dict[str, Module]:
    kept, key = _kept.get(), (path, tuple(sorted((name, repr(value)) for name, value in flags.items())))
    if kept is None:
        return dict(reader.modules(path, flags))
    if key not in kept:
        kept[key] = dict(reader.modules(path, flags))
    return kept[key]


def reads_from(modules: Mapping[str, Module]) -> dict[str, str]:
    """By the name of a module that of the one whose output it reads: as its file says, or because their names differ in
    their numbers alone and their sizes fit."""
    found: dict[str, str] = {}
    told: dict[str, Told] = {}
    for name, module in modules.items():
        try:
            told[name] = module.tell()
        except InputError:
            continue
        text, numbers = numbered(name)
        below = [
            (at, other)
            for other in told
            for words, at in [numbered(other)]
            if words == text
            and at < numbers
            and not is_counted(name)
            and _width(told[other]) == told[name].keys.get("input_size")
        ]
        if before := told[name].reads_from or (max(below)[1] if below else ""):
            found[name] = before
    return found


def _width(told: Told) -> int:
    """How many numbers of a step its output has."""
    keys = told.keys
    return int(keys.get("proj_size") or keys.get("hidden_size", 0)) * (2 if keys.get("bidirectional") else 1)


def tensors_in(path: Path) -> Tensors:
    """Every tensor of a file by its name there. Raises as `kind_of`, and `FileError` for a file that has none."""
    path = inner_file(path)
    reader = _reader_of(path)
    if reader.tensors is None:
        raise FileError(f"this is {reader.what}; its arrays cannot be picked by name", where=str(path))
    return reader.tensors(path)


def module_in(path: Path, flags: Mapping[str, Any], name: str | None) -> Module:
    """The module of that name, or the only one. Raises as `modules_in`."""
    noun = _reader_of(path).noun
    return interface.only(modules_in(path, flags, name), str(path), noun, _in_words, "name it after a colon:")


def _with_names(module: Module, names: Mapping[str, str], path: Path) -> Told:
    """As the module tells, but that its parameters are found again by the names that somebody said."""
    told = module.tell()
    return replace(told, keys=told.keys | {"weights": {known: f"{path}:{name}" for known, name in names.items()}})


def _reader_of(path: Path) -> Reader:
    """Raises as `kind_of`, and `FileError` for a text."""
    if kind := kind_of(path):
        return find(kind)
    raise FileError("this is a text file, which holds no weights", allowed="a weights file", where=str(path))


def _in_words(module: Module) -> str:
    return interface.in_words(lambda: module.tell().keys)
