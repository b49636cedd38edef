"""Recurrent modules among the tensors of a checkpoint, by PyTorch's names and their shapes. Loads no framework.

The names may stand under any prefix: encoder.rnn.weight_ih_l0 of a stack, encoder.rnn.weight_ih of a single cell. They
may be abbreviated: enc_w_ih.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from rnnspect.cells import CELLS
from rnnspect.errors import Problem, WeightsError, listed
from rnnspect.files.reading import Stored
from rnnspect.network.parameters import parameters_of, suffix
from rnnspect.network.spec import Spec
from rnnspect.network.spec_keys import DTYPES, MAX_LAYERS
from rnnspect.weights.readers import interface

UNTOLD = ("nonlinearity", "batch_first", "dropout")
"""The keys of a spec that shapes cannot tell."""
_NAME = re.compile(
    r"(?P<prefix>(?:.*[^0-9A-Za-z])?)(?:(?:weight|[wW])_(?P<weight>ih|hh|hr|ch)|(?:bias|b)_(?P<bias>ih|hh))"
    r"(?:_l(?P<layer>0|[1-9]\d{0,8})(?P<reverse>_reverse)?)?",
    re.DOTALL,
)
_PARAMETRIZED = re.compile(r"(?P<before>.*?)parametrizations\.(?P<name>[^.]+)\.original\d*", re.DOTALL)
_ONE_BIAS = re.compile(r"(bias|b)(_?l?0)?")
_SHOWN = 4
"""Names that a message writes out before it counts the rest."""


@dataclass(frozen=True)
class RecurrentModule:
    """The recurrent parameters under one prefix, complete or not."""

    prefix: str
    """What stands before the parameters' names, without the dot; empty for a state dict of the module alone."""
    names: dict[str, str]
    """By PyTorch's name for a stack (weight_ih_l0) the name in the file."""
    stored: dict[str, Stored]
    """By PyTorch's name for a stack the shape and dtype. Peepholes are weight_ch, which no module of PyTorch has."""
    is_cell: bool
    """Whether the names are those of a single cell (weight_ih), which is read as a stack of one layer."""
    made: dict[str, str] = field(default_factory=dict)
    """By PyTorch's name for a stack the name in the file of one part of a parameter that is made anew in each call, as
    weight_norm and pruning do: its values are not in the file."""


def modules_in(stored: Mapping[str, Stored]) -> dict[str, RecurrentModule]:
    """Every recurrent module by its prefix, in the order of the file. Other tensors are passed over."""
    parts = _made_in(stored)
    forms: dict[str, dict[bool, dict[str, str]]] = {}
    found = {name: match for name in (*stored, *parts) if (match := _NAME.fullmatch(name))}
    every = {match["prefix"] for match in found.values()}
    for name, match in found.items():
        kind = f"weight_{match['weight']}" if match["weight"] else f"bias_{match['bias']}"
        known = kind + suffix(int(match["layer"] or 0), "reverse" if match["reverse"] else "forward")
        prefix = _without_dot(match["prefix"], every)
        forms.setdefault(prefix, {}).setdefault(match["layer"] is None, {})[known] = name
    modules = {}
    for prefix, form in forms.items():
        is_cell = False not in form  # under the prefix of a stack, names of a cell are something else
        names = {known: name for known, name in form[is_cell].items() if name in stored}
        made = {known: parts[name] for known, name in form[is_cell].items() if name in parts}
        shapes = {known: stored[names[known]] for known in names}
        modules[prefix] = RecurrentModule(prefix, names, shapes, is_cell, made)
    return modules


def _without_dot(prefix: str, every: Collection[str]) -> str:
    """encoder. is encoder, and rnn_. is rnn_, unless another module's names begin with rnn_ alone."""
    bare = prefix.removesuffix(".")
    return prefix if bare in every and not bare[-1:].isalnum() else bare or prefix


def _made_in(stored: Mapping[str, Stored]) -> dict[str, str]:
    """By the names of tensors that are not in the file one of the parts that torch.nn.utils makes each from, in every
    call: parametrizations.NAME.original0; NAME_g and NAME_v of weight_norm; NAME_orig of pruning and spectral_norm."""
    found: dict[str, str] = {}
    for part in stored:
        if match := _PARAMETRIZED.fullmatch(part):
            name = match["before"] + match["name"]
        elif _is_part(part, stored):
            name = part.rpartition("_")[0]
        else:
            continue
        if name not in stored:
            found.setdefault(name, part)
    return found


