"""Checkpoints: files of tensors under names, of torch, numpy, safetensors, DyNet, Flax and pickles, and what tells them
apart.

No class of a pickle is imported, nothing in one is called, and no code or graph beside the tensors is run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rnnspect.errors import FileError
from rnnspect.files import dynet_file, flax_file, npy, pickle_file, safetensors_file, torch_export
from rnnspect.files.first_bytes import Glimpse
from rnnspect.files.pickle_file import TORCH_MAGIC
from rnnspect.files.pickled import PickledModule
from rnnspect.files.reading import Tensors
from rnnspect.files.rebuilding import QUANTISED, runs_code
from rnnspect.files.torch_tar import is_torch_tar
from rnnspect.weights.readers import converted, torch_quantised
from rnnspect.weights.readers.interface import Module, Reader, Told
from rnnspect.weights.readers.named_tensors import modules_of
from rnnspect.weights.readers.pytorch import UNTOLD

_PICKLE = re.compile(rb"\x80[\x02-\x05]|\([dl]p\d+\n|c[\w.]+\n\w+\n(?:p\d+\n|q\x00)|[}\]]q\x00|\(i[\w.]+\n")
"""How a pickle begins: of protocols 2 to 5 the protocol; of older ones a dictionary, a list, a class or an object."""
_FUNCTIONS = {"RNN_TANH": "tanh", "RNN_RELU": "relu"}
_EXPORTED = (*torch_export.CONFIGS, *torch_export.STATE_DICTS, "/archive_format")


def _of_tensors(
    what: str, recognises: Callable[[Glimpse], bool], read: Callable[[Path], Tensors], *ends: str
) -> Reader:
    """The reader of a format that is nothing but tensors under names."""
    return Reader(what, recognises, lambda path, flags: modules_of(read(path), path, flags), ends, tensors=read)


def _of_pickles(what: str, recognises: Callable[[Glimpse], bool], *ends: str) -> Reader:
    """The reader of a kind of file with a pickle in it."""
    return Reader(what, recognises, _pickled_modules, ends, tensors=pickle_file.tensors)


def _safetensors_modules(path: Path, flags: Mapping[str, Any]) -> dict[str, Module]:
    tensors = safetensors_file.tensors(path)
    text = safetensors_file.read_metadata(path).get(converted.NAME)
    return modules_of(tensors, path, flags, converted.keys_in(text, UNTOLD, str(path)))


def _pickled_modules(path: Path, flags: Mapping[str, Any]) -> dict[str, Module]:
    """Every recurrent module whose parameters are in a file with a pickle in it.

    Raises `FileError` for a file that is broken, or holds no recurrent module.
    """
    file = pickle_file.open_pickle(path)
    if not file.tensors:
        found = f"this is {file.what} that holds {file.described}, and no arrays"
        raise FileError(found, allowed="the parameters of a network", where=str(path))
    content, quantised = file.content, torch_quantised.renamed(file.content, file.modules)
    modules = modules_of(quantised or content, path, flags)
    how = {"a TorchScript archive": "its code is not run"}.get(file.what, "its classes are not loaded")
    notes = [f"note: {path} is {file.what}: {how}, only its tensors are read"] if runs_code(file.called) else []
    if quantised is not None:
        beside = torch_quantised.INTEGERS if QUANTISED in file.called else ""
        notes += [f"note: {path} {torch_quantised.NOTE}{beside}"]
    return {name: _with_words_of(module, file.modules.get(name), tuple(notes)) for name, module in modules.items()}


def _exported_modules(path: Path, flags: Mapping[str, Any]) -> dict[str, Module]:
    said = {name: PickledModule("", settings) for name, settings in torch_export.settings(path).items()}
    modules = modules_of(torch_export.tensors(path), path, flags)
    return {name: _with_words_of(module, said.get(name), ()) for name, module in modules.items()}


def _with_words_of(module: Module, pickled: PickledModule | None, notes: tuple[str, ...]) -> Module:
    """The same module, with what the pickled torch.nn.RNN, LSTM or GRU says itself beside its tensors."""
    said = _said(pickled) if pickled else {}

    def tell() -> Told:
        told = module.tell()
        untold = tuple(key for key in told.untold if key not in said)
        return replace(told, keys=told.keys | said, untold=untold, notes=(*told.notes, *notes))

    return replace(module, tell=tell)


def _said(pickled: PickledModule) -> dict[str, Any]:
    """Keys of a spec from the attributes of a module of torch.nn."""
    found, mode = pickled.attributes, pickled.attributes.get("mode")
    said: dict[str, Any] = {}
    if isinstance(mode, str):
        said = {key: found[key] for key in ("batch_first",) if isinstance(found.get(key), bool)}
        dropout = found.get("dropout")
        if isinstance(dropout, int | float) and 0 <= dropout <= 1:
            said["dropout"] = float(dropout)
    function = found.get("nonlinearity") if pickled.kind.endswith(".RNNCell") else _FUNCTIONS.get(str(mode))
    return said | ({"nonlinearity": function} if function in ("tanh", "relu") else {})


READERS = {
    "safetensors": Reader(
        "a safetensors file",
        lambda seen: (
            seen.head[8:9] == b"{" and 2 <= int.from_bytes(seen.head[:8], "little") <= safetensors_file.MAX_HEADER
        ),
        _safetensors_modules,
        (".safetensors",),
        tensors=safetensors_file.tensors,
    ),
    "safetensors_index": _of_tensors(
        "an index of a sharded checkpoint",
        lambda seen: seen.head.lstrip().startswith(b"{") and b'"weight_map"' in seen.head,
        safetensors_file.sharded_tensors,
        ".index.json",
    ),
    "npz": _of_tensors(
        "a numpy archive",
        lambda seen: bool(seen.members) and not seen.is_folder and all(name.endswith(".npy") for name in seen.members),
        npy.tensors,
        ".npz",
    ),
    "torch_export": Reader(
        "an archive of torch.export",
        lambda seen: not seen.is_folder and any(map(seen.has, _EXPORTED)),
        _exported_modules,
        (".pt2",),
        tensors=torch_export.tensors,
    ),
    "torchscript": _of_pickles(
        "a TorchScript archive",
        lambda seen: not seen.is_folder and seen.has("/data.pkl", "/constants.pkl"),
        *(".jit", ".ts"),
    ),
    "torch_checkpoint": _of_pickles(
        "a file of torch.save",
        lambda seen: (
            not seen.is_folder
            and (seen.has("data.pkl") or seen.head.startswith(TORCH_MAGIC) or is_torch_tar(seen.head))
        ),
        *(".pt", ".pth"),
    ),
    "pickles": _of_pickles(
        "a pickle",
        lambda seen: _PICKLE.match(seen.head) is not None and not seen.head.startswith(TORCH_MAGIC),
        *(".pkl", ".pickle", ".joblib"),
    ),
    "dynet": _of_tensors("a file of DyNet", lambda seen: seen.head.startswith(dynet_file.BEGINS), dynet_file.tensors),
    "flax": _of_tensors("a file of Flax", flax_file.recognises, flax_file.tensors, ".msgpack"),
}
