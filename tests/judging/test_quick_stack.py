"""The quick look at a stack of which only the output was recorded: it takes nothing for right that the whole look would
not, and says no more of what would have been seen."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from rnnspect import Spec
from rnnspect.judging.case import Case
from rnnspect.judging.declared import ARITHMETICS
from rnnspect.judging.estimate import Paired
from rnnspect.judging.observation import Observation
from rnnspect.judging.quick_stack import look_quickly
from rnnspect.judging.stack import Judged, judge_stack
from rnnspect.judging.words import verdict_of
from rnnspect.network.recording import RECORDING, EngineInfo, by_direction
from rnnspect.network.sequence import Sequence

STEPS, UNITS = 700, 12
KINDS = pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
WAYS = pytest.mark.parametrize("bidirectional", [False, True], ids=["forward", "both"])


def _module(kind: str, bidirectional: bool, layers: int = 3) -> nn.RNNBase:
    torch.manual_seed(0)
    module: nn.RNNBase = getattr(nn, kind)(5, UNITS, num_layers=layers, bidirectional=bidirectional)
    return module


def _case(module: nn.RNNBase, x: Tensor | None = None, made_by: nn.RNNBase | None = None) -> Case:
    """A run of which only the output was recorded, made by this module or another one."""
    x = torch.randn(STEPS, 2, 5, generator=torch.Generator().manual_seed(1)) if x is None else x
    spec = Spec(
        cell=type(module).__name__.lower(),
        input_size=5,
        hidden_size=UNITS,
        num_layers=module.num_layers,
        bidirectional=module.bidirectional,
    )
    h0, c0 = (torch.zeros(len(spec.places), x.shape[1], UNITS) for _ in range(2))
    sequence = Sequence(x, h0, c0 if spec.cell_type.has_cell_state else None, None, batched=True)
    with torch.no_grad():
        output, _ = (made_by or module)(x)
    layers = {at: {"h": h} for at, h in by_direction(spec, spec.num_layers - 1, output).items()}
    observation = Observation(EngineInfo(RECORDING, "", "", spec.dtype), layers)
    return Case(
        spec, {n: p.detach() for n, p in module.named_parameters()}, sequence, observation, ARITHMETICS["float32"]
    )


def _whole(case: Case) -> Judged:
    return judge_stack(case, estimator=Paired(case.observation.layers))


@KINDS
@WAYS
def test_a_right_run_is_told_of_as_by_the_whole_look(kind: str, bidirectional: bool) -> None:
    case = _case(_module(kind, bidirectional))
    quick = look_quickly(case)
    assert quick is not None
    one, other = verdict_of(case, quick), verdict_of(case, _whole(case))
    assert one.agrees
    assert replace(one, worst=None, resolution=()) == replace(other, worst=None, resolution=())
    for seen, whole in zip(one.resolution, other.resolution, strict=True):  # at other steps, where others are open
        assert (seen.layer, seen.direction, seen.gate) == (whole.layer, whole.direction, whole.gate)
        assert 0.1 < seen.median / whole.median < 10


@KINDS
@WAYS
def test_its_bounds_are_those_of_the_whole_look(kind: str, bidirectional: bool) -> None:
    """Replicas are random: of their spread over many units the root mean square is within a tenth."""
    case = _case(_module(kind, bidirectional))
    quick = look_quickly(case)
    assert quick is not None
    assert 0.9 < _share(case, quick) < 1.1


def _share(case: Case, quick: Judged) -> float:
    """How far the layer below the top may be off in the quick look, at the steps that it judges, as a share of what it
    is in the whole look."""
    few, whole = (judged.assumptions[2, case.spec.directions[-1]].run for judged in (quick, _whole(case)))
    assert few.error is not None
    assert whole.error is not None
    start = next(at for at in range(STEPS) if torch.equal(whole.h[at], few.h[0]))
    stop = start + len(few.h)
    judged = slice(0 if start == 0 else 96, len(few.h) if stop == STEPS else -96)
    e, of_all = few.error[:][judged], whole.error[:][start:stop][judged]
    return float((e.square().mean() / of_all.square().mean()).sqrt())


@KINDS
@WAYS
@pytest.mark.parametrize("layer", range(3))
def test_a_wrong_layer_is_left_to_the_whole_look(kind: str, bidirectional: bool, layer: int) -> None:
    module, other = (_module(kind, bidirectional) for _ in range(2))
    with torch.no_grad():
        getattr(other, f"weight_hh_l{layer}").mul_(1.001)
    assert look_quickly(_case(module, made_by=other)) is None


@KINDS
@pytest.mark.parametrize(("by", "answer"), [(1e-3, "differ"), (4e-6, "agree")])
def test_one_value_that_is_off_is_left_to_the_whole_look(kind: str, by: float, answer: str) -> None:
    """The smaller error is more than a rounding, and less than what the layers below may have made."""
    case = _case(_module(kind, True))
    case.observation.layers[2, "reverse"]["h"][350, 1, 3] += by
    assert look_quickly(case) is None
    assert verdict_of(case, _whole(case)).verdict == answer


@pytest.mark.parametrize("kind", ["GRU", "LSTM"])
@WAYS
def test_a_long_memory_is_left_to_the_whole_look(kind: str, bidirectional: bool) -> None:
    """Few steps do not tell how far replicas are apart after many; but at the ends of the run they do."""
    module = _module(kind, bidirectional)
    keeps = slice(UNITS, UNITS + 3)  # z of a GRU, f of an LSTM
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name.startswith("bias_ih"):
                parameter[keeps] = 5
    looks = 0
    for seed in range(4):
        case = _case(module, torch.randn(STEPS, 2, 5, generator=torch.Generator().manual_seed(seed)))
        quick = look_quickly(case)
        looks += quick is not None
        assert quick is None or _share(case, quick) > 0.85
    assert looks < 4 or kind == "LSTM"  # whose nearest values are among the first


def test_it_is_of_the_output_alone_and_of_whole_items() -> None:
    case = _case(_module("GRU", False))
    assert look_quickly(replace(case, sequence=replace(case.sequence, lengths=(STEPS, 9)))) is None
    assert look_quickly(replace(case, observation=replace(case.observation, h_n=case.sequence.h0))) is None
    assert look_quickly(replace(case, declared=ARITHMETICS["bfloat16"])) is None
    assert look_quickly(_case(_module("GRU", False, layers=1))) is None
    assert look_quickly(_case(_module("GRU", False), torch.randn(20, 2, 5))) is None
