"""Defines what a target of a conversion is, and what the writers share."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO

from torch import Tensor

from rnnspect.errors import EngineError, Problem, listed, unavailable, written
from rnnspect.network.parameters import LayerParameters
from rnnspect.network.spec import Spec, form_of
from rnnspect.network.spec_keys import DTYPES, KEYS, PLAIN
from rnnspect.weights import layouts
from rnnspect.weights.layouts import packing

Parameters = Mapping[str, Tensor]


@dataclass(frozen=True)
class Target:
    """A framework's file, and how it is written. The framework itself need not be installed for that."""

    name: str
    title: str
    """What the file is of, as people call it."""
    suffix: str
    """What the file's name has to end in for the framework to take it."""
    layout: str
    """How its parameters are packed, by the name in `rnnspect.weights.layouts`."""
    engine: str
    """What runs the file, by the name in `rnnspect.engines`: a module there that has a `CONVERTED`."""
    write: Callable[[Spec, Parameters, IO[bytes]], None]
    """Writes parameters into a new, empty, named file. Raises `EngineError` where the package that writes the format
    is missing."""
    code: Callable[[Spec, str], str]
    """The Python lines with which a person loads the file of that name in the framework."""
    dtypes: tuple[str, ...] = DTYPES
    holds: tuple[str, ...] = ()
    """The keys of a spec that it has a place for, beyond those that all targets have."""
    without: Mapping[str, str] = field(default_factory=dict)
    """Why it has no place for others, by key, where the cell itself is not the reason."""
    takes_lengths: bool = False
    """Whether the file says what is computed, and can take the lengths of a batch."""

    def refusals(self, spec: Spec) -> list[Problem]:
        """What of the spec the target has no place for, with the reason."""
        if spec.is_own_cell:
            found = f"{self.name} has no {spec.cell_type.title}"
            return [Problem(found, advice="convert stores cells that torch.nn has, or a variant of them")]
        problems = []
        cells = layouts.find(self.layout).cells
        if spec.cell not in cells:
            return [Problem(f"{self.name} has no {spec.cell}", listed(cells))]
        cell = cells[spec.cell].where.partition(",")[0]
        lacks = {name: f"{cell} {key.torch}" for name, key in KEYS.items() if key.torch}
        reasons = {"proj_size": f"{cell} has no projection", **lacks, **self.without}
        for name, known in type(spec).model_fields.items():
            value = getattr(spec, name)
            if name in (*PLAIN - {"proj_size"}, *self.holds) or value == known.default:
                continue
            why = reasons.get(name, f"{self.title} have no {name}")
            found = f"{self.name} cannot store {name}: {written(value)}: {why}"
            problems.append(Problem(found, advice="choose another target"))
        if not problems and form_of(spec) not in cells:
            problems.append(Problem(f"{self.name} has no {form_of(spec)}", listed(cells)))
        if spec.dtype not in self.dtypes:
            advice = f"use --dtype with one of {listed(self.dtypes)}"
            problems.append(Problem(f"{self.name} cannot store {spec.dtype}", advice=advice))
        return problems

    def lost(self, spec: Spec, parameters: Parameters) -> tuple[packing.LostAt, ...]:
        """The parameters that have no place."""
        return packing.every_loss(layouts.find(self.layout), spec, parameters)


def packed(layout: str, spec: Spec, parameters: Parameters, layer: int, direction: str) -> dict[str, Tensor]:
    """The arrays of one layer and direction by the framework's names, in its order, in new memory."""
    p = LayerParameters.of(parameters, layer, direction)
    return packing.pack(layouts.find(layout), form_of(spec), p)


@contextlib.contextmanager
def needing(extra: str) -> Iterator[None]:
    """Around imports: raises `EngineError` for what is missing, with the extra of this package that brings it."""
    try:
        yield
    except ImportError as error:
        raise EngineError(f"{unavailable(error)} (pip install 'rnnspect[{extra}]')") from error
