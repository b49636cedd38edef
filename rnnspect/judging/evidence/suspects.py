"""Which parameter is off, from what is left of h − equations at all steps together.

One step says no more than its bound. But a change of one parameter moves every step along one known column
(`linearised.py`), and roundings do not: thousands of steps together tell it at a hundredth of the bound. The simplest
change after which nothing is left that chance does not explain is the answer: one parameter, or a few; then a scale, a
row, a gate, a unit; then a scale of a matrix or of an input feature.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from rnnspect.arithmetic.hidden_calls import has_gates_in_h
from rnnspect.cells.trial import normalises
from rnnspect.judging.assumption import Assumption
from rnnspect.judging.chunks import Chunk, chunk_at
from rnnspect.judging.evidence.allowed import allowed
from rnnspect.judging.evidence.best import Best, best
from rnnspect.judging.evidence.chance import BINS, first_of_each
from rnnspect.judging.evidence.fitting import Fit, fit
from rnnspect.judging.evidence.hypotheses import Hypothesis, of_a_column, of_a_unit, sum_of_biases
from rnnspect.judging.evidence.jacobian_matrix import numbers
from rnnspect.judging.evidence.layer_look import LayerLook
from rnnspect.judging.evidence.linearised import Steps
from rnnspect.judging.evidence.look import Look
from rnnspect.judging.suspect import Suspect

_WORK, _FEWEST, _ENOUGH = 2**25, 96, 1024  # multiplications of one product over all rows; and rows
_TOO_FEW = 16  # rows that show nothing which chance would not
_SAMPLES, _MANY, _TIMES = 16, 16, 4  # rows and units, products, and how often each of them is there
_BIASES = "bias_ih", "bias_hh"
_LARGEST = 2**23  # numbers in the columns of a unit
_SINGLES = 3  # parameters that are off by themselves


_BY_CHANCE = -3.0  # log₁₀: what looks so more often is not told
_NUMBERS = 2**24  # in the columns of all parameters, where all of h is looked at

NO_PARAMETERS = "it has no parameters"
NO_GATES = "its h is made of the state of the step before alone"
TOO_LARGE = "it is too large for a cell whose units do not have parameters of their own, or that has a norm"


def suspects(assumed: Assumption, differs: bool, search: bool) -> tuple[Suspect, ...]:
    """Of one layer and direction whose h was observed, on an x that was; empty where nothing tells. Where a run
    `differs` by its bound it is asked for more; with `search` also whether a row, a gate or a unit as a whole is
    another one, which takes longest."""
    if why_not(assumed):
        return ()
    if not differs and needs_matrix(assumed):
        return ()  # where each value is within its bound, no sum of them is beyond what a correct engine may give
    look, chunk = look_of(assumed)
    if not differs and _vanished(look):
        return ()
    first = best(look, faint=not differs)
    if first is None and not differs:
        return ()
    error = allowed(assumed.equations, chunk, assumed.run.c0)
    fits = [] if first is None else _numbers(look, first, error)
    if differs and search and not fits and not needs_matrix(assumed):
        fits = _free(look, error)
    told = [_told(assumed, fit, error) for fit in fits if fit.log10_chance < _BY_CHANCE]
    doubtful = next((n for n, one in enumerate(told) if not one.certain), len(told))
    return tuple(told[: doubtful + 1])  # later ones were measured after a change that rounding alone can look like


def why_not(assumed: Assumption) -> str | None:
    """Why the numbers of a layer tell nothing of its parameters; None where they may."""
    if not assumed.seen:
        return "its h was not recorded"
    if assumed.run.error is not None:
        return "its input was not recorded exactly"
    if not assumed.p.names:
        return NO_PARAMETERS
    if not has_gates_in_h(assumed.cell):
        return NO_GATES
    chunk = _beginning(assumed)
    if needs_matrix(assumed) and len(chunk.x) * chunk.x.shape[1] > _NUMBERS // numbers(assumed):
        return TOO_LARGE
    if chunk.count < _TOO_FEW:
        return f"it takes {_TOO_FEW} steps; there are {chunk.count}"
    if not chunk.is_finite:
        return "not all of its numbers are finite"
    return None


def look_of(assumed: Assumption) -> tuple[Look, Chunk]:
    """The steps that are looked at, of a layer of which `why_not` says nothing: beside the equations, and as they
    are."""
    chunk = _beginning(assumed)
    given = assumed.equations, Steps.of(chunk, assumed.run.c0), distinct(chunk)
    if needs_matrix(assumed):
        return LayerLook(*given, allowed(assumed.equations, chunk, assumed.run.c0)), chunk
    return Look(*given), chunk


def needs_matrix(assumed: Assumption) -> bool:
    """Whether no unit can be looked at by itself, so that all of h is."""
    return not assumed.cell.is_by_unit or (not assumed.cell.torch_name and normalises(assumed.cell))


def _vanished(look: Look) -> bool:
    """Whether a unit is zero at most steps where its equations give more: its values are below what the recording, or
    the engine's tanh, holds."""
    h, r = look.rows(look.steps.after), look.rows(look.targets[0].residual)
    return bool((2 * ((h == 0) & (r != 0)).sum(0) > len(h)).any())


