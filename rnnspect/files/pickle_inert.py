"""A pickle read without running it: its containers, texts and numbers, and an inert record of everything else.

A pickle is a program for a small stack machine. Python's own machine imports what the program names and calls it. This
one only writes down what would have been called with what, so that no name of a file is ever imported. `pickletools`
splits the bytes into instructions; each takes time and memory in proportion to its own bytes, their number is bounded,
and nothing is compared, hashed or copied that a file could make large.
"""

from __future__ import annotations

import mmap
import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

from rnnspect.errors import FileError
from rnnspect.files import free_memory
from rnnspect.files.reading import in_short
from rnnspect.files.silenced import ignoring

MAX_STEPS = 5_000_000
"""The most instructions of one pickle, which take some seconds and 500 MB. A checkpoint of a thousand tensors has some
30,000."""
_PAUSE, _BYTES_A_STEP = 1 << 18, 200
"""After so many steps it is checked whether so many bytes are free for each of as many further steps."""
MAX_PICKLE = 1 << 28
"""The most bytes of a pickle whose numbers are stored elsewhere."""
MAX_KEY = 1000
"""The most characters of a key; a longer one is no name."""
_BROKEN = (ValueError, LookupError, AttributeError, TypeError, EOFError, OverflowError, MemoryError)
"""What pickletools raises on damaged bytes, and an instruction that finds too little on the stack."""


@dataclass(eq=False, slots=True)
class Named:
    """A class or function as a pickle names it: torch.nn.modules.rnn.LSTM."""

    name: str


@dataclass(eq=False, slots=True)
class Record:
    """The result of a call that was not made: the name of the function, its arguments, and what was added to the result
    afterwards."""

    name: str
    args: Any
    state: Any = None
    items: list[Any] | None = None
    keyed: dict[Any, Any] | None = None


@dataclass(eq=False, slots=True)
class Unhashed:
    """Stands for a key that is no short text or number."""

    key: Any


@dataclass
class Pickle:
    """What one pickle holds."""

    value: Any
    persistent: list[Record]
    """Objects that are stored outside of the pickle, such as the storages of torch: records whose arguments say
    where."""
    called: set[str]
    """The names of everything that Python would call to load it."""
    end: int
    """Where in the file the next byte after it is."""


PERSISTENT = "(stored elsewhere)"
MAPPINGS = ("collections.OrderedDict", "builtins.dict", "__builtin__.dict")


def load(file: BinaryIO | mmap.mmap, where: str, after_build: Callable[[Record], None] | None = None) -> Pickle:
    """The pickle that begins where the file stands. The file must never give more bytes than it has, however many are
    asked for: `io.BytesIO` and `mmap.mmap` do so.

    `after_build` is called for each record that got its state. It may read on in the file: joblib keeps numbers there.

    Raises `FileError` for bytes that are no pickle and for one that is too long.
    """
    machine = _Machine(after_build)
    try:
        with ignoring():  # about escapes in the text of damaged ones
            _run(machine, file, where)
        if len(machine.stack) != 1:
            raise ValueError(f"it ends with {len(machine.stack)} values instead of one")
    except _BROKEN as error:
        raise FileError(f"not a pickle, or damaged: {_reason(error)}", where=where) from None
    return Pickle(machine.stack[0], machine.persistent, machine.called, file.tell())


def _run(machine: _Machine, file: BinaryIO | mmap.mmap, where: str) -> None:
    """Every instruction in turn."""
    for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):  # type: ignore[arg-type]
        if count % _PAUSE == _PAUSE - 1:
            free_memory.require(_PAUSE * _BYTES_A_STEP, "reading on", where)
        if count >= MAX_STEPS:
            found = f"the pickle has more than {MAX_STEPS:,} instructions"
            raise FileError(found, advice="save only the arrays, as .npz or .safetensors", where=where)
        step = _STEPS.get(opcode.name)
        if step is None:
            raise ValueError(f"instruction {opcode.name}, which files of arrays never have")
        step(machine, argument)


