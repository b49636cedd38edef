"""Recurrent modules among the tensors of a checkpoint, found by name and shape. Loads no framework.

PyTorch's names stand under any prefix: encoder.rnn.weight_ih_l0 of a stack, encoder.rnn.weight_ih of a single cell.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rnnspect.cells import CELLS
from rnnspect.errors import FileError, Problem, RnnspectError, WeightsError, listed
from rnnspect.network.dtypes import DTYPES
from rnnspect.network.parameters import module_repr, parameters_of, suffix
from rnnspect.network.spec import MAX_LAYERS, Spec
from rnnspect.weights.readers import choosing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rnnspect.files.stored import Stored

UNTOLD = ("nonlinearity", "batch_first", "dropout")
"""The keys of a spec that shapes cannot tell."""
_NAME = re.compile(
    r"(?P<prefix>(?:.*[^0-9A-Za-z])?)(?P<kind>(?:weight|bias)_(?:ih|hh)|weight_hr)"
    r"(?:_l(?P<layer>0|[1-9]\d{0,8})(?P<reverse>_reverse)?)?",
    re.DOTALL,
)
_SHOWN = 4
"""Names that are written out before the rest is counted."""


@dataclass(frozen=True)
class RecurrentModule:
    """The recurrent parameters under one prefix, complete or not."""

    prefix: str
    """What stands before the parameters' names, without the dot: "" for a state dict of the module alone."""
    names: dict[str, str]
    """By PyTorch's name for a stack (weight_ih_l0) the name in the file."""
    stored: dict[str, Stored]
    """By PyTorch's name the shape and dtype."""
    is_cell: bool
    """Whether the names are those of a single cell (weight_ih), which is one layer of a stack."""


def modules_in(stored: Mapping[str, Stored]) -> dict[str, RecurrentModule]:
    """Every recurrent module by its prefix, in the order of the file. Other tensors are passed over."""
    forms: dict[str, dict[bool, dict[str, str]]] = {}
    for name in stored:
        if match := _NAME.fullmatch(name):
            is_cell = match["layer"] is None
            known = match["kind"] + suffix(int(match["layer"] or 0), "reverse" if match["reverse"] else "forward")
            forms.setdefault(_without_dot(match["prefix"]), {}).setdefault(is_cell, {})[known] = name
    modules = {}
    for prefix, form in forms.items():
        is_cell = False not in form  # beside a stack's names those of a cell are something else
        names = form[is_cell]
        modules[prefix] = RecurrentModule(prefix, names, {known: stored[names[known]] for known in names}, is_cell)
    return modules


def has_one_bias(module: RecurrentModule, stored: Mapping[str, Stored]) -> bool:
    """Whether a cell's names are PyTorch's but its bias is not: another framework's, which sums both."""
    beside = module.names.get("weight_ih_l0", "").removesuffix("weight_ih") + "bias"
    return module.is_cell and "bias_ih_l0" not in module.names and beside in stored


def choose(
    modules: Mapping[str, RecurrentModule], prefix: str | None, where: str, how: str = "--module with"
) -> RecurrentModule:
    """The module under a prefix, or the only one there is; `how` says in an error message where a prefix is written.

    Raises `FileError` that lists every prefix with what is there.
    """
    if not modules:
        allowed = "names such as weight_ih_l0 or weight_ih, under any prefix"
        raise FileError("it holds no recurrent parameters", allowed=allowed, where=where)
    return choosing.choose(modules, prefix, where, "module", _in_words, how)


def weights_source(module: RecurrentModule, path: str, stored: Mapping[str, Stored]) -> str:
    """What a spec calls these parameters: the file, and after a colon the module where the file holds more."""
    alone = all(known == name for known, name in module.names.items()) and len(module.names) == len(stored)
    return path if alone else f"{path}:{module.prefix}"


def described(module: RecurrentModule, path: str, dtype: str | None = None, cell: str | None = None) -> dict[str, Any]:
    """The keys of a spec that the shapes tell: cell, sizes, layers, directions, bias and dtype.

    With G gates of H units and P units of h, weight_hh is (G·H, P), and G tells the cell. `dtype` and `cell` are
    what somebody asked for: then the file may mix several dtypes, and G may fit several cells.

    Raises `WeightsError` for a set that is incomplete or does not fit together, `SpecError` for sizes that no
    network has.
    """

    def place(name: str) -> str:
        return _place(path, module.names.get(name, module.prefix))

    stack = _stack(module, path)
    _check_complete(module, stack, path)
    wrong = [
        Problem(f"{name} of shape {stored.shape}", f"{axes} of at least 1", where=place(name))
        for name, stored in module.stored.items()
        for count, axes in [(1, "one axis") if name.startswith("bias") else (2, "two axes")]
        if len(stored.shape) != count or 0 in stored.shape
    ]
    wrong += [
        Problem(f"{name} is stored as {stored.dtype}", listed(DTYPES), where=place(name))
        for name, stored in module.stored.items()
        if stored.dtype not in DTYPES
    ]
    if wrong:
        raise WeightsError(wrong)
    found = stack | _sizes(module, cell, place("weight_hh_l0")) | _dtype(module, dtype, place("weight_hh_l0"))
    spec = Spec.from_data(found, lambda _keys: _place(path, module.prefix))
    unfit = [
        Problem(f"{name} of shape {there}", f"{shape} beside {_decides(module)}", where=place(name))
        for name, shape in ((parameter.name, parameter.shape) for parameter in parameters_of(spec))
        if (there := module.stored[name].shape) != shape
    ]
    if unfit:
        raise WeightsError(unfit)
    return found


