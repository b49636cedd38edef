"""A probe tells each mistake from every other: those of plain loops, and those that a check knows."""

from __future__ import annotations

import functools
import itertools
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from rnnspect import Spec
from rnnspect.arithmetic.unroll import unroll
from rnnspect.causes import probing
from rnnspect.causes.probing import RIGHT, Probe, probe_of
from rnnspect.checking.check import judge_recorded
from rnnspect.engines.torch import TorchEngine
from rnnspect.tracing.prepare import Prepared
from tests.causes.loops import GATE_BY_GATE, Array, Given, Net, run
from tests.causes.mistakes import HIDDEN, MISTAKES, Mistake, Setting, padding
from tests.causes.planted import SAME
from tests.causes.test_planted import NOT_YET
from tests.marks import sampled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from _pytest.mark import ParameterSet
    from torch import Tensor

    Made = Callable[[Spec, dict[str, Tensor]], tuple[Spec, dict[str, Tensor]]]

SETTINGS = [
    Setting(kind, 2, directions, inputs=inputs, packed=packed)
    for kind in ("rnn", "gru", "gru-before", "lstm")
    for directions, inputs, packed in ((1, 4, False), (1, HIDDEN, False), (2, 4, True), (2, HIDDEN, False))
]


@functools.cache
def probed(setting: Setting) -> tuple[Probe, Net, Given]:
    s = setting
    probe = probe_of(
        Spec(
            cell=s.kind.partition("-")[0],
            reset="before" if s.kind == "gru-before" else "after",
            input_size=s.inputs,
            hidden_size=HIDDEN,
            num_layers=s.layers,
            bidirectional=s.directions == 2,
            lengths=[2, 1] if s.packed else None,
        )
    )
    sequence = probe.sequence
    c0 = torch.zeros_like(sequence.h0) if sequence.c0 is None else sequence.c0
    given = Given(sequence.x.numpy(), sequence.h0.numpy(), c0.numpy(), sequence.lengths)
    return (
        probe,
        Net(s.kind, HIDDEN, s.layers, s.directions, {n: v.numpy() for n, v in probe.parameters.items()}),
        given,
    )


def made_in(setting: Setting) -> list[Mistake]:
    return [mistake for mistake in MISTAKES if mistake.can_be_made_in(setting)]


def the_same(setting: Setting, *names: str) -> bool:
    """Whether two of them are one: TF32 and float16 both keep 11 bits of numbers of this size, and of a square block,
    such as an RNN's kernel has one, a reshape is a transpose."""
    ids = {name.partition(" ")[0] for name in names}
    square = setting.inputs == HIDDEN and setting.directions == 1
    reshaped = ids <= {"kernel-reshaped", "kernel-transposed"} and len({"ih and hh" in name for name in names}) == 1
    blocks = all(setting.kind == "rnn" or GATE_BY_GATE in name or name == "kernel-transposed" for name in names)
    return ids == {"tf32-products", "float16-products"} or (square and reshaped and blocks)


@pytest.mark.slow
@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_each_mistake_gives_other_numbers_than_every_other_and_than_none(setting):
    probe, net, given = probed(setting)
    valid = probe.sequence.valid()

    def apart(a: dict[str, Array], b: dict[str, Array]) -> float:
        inside = 1 if valid is None else valid.numpy()[..., None]
        # What anybody records: not each layer's own.
        named = [name for name in ("output", "h_n", "c_n") if name in a and name in b]
        return max(float((np.abs(a[n] - b[n]) * (inside if n == "output" else 1)).max()) for n in named)

    runs = {RIGHT: run(net, given, {})} | {str(one): run(net, given, one.flags) for one in made_in(setting)}
    assert len(runs) > (35 if setting.kind != "gru-before" else 1)
    for (one, a), (other, b) in itertools.combinations(runs.items(), 2):
        assert apart(a, b) > SAME or the_same(setting, one, other), (one, other)


