"""Every known mistake, made in a small network: what comes out, and what a check says of it.

Most are planted in the numpy loops of tests/causes, which know nothing of the package. The others, of variants that the
loops do not have, are made by the assumption that the search tries.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

import rnnspect
from rnnspect import Spec, Verdict, engines
from rnnspect.arithmetic.unroll import unroll
from rnnspect.causes.interface import Cause
from rnnspect.causes.known import catalogue
from rnnspect.cells import Cell
from rnnspect.judging.assumption import Assumption
from rnnspect.judging.case import Case
from rnnspect.judging.declared import ARITHMETICS
from rnnspect.judging.estimate import estimate
from rnnspect.judging.observation import Observation
from rnnspect.judging.stack import judge_stack
from rnnspect.network.recording import EngineInfo
from rnnspect.tracing.prepare import prepare
from tests.causes.carried import MISTAKES as OF_DECAYS
from tests.causes.carried import carried
from tests.causes.chunked import AT_EDGES, EXCHANGED, SQUASHED, chunked
from tests.causes.convolved import WINDOWS, convolved
from tests.causes.mistakes import MISTAKES, Setting
from tests.causes.own_cells import CARRYING, DECAYING, MAMBA, MINGRU, NORMED
from tests.causes.planted import Case as Planted
from tests.causes.planted import told
from tests.cells.forms import cumulated_along, mingru, scanned
from tests.cells.test_norms import HEADED

Array = NDArray[np.float32]
SIZES = ((1, 1), (1, 2), (2, 1), (2, 2))
"""Layers and directions, the smallest network first."""
VARIANTS: tuple[dict[str, Any], ...] = (
    {"cell": "lstm"},
    {"cell": "gru"},
    {"cell": "lstm", "activations": ["hard_sigmoid", "tanh", "softsign"]},
    {"cell": "lstm", "clip": 0.3},
    {"cell": "lstm", "input_forget": True},
    {"cell": "lstm", "peepholes": True},
    {"cell": MINGRU},
    {"cell": DECAYING},
    {"cell": CARRYING},
    {"cell": NORMED},
    {"cell": HEADED, "hidden_size": 6},
)


@dataclass(frozen=True)
class Example:
    """`right` and `wrong` are the output (steps, units) of the sequence of the batch that is off most."""

    variant: str
    """Which kind of the mistake, where there are several."""
    right: Array
    wrong: Array
    verdict: Verdict


def example_of(name: str) -> Example:
    """Raises `LookupError` where nothing here makes the mistake so that a check names it."""
    made = next(
        (one for one in chain(planted(name), in_chunks(name), read_otherwise(name)) if name in named(one.verdict)), None
    )
    if made is None:
        raise LookupError(f"no example of {name}: plant it in tests/causes/mistakes.py")
    return made


def named(verdict: Verdict) -> list[str]:
    return [cause.name for cause in verdict.causes]


def planted(name: str) -> Iterator[Example]:
    for layers, directions in SIZES:
        for mistake in MISTAKES:
            if mistake.id != name:
                continue
            for kind in reversed(mistake.cells):
                setting = mistake.setting(Setting(kind, layers, directions))
                if isinstance(setting, Setting) and told(case := Planted(mistake, setting)):
                    right, verdict = case.planted.run({}), case.planted.check(case.recorded)
                    item = _worst(right["output"], case.recorded["output"])
                    shown = (one["output"][:, item] for one in (right, case.recorded))
                    yield Example(mistake.variant, *shown, verdict)


def read_otherwise(name: str) -> Iterator[Example]:
    for spec, assumed, causes in right_runs():
        for cause in causes:
            if cause.name == name:
                right, wrong = (estimate(one).h.float().numpy() for one in (assumed, cause.change(assumed)))
                verdict = rnnspect.check(spec, recorded=wrong)
                item = _worst(right, wrong)
                yield Example("", right[:, item], wrong[:, item], verdict)


def in_chunks(name: str) -> Iterator[Example]:
    """Of forms that go a chunk of steps after the other."""
    if any(part in name for part in ("chunk-", "decay-", "cell-state-")):
        yield from _of_chunks()
    elif name == "scan-order":
        yield from _made(MINGRU, mingru(scanned("added", exchanged=False)), [mingru(scanned("added"))])
    elif "conv-" in name:
        yield from _of_convolutions()


@functools.cache
def _of_chunks() -> list[Example]:
    wrong = [*(chunked("mingru", 3, one) for one in AT_EDGES), *(carried("mingru", 3, one) for one in OF_DECAYS)]
    exchanged = [chunked("carrying", 3, one) for one in (*EXCHANGED, *SQUASHED)]
    return [
        *_made(MINGRU, chunked("mingru", 3), [*wrong, mingru(cumulated_along(2))]),
        *_made(CARRYING, chunked("carrying", 3), exchanged),
    ]


@functools.cache
def _of_convolutions() -> list[Example]:
    return list(_made(MAMBA, convolved(2), [convolved(2, one) for one in (*WINDOWS, "weights")]))


def _made(cell: Cell, right: Callable[..., Any], wrong: list[Callable[..., Any]]) -> Iterator[Example]:
    spec = Spec(cell=cell, input_size=4, hidden_size=5, input="randn:7", h0="randn")
    made = prepare(spec)
    for form in wrong:
        ran = (engines.find(one).run(spec, made.parameters, made.sequence).output for one in (right, form))
        yield Example("", *(output[:, 0].numpy() for output in ran), rnnspect.check(spec, engine=form))


def whose(name: str) -> str:
    """The frameworks whose usual way the mistake is, with what tells its kinds apart; empty where it is nobody's."""
    found = {}
    for _, _, causes in right_runs():
        for cause in causes:
            if cause.name == name and cause.frameworks:
                found[cause.key] = f"{', '.join(map(str, cause.parameters.values()))}: {', '.join(cause.frameworks)}"
    return "; ".join(dict.fromkeys(found.values()))


@functools.cache
def right_runs() -> list[tuple[Spec, Assumption, list[Cause]]]:
    """Right runs of one layer, one of each variant, and every mistake that may be looked for in it."""
    found = []
    for keys in VARIANTS:
        sizes = {"input_size": 4, "hidden_size": 5, "batch_first": False, "input": "randn:7", "batch": 4, "h0": "randn"}
        spec = Spec(**(sizes | keys))
        made = prepare(spec)
        runs = unroll(spec, made.parameters, made.sequence)
        seen = {(run.layer, run.direction): {"h": run.quantities["h"]} for run in runs}
        observed = Observation(EngineInfo("equations", "", "", spec.dtype), seen, None, None)
        case = Case(spec, made.parameters, made.sequence, observed, ARITHMETICS[spec.dtype])
        assumed = judge_stack(case).assumptions[0, "forward"]
        found.append((spec, assumed, list(catalogue(assumed))))
    return found


def _worst(right: Array, wrong: Array) -> int:
    return int(np.abs(right - wrong).max((0, 2)).argmax())
