"""Results as a notebook shows them: small, and cut where the terminal's tables are."""

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
from rnnspect.views.rendering import Screen, as_html, rendered
from rnnspect.views.selection import Selection, shown_steps, with_gaps

_WIDTH = 100
"""Characters. A notebook's cell is about as wide; it decides how many units are shown."""
_DIGITS = 9
_STEPS = 6
"""Blocks of rows, one a step, layer and direction, that are shown whole; more are cut."""
_ENDS = 2
"""Steps that are then shown at each end."""


def forms(result: Shown) -> dict[str, str]:
    """By MIME type: HTML, and the same lines without colours, which a notebook's file keeps beside it."""
    parts = list(_parts(result))
    return {"text/plain": rendered(parts, Screen(width=_WIDTH)).rstrip("\n"), "text/html": as_html(parts, _WIDTH)}


def _parts(result: Shown) -> Iterable[RenderableType]:
    match result:
        case Shapes():
            return shapes.parts(result)
        case ModelShapes():
            return shapes.model_parts(result)
        case Trace():
            return _trace(result)
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
        yield Text(str(seen), "yellow")
    elif worst.answer != "agree":
        yield Text("\nthe worst of them:")
        yield Text(str(worst), check.STYLE[worst.answer])
        if worst.verdict:
            yield from check.parts(worst.verdict)