def _is_part(name: str, stored: Mapping[str, Stored]) -> bool:
    """Whether it is NAME_orig beside the mask of pruning or the vector of spectral_norm, or NAME_g with a number for
    each row or column of NAME_v. An optimizer's arrays may have such names, too."""
    start, _, end = name.rpartition("_")
    if end == "orig":
        return f"{start}_mask" in stored or f"{start}_u" in stored
    v = stored.get(f"{start}_v")
    return end == "g" and v is not None and len(v.shape) > 1 and math.prod(stored[name].shape) in (1, *v.shape)


def has_one_bias(module: RecurrentModule, stored: Mapping[str, Stored]) -> bool:
    """Whether a cell has PyTorch's names for its weights but one array "bias": then it is another framework's."""
    beside = module.names.get("weight_ih_l0", "").removesuffix("weight_ih") + "bias"
    return module.is_cell and "bias_ih_l0" not in module.names and beside in stored


_NORMED = (
    "where weight_norm, spectral_norm or pruning makes a weight, the file has only its parts: save the weights after "
    "remove_weight_norm, remove_parametrizations or prune.remove, or pass the module to rnnspect.check; of a sparse "
    "weight save weight.to_dense()"
)


def as_two(missing: str, end: str, bias: str = "") -> str:
    """How the one bias of each gate is saved as the two that PyTorch adds. `missing` is bias_hh or bias_ih, `end` what
    follows it, `bias` what the file calls the one that is there, if not as PyTorch does."""
    there = "bias_ih" if missing == "bias_hh" else "bias_hh"
    if bias:
        return f"save {there}{end} = {bias}; {missing}{end} = 0 * {bias}"
    return f"PyTorch adds both biases: where there is one, save zeros as the other: {missing}{end} = 0 * {there}{end}"


def one_bias(missing: list[str], ends: list[str]) -> str | None:
    """What to save where nothing is missing but one of the two biases of every layer and direction; else None."""
    kinds = [kind for kind in ("bias_ih", "bias_hh") if missing == [kind + end for end in ends]]
    return as_two(kinds[0], ends[0]) if kinds else None


def refuse_raw(module: RecurrentModule, stored: Mapping[str, Stored], path: str) -> None:
    """Raises `WeightsError` where weight_hh stands as weight_hh_l0_raw alone: where weights are dropped in each call,
    the other is made from it. fast.ai keeps it beside the module."""
    places = (module.prefix, module.prefix.removesuffix("module").rstrip("."))
    raw = {name.rpartition(".")[2]: name for name in stored if name.rpartition(".")[0] in places}
    given = {
        known: raw[f"{known}_raw"]
        for known in (one.replace("_ih", "_hh") for one in module.names if one.startswith("weight_ih"))
        if known not in module.names and f"{known}_raw" in raw
    }
    if given:
        names = ",".join(f"{known}={name}" for known, name in (module.names | given).items())
        found = f"missing: {listed(given, _SHOWN)}, of which there is {listed(given.values(), _SHOWN)}"
        raise WeightsError(found, advice=f"say which stands for it: --names {names}", where=_place(path, module.prefix))


def unpaired_bias(module: RecurrentModule, stored: Mapping[str, Stored]) -> str | None:
    """The name of an array beside a module without biases that is called a bias and is as long as one: bias_l0."""
    names = module.names
    if any(name.startswith("bias") for name in names) or not {"weight_ih_l0", "weight_hh_l0"} <= names.keys():
        return None
    rows = module.stored["weight_hh_l0"].shape[:1]
    start = re.sub(r"[wW](eight)?_hh(_l0)?\Z", "", names["weight_hh_l0"])
    called = (name for name, one in stored.items() if one.shape == rows and name.startswith(start))
    return next((name for name in called if _ONE_BIAS.fullmatch(name.removeprefix(start))), None)


def weights_source(module: RecurrentModule, path: str, stored: Mapping[str, Stored]) -> str:
    """A spec's `weights`: the file, and after a colon the prefix unless the module is all that the file holds."""
    alone = all(known == name for known, name in module.names.items()) and len(module.names) == len(stored)
    return path if alone else f"{path}:{module.prefix}"


