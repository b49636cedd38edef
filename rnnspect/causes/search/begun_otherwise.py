"""Says of a run that differs whether all of it is right but its beginning, as when the engine began from another
initial state than the one that is given."""

from __future__ import annotations

from dataclasses import replace

import torch

from rnnspect.causes.search.scopes import in_words
from rnnspect.judging.assumption import Assumption
from rnnspect.judging.case import Case
from rnnspect.judging.chunks import chunk_at
from rnnspect.judging.finding import PlaceFinding
from rnnspect.judging.judge import Judge
from rnnspect.judging.stack import Judged
from rnnspect.judging.words import verdict_of

_LEAST = 4
"""So many steps have to be right after the beginning."""
_ANY = 2.0**20
"""An error with which the initial cell state may be anything."""


@torch.inference_mode()
def begun_otherwise(case: Case, judged: Judged) -> str | None:
    """That h is right after the first step, or the first two where the cell state has to be computed back from h; None
    where it is not. Every layer and direction that differs is asked."""
    wrong = {place.at: place.finding.first for place in judged.places if place.quantity == "h" and place.finding.first}
    begun = 2 if case.spec.cell_type.has_cell_state else 1
    if any(first.order >= begun for first in wrong.values()) or any(
        one.quantity == "h_n" for one in judged.first_finals
    ):
        return None
    if not wrong or wrong.keys() & set(judged.estimated) or case.sequence.lengths is not None:
        return None
    later = [_after(judged.assumptions[at], begun) for at in sorted(wrong)]
    places = [found for found in later if found is not None]
    # Those that are right from the beginning count as well: without them a layer or direction would not be told.
    right = [place for place in judged.places if place.quantity == "h" and place.at not in wrong]
    whole = Judged([*places, *right], assumptions=judged.assumptions)
    if len(places) < len(wrong) or not verdict_of(case, whole).agrees:
        return None
    steps, states = ("step", "h0") if begun == 1 else ("two steps", "h0 and c0")
    which = f" {in_words(case, sorted(wrong))}" if right else ""
    return (
        f"every h after the first {steps} is right: the engine may have started{which} from another initial state "
        f"(then pass {states}), or read another x there"
    )


def _after(assumed: Assumption, skipped: int) -> PlaceFinding | None:
    """The run judged from the state that the engine had after its first steps. None where that is not known."""
    layer, run = assumed.equations, assumed.run
    steps = run.x.shape[0]
    if steps < skipped + _LEAST or assumed.back is not None or (run.c0 is not None and not layer.c_from_h):
        return None
    error = c0 = None
    if run.c0 is not None:
        zeros = torch.zeros_like(run.h0, dtype=layer.dtype)
        begun = zeros, torch.full_like(run.c0, _ANY, dtype=layer.dtype)
        state = layer.after(layer.compare(chunk_at(run, 0, skipped), layer.begin(run.c0, begun), layer.plain))
        assert state is not None, "the cell has a cell state"
        number = state.number(layer.dtype)
        c0, error = number.v, (zeros, number.e)
    kept = slice(0, steps - skipped) if run.reverse else slice(skipped, None)
    h0 = run.h[steps - skipped if run.reverse else skipped - 1]
    later = replace(run, c=None, c_error=None, begun_error=None).take(kept)
    later = replace(later, h0=h0, c0=c0, begun_error=error)
    found, _ = Judge(assumed.cell, assumed.p, assumed.u, assumed.nonlinearity)(later)
    return PlaceFinding(*assumed.at, "h", found)
