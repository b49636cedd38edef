"""Right passes backwards, drawn at random: every cell and variant, by several implementations that do not know ours.

`draw(seed)` says what a pass is to be: a `Pass` that can be read. `checked(one)` runs it and judges its gradients. The
same seed gives the same pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rnnspect import Spec, Verdict, engines
from rnnspect.checking.backward import judge_gradients
from rnnspect.checking.check import CheckTerms
from rnnspect.engines.interface import backward_of
from rnnspect.judging.backward.results import ResultsCase
from rnnspect.judging.backward.results_words import results_verdict
from rnnspect.judging.backward.stack import judge_backward
from rnnspect.judging.backward.words import backward_verdict
from rnnspect.judging.declared import declared_by
from rnnspect.network.gradients import Upstream
from rnnspect.network.parameters import parameters_of
from rnnspect.network.sequence import Sequence
from rnnspect.tracing.prepare import Prepared
from tests.causes.backward.drawn import Loops
from tests.causes.backward.drawn import Plan as LoopsPlan
from tests.causes.backward.test_single_faults import case_of_prepared
from tests.checking.backward_variants import Variants
from tests.judging import drawn as forwards

LOOPS = ("rnn", "rnn relu", "lstm", "gru", "gru before", "lstm hard", "gru hard")
TORCH = ("rnn", "rnn relu", "lstm", "lstm proj", "gru")
CELLS = ("rnn", "rnn relu", "lstm", "gru")
VARIANTS: Mapping[str, dict[str, Any]] = {
    "gru before": {"cell": "gru", "reset": "before"},
    "gru clip": {"cell": "gru", "clip": 0.6},
    "rnn clip": {"cell": "rnn", "clip": 0.6},
    "rnn softsign": {"cell": "rnn", "activations": ["softsign"]},
    "lstm peepholes": {"cell": "lstm", "peepholes": True},
    "lstm coupled": {"cell": "lstm", "input_forget": True},
    "lstm coupled peepholes": {"cell": "lstm", "input_forget": True, "peepholes": True},
    "lstm clip": {"cell": "lstm", "clip": 0.9},
    "lstm squashed": {"cell": "lstm", "activations": ["hard_sigmoid(0.3,0.4)", "leaky_relu(0.3)", "softsign"]},
    "gru squashed": {"cell": "gru", "activations": ["hard_sigmoid(0.2,0.5)", "elu(0.5)"]},
}
KINDS = {"loops": LOOPS, "torch": TORCH, "torch-cell": CELLS, "variants": tuple(VARIANTS)}
ENGINES = ("loops", "loops", "torch", "torch", "torch", "torch-cell", "variants")
LOSSES = ("sum", "mean", "last", "drawn", "drawn", "large")
MOST_STEPS = ((1, 13),) * 30 + ((13, 33),) * 15 + ((33, 101),) * 3 + ((101, 501),)
"""From how many steps to how many: one pass in fifty is long."""


@dataclass(frozen=True)
class Pass:
    """What a pass is to be. Numbers are drawn from `seed` when it is made."""

    seed: int
    engine: str
    kind: str
    loss: str
    finals: bool
    """Whether the loss is of the final states, too."""
    whole: bool
    """Whether the pass as a whole is judged by its results, too, where it gives other bits than layer by layer."""
    run: forwards.Plan
    """Sizes, parameters and input, as those of a run forwards."""

    @property
    def spec(self) -> Spec:
        run, cell = self.run, self.kind.partition(" ")[0]
        data: dict[str, Any] = {"cell": cell, "input_size": run.inputs, "hidden_size": run.units}
        data |= {"num_layers": run.layers, "bidirectional": run.bidirectional, "bias": run.bias, "dtype": run.dtype}
        if self.kind == "rnn relu":
            data["nonlinearity"] = "relu"
        if self.kind.endswith("hard"):
            data["activations"] = ["hard_sigmoid(0.2,0.5)", "tanh", *["tanh"] * (cell == "lstm")]
        return Spec(**data | {"proj_size": run.projected} | VARIANTS.get(self.kind, {}))


def draw(seed: int) -> Pass:
    """What the pass of this seed is to be."""
    r = np.random.default_rng((seed, 2))

    def one(of: tuple[Any, ...]) -> Any:
        return of[int(r.integers(len(of)))]

    engine = one(ENGINES)
    kind = one(KINDS[engine])
    halves = ("float16", "bfloat16") * (engine != "loops")  # numpy has no bfloat16, and adds up in float16 as it likes
    least, most = one(MOST_STEPS)
    units = int(r.integers(1, 17))
    kind = "lstm" if kind == "lstm proj" and units < 2 else kind
    run = forwards.Plan(
        seed=seed,
        cell=kind,
        dtype=one(("float32", "float32", "float32", "float64", *halves)),
        layers=one((1, 1, 2, 3)),
        bidirectional=bool(r.random() < 0.4),
        bias=engine == "loops" or bool(r.random() < 0.8),
        units=units,
        projected=int(r.integers(1, units)) if kind == "lstm proj" else 0,
        inputs=int(r.integers(1, 13)),
        batch=int(r.integers(1, 3 if least > 100 else 6)),
        steps=int(r.integers(least, most)),
        lengths=bool(r.random() < 0.3),
        weights=one(forwards.WEIGHTS),
        input=one(forwards.INPUTS),
        scale=float(10 ** r.uniform(-2, 2)) if r.random() < 0.3 else 1.0,
        states=one(("zeros", "randn", "randn")),
        engine=engine,
        shown="",
        kept="",
        narrow=False,
        mixed=False,
    )
    return Pass(seed, engine, kind, one(LOSSES), bool(r.random() < 0.4), bool(r.random() < 0.1), run)


def prepared(one: Pass) -> tuple[Prepared, Upstream]:
    """The network with its input, who runs it, and the gradients that the loss has by what is returned."""
    run, spec, r = one.run, one.spec, np.random.default_rng((one.seed, 3))
    dtype = getattr(torch, run.dtype)
    most = min(1e30, float(torch.finfo(dtype).max)) / 4

    def stored(values: Any) -> Tensor:
        return torch.from_numpy(np.clip(values, -most, most)).to(dtype)

    wanted = parameters_of(spec)
    plain = {p.name: r.uniform(-1, 1, p.shape) / run.units**0.5 for p in wanted}
    chosen = forwards.weights_of(run, plain, len(spec.cell_type.gates), r)
    parameters = {name: stored(chosen.get(name, own)) for name, own in plain.items()}
    rows = run.layers * (1 + run.bidirectional)
    states = [
        stored(r.standard_normal((rows, run.batch, units)) * (run.states == "randn"))
        for units in (spec.output_size, run.units)
    ]
    lengths = None
    if run.lengths:
        lengths = (*(int(n) for n in r.integers(1, run.steps + 1, run.batch - 1)), run.steps)
    c0 = states[1] if spec.cell_type.has_cell_state else None
    sequence = Sequence(stored(forwards.input_of(run, r)), states[0], c0, lengths, batched=True)
    return Prepared(spec, parameters, sequence, _engine(one)), _upstream(one, sequence, r)


def _engine(one: Pass) -> Any:
    if one.engine == "variants":
        return Variants()
    if one.engine != "loops":
        return engines.find(one.engine)
    kind = one.kind.replace("gru before", "gru-before")
    hard, relu = kind.endswith("hard"), kind.endswith("relu")
    return Loops(LoopsPlan(0, kind.split()[0], one.run.dtype, 1, 1 + one.run.bidirectional, relu=relu, hard=hard), {})


def _upstream(one: Pass, sequence: Sequence, r: np.random.Generator) -> Upstream:
    spec, shape = one.spec, sequence.x.shape[:2]
    shape = (*shape, spec.output_size * spec.num_directions)
    ends = np.array(sequence.lengths or [shape[0]] * shape[1])[:, None]
    place = np.arange(shape[0])[:, None, None]
    g = np.ones(shape)
    if one.loss == "mean":
        g = g / (int(ends.sum()) * shape[2])
    elif one.loss == "last":
        g = g * (place == ends - 1)
    elif one.loss != "sum":
        g = r.standard_normal(shape) * (1.0 if one.loss == "drawn" else 10 ** r.uniform(-4, 4))
    most = float(torch.finfo(sequence.x.dtype).max)
    output = torch.from_numpy(np.clip(g * (place < ends), -most, most)).to(sequence.x.dtype)
    finals = [
        torch.from_numpy(r.standard_normal(tuple(state.shape))).to(state.dtype) if one.finals else None
        for state in sequence.state
    ]
    return Upstream(output, *finals)


def judged_by_results(one: Pass) -> Verdict:
    """Of the pass as a whole, as where only its results were recorded."""
    given, upstream = prepared(one)
    with np.errstate(all="ignore"):
        whole = backward_of(given.engine).backward(given.spec, given.parameters, given.sequence, upstream)
        held_to = declared_by(whole.engine)
        case = ResultsCase(given.spec, given.parameters, given.sequence, upstream, whole, held_to).under_autocast()
        return results_verdict(case, case.told, {})


def checked(one: Pass) -> Verdict:
    """Known mistakes are not looked for: a right pass has none."""
    given, upstream = prepared(one)
    with np.errstate(all="ignore"):
        if one.whole:
            return judge_gradients(given, upstream, terms=CheckTerms(explain=0))
        case = case_of_prepared(given, given.engine, upstream)
        return backward_verdict(case, judge_backward(case))