def named() -> Iterator[ParameterSet]:
    """Each mistake that a check names, in each cell once, in one setting after another; all but one cell are slow."""
    by_cell: dict[tuple[str, str], list[Setting]] = {}
    for setting in SETTINGS:
        for mistake in made_in(setting):
            # Lengths are for mistakes with padding: a check does not look for a shifted run beside them. Where an
            # RNN's kernel is square, or a gate's block, as in some layer of these, a reshape is a transpose.
            shown = setting.packed == (padding in mistake.needs)
            square = setting.kind == "rnn" or (GATE_BY_GATE in str(mistake) and setting.inputs == HIDDEN)
            one = mistake.id == "kernel-reshaped" and square
            if shown and not one and not {mistake.id, str(mistake)} & NOT_YET:
                by_cell.setdefault((str(mistake), setting.kind), []).append(setting)
    mistakes = {str(mistake): mistake for mistake in MISTAKES}
    cells: dict[str, list[str]] = {}
    for name, kind in by_cell:
        cells.setdefault(name, []).append(kind)
    chosen = {(name, kinds[at % len(kinds)]) for at, (name, kinds) in enumerate(cells.items())}
    for at, ((name, kind), there) in enumerate(by_cell.items()):
        marks = () if (name, kind) in chosen else (pytest.mark.campaign,)
        yield pytest.param(there[at % len(there)], mistakes[name], marks=marks)


@pytest.mark.parametrize(("setting", "mistake"), sampled(list(named()), 96), ids=str)
def test_a_check_of_it_names_that_mistake_and_no_other(setting, mistake):
    probe, net, given = probed(setting)
    prepared = Prepared(probe.spec.with_changes(batch_first=False), probe.parameters, probe.sequence, TorchEngine())
    verdict = judge_recorded(prepared, run(net, given, mistake.flags)).verdict
    assert verdict.verdict == "differ"
    names = {cause.name for cause in verdict.causes}
    assert names == {mistake.id} or (mistake.id in names and the_same(setting, *names))


@pytest.mark.slow
@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_a_right_run_of_it_agrees(setting):
    probe, net, given = probed(setting)
    prepared = Prepared(probe.spec.with_changes(batch_first=False), probe.parameters, probe.sequence, TorchEngine())
    assert judge_recorded(prepared, run(net, given, {})).verdict.agrees


def with_rows(name: str, change: Callable[[list[Tensor]], list[Tensor]]) -> Made:
    """The blocks of the gates of every parameter whose name begins so, changed."""

    def made(spec: Spec, parameters: dict[str, Tensor]) -> tuple[Spec, dict[str, Tensor]]:
        gates = len(spec.cell_type.gates)
        return spec, {
            key: torch.cat(change(list(value.chunk(gates)))) if key.startswith(name) else value
            for key, value in parameters.items()
        }

    return made


BY_HAND: dict[str, Made] = {
    "right": lambda spec, parameters: (spec, parameters),
    "no bias_ih": with_rows("bias_ih", lambda blocks: [0 * block for block in blocks]),
    "no bias_hh": with_rows("bias_hh", lambda blocks: [0 * block for block in blocks]),
    "no bias": with_rows("bias", lambda blocks: [0 * block for block in blocks]),
    "bias_hh of the last gate dropped": with_rows("bias_hh", lambda blocks: [*blocks[:-1], 0 * blocks[-1]]),
    "first gate and last exchanged": with_rows(
        "", lambda blocks: [blocks[-1], *blocks[1:-1], blocks[0]] if len(blocks) > 1 else [-blocks[0]]
    ),
    "gates turned by one": with_rows("", lambda b: b[1:] + b[:1] if len(b) > 1 else [2 * b[0]]),
    "recurrent kernel transposed": with_rows("weight_hh", lambda blocks: [block.T for block in blocks]),
    "kernel transposed": with_rows(
        "weight_ih", lambda blocks: [block.T if len(set(block.shape)) == 1 else 2 * block for block in blocks]
    ),
    "one more in the second gate": with_rows("bias_ih", lambda b: [b[0], b[1] + 1, *b[2:]]),
    "no peepholes": lambda spec, p: (spec, {k: 0 * v if k.startswith("weight_ch") else v for k, v in p.items()}),
    "usual functions": lambda spec, parameters: (spec.with_changes(activations=None), parameters),
    "not clipped": lambda spec, parameters: (spec.with_changes(clip=None), parameters),
    "the other way": lambda spec, parameters: (spec.with_changes(reverse=False), {
        key.removesuffix("_reverse"): value for key, value in parameters.items()
    }),
}  # fmt: skip
VARIANTS = (
    {"cell": "gru", "reset": "before"},
    {"cell": "lstm", "input_forget": True},
    {"cell": "lstm", "peepholes": True},
    {"cell": "lstm", "input_forget": True, "peepholes": True},
    {"cell": "lstm", "activations": ["hard_sigmoid(0.2, 0.5)", "softsign", "relu"]},
    {"cell": "rnn", "nonlinearity": "relu"},
    {"cell": "gru", "clip": 1.5},
    {"cell": "gru", "reverse": True},
)


