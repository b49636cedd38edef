"""How exactly a recording holds the numbers of a run: what its dtype, decimals or digits have rounded off.

Whoever made the recording may say so. Where nobody does, the numbers tell: those that all lie on the grid of a few
decimals, of a few significant digits or of a narrower dtype were rounded to it, unless they are there by chance. How
likely that is follows from how much closer together the numbers of their dtype lie. A grid that chance may explain is
not taken, but kept in mind: a run that differs only because of it is not called wrong (`otherwise`).
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from rnnspect.judging.quantised import multiple_of
from rnnspect.judging.recorded_sample import CHANCE, Sample
from rnnspect.judging.rounding import EIGHT_BITS, RecordedPrecision, Rounding, bits

_HALF_OR_SINGLE = (torch.bfloat16, torch.float16, torch.float32)
_OF_EIGHT_BITS, _FEW_STEPS = 8, 32
"""Numbers were rounded to a dtype of 8 bits if at least so many are different, and if they are not all multiples, up to
so many steps, of one step: such small multiples exist in that dtype as well."""
_MANY = 32
"""So many numbers do not all lie on the coarser of two grids by chance."""
_DECIMALS, _DIGITS, _BITS = range(18), range(2, 18), range(1, 17)
_PLAIN = 127, 255, 32767, 65535
"""Steps in 1 of common quantisations, such as 1/255: for these few numbers are enough."""
_BESIDE = 1e-3
"""Zeros beside numbers with all their digits were not made by coarser rounding."""

Precisions = dict[str, RecordedPrecision]  # by the name of the array


def kept_exactly(
    arrays: Mapping[str, Tensor],
    dtype: torch.dtype,
    said: Rounding | None = None,
    limited: Collection[str] = (),
    quantised: Collection[str] = (),
) -> Precisions:
    """How exactly each array of one recording holds the numbers of a run in `dtype`, by name.

    `said` is how it was rounded, where somebody says so: that holds for each array that may have been. Else an array of
    too few numbers to tell is taken to be rounded as the coarsest of the others that its numbers fit. One short number
    all over an array that may be `limited` may be the limit that somebody wrote, and is no rounding. Multiples of any
    step were rounded in an array that may have been `quantised`: pixels are multiples of 1/255.
    """
    samples = {name: Sample.of(values) for name, values in arrays.items()}
    taken = _taken(samples, dtype, said, limited, quantised)
    return {name: samples[name].kept(way, dtype) for name, way in taken.items()}


def _taken(
    samples: Mapping[str, Sample],
    dtype: torch.dtype,
    said: Rounding | None = None,
    limited: Collection[str] = (),
    quantised: Collection[str] = (),
) -> dict[str, Rounding]:
    """How each array of a run in `dtype` was rounded."""
    if said is not None:
        return {name: said if sample.lies_on(said) else Rounding() for name, sample in samples.items()}
    grids = {
        name: None if name in limited and sample.is_one_short_number else _grid_of(sample, name in quantised)
        for name, sample in samples.items()
    }
    scaled = [one for one in grids.values() if one and one.dtype == torch.float16 and not one.grid]
    if scaled:  # all by the same factor: of the smallest numbers it is seen best
        least = min(scaled, key=lambda one: one.scale)
        grids |= {name: least for name, one in grids.items() if one in scaled and samples[name].lies_on(least)}
    coarsest = sorted({one for one in grids.values() if one is not None}, key=lambda one: -one.error)
    refuted = [one for one in coarsest if one.error > _BESIDE and any(of.refutes(one) for of in samples.values())]
    taken = {}
    for name, sample in samples.items():
        others = [one for one in coarsest if sample.lies_on(one) and not (sample.is_zero and one in refuted)]
        own = grids[name]
        if own is not None and own.decimals is not None:  # 0.1234 and 1.000 have four decimals, and four digits
            steps, telling = sample.step(own), sample.telling  # a whole number may be one by chance
            digits = (one for one in others if one.digits and bool((sample.step(one) >= steps)[telling].all()))
            own = next(digits, own)
        elif own is not None and own.digits is not None:
            steps, changed = sample.step(own), sample.changed(dtype)  # 12.0625 has six digits unrounded, in bfloat16
            decimals = (one for one in others if one.decimals is not None)
            own = next((one for one in decimals if bool((sample.step(one) >= steps)[changed].all())), own)
        if not len(sample.values):  # a zero is exact in so many digits, but not in so many decimals
            others.sort(key=lambda one: one.decimals is None)
        taken[name] = own or next(iter(others), Rounding())
    return taken


def first_off(arrays: Mapping[str, Tensor], said: Rounding) -> tuple[str, float] | None:
    """Where no array can have been rounded as somebody says: the name of the first, and a number of it that shows it.
    None where one can."""
    samples = {name: Sample.of(values) for name, values in arrays.items()}
    if any(sample.lies_on(said) for sample in samples.values()):
        return None
    name, sample = next(iter(samples.items()))
    return name, float(sample.values[~sample.on(said)][0])


def otherwise(
    arrays: Mapping[str, Tensor], dtype: torch.dtype, limited: Collection[str] = (), quantised: Collection[str] = ()
) -> list[tuple[Rounding, Precisions]]:
    """The ways in which arrays may have been rounded more than `kept_exactly` takes them to be, the finest first, each
    with how exactly they hold their numbers then. Two digits of the largest number are left in each. Of multiples of
    1/2048 that are all multiples of 1/1024 the latter alone is a way, unless they are few."""
    samples = {name: Sample.of(values) for name, values in arrays.items()}
    taken = _taken(samples, dtype, None, limited, quantised)
    plain = {name: sample.kept(taken[name], dtype) for name, sample in samples.items()}
    steps = {name: sample.step(taken[name]) for name, sample in samples.items()}
    found: dict[tuple[str, ...], tuple[float, Rounding, Precisions]] = {}
    for way in _ways():  # of each kind the coarsest first
        refuted = any(sample.refutes(way) for sample in samples.values())
        could_be = {
            name: sample
            for name, sample in samples.items()
            if not (refuted and sample.is_zero and way.error > _BESIDE)
            and sample.could_be(way, taken[name], steps[name], dtype)
        }
        ways = {name: sample.kept(way, dtype) for name, sample in could_be.items()}
        kept = {name: how for name, how in ways.items() if samples[name].is_fine_enough(how, way)}
        if any(samples[name].says(way) for name in kept):  # then the others were most likely written so, too
            kept = ways
            coarsest = max(how.at(samples[name].largest) for name, how in kept.items())
            many = sum(int(samples[name].telling.sum()) for name in kept) >= _MANY
            kind = way.name.partition(":")[0] if many else way.name
            found.setdefault((kind, *kept), (coarsest, way, plain | kept))
    return [(way, kept) for _, way, kept in sorted(found.values(), key=lambda one: one[0])]


def cut_off(
    arrays: Mapping[str, Tensor], dtype: torch.dtype, quantised: Collection[str] = ()
) -> list[tuple[Rounding, Precisions]]:
    """The ways in which arrays may have been truncated or rounded down: to what they appear rounded to, and to what
    `otherwise` gives; each with how exactly they hold their numbers then."""
    samples = {name: Sample.of(values) for name, values in arrays.items()}
    plain = _taken(samples, dtype, quantised=quantised)
    taken = sorted(set(plain.values()), key=lambda one: -one.error)
    ways = [*taken, *(way for way, _ in otherwise(arrays, dtype, quantised=quantised))]
    narrower = [one for one in ways if one.grid or (one.dtype is not None and bits(one.dtype) < bits(dtype))]
    found = [replace(one, cut=cut) for one in narrower for cut in CUTS]

    def kept(way: Rounding) -> Precisions:
        """Each array cut off in this way, where it may be; others as they appear rounded."""
        return {name: of.kept(way if of.lies_on(way) else plain[name], dtype) for name, of in samples.items()}

    return [(way, kept(way)) for way in found]


CUTS: tuple[Literal["truncated", "floored"], ...] = ("truncated", "floored")
_GRIDS = (
    [Rounding(decimals=n) for n in _DECIMALS],
    [Rounding(digits=n) for n in _DIGITS],
    [Rounding(bits=n) for n in _BITS],
)


def _ways() -> Iterator[Rounding]:
    yield from map(Rounding, (*EIGHT_BITS, *_HALF_OR_SINGLE))
    yield from itertools.chain(*_GRIDS)


def _grid_of(sample: Sample, quantised: bool) -> Rounding | None:
    """How a sample was rounded: in the way that is least likely by chance; None where chance may explain each."""
    found = None
    for dtype in EIGHT_BITS:
        if int(sample.telling.sum()) >= _OF_EIGHT_BITS and sample.fits(dtype) and not _are_few_steps(sample):
            return Rounding(dtype)
    for dtype in _HALF_OR_SINGLE:
        if sample.hardly_fits(dtype) and sample.fits(dtype):
            sample, found = replace(sample, dtype=dtype), Rounding(dtype)
            break
    if sample.hardly_fits(torch.float16) and (scale := sample.scale_of_float16):
        return Rounding(torch.float16, scale=scale)
    tried: list[tuple[float, Rounding]] = []
    halves = sample.dtype in (torch.float16, torch.bfloat16)
    for grids in _GRIDS[:2] if halves else _GRIDS:  # what is left of the sums of a half type lies on a grid of bits
        coarsest = next((grid for grid in grids if sample.lies_on(grid)), None)
        if coarsest and (chance := sample.chance(coarsest)) <= CHANCE:
            tried.append((chance, coarsest))
    if quantised and not halves:
        tried += _quantised(sample)
    if not tried:
        return found
    least = min(tried, key=lambda one: one[0] * (1 + 1e-9 * (one[1].decimals is not None)))[1]  # alike: decimals
    return replace(least, dtype=found.dtype if found else None)


def _are_few_steps(sample: Sample) -> bool:
    return any(sample.largest * 2**n <= _FEW_STEPS and sample.lies_on(Rounding(bits=n)) for n in _BITS)


def _quantised(sample: Sample) -> list[tuple[float, Rounding]]:
    """The step whose multiples the numbers are, with how likely that is by chance, as log10; nothing without one."""
    every = (Rounding(multiples=1 / count) for count in _PLAIN)
    plain = [(chance, way) for way in every if sample.lies_on(way) and (chance := sample.chance(way)) <= CHANCE]
    if plain or (step := multiple_of(sample.values, sample.dtype)) is None:
        return plain
    way = Rounding(multiples=step)
    chance = sample.chance(way) * (1 - 2 / len(sample.values))  # two of its numbers chose the step
    return [(chance, way)] if chance <= CHANCE and sample.lies_on(way) else []
