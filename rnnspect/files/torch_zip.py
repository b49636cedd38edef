"""torch.save since version 1.6, and TorchScript: a zip with a pickle, data.pkl, and each storage as a member."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rnnspect.errors import FileError
from rnnspect.files import free_memory
from rnnspect.files.dtypes import SIZES
from rnnspect.files.pickle_inert import MAX_PICKLE, load
from rnnspect.files.pickled import PickledModule, PickleFile, tensors_in
from rnnspect.files.reading import check_promise
from rnnspect.files.rebuilding import is_storage, storage_dtype
from rnnspect.files.strided import StoredBytes, Strided
from rnnspect.files.torch_frozen import MODES, frozen_modules
from rnnspect.files.zip_members import opened_member, opened_zip, read_member

MAX_CODE = 1 << 26
"""The most bytes of code that are read."""
PICKLE, CONSTANTS = "data.pkl", "constants.pkl"


def parse_zip(source: Path | io.BytesIO, path: Path) -> PickleFile:
    """What is in such an archive; `path` is the file, for messages, if the archive is a member of another one.

    Raises `FileError` for an archive that is damaged, or of another kind.
    """
    where = str(path)
    with opened_zip(source, "torch", where) as archive:
        members = {info.filename: info for info in archive.infolist()}
        roots = [name.removesuffix(PICKLE) for name in members if name.rpartition("/")[2] == PICKLE]
        if not roots:
            raise FileError(f"this zip archive has no {PICKLE}", allowed="one that torch.save wrote", where=where)
        root = roots[0]
        order = members.get(f"{root}byteorder")
        big_endian = order is not None and order.file_size < 10 and archive.read(order) == b"big"
        is_script = f"{root}{CONSTANTS}" in members
        held = _Members(archive, members, source, path, big_endian)
        pickle = load(held.pickle(f"{root}{PICKLE}"), where)
        inside = tensors_in(pickle, lambda identity: held.storage(f"{root}data/", identity), where)
        what = "a TorchScript archive" if is_script else "a file of torch.save"
        found = PickleFile(path=path, what=what, value=pickle.value, called=pickle.called, **vars(inside))
        if is_script:  # what torch.jit.freeze makes of parameters has no name but its number
            constants = load(held.pickle(f"{root}{CONSTANTS}"), where)
            frozen = tensors_in(constants, lambda key: held.storage(f"{root}constants/", key), where, "constants")
            found.tensors.update(frozen.tensors)
            held.name_frozen(root, found)
            found.modules = {name: held.with_settings(root, one) for name, one in found.modules.items()}
    return found


def place_of(archive: zipfile.ZipFile, info: zipfile.ZipInfo, source: Path | io.BytesIO) -> StoredBytes:
    """Where a member's bytes are: in the file, unless they are packed or the archive is a member of another."""
    if isinstance(source, io.BytesIO):
        return StoredBytes(info.file_size, data=archive.read(info))
    if info.compress_type != zipfile.ZIP_STORED:
        return StoredBytes(info.file_size, member=info.filename)
    with opened_member(archive, info.filename, source) as part:
        return StoredBytes(part.size, part.start)


