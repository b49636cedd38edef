"""Results as `print`, rich and a notebook show them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.console import RenderableType
from rich.text import Text

from rnnspect.checking.live.watch import WatchedCalls
from rnnspect.judging.verdict import Verdict
from rnnspect.network.model_tree import ModelShapes
from rnnspect.network.parameters import Shapes
from rnnspect.network.shown import Shown
from rnnspect.reporting.data import Derivation, Report
from rnnspect.tracing.trace import Trace
from rnnspect.views import check, derive, shapes, trace
from rnnspect.views.rendering import Screen, as_html, rendered, width_of
from rnnspect.views.selection import Selection, shown_steps, with_gaps

_WIDTH = 100
"""Characters. A notebook's cell is about as wide; it decides how many units are shown."""
_DIGITS = 9
"""Of the numbers of a derivation, as the command shows them."""
_STEPS = 6
"""Blocks of rows, one a step, layer and direction, that are shown whole; more are cut."""
_ENDS = 2
"""Steps that are then shown at each end."""


def forms(result: Shown) -> dict[str, str]:
    """By MIME type: HTML, and the same lines without colours, which a notebook's file keeps beside it. Both are small:
    of a long trace they show less than the command does."""
    made = list(_trace(result) if isinstance(result, Trace) else parts(result, _WIDTH))
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
            return trace.parts([result], Selection(), width, hint="")
        case Verdict():
            return check.parts(result)
        case Report():
            return check.parts(result.verdict)  # the page itself is the file
        case Derivation():
            return derive.parts(result, _DIGITS, said=derive.as_keywords)
        case WatchedCalls():
            return _calls(result)
    raise TypeError(type(result))


def _trace(result: Trace) -> Iterator[RenderableType]:
    """Whole where that is little; else the first layer and direction alone, and of a long run its two ends."""
    places, shown = len(result.layers), Selection()
    if few := places * result.steps > _STEPS:
        shown = Selection(
            layers="0",
            direction=result.layers[0].direction,
            steps=f":{_ENDS},-{_ENDS}:" if result.steps > _STEPS else None,
        )
    yield from trace.parts([result], shown, _WIDTH, hint="")
    if few and places > 1:
        yield Text(f"1 of {places} layers and directions is shown; all are in .layers", "dim")


def _calls(seen: WatchedCalls) -> Iterator[RenderableType]:
    """A line a call, the first and the last of many, and the worst one whole."""
    judged = seen.check()
    for at in with_gaps(shown_steps(Selection(), len(judged)), len(judged)):
        if isinstance(at, range):
            yield Text(f"… {len(at)} not shown", "dim")
        else:
            yield Text(str(judged[at]), check.STYLE[judged[at].answer])
    yield from (Text(f"{name or 'the model'}: never called", "yellow") for name in seen.never_called)
    worst = seen.worst
    if worst is None:
        yield Text("no RNN, LSTM, GRU or cell is in this model", "yellow")
    elif worst.answer != "agree":
        yield Text("\nthe worst of them:")
        yield Text(str(worst), check.STYLE[worst.answer])
        if worst.verdict is not None:
            yield from check.parts(worst.verdict)
