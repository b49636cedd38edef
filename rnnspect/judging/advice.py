"""What would reveal an error, where a run leaves a gate or a state unseen."""

from __future__ import annotations

import statistics

import torch
from torch.nn.functional import linear

from rnnspect.arithmetic.hidden_calls import gates_of_no_state
from rnnspect.judging.case import Case
from rnnspect.judging.finding import Finding, PlaceFinding
from rnnspect.judging.rounding import RecordedPrecision
from rnnspect.network.parameters import LayerParameters

_LARGE = 3.0
"""A typical W_ih x above which σ and tanh are within a tenth of their ends."""
_ROWS = 256
_FEW_STEPS = 4


def untested(case: Case, place: PlaceFinding, shift: float) -> str:
    """Which gates of a layer could be off by `shift` unseen, why, and which input would reveal it."""
    cell, sequence, finding = case.spec.cell_type, case.sequence, place.finding
    hidden = (finding.resolution > shift).double().mean(1) > 0.5
    gates = [gate for gate, is_hidden in zip(cell.gates, hidden.tolist(), strict=True) if is_hidden]
    named = f"gate{'s' if len(gates) > 1 else ''} {', '.join(gates)}" if gates else "its gates"
    if unused := [gate for gate in gates if gate in gates_of_no_state(cell)]:
        which = f"gate{'s' * (len(unused) > 1)} {', '.join(unused)}"
        them = "them" if len(unused) > 1 else "it"
        return (
            f"the lines of the cell do not use {which} for its states, so that no run can tell anything of {them}; "
            f"leave {them} out of the gates of the Cell"
        )
    unseen = f"an error of {shift:g} in {named} ({finding.coarse(shift)} of {finding.units} units)"
    at, hardly = case.spec.row(*place.at), "cannot" if sequence.steps == 1 else "can hardly"
    begins = sequence.steps <= _FEW_STEPS  # later the state is that of the run itself
    multiplies = f"{hardly} be tested: it multiplies the"
    if gates == ["f"] and begins and sequence.c0 is not None and not sequence.c0[at].any():
        return f"the forget gate f {multiplies} cell state, and c0 is zero; begin with another c0 (--c0 randn)"
    if gates == ["r"] and begins and not sequence.h0[at].any():
        return f"the reset gate r {multiplies} hidden state, and h0 is zero; begin with another h0 (--h0 randn)"
    recorded = case.observation.kept_of((*place.at, "h"))
    if recorded.how and _hides_more(case, place, recorded):
        return f"it was recorded with {recorded.how}, which hides {unseen}; record every digit"
    if case.declared.roundoff.coarse:
        return f"the rounding of {case.declared.name.partition(',')[0]} hides {unseen}; check a copy in float32"
    unseen = f"this input cannot reveal {unseen}"
    size, whole = _typical(case, place.direction) if place.layer == 0 else (0.0, 0.0)
    if size > _LARGE >= whole:
        return f"{unseen}: W_ih x is typically {size:.2g}, and the bias cancels it; check a copy in float64"
    if size > _LARGE:
        return f"{unseen}: W_ih x is typically {size:.2g}, which saturates them; make x about {size:.2g} times smaller"
    return f"{unseen}; use more steps, of an input that leaves them half open"


def losable(case: Case, finding: Finding, block: str) -> str:
    """Which part of the state could be lost unseen, how often, and what would reveal it."""
    counts, hidden = finding.lost[block]
    dtype = case.spec.dtype
    wider = {"float32": "; check a copy in float64", "float64": ""}.get(dtype, "; check a copy in float32")
    name = f"a lost {block}"
    return f"{name} would not show: h without it is within its limit at {hidden} of {counts} steps{wider}"


def hidden_share(case: Case, finding: Finding) -> str | None:
    """What the rounding of a half type hides of the state that a step hands on, in an engine that may compute many
    steps at once."""
    if not finding.state_seen or case.observation.engine.one_by_one:
        return None
    share = statistics.median(finding.state_seen)
    said = f"an error of less than {100 * share:.2g} % of the state before a step is within {case.spec.dtype} rounding"
    return f"{said} at half of the steps; check a copy in float32 to see smaller ones"


def _hides_more(case: Case, place: PlaceFinding, recorded: RecordedPrecision) -> bool:
    """Whether a typical h may be off by more in the recording than from how the engine itself stores it."""
    size = float(case.observation.layers[place.at]["h"].abs().median())
    return recorded.at(size) > case.declared.roundoff.stored * size


def _typical(case: Case, direction: str) -> tuple[float, float]:
    """The typical size of W_ih x in the lowest layer, over some of the steps, and of W_ih x + b_ih + b_hh."""
    x = case.sequence.x.flatten(0, 1)
    rows = x[torch.linspace(0, len(x) - 1, min(len(x), _ROWS)).long()].double()
    p = LayerParameters.of(case.parameters, 0, direction, case.spec)
    of_x = linear(rows, p.weight_ih.double())
    biases = sum((b.double() for b in (p.bias_ih, p.bias_hh) if b is not None), torch.zeros(of_x.shape[1]))
    return float(of_x.abs().median()), float((of_x + biases).abs().median())