@pytest.mark.slow
@pytest.mark.each_value_once
@pytest.mark.parametrize("variant", sampled(VARIANTS, 4), ids=str)
@pytest.mark.parametrize("input_size", [4, 5])
def test_in_a_variant_mistakes_made_by_hand_give_other_numbers(variant, input_size):
    probe = probe_of(Spec(input_size=input_size, hidden_size=5, num_layers=2, **variant))

    def h(made: Made) -> Tensor:
        spec, parameters = made(probe.spec, dict(probe.parameters))
        return list(unroll(spec, parameters, probe.sequence))[-1].quantities["h"]

    left_out = {
        "no peepholes": "peepholes" in variant,
        "usual functions": "activations" in variant,
        "not clipped": "clip" in variant,
        "the other way": "reverse" in variant,
        "bias_hh of the last gate dropped": variant["cell"] != "rnn",  # which has one
        "one more in the second gate": variant["cell"] != "rnn",
    }
    runs = {name: h(made) for name, made in BY_HAND.items() if left_out.get(name, True)}
    for (one, a), (other, b) in itertools.combinations(runs.items(), 2):
        assert float((a - b).abs().max()) > SAME, (one, other)


@pytest.mark.slow
def test_nothing_in_it_is_zero_and_no_axis_is_taken_for_another():
    probe = probe_of(Spec(cell="lstm", num_layers=2, dtype="float64"))
    sequence = probe.sequence
    assert min(float(value.abs().min()) for name, value in probe.parameters.items() if "bias" in name) >= 0.25
    assert sequence.c0 is not None
    assert sequence.h0.any()
    assert not torch.equal(sequence.h0, sequence.c0)
    assert len({*sequence.x.shape}) == 3
    assert min(sequence.x.shape[:2]) >= 3
    assert {value.dtype for value in (*probe.parameters.values(), sequence.x, sequence.h0)} == {torch.float64}


@pytest.mark.slow
def test_the_seed_says_which():
    one, other, again = (probe_of(Spec(cell="gru", seed=seed)) for seed in (1, 2, 1))
    assert torch.equal(one.sequence.x, again.sequence.x)
    assert not torch.equal(one.sequence.x, other.sequence.x)
    assert not torch.equal(one.parameters["weight_ih_l0"], other.parameters["weight_ih_l0"])


@pytest.mark.slow
def test_what_no_numbers_tell_apart_is_said():
    """r ⊙ (U h) and U (r ⊙ h) of one unit are the same, as are a number and its transpose."""
    alike = probe_of(Spec(cell="gru", hidden_size=1, input_size=4)).alike
    assert ("gru-reset-before", "gru-b_hn-folded") in alike
    assert (RIGHT, "recurrent-kernel-transposed") in alike
    # v / (1 + |v|) is also what 2 σ(2 v) − 1 gives with the σ that is made of it.
    alike = probe_of(Spec(cell="gru", hidden_size=2, input_size=4)).alike
    assert all(name.startswith("activation-approximated (tanh, x / (1 + |x|)") for pair in alike for name in pair)


@pytest.mark.slow
def test_what_the_first_numbers_do_not_tell_is_drawn_again(monkeypatch):
    drawn, draws = probing._parameters, []

    def without_biases_at_first(spec, generator):
        parameters = drawn(spec, generator)
        if not draws:
            parameters |= {name: 0 * value for name, value in parameters.items() if "bias" in name}
        draws.append(parameters)
        return parameters

    monkeypatch.setattr(probing, "_parameters", without_biases_at_first)
    probe = probe_of(Spec(cell="gru"))
    assert probe.parameters is not draws[0]
    assert not any("bias" in name for pair in probe.alike for name in pair)


def test_torch_gets_its_threads_back():
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        probe_of(Spec())
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
