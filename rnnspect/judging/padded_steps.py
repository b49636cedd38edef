"""The final state of a run that went on after its end: on zeros that fill the last of its chunks, or on one of its
steps again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from rnnspect.arithmetic.perturbed import RUNS
from rnnspect.judging.assumption import Assumption
from rnnspect.judging.estimate import FINAL_SPREADS, SPREADS, Estimate, estimate

STEPS = 15, 63, 255
"""At most so many steps may fill a chunk; few are tried first."""
_CLEAR = 4
"""The cell state has to be so many limits away from that of the last step."""
_NEAR = 0.1
"""As a share of the largest number of a cell state: a state after padding has to be that near. If it is zero, into
which much decays, that is said instead."""
_BEYOND = "padding"
"""A name in place of a step: the x behind the end of each shorter item of a batch."""
_ENDS = 64
"""At most so many different lengths: the items of each length take a run of their own."""
_WORK = 2**31
"""At most so many multiplications, which take about a second: for a larger network fewer steps are tried."""


class Padded(NamedTuple):
    """The additional steps that were run, and the states (B, ·) after them, each with its error."""

    behind: Behind
    steps: int
    final: tuple[tuple[Tensor, Tensor], ...]

    @property
    def kind(self) -> str:
        """The kind of the `Lookalike`."""
        if self.behind.step == _BEYOND:
            return _BEYOND
        return "twice" if (self.behind.step, self.steps) == ("the last", 1) else "padded"

    @property
    def said(self) -> str:
        if self.kind == _BEYOND:
            return "that after the last step of the batch, beyond the end of shorter items"
        if self.kind == "twice":
            return "that after the last step once more"
        many = f"{self.steps} step{'' if self.steps == 1 else 's'}"
        step = self.behind.step
        return f"that after {many} more, each with the x of {step} one" if step else f"that after {many} of zeros more"


@dataclass(frozen=True)
class Behind:
    """The padding that follows the end of a run, or precedes its beginning."""

    assumed: Assumption
    x: Tensor
    """(B, I), the same at each step; or (steps, B, I)."""
    step: str = ""
    """The step of the run whose x it is; empty for zeros."""


def padded_with(assumed: Assumption, ended: Sequence[tuple[Tensor, Tensor]], h_n: Tensor) -> Padded | None:
    """The steps that lead from the final states (B, ·) of a run, each with its error, to the final h (B, P) that its
    engine returned: with zeros for x, with zeros for all that goes into the gates, or with the run's last or first step
    again. None where no such steps do. A run whose final h is that of its last step has no padding."""
    if torch.equal(ended[0][0], h_n.double()):
        return None
    if assumed.run.lengths is not None:
        return _beyond_ends(assumed, assumed.run.lengths, ended, h_n)
    most = most_steps(assumed, RUNS)
    if not most:
        return None
    for count in sorted({min(most, steps) for steps in STEPS}):
        for behind in ways(assumed):
            stepped = after(behind, ended, count)
            allowed = stepped.error * (FINAL_SPREADS / SPREADS)
            fits = ((stepped.h - h_n.double()).abs() <= allowed).flatten(1).all(1)
            fits &= (stepped.h.isfinite() & allowed.isfinite()).flatten(1).all(1)  # what is not known fits anything
            if bool(fits.any()):
                steps = int(fits.byte().argmax()) + 1
                return Padded(behind, steps, after(behind, ended, steps).final)
    return None


def _beyond_ends(
    assumed: Assumption, lengths: Tensor, ended: Sequence[tuple[Tensor, Tensor]], h_n: Tensor
) -> Padded | None:
    """Whether each item went on to the last step of the batch, as in an engine that ignores lengths."""
    run = assumed.run
    steps = run.x.shape[0]
    left = steps - lengths
    counts = [int(count) for count in left.unique() if count]  # type: ignore[no-untyped-call]
    if assumed.layer or run.reverse or run.error is not None or len(counts) > _ENDS:
        return None  # nobody knows what a layer above received there
    if not counts or counts[-1] > most_steps(assumed, RUNS):
        return None
    final = tuple((v.clone(), e.clone()) for v, e in ended)
    for count in counts:
        items = left == count
        going = assumed.with_run(**{name: getattr(run, name)[:][:, items] for name in ("x", "h")}, lengths=None)
        begun = [(v[items], e[items]) for v, e in ended]
        x = run.x[steps - count :][:, items]
        for (v, e), (new, error) in zip(final, after(Behind(going, x, _BEYOND), begun, count).final, strict=True):
            v[items], e[items] = new, error
    (h, error), *_ = final
    fits = error.isfinite() & ((h - h_n).abs() <= error)
    return Padded(Behind(assumed, run.x[-1], _BEYOND), 0, final) if bool(fits.all()) else None


def cell_state_padded_with(assumed: Assumption, ended: Sequence[tuple[Tensor, Tensor]], c_n: Tensor) -> Padded | None:
    """As `padded_with`, for the final cell state alone, where the final h is that of the last step."""
    if assumed.run.lengths is not None:
        return None
    off = float((c_n - ended[1][0]).abs().max())
    for behind in ways(assumed):
        count, far = nearest(behind, ended, c_n)
        if far > _NEAR * float(c_n.abs().max()):
            continue
        final = after(behind, ended, count).final
        v, e = final[1]
        allowed = e + v.abs() * assumed.u.stored
        if bool(((v - c_n).abs() <= allowed).all()) and _CLEAR * float(allowed.max()) < off:
            return Padded(behind, count, final)
    return None


def nearest(behind: Behind, ended: Sequence[tuple[Tensor, Tensor]], c_n: Tensor) -> tuple[int, float]:
    """After how many steps the first numbers of the cell state are nearest to these, and their distance then."""
    assumed = behind.assumed
    numbers = assumed.in_float64()
    wx = numbers.input(behind.x.double())
    h, c = (state.double() for state, _ in ended)
    far = []
    for _ in range(max(1, most_steps(assumed))):
        q = assumed.cell.step(numbers, wx, h, c)
        h, c = q["h"], q["c"]
        far.append(float((c[:, : c_n.shape[1]] - c_n).abs().max()))
    least = min(far)
    return far.index(least) + 1, least


def most_steps(assumed: Assumption, runs: int = 1) -> int:
    """How many steps of padding are tried, in `runs` runs at once."""
    return min(STEPS[-1], _WORK // (runs * len(assumed.run.h0) * assumed.p.products))


def ways(assumed: Assumption) -> list[Behind]:
    """What padding may consist of: zeros only in the lowest layer, since it is not known what a higher layer would then
    receive; a step of the layer, where its x is known."""
    run, bias = assumed.run, assumed.p.bias_ih
    found: list[Behind] = []
    if not assumed.layer:
        none = torch.zeros_like(run.x[0])
        found.append(Behind(assumed, none))
        found += [] if bias is None else [Behind(assumed.with_parameters(bias_ih=torch.zeros_like(bias)), none)]
    if run.error is None:
        first, last = (run.x[-1], run.x[0]) if run.reverse else (run.x[0], run.x[-1])
        found += [Behind(assumed, last, "the last"), Behind(assumed, first, "the first")]
    return found


def after(behind: Behind, ended: Sequence[tuple[Tensor, Tensor]], steps: int) -> Estimate:
    """h and the states after so many steps of padding from these states."""
    assumed = behind.assumed
    run, h = assumed.run, torch.zeros(steps, *assumed.run.h.shape[1:])
    x = behind.x.expand(steps, *behind.x.shape[-2:])
    made = replace(run, x=x, h=h, error=None, h_error=None, reverse=False, c=None)
    u = replace(assumed.u, relative=0.0, absolute=0.0)
    return estimate(replace(assumed, run=made, u=u).begun_with(ended))
