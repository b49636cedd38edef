"""The recurrent operators of a model's graph as modules: what the readers of formats share whose files say of each
operator which it is, and name its arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnspect.errors import FileError, WeightsError, listed
from rnnspect.files.operators import FileArray, Operator
from rnnspect.files.reading import Stored
from rnnspect.network.parameters import suffix
from rnnspect.network.spec import Spec, form_of
from rnnspect.weights import layouts
from rnnspect.weights.layouts.interface import Sizes, sizes_of
from rnnspect.weights.readers import interface
from rnnspect.weights.readers.interface import Module, StoredParameters, Told
from rnnspect.weights.readers.stacks import with_stacks

if TYPE_CHECKING:
    from torch import Tensor


_NARROW = ("float16", "bfloat16")
"""Dtypes in which no engine on a CPU runs the networks that torch has not."""
PEEPHOLES = "peepholes"
"""The name here of the peephole weights of one direction: those of i, f and o, one after the other."""


@dataclass(frozen=True)
class DescribedOperator:
    """What an operator is, in the words of a spec and of a layout."""

    form: str
    layout: str
    directions: tuple[Mapping[str, FileArray], ...]
    """The arrays of each direction by the layout's names, and perhaps `PEEPHOLES`."""
    keys: Mapping[str, Any]
    """Keys of a spec that the arrays do not tell: directions, functions, batch_first, …"""
    notes: tuple[str, ...]
    """What it does beside the equations; each goes on after "note: FILE:NAME "."""


def modules_of(
    operators: Iterable[Operator],
    path: Path,
    flags: Mapping[str, Any],
    describe: Callable[[Operator, str], DescribedOperator],
) -> dict[str, Module]:
    """Every recurrent operator by its name, and the networks that they form. `describe` takes one and what messages
    call it, and raises `FileError` for what no spec can be."""
    found: dict[str, Module] = {}
    gives: dict[str, str] = {}
    steps: dict[str, str] = {}  # by the name of what holds h of every step the operator that gives it
    below: dict[str, str] = {}
    for operator in operators:
        name = interface.unique(operator.name, found)
        one = _Module(operator, f"{path}:{name}", gives.get(operator.takes, ""), flags, describe)
        found[name] = Module(one.tell, one.read)
        gives |= dict.fromkeys(operator.gives, name)
        if operator.takes in steps:
            below[name] = steps[operator.takes]
        if operator.gives_steps:
            steps |= dict.fromkeys(operator.gives[:1], name)
    return with_stacks(found, below, str(path))


