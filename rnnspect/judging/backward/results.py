"""The results of a pass backwards, dL/dx, dL/dh0, dL/dc0 and dL/d of each parameter, where nobody saw its steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from rnnspect.arithmetic.bounded_values import Number
from rnnspect.arithmetic.perturbed import REPEATED, RUNS
from rnnspect.judging.assumption import At
from rnnspect.judging.backward.estimate import Free, FreeLayer
from rnnspect.judging.backward.replicas import WithError, explode, size_of, spread
from rnnspect.judging.backward.step_mistake import StepMistake
from rnnspect.judging.backward.sums import Term
from rnnspect.judging.case import by_autocast, half_of
from rnnspect.judging.chunks import Chunk
from rnnspect.judging.declared import Declared
from rnnspect.judging.estimate import final_repeated
from rnnspect.judging.rounding import EXACT, RecordedPrecision
from rnnspect.network.gradients import EngineGradients, Upstream
from rnnspect.network.parameters import LayerParameters, suffix
from rnnspect.network.progress import StepsDone, untold
from rnnspect.network.recording import by_direction
from rnnspect.network.sequence import Sequence
from rnnspect.network.spec import Spec


@dataclass(frozen=True)
class ResultsCase:
    """A network with its parameters, the sequence that it received, the gradients of the loss by what it returned, and
    what an engine gave for it; on the CPU."""

    spec: Spec
    parameters: Mapping[str, Tensor]
    sequence: Sequence
    upstream: Upstream
    given: EngineGradients
    declared: Declared
    dropped: Mapping[int, Tensor] = field(default_factory=dict)
    """By layer the factors of dropout for its input, (T, B, ·): 0, or 1/(1 − p)."""
    undecided: Mapping[int, Tensor] = field(default_factory=dict)
    """By layer where these cannot be read: the layer received 0, but the layer below may have given 0."""
    went_in: Mapping[str, RecordedPrecision] = field(default_factory=dict)
    """How precisely dL/d `output`, `h_n` and `c_n` were recorded, by these names."""

    def under_autocast(self) -> ResultsCase:
        """As autocast computed it, if the engine ran under it (`Case.under_autocast`)."""
        half = half_of(self.given.engine)
        if half is None:
            return self
        spec, parameters, sequence = by_autocast(half, self.spec, self.parameters, self.sequence, states=True)
        output, upstream = self.given.output, self.upstream
        if output is not None and output.dtype == half:
            upstream = upstream.each(lambda g: g.to(half))
        return replace(self, spec=spec, parameters=parameters, sequence=sequence, upstream=upstream)

    @cached_property
    def told(self) -> dict[str, WithError]:
        """What the equations give for the case (`expected`)."""
        return expected(self)

    @cached_property
    def free(self) -> dict[At, Free]:
        """Each layer and direction, gone over forwards, which no mistake of going back changes."""
        return _free(self)[0]

    @cached_property
    def terms(self) -> dict[At, list[list[Term]]]:
        """By layer and direction the terms of the parameters' gradients, step by step from the last one on."""
        return _terms(self)


Coming = tuple[Tensor, Mapping[str, Tensor]]
"""What a layer and direction receives on the way back: dL/d of its output, and of each final state (B, ·)."""


@dataclass(frozen=True)
class ResultsMistake:
    """What an engine that made a known mistake does on its way back through all layers; the defaults are no mistake."""

    layer: Callable[[FreeLayer, At], FreeLayer] = lambda layer, _at: layer
    """How it goes back in a layer and direction: as another cell, with other changes, or another `StepMistake`."""
    coming: Callable[[At, Tensor, Coming], Coming] = lambda _at, _output, coming: coming
    """From a layer and direction, dL/d output of the layer (T, ·, D·P), and what it receives to what an engine with the
    mistake has in place of that."""
    dropped: Callable[[int, Tensor], Tensor] = lambda _layer, factor: factor
    """From a layer and the factors of dropout for its input to the factors that the engine multiplies its dL/dx
    with."""


