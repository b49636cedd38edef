"""Pickled arrays and objects with arrays in them, by pickle.dump and joblib.dump; and what every reader of a file with
a pickle in it shares. No class of a pickle is imported, and nothing in it is called."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rnnspect.errors import FileError
from rnnspect.files import pickle_file
from rnnspect.files.pickle_file import TORCH_MAGIC
from rnnspect.files.rebuilding import runs_code
from rnnspect.weights.readers import named_tensors
from rnnspect.weights.readers.interface import Module, Reader, Told

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from rnnspect.files.glimpse import Glimpse
    from rnnspect.files.pickled import PickledModule

_BEGINS = re.compile(rb"\x80[\x02-\x05]|\([dl]p\d+\n|c[\w.]+\n\w+\n(?:p\d+\n|q\x00)|[}\]]q\x00|\(i[\w.]+\n")
"""Of protocols 2 to 5 the protocol; of older ones a dictionary, a list, a class or an object."""
_FUNCTIONS = {"RNN_TANH": "tanh", "RNN_RELU": "relu"}


def modules_of(path: Path, flags: Mapping[str, Any]) -> dict[str, Module]:
    """Every recurrent module whose parameters are in a file with a pickle in it.

    Raises `FileError` for a file that is broken, or holds no recurrent module.
    """
    file = pickle_file.open_pickle(path)
    if not file.tensors:
        found = f"this is {file.what} that holds {file.described}, and no arrays"
        raise FileError(found, allowed="the parameters of a network", where=str(path))
    modules = named_tensors.modules_of(file.content, path, flags)
    how = {"a TorchScript archive": "its code is not run"}.get(file.what, "its classes are not loaded")
    notes = (f"note: {path} is {file.what}: {how}, only its tensors are read",) if runs_code(file.called) else ()
    return {name: _with_words_of(module, file.modules.get(name), notes) for name, module in modules.items()}


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


def of_pickles(what: str, recognises: Callable[[Glimpse], bool], *ends: str) -> Reader:
    """The reader of a kind of file with a pickle in it."""
    return Reader(what, recognises, modules_of, ends, tensors=pickle_file.tensors)


def _recognises(seen: Glimpse) -> bool:
    return _BEGINS.match(seen.head) is not None and not seen.head.startswith(TORCH_MAGIC)


READER = of_pickles("a pickle", _recognises, ".pkl", ".pickle", ".joblib")
