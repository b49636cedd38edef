"""What an assertion that fails says: the verdict in its first line, then the whole report."""

from __future__ import annotations

from rnnspect.checking.live.watch import WatchedCalls
from rnnspect.judging.verdict import Verdict
from rnnspect.network.shown import apart
from rnnspect.views.notebook import parts
from rnnspect.views.rendering import Screen, rendered
from rnnspect.views.text import printable

_WIDTH = 120


def failure(found: Verdict | WatchedCalls) -> str:
    """The message about a run, or about all calls of a model, of which at least one does not agree."""
    return f"{printable(_first_line(found))}\n\n{rendered(parts(found, _WIDTH), Screen(width=_WIDTH))}"


def _first_line(found: Verdict | WatchedCalls) -> str:
    """differ: h of layer 0 forward, step 0, unit 0: expected 0.0285, got -0.0254"""
    if isinstance(found, Verdict):
        return f"{found.verdict}: {_said(found)}"
    worst = found.worst
    if worst is None:
        return "cannot tell: no RNN, LSTM, GRU or cell was called"
    said = worst.reason if worst.verdict is None else _said(worst.verdict)
    return f"{worst.answer}: {worst.name or 'the model'}, call {worst.index}: {said}"


def _said(verdict: Verdict) -> str:
    if verdict.first is None:
        return str(verdict.reason)
    expected, got = apart(verdict.first.manual, verdict.first.engine)
    return f"{verdict.first.address}: expected {expected}, got {got}"
