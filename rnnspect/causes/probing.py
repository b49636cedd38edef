"""Draws test data that tells all known mistakes apart: parameters, x and initial states."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor

from rnnspect.arithmetic.numbers import one_thread
from rnnspect.arithmetic.unroll import unroll
from rnnspect.causes.known import catalogue
from rnnspect.files.free_memory import require
from rnnspect.judging.assumption import Assumption, At
from rnnspect.judging.case import Case
from rnnspect.judging.declared import ARITHMETICS
from rnnspect.judging.estimate import Estimate, estimate
from rnnspect.judging.observation import Observation
from rnnspect.judging.stack import judge_stack
from rnnspect.network import memory
from rnnspect.network.device import plain_defaults
from rnnspect.network.drawing import draw_normal, generator_of
from rnnspect.network.parameters import parameters_of
from rnnspect.network.recording import EngineInfo
from rnnspect.network.sequence import Sequence
from rnnspect.network.spec import Spec

STEPS, BATCH = 7, 4
LENGTHS = (7, 6, 4, 3)
ELSEWHERE = ("weights", "layout", "head", "input", "batch", "h0", "c0", "lengths")
"""Keys of a spec that a probe does not have: it has its own numbers, and no head."""
RIGHT = "a correct run"
_DRAWS = 8
_FAR = 4.0
_SMALL = 2**22
"""From so many numbers in a parameter on, torch may use several threads."""
_ROUNDINGS = 4.0
"""Two runs are different if they are so many times as far apart as rounding can explain."""


@dataclass(frozen=True)
class Probe:
    """`spec` describes the network alone. `alike` are pairs of mistakes, by name and parameters, that give the same
    numbers on it, and gave the same on other numbers that were drawn."""

    spec: Spec
    parameters: dict[str, Tensor]
    sequence: Sequence
    alike: tuple[tuple[str, str], ...]

    def to_numpy(self) -> dict[str, Any]:
        """All that an implementation needs to run it: the parameters by PyTorch's names, x as `batch_first` of the spec
        asks for it, h0, c0, lengths, and the spec as JSON."""
        from rnnspect.network.arrays import as_numpy, input_arrays

        spec, sequence = self.spec.with_changes(lengths=None), self.sequence
        x = sequence.x.transpose(0, 1).contiguous() if spec.batch_first else sequence.x
        return input_arrays(spec, x, sequence.h0, sequence.c0, sequence.lengths) | as_numpy(self.parameters)


def probe_of(spec: Spec) -> Probe:
    """A probe of the spec's network, drawn from its seed: no bias and no state is zero, h0 is not c0, and there are
    more steps than items. For a spec with lengths it has lengths of its own. Every known mistake that changes
    parameters, functions, cell or states is made with it in each layer and direction; where two give the same numbers,
    the probe is drawn again. Raises `ResourceError` before memory is taken."""
    lengths = None if spec.lengths is None else list(LENGTHS)
    spec = spec.with_changes(**dict.fromkeys(ELSEWHERE) | {"lengths": lengths, "device": "cpu"})
    require(memory.trace_needs(spec, STEPS, BATCH), "the probe")
    kept: Probe | None = None
    with plain_defaults(), _few_threads(spec):
        generator = generator_of(spec)
        for _ in range(_DRAWS):
            parameters, sequence = _parameters(spec, generator), _sequence(spec, generator)
            if kept and kept.alike == _alike(spec, parameters, sequence, {*itertools.chain(*kept.alike)}):
                break  # mistakes that other numbers do not tell apart either are the same
            drawn = Probe(spec, parameters, sequence, _alike(spec, parameters, sequence))
            kept = drawn if kept is None else min(kept, drawn, key=lambda probe: len(probe.alike))
            if not kept.alike:
                break
    assert kept is not None
    return kept


@contextmanager
def _few_threads(spec: Spec) -> Iterator[None]:
    """One thread, where products are small: torch's threads would spend more time waiting for each other than
    computing."""
    with one_thread() if max(math.prod(one.shape) for one in parameters_of(spec)) < _SMALL else nullcontext():
        yield


def _parameters(spec: Spec, generator: Generator) -> dict[str, Tensor]:
    """Parameters with which the sums of the gates have a size of about 1, so that gates are neither open nor shut.
    Vectors have no number near zero."""
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
    x = draw_normal((STEPS, BATCH, spec.input_size), generator)
    x[:, -1] *= _FAR  # in one item, to where approximations of σ and tanh are cut
    h0 = draw_normal((places, BATCH, spec.output_size), generator).to(dtype)
    units = spec.units("c") if spec.cell_type.has_cell_state else spec.hidden_size
    c0 = draw_normal((places, BATCH, units), generator).to(dtype)
    lengths = None if spec.lengths is None else tuple(spec.lengths)
    return Sequence(x.to(dtype), h0, c0 if spec.cell_type.has_cell_state else None, lengths, batched=True)


@dataclass(frozen=True)
class _Made:
    """A mistake with the runs of an engine that makes it, by layer and direction."""

    name: str
    reach: str
    runs: dict[At, Estimate]


def _alike(
    spec: Spec, parameters: dict[str, Tensor], sequence: Sequence, among: Collection[str] | None = None
) -> tuple[tuple[str, str], ...]:
    """Pairs of mistakes, by name, that give the same numbers wherever both are made. A mistake that changes no number
    is paired with `RIGHT`. With `among` only mistakes of these names are tried."""
    runs = unroll(spec, parameters, sequence)
    layers = {(run.layer, run.direction): {"h": run.quantities["h"]} for run in runs}
    seen = Observation(EngineInfo("equations", "", "", spec.dtype), layers, None, None)
    judged = judge_stack(Case(spec, parameters, sequence, seen, ARITHMETICS[spec.dtype]))
    right = {at: estimate(assumed) for at, assumed in judged.assumptions.items()}
    valid = sequence.valid()
    alike: dict[tuple[str, str], None] = {}
    for one, other in itertools.combinations([_Made(RIGHT, "place", right), *_mistakes(judged.assumptions, among)], 2):
        for places in _together(one, other, list(right)):
            a, b = ([made.runs.get(at, right[at]) for at in places] for made in (one, other))
            if not any(_apart(*pair, valid) for pair in zip(a, b, strict=True)):
                alike[one.name, other.name] = None
    return tuple(alike)


def _mistakes(assumptions: dict[At, Assumption], among: Collection[str] | None) -> list[_Made]:
    """Every mistake that changes what is computed, with its runs. Left out are mistakes that only reorder what the
    engine returned, or only widen bounds."""
    made: dict[Any, _Made] = {}
    others = set()
    for at, assumed in assumptions.items():
        for cause in catalogue(assumed):
            said = ", ".join(map(str, cause.parameters.values()))
            name = f"{cause.name} ({said})" if said else cause.name
            if cause.echo or (among is not None and name not in among):
                continue
            changed = cause.change(assumed)
            if cause.shown or changed.back or changed.run.h is not assumed.run.h or changed.u != assumed.u:
                others.add(cause.key)
            else:
                made.setdefault(cause.key, _Made(name, cause.reach, {})).runs[at] = estimate(changed)
    return [one for key, one in made.items() if key not in others]


def _together(one: _Made, other: _Made, every: list[At]) -> Iterator[list[At]]:
    """The layers and directions in which both mistakes are made at once: as many as the mistake with the wider reach
    needs."""
    reach = {one.reach, other.reach}
    if "stack" in reach:
        groups = [every]
    elif "layer" in reach:
        groups = [list(layer) for _, layer in itertools.groupby(every, lambda at: at[0])]
    else:
        groups = [[at] for at in every]
    yield from (places for places in groups if all(set(made.runs) & set(places) for made in (one, other)))


def _apart(a: Estimate, b: Estimate, valid: Tensor | None) -> bool:
    """Whether two runs are further apart anywhere than rounding can explain."""
    far = (a.h - b.h).abs() > (a.error + b.error) * _ROUNDINGS
    if bool((far if valid is None else far[valid]).any()):
        return True
    states = zip(a.final, b.final, strict=True)
    return any(bool(((v - w).abs() > (e + f) * _ROUNDINGS).any()) for (v, e), (w, f) in states)
