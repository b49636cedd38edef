"""The equations of one network, as people write them: those of its cell, with the functions that its spec chose, and
without what it does not have. They are for reading; what is computed is the cell's own function."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from rnnspect.cells.functions import FIXED, KINDS, Activation, functions_of

if TYPE_CHECKING:
    from rnnspect.network.spec import Spec

_FUNCTION = re.compile(r"φ|σ|tanh")
_COMMENT = re.compile(r"\s{3,}.*")
_BIAS = re.compile(r" \+ b_\w+")
_PROJECTED = re.compile(r"W_hr \((.*)\)")
_SHORT = {"sigmoid": "σ"}
_WELL_KNOWN = ("cos", "sin", "sigmoid", "tanh", "relu", "exp", "log", "reciprocal")


def written_equations(spec: Spec, direction: str | None = None) -> tuple[str, ...]:
    """One line for each gate or state of a direction, by default the first: h' = o ⊙ tanh(c') without a projection,
    tanh or relu in place of φ, and no biases where there are none."""
    functions = functions_of(spec.nonlinearity_of(direction or spec.directions[0]))

    def chosen(found: re.Match[str]) -> str:
        of_cell_state = found.string.startswith("(c", found.end())
        squash = functions.squash if of_cell_state else functions.tanh
        name = {"φ": functions.phi, "σ": functions.sigmoid, "tanh": squash}[found[0]].name
        return _SHORT.get(name, name)

    lines = []
    for written in spec.cell_type.equations:
        line = _COMMENT.sub("", written)
        line = line if spec.proj_size else _PROJECTED.sub(r"\1", line)
        line = line if spec.bias else _BIAS.sub("", line)
        lines.append(_FUNCTION.sub(chosen, line))
    return tuple(lines)


def equation_lines(spec: Spec) -> tuple[str, ...]:
    """The equations; those of the reverse direction if its functions differ; the definition of each function other than
    σ, tanh or relu; and the clip."""
    first, *others = (written_equations(spec, direction) for direction in spec.directions)
    lines = [*first]
    for other in others:
        lines += [] if other == first else ["from the last step to the first:", *other]
    every = [functions_of(spec.nonlinearity_of(direction)) for direction in spec.directions]
    used = [functions.named(name) for functions in every for name in spec.cell_type.functions]
    lines += [_defined(one) for one in dict.fromkeys(used) if one.name not in _WELL_KNOWN]
    if spec.clip is not None:
        lines.append(f"what goes into a function is limited to -{spec.clip:g} … {spec.clip:g}")
    return tuple(lines)


def _defined(function: Activation) -> str:
    kind = (FIXED | KINDS)[function.name]
    numbers = zip("αβ", kind.numbers, strict=False)
    said = ", ".join(f"{letter} = {getattr(function, name):g}" for letter, name in numbers)
    return f"{function.name}(x) = {kind.equation}" + (f", {said}" if said else "")
