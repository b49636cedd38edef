"""What may be off in the engine: one parameter; a factor of a row, a gate or a matrix; or a row as a whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from rnnspect.judging.evidence.look import Look
from rnnspect.judging.evidence.target import FittedVector, Path
from rnnspect.judging.suspect import SuspectKind
from rnnspect.network.parameters import LayerParameters


@dataclass(frozen=True)
class Group:
    """Parameters that are scaled together, by the names of `LayerParameters`: those of one gate, or with None of all
    gates."""

    names: tuple[str, ...]
    gate: str | None

    def parts(self, target: FittedVector) -> Iterator[Path]:
        for path in target.paths:
            if self.gate in (None, path.gate) and (path.weight in self.names or path.bias in self.names):
                yield path

    def named(self, target: FittedVector) -> Iterator[tuple[Path, tuple[str, ...]]]:
        """The paths that the group has a parameter of, each with the names of these parameters."""
        for path in self.parts(target):
            yield path, tuple(name for name in (path.weight, path.bias) if name in self.names)

    def moves(self, target: FittedVector, p: LayerParameters) -> Iterator[tuple[Path, Tensor]]:
        """Each of these paths with the group's part of its value."""
        for path in self.parts(target):
            yield path, self.gives(path, target.rows(path), p)

    def gives(self, path: Path, rows: slice, p: LayerParameters) -> Tensor:
        """The group's part of the value of a path: (T, B, U), or (U,)."""
        of_bias: Tensor | None = p[path.bias] if path.bias and path.bias in self.names else None
        bias = None if of_bias is None else of_bias[rows].double()
        if path.weight not in self.names:
            assert bias is not None
            return bias
        return path.product if bias is None else torch.add(path.product, bias)

    def direction(self, look: Look, target: int | None, unit: int | None) -> dict[str, Tensor]:
        """The parameters themselves, zero outside of the group."""
        found: dict[str, Tensor] = {}
        for one in look.targets if target is None else [look.targets[target]]:
            for path in self.parts(one):
                rows = one.rows(path)
                rows = rows if unit is None else slice(rows.start + unit, rows.start + unit + 1)
                for name in (name for name in (path.weight, path.bias) if name and name in self.names):
                    own = look.layer.p[name].double()
                    found.setdefault(name, torch.zeros_like(own))[rows] = own[rows]
        return found


def groups(p: LayerParameters, gates: tuple[str, ...]) -> Iterator[Group]:
    """The groups of every matrix, of the biases, and of everything; then the same for each gate."""
    names = p.names
    weights = tuple(name for name in names if name.startswith("weight"))
    biases = tuple(name for name in names if name.startswith("bias"))
    for some in dict.fromkeys([*((name,) for name in weights), weights, biases, names]):
        if some:
            yield Group(some, None)
    if len(gates) > 1:
        for gate in gates:
            for some in (("weight_ih",), ("weight_hh",), names):
                yield Group(some, gate)


@dataclass(frozen=True, eq=False)
class Hypothesis:
    """A group of parameters, and how they may change: each freely, or all along one direction."""

    kind: SuspectKind
    gate: str | None
    unit: int | None
    words: str
    """Its name, where {weight_ih} stands for the full name of that parameter."""
    candidates: int
    """How many hypotheses there are of its kind."""
    target: int | None
    """The number of the target; None where the change moves all of h."""
    places: tuple[int, ...] = ()
    """The columns of the unit that may change."""
    direction: Mapping[str, Tensor] | None = None
    """What one unit of change adds to each parameter, where they change together."""

    @property
    def freedom(self) -> int:
        return 1 if self.direction is not None else len(self.places)

    def residual(self, look: Look) -> Tensor:
        return look.residual(self.target, self.unit)

    def columns(self, look: Look) -> Tensor:
        """(rows, freedom): how the residual changes with each free number."""
        if self.target is None or self.unit is None:
            assert self.direction is not None
            return look.moved(self.direction)[:, None]
        columns = look.columns(self.target, self.unit)
        return columns[:, list(self.places)] if self.direction is None else columns @ self._vector(look)[:, None]

    def changes(self, look: Look, by: Tensor) -> dict[str, Tensor]:
        """The change of each parameter, for changes of the free numbers."""
        if self.direction is not None:
            return {name: direction * by[0] for name, direction in self.direction.items()}
        found: dict[str, Tensor] = {}
        for (_, name, at), amount in zip(self.entries(look), by, strict=True):
            own = look.layer.p[name]
            found.setdefault(name, torch.zeros_like(own, dtype=torch.float64))[at] = amount
        return found

    def entries(self, look: Look) -> list[tuple[Path, str, tuple[int, ...]]]:
        """The parameters that may change freely."""
        assert self.target is not None
        assert self.unit is not None
        every = look.targets[self.target].entries(self.unit)
        return [every[place] for place in self.places]

    def first(self, look: Look) -> tuple[str, tuple[int, ...]]:
        """The parameter that changes, or the first one of them, and its index."""
        if self.direction is None:
            _, name, at = self.entries(look)[0]
            return name, at
        name, direction = next((name, of) for name, of in self.direction.items() if of.any())
        return name, tuple(direction.nonzero()[0].tolist())

    def _vector(self, look: Look) -> Tensor:
        assert self.target is not None
        assert self.unit is not None
        assert self.direction is not None
        entries = look.targets[self.target].entries(self.unit)
        values = [float(self.direction[name][at]) if name in self.direction else 0.0 for _, name, at in entries]
        return torch.tensor(values, dtype=torch.float64)


