"""Which mistake a check names first, of those that `tests/causes` plants: what was planted beside what was named."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from tests.causes.pairs import pairs
from tests.causes.planted import cases, judged, left_out, outcome, told

if TYPE_CHECKING:
    from collections.abc import Iterator

NOTHING = "none"


@dataclass
class Matrix:
    """Counts of (planted, named first), of answers, and of verdicts, of the mistakes that change any number."""

    named: Counter[tuple[str, str]] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    verdicts: Counter[str] = field(default_factory=Counter)
    invisible: int = 0


def lines() -> Iterator[str]:
    torch.set_num_threads(1)  # the networks are tiny: threads would only wait for each other
    matrix = _matrix()
    yield "| planted | runs | named first |"
    yield "|---|---|---|"
    for planted in dict.fromkeys(planted for planted, _ in matrix.named):
        row = {named: count for (one, named), count in matrix.named.most_common() if one == planted}
        yield f"| {planted} | {sum(row.values())} | {', '.join(f'{named} {count}' for named, count in row.items())} |"
    yield ""
    yield _summary(matrix)
    yield f"{matrix.invisible} more change no number of their run (a bias of zero left out, for one)."
    yield f"Not planted: {'; '.join(f'{count} where {why}' for why, count in left_out().items())}."
    yield ""
    yield from _pairs()


def _matrix() -> Matrix:
    matrix = Matrix()
    for case in cases():
        if not told(case):
            matrix.invisible += 1
            continue
        verdict, names = outcome(case)
        matrix.verdicts[verdict] += 1
        matrix.named[case.mistake.id, names[0] if names else NOTHING] += 1
        matrix.answers[judged(case, names)] += 1
    return matrix


def _summary(matrix: Matrix) -> str:
    right, listed = matrix.answers["right"], matrix.answers["indistinguishable"]
    planted, told_apart = matrix.answers.total(), matrix.answers.total() - listed
    return (
        f"{planted} planted, right id first in {right} of {told_apart} that can be told ({right / told_apart:.1%}), "
        f"listed in {listed} of the rest, `agree` said {matrix.verdicts['agree']} times"
    )


def _pairs() -> Iterator[str]:
    both = []
    for pair in pairs():
        _, names = pair.planted.named(pair.recorded)
        both.append(pair.both_named(names))
        yield f"- {pair}: {', '.join(names) or NOTHING}"
    yield ""
    yield f"{len(both)} pairs, both named in {sum(both)}"