def expected(
    case: ResultsCase,
    mistake: ResultsMistake | None = None,
    progress: StepsDone = untold,
    enough: Callable[[Mapping[str, WithError]], bool] = lambda _found: False,
) -> dict[str, WithError]:
    """What the equations give, and how far a correct engine may be from it, infinity where that is not known: x (T, B,
    I), h0 (L·D, B, P), c0 (L·D, B, H) and each parameter by PyTorch's name.

    `enough` is called after each layer and direction, from the top down; where it is true, the pass ends there.
    """
    mistake = mistake or ResultsMistake()
    free = {at: one.back_as(mistake.layer(one.layer, at)) for at, one in case.free.items()}
    return _back(case, free, mistake, progress, enough)


def _terms(case: ResultsCase) -> dict[At, list[list[Term]]]:
    found: dict[At, list[list[Term]]] = {at: [] for at in case.spec.places}

    def watched(layer: FreeLayer, at: At) -> FreeLayer:
        def seen(terms: list[Term], _chunk: Chunk) -> list[Term]:
            found[at].append([Term(t.parameter, exact(t.left), t.right and exact(t.right)) for t in terms])
            return terms

        return replace(layer, mistake=StepMistake(terms=seen))

    def exact(number: Number) -> Number:
        """Of all runs the first."""
        return replace(number, v=number.v[: case.sequence.batch].clone())

    expected(case, ResultsMistake(layer=watched))
    return found


def outputs_of(case: ResultsCase, layer: int) -> WithError:
    """The output of a layer by the equations, (T, B, D·P), and how far that of a correct engine may be from it."""
    runs = _free(case, layer + 1)[1]
    return spread(runs.view(len(runs), RUNS, case.sequence.batch, -1).transpose(0, 1))


def _free(case: ResultsCase, layers: int | None = None) -> tuple[dict[At, Free], Tensor]:
    """The layers up to a number of them gone over forwards, each direction by itself; and the output of the last one
    (T, RUNS·B, D·P)."""
    spec, sequence, x = case.spec, case.sequence, case.sequence.x
    lengths = None if sequence.lengths is None else torch.tensor(sequence.lengths)
    seen = {} if case.given.output is None else by_direction(spec, spec.num_layers - 1, case.given.output)
    free: dict[At, Free] = {}
    for layer in range(spec.num_layers if layers is None else layers):
        outputs = []
        if layer in case.dropped:  # a 0 that was recorded went in, whether dropout made it or the layer below
            x = _dropped(x, case.dropped[layer].masked_fill(case.undecided[layer], 0), case)
        for direction in spec.directions:
            at, row = (layer, direction), spec.row(layer, direction)
            p = LayerParameters.of(case.parameters, layer, direction, spec)
            state = tuple(initial[row] for initial in sequence.state)
            u, functions = case.declared.over(p.terms), spec.nonlinearity_of(direction)
            free[at] = Free(
                FreeLayer(spec.cell_type, p, u, functions, x, seen.get(at), state, lengths, direction == "reverse")
            )
            outputs.append(free[at].forwards())
        x = torch.cat(outputs, -1)
    return free, x


def _dropped(runs: Tensor, factor: Tensor, case: ResultsCase, undecided: Tensor | None = None) -> Tensor:
    """The numbers of all runs (T, RUNS·B, ·) after dropout, with one rounding for each product. Where it is `undecided`
    whether a number was dropped, every second replica drops it."""
    draw = np.random.default_rng(len(runs)).uniform(-1, 1, (RUNS, *factor.shape))
    unit = 2 * case.declared.roundoff.stored
    off = torch.from_numpy(draw).mul_(unit).transpose(0, 1)
    off[:, 0] = 0
    off.add_(1)
    if undecided is not None:
        off[:, 1::2].masked_fill_(undecided.unsqueeze(1), 0)
    return runs * factor.double().repeat(1, RUNS, 1) * off.flatten(1, 2)


