"""The arithmetic that an engine declares: what a correct one is held to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from rnnspect.arithmetic.roundoff import BFLOAT16, ROUNDOFF, SINGLE, TF32, Roundoff
from rnnspect.errors import InputError, listed, nearest

if TYPE_CHECKING:
    from rnnspect.engines.interface import EngineInfo


@dataclass(frozen=True)
class Declared:
    """`name` as in a verdict: "agrees, TF32 products"."""

    name: str
    roundoff: Roundoff


ARITHMETICS = {
    "float64": Declared("float64", ROUNDOFF[torch.float64]),
    "float32": Declared("float32", SINGLE),
    "tf32": Declared("float32, TF32 products", replace(SINGLE, products=TF32)),
    "bfloat16-products": Declared("float32, bfloat16 products", replace(SINGLE, products=BFLOAT16)),
    "float16": Declared("float16, float32 sums", ROUNDOFF[torch.float16]),
    "bfloat16": Declared("bfloat16, float32 sums", ROUNDOFF[torch.bfloat16]),
}


def declared_by(engine: EngineInfo) -> Declared:
    """What the engine's dtype and the switches in force say."""
    if engine.dtype == "float32" and any(_allows_tf32(name, value) for name, value in engine.precision.items()):
        return ARITHMETICS["tf32"]
    return ARITHMETICS[engine.dtype]


def named(name: str, where: str | None = None) -> Declared:
    """The arithmetic of that name. Raises `InputError` for another."""
    if name not in ARITHMETICS:
        found = f"no arithmetic is called {name!r}"
        raise InputError(found, allowed=listed(ARITHMETICS), nearest=nearest(name, ARITHMETICS), where=where)
    return ARITHMETICS[name]


def _allows_tf32(switch: str, value: str) -> bool:
    return ("fp32_precision" in switch and value.casefold() == "tf32") or ("allow_tf32" in switch and value == "True")