def _reason(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "it needs more memory than there is"
    if isinstance(error, LookupError):
        return "it is a text, or refers to a missing value"
    return in_short(error)[:200]


class _Machine:
    def __init__(self, after_build: Callable[[Record], None] | None) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.persistent: list[Record] = []
        self.called: set[str] = set()
        self.after_build = after_build

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def mark(self, _: Any) -> None:
        self.marks.append(len(self.stack))

    def above_mark(self) -> list[Any]:
        """Removes and returns what was pushed since the last mark, and the mark."""
        at = self.marks.pop()
        found = self.stack[at:]
        del self.stack[at:]
        return found

    def drop(self, _: Any) -> None:
        if self.marks and self.marks[-1] == len(self.stack):
            self.marks.pop()
        else:
            self.stack.pop()

    def memoize(self, index: int | None) -> None:
        self.memo[len(self.memo) if index is None else index] = self.stack[-1]

    def tuple_of(self, count: int) -> None:
        if count > len(self.stack):
            raise IndexError("it is cut short")
        found = tuple(self.stack[-count:])
        self.stack[-count:] = [found]

    def append(self, values: list[Any]) -> None:
        """Appends to the list on the stack, or to the record, which may stand for something like a list."""
        target = self.stack[-1]
        if isinstance(target, Record):
            target.items = target.items or []
            target.items.extend(values)
        elif isinstance(target, list):
            target.extend(values)

    def put(self, pairs: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, Record):
            target.keyed = target.keyed or {}
            target.keyed.update(_mapping(pairs))
        elif isinstance(target, dict):
            target.update(_mapping(pairs))

    def name(self, module_and_name: str) -> None:
        if len(module_and_name) > MAX_KEY:
            raise ValueError(f"a class name of {len(module_and_name)} characters")
        self.push(Named(module_and_name.replace(" ", ".")))

    def name_from_stack(self, _: Any) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise TypeError("a class name that is not text")
        self.name(f"{module[:MAX_KEY]} {name[:MAX_KEY]}")

    def call(self, called: Any, args: Any) -> None:
        name = called.name if isinstance(called, Named) else "a result of a call"
        self.called.add(name)
        if name in MAPPINGS and args == ():
            self.push({})
        else:
            self.push(Record(name, args))

    def call_with_two(self, _: Any) -> None:
        args, called = self.stack.pop(), self.stack.pop()
        self.call(called, args)

    def call_with_three(self, _: Any) -> None:
        named, args, called = self.stack.pop(), self.stack.pop(), self.stack.pop()
        self.call(called, args)
        if isinstance(self.stack[-1], Record) and isinstance(named, dict):
            self.stack[-1].keyed = named

    def call_above_mark(self, _: Any) -> None:
        args = self.above_mark()
        self.call(args[0], tuple(args[1:]))

    def call_by_name(self, module_and_name: str) -> None:
        args = tuple(self.above_mark())
        self.name(module_and_name)
        self.call(self.stack.pop(), args)

    def build(self, _: Any) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, Record):
            target.state = state
            if self.after_build:
                self.after_build(target)

    def refer(self, place: Any) -> None:
        """A reference to an object outside of the pickle. torch up to 1.5 also named the class of a module so, with its
        source."""
        named = [value for value in place[:2] if isinstance(value, Named)] if isinstance(place, tuple) else []
        if named and (place[0] is named[0] or place[0] == "module"):
            self.push(named[0])
            return
        self.persistent.append(Record(PERSISTENT, place))
        self.push(self.persistent[-1])


def _mapping(pairs: list[Any]) -> dict[Any, Any]:
    """A dictionary of alternating keys and values."""
    if len(pairs) % 2:
        raise ValueError("a key without its value")
    return {_key(key): value for key, value in zip(pairs[::2], pairs[1::2], strict=True)}


def _key(key: Any) -> Any:
    """Only what is hashed and compared at once: hashing tuples in tuples could take for ever."""
    if isinstance(key, str | bytes):
        return key if len(key) <= MAX_KEY else Unhashed(key)
    if isinstance(key, bool | float | None):
        return key
    return key if isinstance(key, int) and abs(key) < 2**64 else Unhashed(key)


_PUSHED = (
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
)
_STEPS: dict[str, Callable[[_Machine, Any], None]] = {
    **dict.fromkeys(_PUSHED, _Machine.push),
    **dict.fromkeys(("PROTO", "FRAME", "STOP"), lambda _, __: None),
    "NONE": lambda machine, _: machine.push(None),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "EMPTY_SET": lambda machine, _: machine.push([]),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "MARK": _Machine.mark,
    "POP": _Machine.drop,
    "POP_MARK": lambda machine, _: machine.above_mark().clear(),
    "DUP": lambda machine, _: machine.push(machine.stack[-1]),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.above_mark())),
    "TUPLE1": lambda machine, _: machine.tuple_of(1),
    "TUPLE2": lambda machine, _: machine.tuple_of(2),
    "TUPLE3": lambda machine, _: machine.tuple_of(3),
    "LIST": lambda machine, _: machine.push(machine.above_mark()),
    "FROZENSET": lambda machine, _: machine.push(machine.above_mark()),
    "DICT": lambda machine, _: machine.push(_mapping(machine.above_mark())),
    "APPEND": lambda machine, _: machine.append([machine.stack.pop()]),
    "APPENDS": lambda machine, _: machine.append(machine.above_mark()),
    "ADDITEMS": lambda machine, _: machine.append(machine.above_mark()),
    "SETITEM": lambda machine, _: machine.put([machine.stack.pop(-2), machine.stack.pop()]),
    "SETITEMS": lambda machine, _: machine.put(machine.above_mark()),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), _Machine.memoize),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), lambda machine, index: machine.push(machine.memo[index])),
    "GLOBAL": _Machine.name,
    "STACK_GLOBAL": _Machine.name_from_stack,
    "REDUCE": _Machine.call_with_two,
    "NEWOBJ": _Machine.call_with_two,
    "NEWOBJ_EX": _Machine.call_with_three,
    "OBJ": _Machine.call_above_mark,
    "INST": _Machine.call_by_name,
    "BUILD": _Machine.build,
    "PERSID": _Machine.refer,
    "BINPERSID": lambda machine, _: machine.refer(machine.stack.pop()),
}
"""By the name that `pickletools` gives it what an instruction does. Missing are those for classes by number and for
buffers outside the file: no array file has them."""
