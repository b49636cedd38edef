"""Every tensor and array in a pickle by the names on the way to it, as state_dict names those of a module."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rnnspect.errors import FileError, listed
from rnnspect.files.pickle_inert import MAPPINGS, PERSISTENT, Named, Pickle, Record, Unhashed
from rnnspect.files.reading import UNNAMED, Tensors
from rnnspect.files.rebuilding import Elsewhere, is_tensor, objects_in, rebuilt, unwrapped
from rnnspect.files.strided import Strided, read_all

MAX_DEPTH = 64
"""How deeply names may be nested."""
MAX_CHARACTERS = 1 << 27
"""The most characters of all names together."""
_SHOWN, _MOST_SHOWN = 5, 100
"""A message shows at most so many keys of a dictionary, and so many characters of a name."""
_CONTAINERS = (Record, dict, list, tuple)
SCRIPTED = "__torch__."
"""The beginning of the names of classes in TorchScript."""


@dataclass
class Pickled:
    """What is in a pickle."""

    tensors: dict[str, Strided] = field(default_factory=dict)
    modules: dict[str, PickledModule] = field(default_factory=dict)
    """By the same names the modules: of torch.nn, derived from it, or of TorchScript."""
    by_identity: dict[int, Strided] = field(default_factory=dict)
    """By the id of a pickled value the tensor that it represents."""


@dataclass(frozen=True)
class PickledModule:
    """The settings of a pickled module."""

    kind: str
    """Its class, such as torch.nn.modules.rnn.LSTM."""
    attributes: dict[str, Any]
    """Its texts, numbers and truths, such as batch_first."""


@dataclass(kw_only=True)
class PickleFile(Pickled):
    """The tensors and arrays of a file by name, and what else was seen in it."""

    path: Path
    what: str
    """What kind of file it is."""
    value: Any
    """What the pickle holds, as `pickle_inert` gives it."""
    called: set[str]
    """What Python would call to load it."""

    @property
    def content(self) -> Tensors:
        stored = {name: tensor.stored for name, tensor in self.tensors.items()}
        return Tensors(stored, lambda names: read_all(self.path, {name: self.tensors[name] for name in names}))

    @property
    def described(self) -> str:
        return described(self.value)


def tensors_in(pickle: Pickle, elsewhere: Elsewhere, where: str, name: str = "") -> Pickled:
    """What a pickle holds; every name begins with `name`.

    A tensor is listed under each name that dictionaries and modules give it. What is in lists and in other attributes
    of an object is listed if it has no such name. Each container is looked into once, wherever it is.

    Raises `FileError` for a tensor that does not fit into its bytes.
    """
    search = _Search(elsewhere, where)
    search.visit(pickle.value, name, 0, once=False)
    while search.later:
        search.visit(*search.later.popleft(), once=True)
    return search.found


def described(value: Any) -> str:
    """A pickled value in words, for messages."""
    if isinstance(value, dict):
        keys = [str(key)[:_MOST_SHOWN] for key in value if isinstance(key, str | int)]
        return f"a dict with keys {listed(keys, _SHOWN)}" if keys else "a dict" if value else "an empty dict"
    if isinstance(value, list | tuple):
        return f"a {type(value).__name__} of {len(value)} items"
    if isinstance(value, Record):
        return "a torch storage" if value.name == PERSISTENT else f"an object of {value.name[:_MOST_SHOWN]}"
    return value.name[:_MOST_SHOWN] if isinstance(value, Named) else f"a {type(value).__name__}"


class _Search:
    def __init__(self, elsewhere: Elsewhere, where: str) -> None:
        self.elsewhere, self.where = elsewhere, where
        self.found = Pickled()
        self.seen: set[int] = set()
        self.regions: set[tuple[Any, ...]] = set()
        self.later: deque[tuple[Any, str, int]] = deque()
        self.characters = 0

    def visit(self, value: Any, name: str, depth: int, once: bool) -> None:
        """`once` says that a tensor is listed only if it has no other name yet."""
        if depth > MAX_DEPTH:
            return
        identity, value = id(value), unwrapped(value)
        if isinstance(value, Record):
            where = f"{self.where}:{name[:_MOST_SHOWN]}" if name else self.where
            tensor = self.found.by_identity.get(identity) or rebuilt(value, self.elsewhere, where)
            if tensor is None:
                self._visit_record(value, name, depth, once)
                return
            self.found.by_identity[identity] = tensor
            if not once or tensor.region not in self.regions:
                self.found.tensors.setdefault(name or UNNAMED, tensor)
            self.regions.add(tensor.region)
        elif isinstance(value, dict):
            for key, inner in self._members(value):
                self.visit(inner, self._inside(name, key), depth + 1, once)
        elif isinstance(value, list | tuple):
            for key, inner in self._members(value):
                self.visit(inner, self._inside(name, key), depth + 1, once=True)

    def _visit_record(self, record: Record, name: str, depth: int, once: bool) -> None:
        members = objects_in(record)
        if members is not None:
            self.visit(members, name, depth, once)
        if is_tensor(record) or id(record) in self.seen:
            return
        self.seen.add(id(record))
        state = _attributes(record.state)
        if state is not None and "_modules" in state and "_parameters" in state:
            self._visit_module(record.name, state, name, depth)
            return
        if state is not None and record.name.startswith(SCRIPTED) and id(state) not in self.seen:
            self._note_module(record.name, state, name)
        mapping = record.name in MAPPINGS
        args = record.args[0] if mapping and isinstance(record.args, tuple) and record.args else record.args
        self.visit(record.state if state is None else state, name, depth + 1, once)
        self.visit(record.keyed, name, depth + 1, once)
        self.visit(record.items, name, depth + 1, once)
        if mapping and isinstance(args, list):
            for _, pair in self._members(args):
                if isinstance(pair, list | tuple) and len(pair) == 2:
                    self.visit(pair[1], self._inside(name, pair[0]), depth + 1, once)
        else:
            self.visit(args, name, depth + 1, once)

    def _visit_module(self, kind: str, state: dict[Any, Any], name: str, depth: int) -> None:
        """Visits the parts of a module, first those that state_dict would list."""
        if id(state) in self.seen:
            return
        self.seen.add(id(state))
        self._note_module(kind, state, name)
        for part in ("_parameters", "_buffers", "_modules"):
            self.visit(state.get(part), name, depth + 1, once=False)
        for key, value in state.items():
            if key not in ("_parameters", "_buffers", "_modules") and isinstance(value, _CONTAINERS):
                self.later.append((value, self._inside(name, key), depth + 1))

    def _note_module(self, kind: str, state: dict[Any, Any], name: str) -> None:
        plain = {key: value for key, value in state.items() if isinstance(value, str | int | float | bool)}
        self.found.modules.setdefault(name, PickledModule(kind, plain))

    def _members(self, value: dict[Any, Any] | list[Any] | tuple[Any, ...]) -> Iterator[tuple[Any, Any]]:
        """The members of a container that may hold tensors, with their keys or places; none for a container that was
        visited already."""
        if id(value) in self.seen:
            return
        self.seen.add(id(value))
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            if inner and isinstance(inner, _CONTAINERS):
                yield key, inner

    def _inside(self, name: str, key: Any) -> str:
        key = key.decode("latin-1") if isinstance(key, bytes) else "?" if isinstance(key, Unhashed) else str(key)
        self.characters += len(name) + len(key) + 1
        if self.characters > MAX_CHARACTERS:
            found = f"the names in the file have more than {MAX_CHARACTERS:,} characters together"
            raise FileError(found, advice="save only the arrays, as .npz or .safetensors", where=self.where)
        return f"{name}.{key}" if name else key


def _attributes(state: Any) -> dict[Any, Any] | None:
    """The attributes of an object: its state, or of attributes and slots both the first."""
    if isinstance(state, tuple) and len(state) == 2 and isinstance(state[0], dict):
        return state[0]
    return state if isinstance(state, dict) else None