def _stack(module: RecurrentModule, path: str) -> dict[str, Any]:
    """Layers, directions and biases, from the names alone."""
    layers = [int(match["layer"]) for name in module.stored if (match := _NAME.fullmatch(name))]
    if max(layers) >= MAX_LAYERS:
        found = f"a layer {max(layers)}"
        raise WeightsError(found, allowed=f"0 to {MAX_LAYERS - 1}", where=_place(path, module.prefix))
    return {
        "num_layers": max(layers) + 1,
        "bias": any(name.startswith("bias") for name in module.stored),
        "bidirectional": any(name.endswith("_reverse") for name in module.stored),
    }


def _check_complete(module: RecurrentModule, stack: dict[str, Any], path: str) -> None:
    kinds = ["weight_ih", "weight_hh"]
    kinds += ["bias_ih", "bias_hh"] if stack["bias"] else []
    kinds += ["weight_hr"] if any(name.startswith("weight_hr") for name in module.stored) else []
    ends = [
        suffix(layer, direction)
        for layer in range(stack["num_layers"])
        for direction in ("forward", "reverse")[: 1 + stack["bidirectional"]]
    ]
    missing = [kind + end for end in ends for kind in kinds if kind + end not in module.stored]
    if missing:
        if module.is_cell:
            missing = [name.removesuffix("_l0") for name in missing]
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        found = f"{listed(missing[:_SHOWN])}{more} missing beside {_some(module)}"
        allowed = f"{listed(kinds)} for each layer and direction"
        raise WeightsError(found, allowed=allowed, where=_place(path, module.prefix))


def _sizes(module: RecurrentModule, asked: str | None, place: str) -> dict[str, Any]:
    """Cell and sizes from the first layer."""
    rows, units = module.stored["weight_hh_l0"].shape
    projection = module.stored.get("weight_hr_l0")
    hidden = projection.shape[1] if projection else units
    cells = [cell for cell in CELLS.values() if cell.has_projection or not projection]
    fit = [cell for cell in cells if len(cell.gates) * hidden == rows]
    if not fit:
        times = listed(sorted(f"{len(cell.gates)} ({cell.name})" for cell in cells))
        found = f"weight_hh_l0 of shape {(rows, units)}, which is {rows / hidden:.4g} rows for each of {hidden} units"
        raise WeightsError(found, allowed=times, where=place)
    chosen = next((cell for cell in fit if cell.name == asked), fit[0])
    if len(fit) > 1 and chosen.name != asked:
        names = listed(cell.name for cell in fit)
        raise WeightsError(f"shapes that fit several cells ({names})", allowed="--cell with one of them", where=place)
    return {
        "cell": chosen.name,
        "input_size": module.stored["weight_ih_l0"].shape[1],
        "hidden_size": hidden,
        "proj_size": projection.shape[0] if projection else 0,
    }


def _dtype(module: RecurrentModule, dtype: str | None, place: str) -> dict[str, Any]:
    names = list(dict.fromkeys(stored.dtype for stored in module.stored.values()))
    if dtype is None and len(names) > 1:
        raise WeightsError(f"parameters in {' and '.join(names)}", allowed="one dtype, or --dtype", where=place)
    return {} if dtype else {"dtype": names[0]}


def _decides(module: RecurrentModule) -> str:
    return listed(
        f"{name} {module.stored[name].shape}" for name in ("weight_hh_l0", "weight_hr_l0") if name in module.stored
    )


def _some(module: RecurrentModule) -> str:
    names = list(module.names.values())
    return listed(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _in_words(module: RecurrentModule) -> str:
    try:
        return f"({module_repr(Spec(batch_first=False, **described(module, '')))})"
    except RnnspectError as error:
        return f"(unusable: {error.problems[0].found})"


def _place(path: str, name: str) -> str:
    return f"{path}:{name}" if name else path


def _without_dot(prefix: str) -> str:
    """encoder. is encoder; where another sign divides, it belongs to the prefix."""
    return prefix[:-1] if re.search(r"[0-9A-Za-z]\.\Z", prefix) else prefix