def sum_of_biases(row: int) -> str:
    """The words of a hypothesis about the sum of both biases, where either has the same effect on h."""
    return f"{{bias_ih}}[{row}] + {{bias_hh}}[{row}]"


def of_a_column(look: Look, target: int, unit: int, place: int) -> Hypothesis:
    """The hypothesis that the parameter of a column is off; or its row, where several columns are equal."""
    path, name, at = look.targets[target].entries(unit)[place]
    columns = look.columns(target, unit)
    lengths = torch.linalg.vector_norm(columns, dim=0).clamp(min=torch.finfo(torch.float64).tiny)
    alike = ((columns / lengths).t() @ (columns[:, place] / lengths[place])).abs() > 1 - 1e-9
    others = {other for one, (_, other, _) in zip(alike, look.targets[target].entries(unit), strict=True) if one}
    words, several = f"{{{name}}}[{','.join(map(str, at))}]", int(alike.sum()) > len(others)
    if others == {"bias_ih", "bias_hh"} and not several:
        words = sum_of_biases(at[0])
    elif len(others) > 1 or several:
        words = f"row {at[0]} of {{{path.weight}}}"
    kind: SuspectKind = "row" if words.startswith("row") else "parameter"
    return Hypothesis(kind, path.gate, unit, words, look.candidates, target, (place,))


def of_a_group(look: Look, group: Group, target: int | None, unit: int | None) -> Hypothesis:
    """The hypothesis that a group is scaled, in one unit or in all."""
    direction = group.direction(look, target, unit)
    words = words_of(group, unit)
    return Hypothesis("scale", group.gate, unit, words, look.candidates, target, direction=direction)


def words_of(group: Group, unit: int | None = None) -> str:
    """The name of a group that is scaled."""
    names = " and ".join(f"{{{name}}}" for name in group.names)
    words = f"gate {group.gate}" if group.gate and len(group.names) > 2 else names
    if unit is not None:
        return f"unit {unit}, {words}" if words == names else f"{words} of unit {unit}"
    return f"gate {group.gate} of {names}" if group.gate and words == names else words


def of_a_feature(look: Look, feature: int) -> Hypothesis:
    """The hypothesis that a column of weight_ih is scaled."""
    w = look.layer.p.weight_ih.double()
    direction = torch.zeros_like(w)
    direction[:, feature] = w[:, feature]
    words = f"column {feature} of {{weight_ih}}"
    return Hypothesis("feature", None, None, words, look.candidates, None, direction={"weight_ih": direction})


def of_a_unit(look: Look, unit: int) -> Iterator[Hypothesis]:
    """Hypotheses of a unit of the first target: all of its parameters are off, each freely; then those of one row; then
    those of one gate."""
    entries = look.targets[0].entries(unit)
    rows: dict[tuple[str, int, str | None], list[int]] = {}
    gates: dict[str | None, list[int]] = {}
    for place, (path, name, at) in enumerate(entries):
        if name != path.bias:
            rows.setdefault((path.weight, at[0], path.gate), []).append(place)
        gates.setdefault(path.gate, []).append(place)
    units, every = look.targets[0].units, tuple(range(len(entries)))
    yield Hypothesis("unit", None, unit, f"unit {unit}", units, 0, every)
    for (weight, row, gate), places in rows.items():
        words = f"row {row} of {{{weight}}}"
        yield Hypothesis("row", gate, unit, words, len(rows) * units, 0, tuple(places))
    for gate, places in gates.items():
        words = f"gate {gate} of unit {unit}"
        yield Hypothesis("gate", gate, unit, words, len(gates) * units, 0, tuple(places))
