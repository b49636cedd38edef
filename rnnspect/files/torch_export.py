"""Archives of torch.export (.pt2): the parameters, buffers and constants of an exported program. Its graph is read for
what it says of recurrent modules, and not run.

Today each tensor is a member of its own, and a config in JSON says which. In older versions the state dict is a file of
torch.save in the archive, under several names (torch/export/__init__.py and torch/export/pt2_archive).
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from rnnspect.errors import FileError
from rnnspect.files import free_memory
from rnnspect.files.reading import UNNAMED, Tensors
from rnnspect.files.strided import MAX_AXES, Strided, checked, read_all
from rnnspect.files.torch_frozen import MODES
from rnnspect.files.torch_zip import parse_zip, place_of
from rnnspect.files.zip_members import MAX_TEXT, opened_zip, read_member

CONFIGS = ("_weights_config.json", "_constants_config.json")
"""How the names of members end that say where each tensor is."""
STATE_DICTS = ("serialized_state_dict.pt", "serialized_state_dict.json", "serialized_constants.pt")
GRAPHS = ("models/model.json", "serialized_exported_program.json")
FOLDERS = ("data/weights/", "data/constants/")
_DTYPES = {1: "uint8", 2: "int8", 3: "int16", 4: "int32", 5: "int64", 6: "float16", 7: "float32", 8: "float64"}
_DTYPES |= {10: "complex64", 11: "complex128", 12: "bool", 13: "bfloat16", 28: "uint16", 34: "uint32", 35: "uint64"}
_DTYPES |= {29: "float8_e4m3fn", 30: "float8_e5m2", 31: "float8_e4m3fnuz", 32: "float8_e5m2fnuz"}
"""torch._export.serde.schema.ScalarType; the dtypes that are missing here have no plain numbers."""
_LINEAR = {"mm", "bmm", "addmm", "matmul", "linear", "add", "t", "permute", "transpose", "view", "reshape", "expand"}
_LINEAR |= {"unsqueeze", "squeeze", "clone", "_unsafe_view"}
"""Operators that may stand between weight_hh and the function of a plain step."""


def is_state_dict(member: str) -> bool:
    """Whether a member is a file of torch.save with the tensors of an exported program."""
    return member.endswith(STATE_DICTS) or (member.endswith(".pt") and any(folder in member for folder in FOLDERS))


def tensors(path: Path) -> Tensors:
    """Every tensor of an archive by the name that it had in the module.

    Raises `FileError` for a damaged archive and for one without tensors.
    """
    where, found = str(path), dict[str, Strided]()
    with opened_zip(path, "torch.export", where) as archive:
        for info in archive.infolist():
            if info.filename.endswith(CONFIGS):
                found |= _in_config(archive, info.filename, path)
            elif is_state_dict(info.filename):
                found |= _in_file_of_torch(archive, info, path)
    if not found:
        raise FileError("this torch.export archive holds no parameters", where=where)
    stored = {name: tensor.stored for name, tensor in found.items()}
    return Tensors(stored, lambda names: read_all(path, {name: found[name] for name in names}))


def settings(path: Path) -> dict[str, dict[str, Any]]:
    """By the names of recurrent modules and cells their settings as torch.nn names them, as the program's graph calls
    them: mode, dropout and batch_first; of a plain one whose steps are written out, its mode alone. None of a module
    that is called in two ways, or of a graph of another form.

    Raises `FileError` for a damaged archive.
    """
    found: dict[str, dict[str, Any]] = {}
    with opened_zip(path, "torch.export", str(path)) as archive:
        for info in archive.infolist():
            if info.filename.endswith(GRAPHS) and info.file_size <= MAX_TEXT:
                with suppress(LookupError, TypeError, AttributeError, ValueError, RecursionError):
                    found |= _called(json.loads(read_member(archive, info.filename, str(path)))["graph_module"])
    return found


def _called(program: Any) -> dict[str, dict[str, Any]]:
    inputs = [one["parameter"] for one in program["signature"]["input_specs"] if "parameter" in one]
    names = {one["arg"]["name"]: one["parameter_name"] for one in inputs}
    found: dict[str, dict[str, Any]] = {}
    for node in program["graph"]["nodes"]:
        mode = MODES.get(_operator(node).removesuffix("_cell"))
        given = {one["name"]: one["arg"] for one in node["inputs"]} if mode else {}
        first: Any = given["params"]["as_tensors"][0] if "params" in given else given.get("w_ih", {}).get("as_tensor")
        if first is None or first["name"] not in names:  # such as a weight that is computed
            continue
        said: dict[str, Any] = {"mode": mode}
        if "params" in given:
            said["dropout"] = given["dropout"].get("as_float")
            said["batch_first"] = given["batch_first"]["as_bool"] if "batch_first" in given else None
        module = names[first["name"]].rpartition(".")[0]
        if found.setdefault(module, said) != said:
            found[module] = {}
    return _written_out(program["graph"]["nodes"], names) | found


def _operator(node: Any) -> str:
    return str(node["target"]).removeprefix("torch.ops.aten.").partition(".")[0]


def _written_out(nodes: Any, names: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """The modes of plain modules and cells of which the graph has the steps, as after run_decompositions(): what every
    product with weight_hh goes into, and nothing else does."""
    reached: dict[str, set[str]] = {}
    behind = {name: whole.rpartition(".")[0] for name, whole in names.items() if ".weight_hh" in f".{whole}"}
    for node in nodes:
        given = [one["arg"]["as_tensor"]["name"] for one in node["inputs"] if "as_tensor" in one["arg"]]
        for module in {behind[name] for name in given if name in behind}:
            if _operator(node) in _LINEAR:
                behind |= {one["as_tensor"]["name"]: module for one in node["outputs"] if "as_tensor" in one}
            else:
                reached.setdefault(module, set()).add(_operator(node))
    only = {module: next(iter(each)) for module, each in reached.items() if len(each) == 1}
    return {module: {"mode": f"RNN_{each.upper()}"} for module, each in only.items() if each in ("tanh", "relu")}


def _in_file_of_torch(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> dict[str, Strided]:
    free_memory.require(2 * info.file_size, "reading this file", str(path))
    return parse_zip(io.BytesIO(archive.read(info)), path).tensors


def _in_config(archive: zipfile.ZipFile, member: str, path: Path) -> dict[str, Strided]:
    where = f"{path}:{member}"
    try:
        config = json.loads(read_member(archive, member, str(path)))
    except (ValueError, RecursionError):
        raise FileError("the list of tensors is not valid JSON", where=where) from None
    entries = config.get("config") if isinstance(config, dict) else None
    if not isinstance(entries, dict):
        raise FileError("the archive lists no tensors", where=where)
    folder, members = member.rpartition("/")[0], {info.filename: info for info in archive.infolist()}
    big_endian = any(archive.read(info) == b"big" for info in members.values() if _is_byteorder(info))
    found: dict[str, Strided] = {}
    for name, entry in entries.items():
        at = f"{folder}/{entry.get('path_name')}" if isinstance(entry, dict) else ""
        if at not in members:
            raise FileError(f"the archive lists the tensor {name[:100]!r} and does not hold it", where=where)
        if entry.get("use_pickle"):
            only = _in_file_of_torch(archive, members[at], path).get(UNNAMED)
            found |= {name: only} if only else {}
        elif tensor := _tensor(entry.get("tensor_meta")):
            dtype, shape, strides, offset = tensor
            place = place_of(archive, members[at], path)
            found[name] = checked(Strided(place, dtype, shape, strides, offset, big_endian), f"{path}:{name}")
    return found


def _is_byteorder(info: zipfile.ZipInfo) -> bool:
    return info.filename.endswith("/byteorder") and info.file_size < 10


def _tensor(meta: Any) -> tuple[str, tuple[int, ...], tuple[int, ...], int] | None:
    """The dtype, shape, strides and offset of one with plain numbers."""
    fields = meta if isinstance(meta, dict) else {}
    dtype = fields.get("dtype")
    shape, strides = _counts(fields.get("sizes")), _counts(fields.get("strides"))
    (offset,) = _counts([fields.get("storage_offset")])
    known = _DTYPES.get(dtype) if isinstance(dtype, int) else None
    return (known, shape, strides, offset) if known and len(shape) == len(strides) else None


def _counts(values: Any) -> tuple[int, ...]:
    """Sizes as the schema writes them, each as {"as_int": 3}; −1 for one that is no number."""
    listed = values[: MAX_AXES + 1] if isinstance(values, list) else []
    numbers = [value.get("as_int") if isinstance(value, dict) else value for value in listed]
    return tuple(number if type(number) is int else -1 for number in numbers)
