"""What a target of a conversion is."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING

from rnnspect.errors import EngineError, InputError, Problem, listed
from rnnspect.network.parameters import LayerParameters
from rnnspect.network.spec import PLAIN as PLAIN
from rnnspect.network.spec import form_of
from rnnspect.weights import layouts
from rnnspect.weights.layouts import packing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from torch import Tensor

    from rnnspect.engines.interface import Engine
    from rnnspect.network.spec import Spec
    from rnnspect.weights.layouts.packing import Lost

    Parameters = Mapping[str, Tensor]


@dataclass(frozen=True)
class LostAt:
    """What one layer and direction loses."""

    layer: int
    direction: str
    lost: Lost

    def __str__(self) -> str:
        return f"layer {self.layer} {self.direction}: {self.lost}"


@dataclass(frozen=True)
class Target:
    """A framework whose file is written, and how it loads that file itself.

    A file may be written where the framework is not installed; it is then not verified.
    """

    name: str
    title: str
    """What the file is, as people call it."""
    suffix: str
    """What the file's name has to end in for the framework to take it."""
    layout: str
    """How its parameters are packed, by the name in `rnnspect.weights.layouts`."""
    write: Callable[[Spec, Parameters, IO[bytes]], None]
    """Writes parameters into a new, empty, named file. Raises `EngineError` where a package is missing that writes
    the format."""
    load: Callable[[Path, Spec], Engine]
    """The framework with what is in the file: an engine that takes no parameters from elsewhere. It, or running it,
    raises `EngineError` where it is not installed or cannot run such a network."""
    code: Callable[[Spec, str], str]
    """What a person writes to load the file of that name, in the framework's own words."""
    dtypes: tuple[str, ...] = ("float16", "bfloat16", "float32", "float64")
    holds: tuple[str, ...] = ()
    """The keys of a spec that it has a place for, beyond those that all of them have."""
    without: Mapping[str, str] = field(default_factory=dict)
    """Why it has none for others."""
    takes_lengths: bool = False
    """Whether the file says what is computed, and can take the lengths of a batch."""

    def refusals(self, spec: Spec) -> list[Problem]:
        """What of the spec the target has no place for, with the reason."""
        problems = []
        for name, known in type(spec).model_fields.items():
            value = getattr(spec, name)
            if name in (*PLAIN - {"proj_size"}, *self.holds) or value == known.default:
                continue
            why = self.without.get(name, f"{self.title} have no {name}")
            problems.append(Problem(f"{self.name} cannot hold {name}: {_said(value)}, {why}", "another target"))
        form = form_of(spec)
        if not problems and form not in layouts.find(self.layout).cells:
            problems.append(Problem(f"{self.name} has no {form}", listed(layouts.find(self.layout).cells)))
        if spec.dtype not in self.dtypes:
            problems.append(Problem(f"{self.name} cannot hold {spec.dtype}", f"--dtype {listed(self.dtypes)}"))
        return problems

    def lost(self, spec: Spec, parameters: Parameters) -> tuple[LostAt, ...]:
        """The parameters that have no place; nothing is packed for it."""
        layout, form = layouts.find(self.layout), form_of(spec)
        return tuple(
            LostAt(layer, direction, lost)
            for layer in range(spec.num_layers)
            for direction in spec.directions
            for lost in packing.lost(layout, form, LayerParameters.of(parameters, layer, direction))
        )


def packed(layout: str, spec: Spec, parameters: Parameters, layer: int, direction: str) -> dict[str, Tensor]:
    """The arrays of one layer and direction by the framework's names, in its order, in new memory."""
    p = LayerParameters.of(parameters, layer, direction)
    return packing.pack(layouts.find(layout), form_of(spec), p).arrays


@contextlib.contextmanager
def needing(extra: str) -> Iterator[None]:
    """Around imports: what is missing is one line that names the extra which brings it."""
    try:
        yield
    except ImportError as error:
        if (error.name or "").startswith(__name__.partition(".")[0]):
            raise
        missing = isinstance(error, ModuleNotFoundError)
        said = f"{error.name} is not installed" if missing else f"it fails with {error}"
        raise EngineError(f"{said} (pip install 'rnnspect[{extra}]')") from error


def only_its_own(found: set[str], wanted: set[str], where: str) -> None:
    """Raises `InputError` for a file that does not hold exactly these names."""
    if found != wanted:
        raise InputError(f"it holds {listed(sorted(found))}", allowed=listed(sorted(wanted)), where=where)


def _said(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