@dataclass
class _Members:
    """The members of an open archive."""

    archive: zipfile.ZipFile
    members: dict[str, zipfile.ZipInfo]
    source: Path | io.BytesIO
    path: Path
    big_endian: bool
    places: dict[str, StoredBytes] = field(default_factory=dict)
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By the class of a module of TorchScript."""
    code_left: int = MAX_CODE

    def pickle(self, name: str) -> io.BytesIO:
        size = self.members[name].file_size
        if size > MAX_PICKLE:
            allowed = f"at most {free_memory.in_words(MAX_PICKLE)}"
            raise FileError(f"{name} takes {free_memory.in_words(size)}", allowed=allowed, where=str(self.path))
        free_memory.require(2 * size, "reading this file", str(self.path))
        return io.BytesIO(self.archive.read(name))

    def with_settings(self, root: str, module: PickledModule) -> PickledModule:
        """The module, with the settings that its code says."""
        name = root + code_file(module.kind)
        if module.kind not in self.settings and name in self.members and self.members[name].file_size <= self.code_left:
            self.code_left -= self.members[name].file_size
            self.settings[module.kind] = settings(read_member(self.archive, name, str(self.path)), module.kind)
        return replace(module, attributes=module.attributes | self.settings.get(module.kind, {}))

    def name_frozen(self, root: str, found: PickleFile) -> None:
        """Gives constants that are parameters of recurrent functions the names that these have in torch.nn."""
        whole = found.modules.get("")
        name = root + code_file(whole.kind) if whole else ""
        if name not in self.members or self.members[name].file_size > self.code_left:
            return
        self.code_left -= self.members[name].file_size
        taken, named = dict[str, int](), set[str]()
        for module in frozen_modules(read_member(self.archive, name, str(self.path))):
            constants = {part: f"constants.{number}" for part, number in module.parameters.items()}
            if not all(one in found.tensors for one in constants.values()):
                continue
            taken[module.name] = taken.get(module.name, 0) + 1
            called = module.name + (f"_{taken[module.name]}" if taken[module.name] > 1 else "")
            for part, constant in constants.items():
                found.tensors[f"{called}.{part}"] = found.tensors[constant]
            named.update(constants.values())
            found.modules[called] = PickledModule(module.kind, module.attributes)
        for constant in named:  # not before: TorchScript keeps equal parameters, such as two biases of zeros, once
            del found.tensors[constant]

    def storage(self, folder: str, identity: Any) -> Strided | None:
        """The storage of that identity: the member of its key in a folder."""
        if not is_storage(identity):
            return None
        dtype, name = storage_dtype(identity[1]), folder + identity[2]
        if dtype is None:
            return None
        if name not in self.places:
            if name not in self.members:
                raise FileError(f"the file is damaged: the storage {name[:100]!r} is missing", where=str(self.path))
            self.places[name] = place_of(self.archive, self.members[name], self.source)
        check_promise(identity[4] * SIZES[dtype], self.places[name].size, f"{self.path}:{name}")
        return Strided(self.places[name], dtype, (identity[4],), (1,), 0, self.big_endian)


_PLAIN_CELL = r"__torch__\.torch\.nn\.modules\.rnn\.(\w+\.)?RNNCell"
_TRUTHS = {"True": True, "False": False}


def code_file(kind: str) -> str:
    """The member of the archive with the code of a class: code/__torch__/torch/nn/modules/rnn.py."""
    return f"code/{kind.rpartition('.')[0].replace('.', '/')}.py"


def settings(code: str, kind: str) -> dict[str, Any]:
    """The settings of a class as torch.nn names them, as far as its code says them plainly."""
    constants: dict[str, Any] = {}
    calls: list[dict[str, Any]] = []
    lines = list(_lines_of_class(code, kind.rpartition(".")[2]))
    for line in lines:
        name, is_constant, value = line.strip().partition(" : Final[")
        if is_constant:
            constants[name] = _literal(value.partition("] = ")[2])
        elif (called := _called(line)) and called not in calls:
            calls.append(called)
    return constants or (calls[0] if len(calls) == 1 else _function_of_cell(lines, kind))


def _function_of_cell(lines: Iterable[str], kind: str) -> dict[str, Any]:
    """The nonlinearity of a plain cell that was traced, of which the code has the operators."""
    if not re.fullmatch(_PLAIN_CELL, kind):
        return {}
    found = {name for line in lines for name in re.findall(r"\btorch\.(tanh|relu)_?\(", line)}
    return {"nonlinearity": found.pop()} if len(found) == 1 else {}


def _lines_of_class(code: str, name: str) -> Iterable[str]:
    inside = False
    for line in code.splitlines():
        if line.startswith("class "):
            inside = line.startswith(f"class {name}(")
        elif inside:
            yield line


def _called(line: str) -> dict[str, Any] | None:
    """What a call of a recurrent function in this line says; None where there is none."""
    name, _, given = line.partition("torch.")[2].partition("(")
    arguments = given.rstrip().removesuffix(")").rsplit(", ", 4)
    if name not in MODES or len(arguments) < 5 or not all(one in _TRUTHS for one in arguments[-3:]):
        return None  # with packed sequences the last argument is another
    return {"mode": MODES[name], "dropout": _literal(arguments[-4]), "batch_first": _TRUTHS[arguments[-1]]}


def _literal(text: str) -> Any:
    """A truth, a text or a number as TorchScript writes it; None for anything else."""
    if text in _TRUTHS:
        return _TRUTHS[text]
    if len(text) > 1 and text[0] == text[-1] == '"':
        return text[1:-1]
    try:
        return float(text)
    except ValueError:
        return None
