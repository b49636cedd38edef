"""Results as `print`, rich, a notebook and an assertion that fails show them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.console import RenderableType
from rich.text import Text

from rnnspect.checking.live.watch import WatchedCalls
from rnnspect.checking.sweep.result import Sweep
from rnnspect.judging.verdict import Verdict
from rnnspect.network.shapes import ModelShapes, Shapes
from rnnspect.network.shown import Shown, apart
from rnnspect.reporting.data import Derivation, Report
from rnnspect.reporting.gradients.data import GradientDerivation
from rnnspect.tracing.gradients import Gradients
from rnnspect.tracing.trace import Trace
from rnnspect.views import check, derive, derive_gradient, gradients, shapes, summary, sweep
from rnnspect.views.rendering import Screen, as_html, rendered, width_of
from rnnspect.views.selection import Selection, shown_steps, with_gaps
from rnnspect.views.text import LOUD, printable

_WIDTH = 100
"""Characters. A notebook's cell is about as wide; it decides how many units are shown."""
_DIGITS = 9
"""Of the numbers of a derivation, as the command shows them."""


def forms(result: Shown) -> dict[str, str]:
    """By MIME type: HTML, and the same lines without colours, which a notebook's file keeps beside it."""
    made = list(parts(result, _WIDTH))
    return {"text/plain": rendered(made, Screen(width=_WIDTH)).rstrip("\n"), "text/html": as_html(made, _WIDTH)}


def text(result: Shown) -> str:
    """The table as plain text, as wide as the terminal; 80 characters where there is none."""
    screen = Screen()
    return rendered(parts(result, width_of(screen)), screen).rstrip("\n")


def parts(result: Shown, width: int) -> Iterable[RenderableType]:
    """The table that the command shows, for a width in characters. What it says of going on is said in Python."""
    match result:
        case Shapes():
            return shapes.parts(result)
        case ModelShapes():
            return shapes.model_parts(result)
        case Trace():
            return summary.numbers_or_summary([result], Selection(), width)
        case Gradients():
            return gradients.numbers_or_summary([result], Selection(), width)
        case Verdict():
            return check.parts(result, verbose=None)
        case Report():
            return check.parts(result.verdict, verbose=None)  # the page itself is the file
        case Derivation():
            return derive.parts(result, _DIGITS, said=derive.as_keywords)
        case GradientDerivation():
            return derive_gradient.parts(result, _DIGITS, said=derive_gradient.as_keywords)
        case Sweep():
            return sweep.parts(result)
        case WatchedCalls():
            return _calls(result)
    raise TypeError(type(result))


def _calls(seen: WatchedCalls) -> Iterator[RenderableType]:
    """A line a call, the first and the last of many, and the worst one whole."""
    judged = seen.check()
    for at in with_gaps(shown_steps(Selection(), len(judged)), len(judged)):
        if isinstance(at, range):
            yield Text(f"… {len(at)} not shown", "dim")
        else:
            yield Text(str(judged[at]), check.STYLE[judged[at].answer])
    yield from (Text(f"{name or 'the model'}: never called", LOUD) for name in seen.never_called)
    for name, what in seen.unwatched.items():
        from rnnspect.network.torch_modules import advice_on  # loads torch, which no other table here needs

        yield Text(f"{name or 'the model'} ({what}) is not watched: {advice_on({name: what})}", LOUD)
    worst = seen.worst
    if not (seen.modules or seen.unwatched):
        yield Text("this model has no RNN, LSTM, GRU or cell", LOUD)
    elif worst is not None and worst.answer != "agree":
        yield Text("\nthe worst of them:")
        yield Text(str(worst), check.STYLE[worst.answer])
        if worst.verdict is not None:
            yield from check.parts(worst.verdict, verbose=None)


_WIDTH_OF_A_MESSAGE = 120


def failure(found: Verdict | WatchedCalls) -> str:
    """The message about a run, or about all calls of a model, of which at least one does not agree."""
    shown = rendered(parts(found, _WIDTH_OF_A_MESSAGE), Screen(width=_WIDTH_OF_A_MESSAGE))
    return f"{printable(_first_line(found))}\n\n{shown}"


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
