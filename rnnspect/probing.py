"""A case that tells every known mistake from every other: parameters, x and states drawn for it."""

from __future__ import annotations

import itertools
import math
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from rnnspect import resources
from rnnspect.causes import catalogue
from rnnspect.declared import ARITHMETICS
from rnnspect.device import plain_defaults
from rnnspect.drawing import draw_normal, generator_of
from rnnspect.engines.interface import EngineInfo
from rnnspect.judging.estimate import Estimate, estimate
from rnnspect.judging.stack import judge_stack
from rnnspect.observation import Observation
from rnnspect.parameters import parameters_of
from rnnspect.sequence import Sequence
from rnnspect.unroll import unroll

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Generator, Tensor

    from rnnspect.causes.interface import Cause
    from rnnspect.judging.reading import Reading
    from rnnspect.spec import Spec

STEPS, BATCH = 7, 4
LENGTHS = (7, 6, 4, 3)
ELSEWHERE = ("weights", "layout", "head", "input", "batch", "h0", "c0", "lengths")
"""Keys of a spec that a probe has no use for: it has its own numbers, and no head."""
DRAWS = 8
_SMALL = 2**20
_APART = 4.0
"""How many times what roundings may do two runs have to be apart."""
_SAME = 2.0**-40
"""Runs in float64 that are nearer than this, of numbers near 1, are the same computation in another order."""


@dataclass(frozen=True)
class Probe:
    """`spec` describes the network alone. `alike` are mistakes that its numbers do not tell from one another, by
    their names: most often such that no numbers do."""

    spec: Spec
    parameters: dict[str, Tensor]
    sequence: Sequence
    alike: tuple[tuple[str, str], ...] = ()


def probe_of(spec: Spec) -> Probe:
    """A probe of the spec's network, drawn from its seed: no bias and no state is zero, h0 is not c0, there are more
    steps than items.

    Of a spec with lengths it has lengths of its own. Every mistake that changes parameters, functions, cell or states
    is made with it in each layer and direction, and where two give the same numbers it is drawn again.

    Raises `ResourceError` before memory is taken.
    """
    lengths = None if spec.lengths is None else list(LENGTHS)
    spec = spec.with_changes(**dict.fromkeys(ELSEWHERE) | {"lengths": lengths, "device": "cpu"})
    resources.require(resources.trace_needs(spec, STEPS, BATCH), "the probe")
    with plain_defaults(), _few_threads(spec):
        generator, found = generator_of(spec), []
        for _ in range(DRAWS):
            parameters, sequence = _parameters(spec, generator), _sequence(spec, generator)
            alike, by_chance = _alike(spec, parameters, sequence)
            found.append((by_chance, Probe(spec, parameters, sequence, alike)))
            if not by_chance:
                break
    return min(found, key=lambda drawn: drawn[0])[1]


@contextmanager
def _few_threads(spec: Spec) -> Iterator[None]:
    """Below some size torch's threads wait for each other longer than they compute, and much longer where the machine
    has other work."""
    threads = torch.get_num_threads()
    if max(math.prod(parameter.shape) for parameter in parameters_of(spec)) < _SMALL:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _parameters(spec: Spec, generator: Generator) -> dict[str, Tensor]:
    """Sums of size 1, at which gates are neither open nor shut; vectors have no number near zero."""
    drawn = {}
    for parameter in parameters_of(spec):
        values = torch.rand(parameter.shape, generator=generator) * 2 - 1
        if len(parameter.shape) == 1:
            values = values.sign() * 0.25 + values * 0.75
        else:
            values *= math.sqrt(3 / parameter.shape[1])
        drawn[parameter.name] = values.to(getattr(torch, spec.dtype))
    return drawn


def _sequence(spec: Spec, generator: Generator) -> Sequence:
    dtype, places = getattr(torch, spec.dtype), spec.num_layers * spec.num_directions
    x = draw_normal((STEPS, BATCH, spec.input_size), generator).to(dtype)
    h0 = draw_normal((places, BATCH, spec.output_size), generator).to(dtype)
    c0 = draw_normal((places, BATCH, spec.hidden_size), generator).to(dtype)
    lengths = None if spec.lengths is None else tuple(spec.lengths)
    return Sequence(x, h0, c0 if spec.cell_type.has_cell_state else None, lengths, batched=True)


def _alike(spec: Spec, parameters: dict[str, Tensor], sequence: Sequence) -> tuple[tuple[tuple[str, str], ...], int]:
    """The names of mistakes that give the same numbers in some place, and how many of these pairs, or mistakes that
    do not show, are only near one another: other numbers would tell them."""
    runs = unroll(spec, parameters, sequence)
    layers = {(run.layer, run.direction): {"h": run.quantities["h"]} for run in runs}
    seen = Observation(EngineInfo("equations", "", "", spec.dtype), layers, None, None)
    judged = judge_stack(spec, parameters, sequence, seen, ARITHMETICS[spec.dtype], lambda _found, _steps: None)
    valid = sequence.valid()
    alike: dict[tuple[str, str], None] = {}
    by_chance = 0
    for reading in judged.readings.values():
        right = _run(reading)
        made: list[tuple[Cause, Estimate]] = []
        for cause, run in _made(reading):
            if near := _nearness(right, run, valid):
                by_chance += near == "near"
            else:
                made.append((cause, run))
        for (one, a), (other, b) in itertools.combinations(made, 2):
            if near := _nearness(a, b, valid):
                by_chance += near == "near"
                alike[one.name, other.name] = None
    return tuple(alike), by_chance


def _made(reading: Reading) -> Iterator[tuple[Cause, Estimate]]:
    """What an engine gives that makes a mistake, for those of which that is a run under the changed reading: they
    change neither what the numbers are taken for nor how exact they have to be."""
    for _, cause in catalogue(reading):
        if cause.shown is not None:
            continue
        changed = cause.change(reading)
        if changed.run.h is reading.run.h and changed.back is None and changed.u == reading.u:
            yield cause, _run(changed)


def _run(reading: Reading) -> Estimate:
    run = reading.run
    state = (run.h0,) if run.c0 is None else (run.h0, run.c0)
    return estimate(
        reading.cell, reading.p, reading.u, reading.nonlinearity, run.x, run.error, state, run.lengths, run.reverse
    )


def _nearness(a: Estimate, b: Estimate, valid: Tensor | None) -> str:
    """Empty where two runs are apart somewhere, else whether they are the same or only near."""
    apart, allowed = (a.h - b.h).abs(), (a.error + b.error) * _APART
    if valid is not None:
        apart = apart[valid]
        allowed = allowed[valid]
    if bool((apart > allowed).any()):
        return ""
    return "same" if float(apart.max()) < _SAME else "near"