def _back(
    case: ResultsCase,
    free: Mapping[At, Free],
    mistake: ResultsMistake,
    progress: StepsDone,
    enough: Callable[[Mapping[str, WithError]], bool],
) -> dict[str, WithError]:
    spec, batch = case.spec, case.sequence.batch
    found: dict[str, WithError] = {}
    states: dict[str, dict[int, WithError]] = {}
    over = np.zeros(batch, dtype=bool)
    output, h_n, c_n = (_went_in(case, name) for name in ("output", "h_n", "c_n"))
    assert output is not None
    coming = _coming(case)
    times = max(one.times for one in free.values()), final_repeated(case.declared.roundoff)
    for layer in reversed(range(spec.num_layers)):
        below: Tensor | None = None
        for direction, dy in zip(spec.directions, output.chunk(spec.num_directions, -1), strict=True):
            row = spec.row(layer, direction)
            lasts = (("h", h_n), ("c", c_n))
            given = mistake.coming(
                (layer, direction), output, (dy, {name: g[row] for name, g in lasts if g is not None})
            )
            one = free[layer, direction].back(*given, progress)
            below = one.x if below is None else below + one.x
            for name, runs in one.states.items():
                of_runs = runs.view(RUNS, batch, -1)
                states.setdefault(f"{name}0", {})[row] = spread(of_runs, *times, size_of(of_runs))
                over |= explode(of_runs, coming).numpy()
            p = LayerParameters.of(case.parameters, layer, direction, spec)
            here = {}
            for name, runs in one.parameters.items():
                value, error = (each.view_as(p[name]) for each in spread(runs, *times, one.sums[name]))
                here[name + suffix(layer, direction)] = value, error + one.sums[name].view_as(p[name])
            found |= here
            over |= free[layer, direction].range.over
            if not over.any() and enough(here):
                return found
        assert below is not None
        over |= explode(below.view(len(below), RUNS, batch, -1).transpose(0, 1), coming).numpy()
        output = below
        if layer in case.dropped:
            factor = mistake.dropped(layer, case.dropped[layer])
            output = _dropped(below, factor, case, case.undecided.get(layer))
    of_runs = output.view(len(output), RUNS, batch, -1).transpose(0, 1)
    found["x"] = spread(of_runs, *times, size_of(of_runs))
    for name, rows in states.items():
        each = [rows[row] for row in range(len(rows))]
        found[name] = torch.stack([v for v, _ in each]), torch.stack([e for _, e in each])
    return _untold(found, torch.from_numpy(over)) if over.any() else found


def _went_in(case: ResultsCase, name: str) -> Tensor | None:
    """dL/d output (T, B, D·P), or of final states (rows, B, ·). Where it was recorded rounded, it is given for RUNS·B
    items, as it may have been before rounding; in the runs whose roundings repeat, equal numbers were also equal
    before."""
    given, kept = getattr(case.upstream, name), case.went_in.get(name, EXACT)
    if given is None or not kept.rounded:
        return given  # type: ignore[no-any-return]
    random = np.random.default_rng(len(given))
    values, place = np.unique(given.double().numpy(), return_inverse=True)
    alike = random.choice([-1.0, 1.0], (REPEATED, len(values)))[:, place.reshape(given.shape)]
    off = torch.from_numpy(random.uniform(-1, 1, (RUNS, *given.shape)))
    off[1 : 1 + REPEATED] = torch.from_numpy(alike)
    off[0] = 0
    return off.mul_(kept.error(given)).add_(given).transpose(0, 1).flatten(1, 2)


def _coming(case: ResultsCase) -> Tensor:
    """The largest number that goes back from each item, (B,). It is infinite for an item that has no part in the loss,
    beside others that have: only the roundings of zeros go back there, and gradients do not explode."""
    names = ("output", "h_n", "c_n")
    given = [(case.went_in.get(name, EXACT), g) for name in names if (g := getattr(case.upstream, name)) is not None]
    largest, off = (
        torch.stack([of.abs().amax(-1).flatten(0, -2).amax(0) for of in each]).amax(0)
        for each in ([g.double() for _, g in given], [kept.error(g) for kept, g in given])
    )
    return largest.masked_fill_(largest <= off, torch.inf)


def _untold(told: Mapping[str, WithError], over: Tensor) -> dict[str, WithError]:
    """With infinite errors for the items (B,) in which a number may leave the range of the dtype, or gradients explode;
    and for all parameters, whose gradients are sums over the items."""
    found = {}
    for name, (value, error) in told.items():
        rows = over[None, :, None] if name in ("x", "h0", "c0") else torch.ones((), dtype=torch.bool)
        found[name] = value, error.masked_fill(rows, torch.inf)
    return found
