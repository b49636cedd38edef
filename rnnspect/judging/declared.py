"""The arithmetic that an engine declares: what a correct one is held to.

A check says `agree` only where a shift of each gate's pre-activation by `Declared.telling` would have been seen. Half
types hide small shifts by their own rounding, so that the limit follows from it: `_ROUNDINGS` unit roundoffs. A run
that can only be explained by sums kept in the half type is allowed so large an error that it usually ends as `cannot
tell`. cuBLAS may sum so under cells, unless allow_fp16_reduced_precision_reduction and its bfloat16 twin are off:
switch them off, or check a copy in float32.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from rnnspect.arithmetic.forms import linear_state
from rnnspect.arithmetic.product_bounds import LAMBDA
from rnnspect.arithmetic.roundoff import BFLOAT16, FLOAT16, ROUNDOFF, SINGLE, SMALLEST, TF32, Roundoff
from rnnspect.cells.interface import Cell
from rnnspect.errors import InputError, listed, nearest
from rnnspect.judging.rounding import EXACT, RecordedPrecision
from rnnspect.network.recording import EngineInfo


@dataclass(frozen=True)
class Declared:
    """The arithmetic that a run is judged by. `name` is how a verdict calls it, such as "float32, TF32 products"."""

    name: str
    roundoff: Roundoff
    half_sums: float = 0.0
    """Unit roundoff of the sums in products, where those are kept in a half type."""
    telling: float = 0.01
    """The shift of a gate's pre-activation that a check has to be able to see before it says that a run agrees."""
    shown: float = 0.0
    """Unit roundoff of what an engine shows of a step, where it may go on with more digits."""
    permitted: Declared | None = None
    """A coarser arithmetic that the engine may have used as well; tried only where the run differs under this one."""

    @property
    def in_turn(self) -> Iterator[Declared]:
        """This arithmetic, then each one that is permitted besides, the coarsest last."""
        yield self
        if self.permitted is not None:
            yield from self.permitted.in_turn

    @property
    def coarsest(self) -> Declared:
        return self if self.permitted is None else self.permitted.coarsest

    def in_any_order(self, logs: float = 0.0) -> Declared:
        """The same arithmetic where many steps may be computed at once, in any grouping. Numbers that are kept between
        steps are as wide as the sums, or in a half type perhaps only as wide as stored numbers. `logs`: decays are
        added up in log space, in float32, over so many steps at most."""
        u, how = self.roundoff, "decays summed in log space" if logs else "steps in any order"
        if 0 < logs < math.inf:
            how += f" over {logs:.0f} step{'' if logs == 1 else 's'} at most"
        made = replace(
            self, name=f"{self.name}, {how}", roundoff=replace(u, regrouped=u.sums, logs=logs), permitted=None
        )
        if not u.coarse:
            return made
        stored = replace(made, name=f"{made.name}, {made.name.split(',')[0]} between them", telling=_REDUCED)
        return replace(made, permitted=replace(stored, roundoff=replace(u, regrouped=u.stored, logs=logs)))

    def for_cell(self, cell: Cell, one_by_one: bool) -> Declared:
        """The arithmetic, with permission to compute many steps at once where the cell allows it; not for an engine
        that is known to compute them one by one."""
        if one_by_one or not linear_state(cell) or self.coarsest.roundoff.regrouped:
            return self
        if self.permitted is not None:
            return replace(self, permitted=self.permitted.for_cell(cell, one_by_one))
        return replace(self, permitted=self.in_any_order())

    def over(self, terms: int, kept: RecordedPrecision = EXACT) -> Roundoff:
        """The roundoff for a layer whose sums have so many terms: a sum of k products in a half type errs by λ√k·u.
        `kept` is the precision of its recorded h."""
        narrow = LAMBDA * math.sqrt(terms) * self.half_sums
        relative = max(kept.relative, self.shown)
        return replace(self.roundoff, narrow=narrow, relative=relative, absolute=kept.absolute, readable=kept.largest)


_REDUCED = 0.1
"""Reduced products move a pre-activation by a few hundredths themselves: no check can see smaller shifts."""

_ROUNDINGS = 64
"""A shift δ of an open gate's pre-activation changes h by a few hundredths of δ at least: σ' is ¼, and what the gate
multiplies, or its share of a cell state, is seldom below a quarter. On its way to h a value is rounded some eight
times, by up to one unit roundoff each. So δ shows from some 30 unit roundoffs on: measured 10 to 60 in LSTMs and GRUs
of 16 to 256 units."""

_SCAN = "log-scan"

