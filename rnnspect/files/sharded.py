"""A checkpoint in several .safetensors files, with an index in JSON that says which tensor is in which, as Hugging Face
writes it: {"weight_map": {NAME: FILE}}."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from rnnspect.errors import FileError
from rnnspect.files import safetensors_file
from rnnspect.files.reading import Tensors, decoded, read_bytes

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from torch import Tensor

MAX_INDEX = 64 * 2**20


def tensors(path: Path) -> Tensors:
    """The tensors of all files of the index at `path`, which lie beside it.

    Raises `FileError` for an index that is none, names a file elsewhere, or a tensor that its file does not hold.
    """
    where = str(path)
    try:
        index = json.loads(decoded(read_bytes(path, MAX_INDEX), where, "an index in JSON"))
        files = index["weight_map"]
        if not all(isinstance(name, str) and isinstance(file, str) for name, file in files.items()):
            raise TypeError
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        found = "this is not the index of a sharded checkpoint"
        raise FileError(found, allowed='{"weight_map": {NAME: FILE}}', where=where) from None
    shards = {}
    for file in dict.fromkeys(files.values()):
        if not file.endswith(".safetensors") or "/" in file or "\\" in file:
            found = f"the index names the file {file!r}"
            raise FileError(found, allowed="a .safetensors file in the same folder", where=where)
        shards[file] = safetensors_file.tensors(path.parent / file)
    for name, file in files.items():
        if name not in shards[file].stored:
            raise FileError(f"the tensor {name} is not in {file}, as the index says", where=where)

    def read(names: Collection[str]) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        for file, shard in shards.items():
            found |= shard.read([name for name in names if files[name] == file])
        return found

    return Tensors({name: shards[file].stored[name] for name, file in files.items()}, read)