def _numbers(look: Look, first: Best, error: Tensor) -> list[Fit]:
    """One number or a few, each off by itself, after which nothing is left that tells."""
    found: list[Fit] = []
    telling: Best | None = first
    while telling is not None:
        made = fit(look, telling.hypothesis()) if len(found) < _SINGLES else None
        if made is None:
            return []
        found.append(made)
        look = made.after
        telling = best(look)
    return found if all(replace(one, after=look).leaves(error) <= 1 for one in found) else []


def _free(look: Look, error: Tensor) -> list[Fit]:
    """A row, a gate or a unit that is off as a whole, in the unit that differs most, if nothing else does; or one
    parameter of it, which may be so far off that the slope at its own value says little of it."""
    unit = int(look.rows(look.targets[0].residual).norm(dim=0).argmax())
    whole, *parts = of_a_unit(look, unit)
    for hypothesis in (*parts, whole):
        if (made := _explains(look, hypothesis, error)) is not None:
            most = int((made.by.abs() * made.start.norm(dim=0)).argmax())
            made = _explains(look, of_a_column(look, 0, unit, hypothesis.places[most]), error) or made
            left, allowed = (made.after.rows(of) for of in (made.after.targets[0].residual, error))
            return [made] if bool((left.norm(dim=0) <= allowed.norm(dim=0)).all()) else []
    return []


def _explains(look: Look, hypothesis: Hypothesis, error: Tensor) -> Fit | None:
    """The change of a hypothesis that leaves nothing in its unit which tells; None where none does."""
    made = fit(look, hypothesis)
    return made if made is not None and made.leaves(error) <= 1 and best(made.after) is None else None


def _beginning(assumed: Assumption) -> Chunk:
    """As many steps as the budget allows."""
    p, run = assumed.p, assumed.run
    steps, batch = run.x.shape[:2]
    columns = len(assumed.cell.gates) * p.terms
    rows = max(_FEWEST, min(_ENOUGH, _WORK // p.products, _LARGEST // columns))
    if needs_matrix(assumed):
        rows = min(_FEWEST, max(_TOO_FEW, _NUMBERS // numbers(assumed)))
    return chunk_at(run, 0, min(steps, max(1, rows // batch)))


def rounds_alike(assumed: Assumption) -> bool:
    """Whether most steps receive what an earlier one did, or most sums are of the same few numbers many times, as those
    of equal weights are. Then a sum rounds as the others do, or as a function of what it is, which looks like another
    parameter, and how an engine adds up is not known."""
    chunk, p = _beginning(assumed), assumed.p
    if 2 * len(_first_of_each(chunk, chunk.x)) < chunk.count:
        return True
    return any(_is_repetitive(of, w) for of, w in ((chunk.x, p.weight_ih), (chunk.before, p.weight_hh)))


def _is_repetitive(values: Tensor, w: Tensor) -> bool:
    """Whether most of the sums Σ w x, x in values (T, B, ·), are of few different numbers."""
    if values.shape[-1] < _MANY or values.shape[-1] != w.shape[1]:
        return False
    rows, units = (of[:: max(1, len(of) // _SAMPLES)][:_SAMPLES] for of in (values.flatten(0, 1), w))
    products = (rows.unsqueeze(1) * units).sort(-1).values
    different = (products.diff(dim=-1) != 0) & (products[..., 1:] != 0)
    count = (products != 0).sum(-1)
    return 2 * int(((count >= _MANY) & (_TIMES * (1 + different.sum(-1)) <= count)).sum()) > count.numel()


def distinct(chunk: Chunk) -> Tensor:
    """The rows (step × item) that count: those that begin as no earlier one did. Where they begin alike, they round
    alike."""
    return _first_of_each(chunk, chunk.x, chunk.before)


def _first_of_each(chunk: Chunk, *values: Tensor) -> Tensor:
    """The rows (step × item) in which the values (T, B, ·) are about as in no earlier one."""
    rows = chunk.inside.flatten().nonzero().flatten()
    binned = []
    for of in values:
        flat = of.flatten(0, 1)[rows].double()
        largest = flat.abs().amax(0).clamp(min=torch.finfo(torch.float64).tiny)
        binned.append((flat / largest * BINS).round())
    return rows[first_of_each(*binned)]


def _told(assumed: Assumption, fit: Fit, error: Tensor) -> Suspect:
    hypothesis, (layer, direction) = fit.hypothesis, assumed.at
    size, floor, usual = fit.measured(error)
    ends = {name.rpartition("_l")[0]: name for name in assumed.p.named(layer, direction)}
    entry, index = hypothesis.first(fit.before)
    ours = theirs = factor = None
    if hypothesis.kind == "parameter":
        summed = entry in _BIASES and hypothesis.words == sum_of_biases(index[0])
        ours = sum(float(assumed.p[name][index]) for name in (_BIASES if summed else (entry,)))
        theirs = ours + float(fit.by[0])
    elif hypothesis.kind in ("scale", "feature"):
        factor = 1 + float(fit.by[0])
    return Suspect(
        layer, direction, hypothesis.kind, hypothesis.words.format(**ends), (ends[entry], index), hypothesis.gate,
        hypothesis.unit, ours, theirs, factor, fit.shrinks, fit.log10_chance, size, floor, usual,
    )  # fmt: skip