ARITHMETICS = {
    "float64": Declared("float64", ROUNDOFF[torch.float64]),
    "float32": Declared("float32", SINGLE),
    "tf32": Declared("float32, TF32 products", replace(SINGLE, products=TF32), telling=_REDUCED),
    "bfloat16-products": Declared("float32, bfloat16 products", replace(SINGLE, products=BFLOAT16), telling=_REDUCED),
    "float16-products": Declared(
        "float32, float16 products", replace(SINGLE, products=FLOAT16, flushed=SMALLEST), telling=_REDUCED
    ),
    "float16": Declared("float16, float32 sums", ROUNDOFF[torch.float16], telling=_ROUNDINGS * 2.0**-11),
    "bfloat16": Declared("bfloat16, float32 sums", ROUNDOFF[torch.bfloat16], telling=_ROUNDINGS * 2.0**-8),
    "float16-sums": Declared("float16, float16 sums", ROUNDOFF[torch.float16], 2.0**-11, _ROUNDINGS * 2.0**-11),
    "bfloat16-sums": Declared("bfloat16, bfloat16 sums", ROUNDOFF[torch.bfloat16], 2.0**-8, _ROUNDINGS * 2.0**-8),
}
HALF_TYPES = ("bfloat16", "float16")
for _dtype in HALF_TYPES:
    _own = ARITHMETICS[_dtype]
    _name = f"{_own.name}, float32 between steps"
    ARITHMETICS[f"{_dtype}-wide"] = replace(_own, name=_name, shown=_own.roundoff.stored)
for _dtype in ("float32", "float64", "bfloat16", "float16"):
    _prefix = "" if _dtype == "float32" else f"{_dtype}-"
    ARITHMETICS[f"{_prefix}any-order"] = ARITHMETICS[_dtype].in_any_order()
    ARITHMETICS[f"{_prefix}{_SCAN}"] = ARITHMETICS[_dtype].in_any_order(logs=math.inf)


def declared_by(engine: EngineInfo) -> Declared:
    """What the engine's dtype and the switches in force for its kernel say (`rnnspect.network.device`).

    cuBLAS and cuDNN use TF32 wherever they may. Of the other switches nobody sees whether they were made use of:
    oneDNN does only on some processors, cuBLAS sums in a half type only some shapes.
    """
    if half := engine.precision.get("autocast"):
        others = {switch: value for switch, value in engine.precision.items() if switch != "autocast"}
        return _by_autocast(declared_by(replace(engine, dtype=half, precision=others)))
    plain = ARITHMETICS[engine.dtype]
    found = {switch: name for switch, value in engine.precision.items() if (name := _allowed(engine, switch, value))}
    if any(name == "tf32" and not switch.startswith("mkldnn.") for switch, name in found.items()):
        return ARITHMETICS["tf32"]
    allowed = [ARITHMETICS[name] for name in found.values()]
    coarsest = max(allowed, key=lambda one: one.roundoff.products, default=None)
    return plain if coarsest is None else replace(plain, permitted=coarsest)


def _by_autocast(declared: Declared) -> Declared:
    name = declared.name.replace(",", " by autocast,", 1)
    return replace(declared, name=name, permitted=declared.permitted and _by_autocast(declared.permitted))


def named(name: str, where: str | None = None) -> Declared:
    """The arithmetic of that name; of `log-scan:64` with sums of logarithms that begin anew after 64 steps at most.
    Raises `InputError` for another."""
    scan, _, steps = name.partition(":")
    if steps and scan.endswith(_SCAN) and scan in ARITHMETICS:
        if not re.fullmatch("[1-9][0-9]{0,8}", steps):
            raise InputError(
                f"{steps!r} in {name!r} is not a number of steps", allowed=f"such as {scan}:64", where=where
            )
        return ARITHMETICS[scan.removesuffix(_SCAN).removesuffix("-") or "float32"].in_any_order(logs=int(steps))
    if name not in ARITHMETICS:
        found = f"no arithmetic is called {name!r}"
        allowed = f"{listed(ARITHMETICS)}; {_SCAN}:64 where sums begin anew after 64 steps"
        raise InputError(found, allowed=allowed, nearest=nearest(name, ARITHMETICS), where=where)
    return ARITHMETICS[name]


def _allowed(engine: EngineInfo, switch: str, value: str) -> str | None:
    """The arithmetic that a switch lets the run use, if it is another than its dtype's own."""
    value = value.casefold()
    if engine.dtype == "float32":
        if "allow_tf32" in switch:
            return "tf32" if value == "true" else None
        return {"tf32": "tf32", "bf16": "bfloat16-products", "medium": "bfloat16-products"}.get(value)
    short = {"float16": "allow_fp16_", "bfloat16": "allow_bf16_"}.get(engine.dtype)
    return f"{engine.dtype}-sums" if short and short in switch and value == "true" else None