@dataclass(frozen=True)
class _Module:
    operator: Operator
    where: str
    reads_from: str
    flags: Mapping[str, Any]
    describe: Callable[[Operator, str], DescribedOperator]

    def tell(self) -> Told:
        described = self.describe(self.operator, self.where)
        sizes = self._sizes(described)
        every = [held for arrays in described.directions for held in arrays.values()]
        cell = described.form.removesuffix("-before")
        keys: dict[str, Any] = {"cell": cell, **vars(sizes), "bidirectional": len(described.directions) == 2}
        keys |= {"reset": "before"} if described.form == "gru-before" else {}
        keys |= {"peepholes": True} if any(PEEPHOLES in arrays for arrays in described.directions) else {}
        keys |= described.keys
        # A model may turn its input before the operator gets it: whoever gives x knows its axes best.
        keys |= {key: self.flags[key] for key in ("batch_first",) if key in self.flags}
        dtype = self.flags.get("dtype")
        keys |= interface.dtype_of((held.stored.dtype for held in every), dtype, self.where, "weights")
        packed = dict.fromkeys(held.packed for held in every if held.packed)
        if keys.get("dtype") in _NARROW and interface.spec_with(keys, self.where).beyond_torch:
            packed[keys["dtype"]] = None
            keys["dtype"] = "float32"
        floats = keys.get("dtype", dtype)
        notes = [*described.notes, *(f"has weights in {one}; here they are shown as {floats}" for one in packed)]
        notes += interface.starts_elsewhere(name for name in self.operator.starts if name not in self.flags)
        said = tuple(f"note: {self.where} {note}" for note in notes)
        return Told(keys | {"weights": self.where}, self.where, self.reads_from, said)

    def read(self, spec: Spec) -> StoredParameters:
        """Also raises `WeightsError` for a GRU whose other form the spec wants: no shape shows the difference."""
        described = self.describe(self.operator, self.where)
        self._sizes(described)
        own = interface.spec_with(self.tell().keys, self.where)
        interface.refuse_other_reset(own.reset, spec.reset, self.where)
        found: dict[str, Tensor] = {}
        for arrays, direction in zip(described.directions, own.directions, strict=True):
            there = {name: held.read() for name, held in arrays.items()}
            peepholes = dict(zip("ifo", there.pop(PEEPHOLES).chunk(3), strict=True)) if own.peepholes else {}
            found |= parameters_of_direction(own, direction, described.layout, there, peepholes)
        return StoredParameters(found)

    def _sizes(self, described: DescribedOperator) -> Sizes:
        """The sizes that its arrays mean, the same in both directions."""
        packing = layouts.find(described.layout).packing(described.form)
        try:
            sizes = [sizes_of(packing, _shapes(arrays)) for arrays in described.directions]
        except WeightsError as error:
            raise WeightsError(replace(problem, where=self.where) for problem in error.problems) from None
        if any(other != sizes[0] for other in sizes):
            raise WeightsError("the two directions have different sizes", where=self.where)
        for arrays in described.directions:
            if (held := arrays.get(PEEPHOLES)) and held.stored.shape != (3 * sizes[0].hidden_size,):
                found = f"the peephole weights have the shape {held.stored.shape}"
                raise WeightsError(found, allowed=f"({3 * sizes[0].hidden_size},)", where=self.where)
        if len({PEEPHOLES in arrays for arrays in described.directions}) > 1:
            raise WeightsError("only one direction has peepholes", allowed="both or neither", where=self.where)
        return sizes[0]


def changed(held: FileArray, change: Callable[[Tensor], Tensor]) -> FileArray:
    """The same array with its numbers changed as they are read, such as to their negatives."""
    return replace(held, read=lambda: change(held.read()))


def joined(parts: list[FileArray]) -> FileArray:
    """Vectors one after the other as one."""

    def read() -> Tensor:
        import torch

        return torch.cat([part.read() for part in parts])

    length = sum(part.stored.shape[0] if len(part.stored.shape) == 1 else 0 for part in parts)
    return FileArray(Stored((length,), parts[0].stored.dtype), read, parts[0].packed)


def parameters_of_direction(
    spec: Spec, direction: str, layout: str, arrays: Mapping[str, Tensor], peepholes: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """PyTorch's parameters of one direction, from its arrays in a layout and the peephole weights of each gate."""
    import torch

    from rnnspect.weights.layouts.packing import unpack

    p, units = unpack(layouts.find(layout), form_of(spec), arrays), spec.hidden_size
    if spec.input_forget:  # f, the second of four gates, has no rows of its own
        p = p.with_changes(**{name: torch.cat([one[:units], one[2 * units :]]) for name, one in p.tensors.items()})
    found = p.named(0, direction)
    if spec.peepholes:
        found["weight_ch" + suffix(0, direction)] = torch.cat([peepholes[gate] for gate in spec.cell_type.peepholes])
    return found


def require(operator: Operator, needed: Iterable[str], where: str, instead: str) -> None:
    """Raises `FileError` where arrays that it needs are computed as the model runs; `instead` says what to do."""
    missing = [name for name in needed if name not in operator.arrays]
    if computed := [said for said in operator.computed if said.partition(" ")[0] in missing]:
        found = f"these weights are not stored as plain numbers: {listed(computed)}"
        raise FileError(found, advice=instead, where=where)


def _shapes(arrays: Mapping[str, FileArray]) -> dict[str, tuple[int, ...]]:
    return {name: held.stored.shape for name, held in arrays.items() if name != PEEPHOLES}