def described(module: RecurrentModule, path: str, dtype: str | None = None, cell: str | None = None) -> dict[str, Any]:
    """The keys of a spec that the shapes tell: cell, sizes, layers, directions, bias and dtype.

    With G gates of H units and P units of h, weight_hh is (G·H, P), and G tells the cell. Where `dtype` is given the
    file may mix dtypes; `cell` decides where G fits several cells.

    Raises `WeightsError` for parameters that are missing or do not fit each other, `SpecError` for sizes that no
    network has.
    """

    def place(name: str) -> str:
        return _place(path, module.names.get(name, module.prefix))

    whole, first = _place(path, module.prefix), place("weight_hh_l0")
    stack = _stack(module, whole)
    wrong = [
        Problem(f"{name} has the shape {stored.shape}", f"{axes} of at least 1", where=place(name))
        for name, stored in module.stored.items()
        for count, axes in [(1, "one dimension") if name.startswith(("bias", "weight_ch")) else (2, "two dimensions")]
        if len(stored.shape) != count or 0 in stored.shape
    ]
    wrong += [
        Problem(f"{name} has the dtype {stored.dtype}", listed(DTYPES), where=place(name))
        for name, stored in module.stored.items()
        if stored.dtype not in DTYPES
    ]
    if wrong:
        raise WeightsError(wrong)
    found = stack | _sizes(module, cell, first)
    found |= interface.dtype_of((one.dtype for one in module.stored.values()), dtype, first)
    spec = Spec.from_data(found, lambda _keys: whole)
    sizes = [
        f"{name} {module.stored[name].shape}" for name in ("weight_hh_l0", "weight_hr_l0") if name in module.stored
    ]
    unfit = [
        Problem(f"{one.name} has the shape {there}", f"{one.shape} to fit {listed(sizes)}", where=place(one.name))
        for one in parameters_of(spec)
        if (there := module.stored[one.name].shape) != one.shape
    ]
    if unfit:
        raise WeightsError(unfit)
    return found


def _stack(module: RecurrentModule, where: str) -> dict[str, Any]:
    """Layers, directions and biases, from the names alone. Raises `WeightsError` where one of the names is missing."""
    there, every = module.stored, (*module.stored, *module.made)
    last = max(int(match["layer"]) for name in every if (match := _NAME.fullmatch(name)))
    if last >= MAX_LAYERS:
        raise WeightsError(f"the file has a layer {last}", allowed=f"0 to {MAX_LAYERS - 1}", where=where)
    bias = any(name.startswith("bias") for name in every)
    bidirectional = any(name.endswith("_reverse") for name in every)
    kinds = ["weight_ih", "weight_hh", *(["bias_ih", "bias_hh"] if bias else [])]
    others = [kind for kind in ("weight_hr", "weight_ch") if any(name.startswith(kind) for name in every)]
    kinds += others
    directions = ("forward", "reverse") if bidirectional else ("forward",)
    ends = [suffix(layer, direction) for layer in range(last + 1) for direction in directions]
    if missing := [kind + end for end in ends for kind in kinds if kind + end not in there]:
        wanted = [name.removesuffix("_l0") for name in missing] if module.is_cell else missing
        names = (*module.names.values(), *module.made.values())
        found = f"missing: {listed(wanted, _SHOWN)} (found {listed(names, _SHOWN)})"
        advice = one_bias(missing, ends) or (_NORMED if bias and missing[0].startswith("weight") else None)
        advice = advice if module.made.keys().isdisjoint(missing) else _NORMED
        allowed = f"{listed(kinds)} for each layer and direction"
        raise WeightsError(found, allowed=allowed, advice=advice, where=where)
    peepholes = {"peepholes": True} if "weight_ch" in others else {}
    return {"num_layers": last + 1, "bias": bias, "bidirectional": bidirectional} | peepholes


def _sizes(module: RecurrentModule, asked: str | None, place: str) -> dict[str, Any]:
    """Cell and sizes from the first layer."""
    rows, units = module.stored["weight_hh_l0"].shape
    projection = module.stored.get("weight_hr_l0")
    hidden = projection.shape[1] if projection else units
    cells = [cell for cell in CELLS.values() if cell.has_projection or not projection]
    fit = [cell for cell in cells if len(cell.gates) * hidden == rows]
    if not fit:
        times = listed(sorted(f"{len(cell.gates)} ({cell.name})" for cell in cells))
        found = f"weight_hh_l0 has the shape {(rows, units)}, that is {rows / hidden:.4g} rows per hidden unit"
        raise WeightsError(found, allowed=times, where=place)
    chosen = next((cell for cell in fit if cell.name == asked), fit[0])
    if len(fit) > 1 and chosen.name != asked:
        names = listed(cell.name for cell in fit)
        raise WeightsError(f"the shapes fit several cells: {names}", advice="choose one with --cell", where=place)
    return {
        "cell": chosen.name,
        "input_size": module.stored["weight_ih_l0"].shape[1],
        "hidden_size": hidden,
        "proj_size": projection.shape[0] if projection else 0,
    }


def _place(path: str, name: str) -> str:
    return f"{path}:{name}" if name else path
