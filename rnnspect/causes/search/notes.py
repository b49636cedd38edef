"""Says what a search tried when it named no mistake, and what to do to learn more."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rnnspect.causes.interface import Cause
from rnnspect.causes.search.effort import NothingExplains
from rnnspect.causes.search.hypotheses import FAR, Search
from rnnspect.causes.search.scopes import Tried, in_words
from rnnspect.causes.search.vague import Vague
from rnnspect.causes.search.wrong import wrong_in
from rnnspect.errors import listed
from rnnspect.judging.case import Case
from rnnspect.judging.stack import Judged
from rnnspect.judging.words import RECORD

_NOTHING = "no known mistake explains this run"
_NOTHING_ELSE = "no other known mistake explains this run"
_LITTLE = 0.05
"""What fits by chance seldom leaves so small a share of the largest ratio."""


def unexplained(case: Case, judged: Judged, search: Search) -> str:
    """What was tried, why nothing was named, and what to record or to run to learn more."""
    said, vague = [_NOTHING], list(search.vague.values())
    if vague:
        why = vague[0].why.removesuffix(f"; {RECORD}")  # what to record is said after that
        said = [f"no cause is named: {_fits(case, vague)}, but this run shows too little to be sure ({why})"]
    elif nearest := _nearest(search):
        why = "so few values of h are wrong that it may fit by chance"
        said = [f"no cause is named: possibly {nearest.explanation}, but {why}", "run more steps to be sure"]
    if search.begun_otherwise:
        said = [search.begun_otherwise, _NOTHING_ELSE if said == [_NOTHING] else said[0]]
    if nan := [at for at, wrong in wrong_in(judged).items() if wrong.is_nan]:
        skipped = f"no known mistake was looked for in {in_words(case, nan)}: the first wrong h is NaN there"
        said = [*said, skipped] if search.tried else [skipped]
    if advice := _advice(case, judged, bool(vague)):
        said.append(advice)
    if tried := _tried(case, search.tried):
        said.append(tried)
    if search.effort.is_over:
        said.append(search.effort.stopped)
    return "; ".join(said)


def note_beside(others: bool, note: str | None) -> list[str]:
    """The note of a search, where `others` say what may explain the run: it does not say that nothing does."""
    return [] if note is None else [note.replace(_NOTHING, _NOTHING_ELSE) if others else note]


def without_search(notes: Iterable[str]) -> tuple[str, ...]:
    """The notes of gradients that differ for a reason: none says that nothing explains them."""
    return tuple(note for note in notes if not isinstance(note, NothingExplains))


def _nearest(search: Search) -> Cause | None:
    """The mistake that explains the few wrong values, if there is one that explains them far better than all others."""
    least = min((left for left, _ in search.scarce), default=1.0)
    found = {cause.key: cause for left, cause in search.scarce if left <= FAR * least}
    return next(iter(found.values())) if len(found) == 1 and least < _LITTLE else None


def _fits(case: Case, vague: Sequence[Vague]) -> str:
    """Which mistake fits, if there is one alone, and where it would be made; else how many do. In layers that nobody
    observed a mistake may fit only because little can be told then."""
    (first, *others) = vague
    if others or not (first.seen or first.near):
        return f"{len(vague)} known mistakes fit" if others else "1 known mistake fits"
    where = "" if first.seen else f", in {in_words(case, first.scope)},"
    return f"possibly{where} {' and '.join(cause.explanation for cause in first.hypothesis)}"


def _tried(case: Case, tried: Sequence[Tried]) -> str:
    """tried 101 known mistakes in layer 1, in layer 0, in layers 0 and 1, and 682 pairs of them."""
    singles = [one for one in tried if one.counts.get(1)]
    pairs = sum(one.counts.get(2, 0) for one in tried)
    if not singles:
        return ""
    most = max(one.counts[1] for one in singles)
    where = dict.fromkeys(f"in {in_words(case, one.scope)}" for one in singles)
    said = f"tried {most} known mistake{'s' if most > 1 else ''} {listed(where)}"
    return f"{said}, and {pairs:,} pair{'s' if pairs > 1 else ''} of them" if pairs else said


def _advice(case: Case, judged: Judged, vague: bool) -> str | None:
    """What to record or to run."""
    if judged.estimated:
        layers = sorted({layer for layer, _ in judged.estimated})
        both = " in both directions" if case.spec.bidirectional else ""
        which = f"layer{'s' if len(layers) > 1 else ''} {' and '.join(map(str, layers))}"
        return f"record h of {which} as well{both}, so that each layer is checked separately"
    if vague:
        return "record the output at every step, for an input that keeps the gates open (such as randn:20)"
    return None
