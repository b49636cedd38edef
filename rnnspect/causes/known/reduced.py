"""Reduced precision: products of rounded operands, and weights stored with fewer bits."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from rnnspect.arithmetic.product_bounds import LAMBDA
from rnnspect.arithmetic.roundoff import SINGLE
from rnnspect.causes.interface import Cause
from rnnspect.causes.known._rounded_products import COARSER, UNIT, come_closer, sums_show
from rnnspect.causes.known._rounded_values import cut_off
from rnnspect.causes.known._sums_in_order import in_order
from rnnspect.judging.assumption import Assumption
from rnnspect.judging.declared import ARITHMETICS
from rnnspect.network.parameters import LayerParameters

PRODUCTS = {
    "tf32-products": "tf32",
    "bfloat16-products": "bfloat16-products",
    "float16-products": "float16-products",
}
"""By the name of a cause the arithmetic that the engine has used."""
SUMS = "float16-sums"
"""The cause that shows, where sums cannot be recomputed, only in the size of errors and in that they are irregular."""

_DECIMALS, _BITS = (2, 3, 4), (7, 8, 10, 12)
"""To how many decimals, and to how many binary digits behind the point, weights are tried rounded."""
_WHICH = {
    "both weight matrices": ("weight_ih", "weight_hh"),
    "weight_ih": ("weight_ih",),
    "weight_hh": ("weight_hh",),
}


def causes(assumed: Assumption) -> Iterator[Cause]:
    yield from _halved(assumed)
    yield from _of_integers(assumed.p)
    yield from _of_few_digits(assumed.p.names)
    if replace(assumed.u, relative=0.0, absolute=0.0) == SINGLE:
        yield from _products()
        yield from _sums()


def _products() -> Iterator[Cause]:
    for name, arithmetic in PRODUCTS.items():
        said = {"tf32": "TF32"}.get(arithmetic, arithmetic.removesuffix("-products"))
        yield Cause(
            name,
            f"the operands of matrix products are rounded to {said}, which some settings and compiler options allow",
            f"If this is intended, check with --arithmetic {arithmetic}; otherwise switch it off.",
            functools.partial(_with_products, arithmetic=arithmetic),
            shown=functools.partial(come_closer, roundings=COARSER[arithmetic]),
        )


def _sums() -> Iterator[Cause]:
    yield Cause(
        SUMS,
        "products are accumulated in float16: recomputed so, in one of the usual orders, they give the run's numbers",
        "Accumulate in float32; the operands may stay in float16.",
        _with_half_sums,
        {"how": "in a usual order"},
        shown=in_order,
    )
    yield Cause(
        SUMS,
        "products are accumulated in float16: the errors have the size that this causes, and no small change of "
        "weights explains them; noise as small as this in x, or in what was recorded, looks the same",
        "Accumulate in float32; the operands may stay in float16. If the engine does so already, look for noise "
        "in x or in the recording.",
        _with_half_sums,
        shown=sums_show,
    )


def _with_products(assumed: Assumption, arithmetic: str) -> Assumption:
    declared = ARITHMETICS[arithmetic].roundoff
    return replace(assumed, u=replace(assumed.u, products=declared.products, flushed=declared.flushed))


def _with_half_sums(assumed: Assumption) -> Assumption:
    """The assumption of float16 sums, whose operands are float16, too."""
    made = _with_products(assumed, "float16-products")
    return replace(made, u=replace(made.u, narrow=LAMBDA * math.sqrt(assumed.p.terms) * UNIT))


def _halved(assumed: Assumption) -> Iterator[Cause]:
    every = assumed.p.names
    for half in ("float16", "bfloat16"):
        dtype = getattr(torch, half)
        if assumed.p.weight_ih.dtype == dtype:
            continue
        for how, change in {"rounded": _through, "cut off": cut_off}.items():
            said = f"cut to {half}, towards zero"
            if how == "rounded":
                said = f"rounded to {half}, as by a file stored in {half}"
            for which, names in ({"every parameter": every} | _WHICH).items():
                yield Cause(
                    f"{half}-weights",
                    f"{which} {_is(which)} {said}",
                    "Store the file in the dtype of the parameters, or check with the rounded ones.",
                    functools.partial(_each, names=names, change=functools.partial(change, dtype=dtype)),
                    {"which": which} | ({} if how == "rounded" else {"how": how}),
                )


def _through(w: Tensor, dtype: torch.dtype) -> Tensor:
    return w.to(dtype).to(w.dtype)


def _of_integers(p: LayerParameters) -> Iterator[Cause]:
    for which, names in (_WHICH | {"every parameter": p.names}).items():
        ranges = all(p[name].shape[-1] > 2 for name in names)  # two numbers are their own range
        for scale, (bits, said, change) in (_INTEGERS | (_OFFSETS if ranges else {})).items():
            yield Cause(
                "int8-weights",
                f"{which} {_is(which)} rounded to {bits}-bit integers, {said}",
                "Do not quantize the weights, or check with the rounded ones to test everything else.",
                functools.partial(_each, names=names, change=change),
                {"which": which, "scale": scale},
            )


def _of_few_digits(every: tuple[str, ...]) -> Iterator[Cause]:
    grids = dict[str, tuple[float, Callable[[Tensor], Tensor]]]()
    for decimals in _DECIMALS:
        grids[f"to {decimals} decimals"] = 10.0**decimals, torch.round
    for bits in _BITS:
        grids[f"to multiples of 2^-{bits}, as fixed point has them"] = 2.0**bits, torch.round
        grids[f"towards zero to multiples of 2^-{bits}, as a cast to an integer does"] = 2.0**bits, torch.trunc
        grids[f"down to multiples of 2^-{bits}, as a shift to the right does"] = 2.0**bits, torch.floor
    for how, (factor, whole) in grids.items():
        yield Cause(
            "rounded-weights",
            f"every parameter is rounded {how}",
            "Write the numbers with all of their digits (%.9g), or check with the rounded ones.",
            functools.partial(_each, names=every, change=functools.partial(_on_grid, factor=factor, whole=whole)),
            {"how": how},
        )


def _on_grid(w: Tensor, factor: float, whole: Callable[[Tensor], Tensor]) -> Tensor:
    return (whole(w.double() * factor) / factor).to(w.dtype)


def _is(which: str) -> str:
    return "are" if which == "both weight matrices" else "is"


def _each(assumed: Assumption, names: tuple[str, ...], change: Callable[[Tensor], Tensor]) -> Assumption:
    return assumed.with_parameters(**{name: change(assumed.p[name]) for name in names})


def _symmetric(w: Tensor, steps: float, by_row: bool) -> Tensor:
    """w as multiples of max |w| / steps, one scale for all or one for each row."""
    most = w.abs().amax(1, keepdim=True) if by_row and w.dim() > 1 else w.abs().amax()
    return _multiples(w, most / steps, -128, 127)


def _asymmetric(w: Tensor) -> Tensor:
    """0 … 255 from the least number to the greatest, extended to 0, which one of these integers stands for exactly."""
    low, high = w.amin().clamp(max=0), w.amax().clamp(min=0)
    scale = (high - low) / 255
    zero = torch.where(scale > 0, low / scale, 0).round()
    return _multiples(w, scale, int(zero), int(zero) + 255)


def _offset(w: Tensor, steps: int, by_row: bool) -> Tensor:
    """As many steps from the least number to the greatest, of all or of each row, which both are steps themselves."""
    rows = w if by_row and w.dim() > 1 else w.reshape(1, -1)
    low, high = rows.amin(1, keepdim=True), rows.amax(1, keepdim=True)
    return (_multiples(rows - low, (high - low) / steps, 0, steps) + low).reshape(w.shape)


def _multiples(w: Tensor, scale: Tensor, low: int, high: int) -> Tensor:
    scale = scale.clamp(min=torch.finfo(w.dtype).tiny)
    return (w / scale).round().clamp(low, high) * scale


_Integers = dict[str, tuple[int, str, Callable[[Tensor], Tensor]]]
"""By the name of a scale how many bits, what is said, and how a parameter is rounded."""

_INTEGERS: _Integers = {
    "per tensor": (8, "one scale per tensor", functools.partial(_symmetric, steps=127, by_row=False)),
    "per row": (8, "one scale per row", functools.partial(_symmetric, steps=127, by_row=True)),
    "per tensor, of 127.5": (
        8,
        "one scale per tensor, max |w| / 127.5 as in PyTorch",
        functools.partial(_symmetric, steps=127.5, by_row=False),
    ),
    "per row, of 127.5": (
        8,
        "one scale per row, max |w| / 127.5 as in PyTorch",
        functools.partial(_symmetric, steps=127.5, by_row=True),
    ),
    "per tensor, with a zero point": (8, "one scale and one zero point per tensor", _asymmetric),
}
_OFFSETS: _Integers = {
    f"{'' if bits == 8 else f'{bits} bits '}per {of}, with an offset": (
        bits,
        f"one scale and one offset per {of}, its least number",
        functools.partial(_offset, steps=2**bits - 1, by_row=of == "row"),
    )
    for bits in (8, 4)
    for of in ("row", "tensor")
}
