"""How causes are looked for: nothing is explained by not being judged, the time is the user's, final states say why."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn

import rnnspect
from rnnspect.causes.search.beginning import STEPS
from rnnspect.causes.search.effort import Effort
from rnnspect.causes.search.rejudging import Rejudging
from rnnspect.cli import main
from rnnspect.engines.own.loading import load_cell
from rnnspect.judging.judge import Judge
from rnnspect.views import documents
from tests.causes.mistakes import MISTAKES, Setting
from tests.causes.planted import Planted
from tests.cells.loops import LOOPS
from tests.marks import sampled

if TYPE_CHECKING:
    from pathlib import Path

    from rnnspect.judging.chunks import LayerRun
    from tests.causes.loops import Array

FLAGS = {str(mistake): mistake.flags for mistake in MISTAKES}
GATED_DELTA = load_cell("examples/cells/gated_delta.py:gated_delta")
GATE_ORDER = FLAGS["gate-order (iofg: onnx)"]


def without_lower_layers(recorded: dict[str, Array]) -> dict[str, Array]:
    return {name: value for name, value in recorded.items() if name in ("output", "h_n", "c_n")}


@pytest.mark.parametrize(
    ("kind", "parameter", "size"),
    sampled([("rnn", "weight_hh_l0", 1e-4), ("gru", "weight_ih_l0", 1e-3), ("lstm", "bias_hh_l0", 3e-2)], 3),
)
def test_a_layer_that_nobody_observed_is_not_explained_by_leaving_out_how_it_ended(
    kind: str, parameter: str, size: float
) -> None:
    planted = Planted(Setting(kind, 2, 1))
    spec = planted.spec  # of the parameters as they are
    changed = planted.net.parameters[parameter]
    changed += size * np.random.default_rng(0).standard_normal(changed.shape).astype(np.float32)
    verdict = planted.check(without_lower_layers(planted.run({})))
    assert planted.spec is spec
    assert verdict.verdict == "differ"
    assert verdict.causes == ()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["rnn", "gru"])
def test_a_small_error_of_a_layer_that_nobody_observed_is_not_taken_for_errors_of_sums(kind: str) -> None:
    """Above it, where x is known to be right, the same numbers are told to be sums in float16."""
    sums = next(mistake for mistake in MISTAKES if mistake.id == "float16-sums")
    setting = sums.setting(Setting(kind, 2, 1))
    assert isinstance(setting, Setting)
    planted = Planted(setting)
    assert planted.named(planted.run({}, sums.flags)) == ("differ", ("float16-sums",))
    assert planted.named(without_lower_layers(planted.run({}, sums.flags))) == ("differ", ())
    spec = planted.spec  # of the parameters as they are
    weight_ih = planted.net.parameters["weight_ih_l0"]
    weight_ih += 3e-4 * np.random.default_rng(0).standard_normal(weight_ih.shape).astype(np.float32)
    verdict = planted.check({"output": planted.run({})["output"]})
    assert planted.spec is spec
    assert (verdict.verdict, verdict.causes) == ("differ", ())
    assert "record h of layer 0 as well" in verdict.notes[-1]


@pytest.mark.slow
def test_what_is_off_by_hardly_more_than_the_bound_is_not_explained_by_chance() -> None:
    """A table of 1024 values in an unrecorded layer moves h by as little as this bias does."""
    planted = Planted(Setting("gru-before", 3, 2), seed=935172)
    spec = planted.spec  # of the parameters as they are
    planted.net.parameters["bias_hh_l2"][5] -= np.float32(7.5e-5)
    verdict = planted.check({"output": planted.run({})["output"]})
    assert planted.spec is spec
    assert verdict.verdict == "differ"
    assert verdict.causes == ()


@pytest.mark.slow
def test_a_final_state_that_a_mistake_would_leave_unjudged_is_not_explained_by_it() -> None:
    """Where each step starts anew nothing tells c_n, so that nothing of this recording would be left to judge."""
    planted = Planted(Setting("lstm", 1, 1))
    verdict = planted.check({"c_n": planted.run({})["c_n"] + np.float32(0.1)})
    assert verdict.verdict == "differ"
    assert verdict.causes == ()


@pytest.mark.slow
def test_a_mistake_that_would_spoil_what_is_right_is_refuted() -> None:
    """c_n of a layer that nobody observed is wrong; the layer above, which is right, rests on that layer's h."""
    planted = Planted(Setting("lstm", 2, 1))
    recorded = without_lower_layers(planted.run({}))
    recorded["c_n"][0] += np.float32(0.1)
    verdict = planted.check(recorded)
    assert verdict.verdict == "differ"
    assert verdict.causes == ()


@pytest.mark.slow
def test_a_mistake_in_a_layer_that_nobody_observed_alone_is_told_with_its_layer() -> None:
    planted = Planted(Setting("lstm", 2, 1))
    verdict = planted.check(without_lower_layers(planted.run(GATE_ORDER, {})))
    assert verdict.causes[0].name == "gate-order"
    assert verdict.causes[0].scope == ("layer 0 forward",)
    assert verdict.causes[0].left == ()


def test_no_cause_is_looked_for_in_no_time() -> None:
    planted = Planted(Setting("lstm", 1, 1))
    given, recorded = planted.given, planted.run(GATE_ORDER)
    verdict = rnnspect.check(planted.spec, given.x, given.h0, given.c0, recorded=recorded, explain=0)
    assert (verdict.verdict, verdict.causes, verdict.notes) == ("differ", (), ())


def test_a_search_that_was_cut_short_says_so() -> None:
    planted = Planted(Setting("lstm", 1, 1))
    given, recorded = planted.given, planted.run(GATE_ORDER)
    verdict = rnnspect.check(planted.spec, given.x, given.h0, given.c0, recorded=recorded, explain=1e-9)
    assert verdict.causes == ()
    assert "not everything tried" in verdict.notes[0]


@pytest.mark.slow
def test_the_steps_of_a_cell_that_is_judged_one_step_at_a_time_are_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake that shows at step 40 is looked for in as many steps, each of which costs what a call does."""
    steps, spent = (40 + STEPS) * 400_000, []

    def spend(effort: Effort, calls: int, _products: int) -> None:
        spent.append(calls)
        effort._over = steps in spent  # which is all that is asked

    monkeypatch.setattr(Effort, "spend", spend)
    right = LOOPS["gated_delta"](False)
    count = iter(range(10**6))

    def late(x_t: torch.Tensor, state: Any, weight_ih: Any, bias_ih: Any, A_log: Any, dt_bias: Any) -> Any:
        h, c = right(x_t, state, weight_ih, bias_ih, A_log, dt_bias)
        return (h + 0.1 if next(count) % 60 >= 40 else h), c

    spec = rnnspect.Spec(cell=GATED_DELTA, input_size=3, hidden_size=4)
    assert rnnspect.check(spec, "randn:60", engine=late, explain=60).verdict == "differ"
    assert max(spent) == steps


@pytest.mark.slow
def test_two_mistakes_at_once_are_one_cause_of_two_names() -> None:
    planted = Planted(Setting("lstm", 1, 1))
    verdict = planted.check(planted.run(GATE_ORDER | FLAGS["forget-bias-added"]))
    named = {cause.name for cause in verdict.causes}
    assert {"gate-order", "forget-bias-added"} <= named
    assert all(len(cause.together) == 2 for cause in verdict.causes)
    document = documents.check_document(verdict)
    assert {tuple(cause["together"]) for cause in document["causes"]} == {cause.together for cause in verdict.causes}


def ended(recorded: dict[str, Array], how: str) -> dict[str, Array]:
    """A right recording whose h_n is something else."""
    h_n, output = recorded["h_n"], recorded["output"]
    match how:
        case "the directions of the layers":
            other = h_n.reshape(2, 2, *h_n.shape[1:]).swapaxes(0, 1).reshape(h_n.shape)
        case "the last step":
            other = h_n.copy()
            other[3] = np.split(output[-1], 2, -1)[1]
        case "a step early":
            other = h_n.copy()
            other[2] = np.split(output[-2], 2, -1)[0]
        case "c":
            other = recorded["c_n"]
        case _:
            other = np.zeros_like(h_n)
    return recorded | {"h_n": other}


@pytest.mark.parametrize(
    ("how", "name"),
    [
        ("the directions of the layers", "states-interleaved"),
        ("the last step", "reverse-not-realigned"),
        ("a step early", "shifted-by-one"),
        ("c", "h-c-exchanged"),
        ("zeros", "state-not-carried"),
    ],
)
def test_a_final_state_that_alone_is_wrong_is_explained_by_what_it_is(how: str, name: str) -> None:
    planted = Planted(Setting("lstm", 2, 2))
    verdict = planted.check(ended(planted.run({}), how))
    assert verdict.verdict == "differ"
    assert verdict.first is not None
    assert verdict.first.quantity == "h_n"
    assert [cause.name for cause in verdict.causes] == [name]
    assert verdict.causes[0].worst_ratio_after <= 1 < verdict.causes[0].worst_ratio_before


def test_a_final_state_that_is_nothing_of_the_run_has_no_cause() -> None:
    planted = Planted(Setting("lstm", 2, 2))
    recorded = planted.run({})
    recorded["h_n"][1, 0, 2] += np.float32(0.1)
    verdict = planted.check(recorded)
    assert verdict.verdict == "differ"
    assert verdict.causes == ()


def test_the_command_takes_the_seconds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answers: dict[str, Any] = {}
    for seconds in ("0", "10"):
        command = ["check", "configs/gru.yaml", "--engine", "examples/mine.py:step", "--format", "json"]
        assert main([*command, "--explain", seconds]) == 1
        answers[seconds] = json.loads(capsys.readouterr().out)["causes"]
    assert answers["0"] == []
    assert [cause["name"] for cause in answers["10"]] == ["gru-reset-before"]
    assert main(["check", "configs/gru.yaml", "--explain", "-1"]) == 2
    assert "--explain" in capsys.readouterr().err


def test_each_of_several_sources_names_its_cause(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["check", "configs/gru.yaml", "--engine", "torch-cell", "--engine", "examples/mine.py:step"]
    assert main(command) == 1
    right, wrong = capsys.readouterr().out.split("differ ")
    assert right.startswith("agree ")
    assert wrong.split()[-1] == "gru-reset-before"


@pytest.mark.parametrize("seed", [23, 39])
def test_nothing_is_explained_above_a_layer_that_is_wrong_for_no_known_reason(seed: int) -> None:
    """One weight of layer 0 is off, of which only final states tell: what the layers above received nobody knows."""
    torch.manual_seed(seed)
    module, x = nn.RNN(6, 3, num_layers=3), torch.randn(5, 1, 6).relu()
    wrong = {name: 2 * w for name, w in module.state_dict().items()}
    module.load_state_dict(wrong)
    other = nn.RNN(6, 3, num_layers=3)
    wrong["weight_hh_l0"][seed % 3, seed // 3 % 3] += 0.2
    other.load_state_dict(wrong)
    with torch.no_grad():
        output, h_n = (torch.round(values, decimals=3) for values in other(x))
    found = rnnspect.check(module, x, recorded={"output": output, "h_n": h_n})
    assert isinstance(found, rnnspect.Verdict)
    assert (found.verdict, found.causes) == ("differ", ())


@pytest.mark.slow
def test_a_mistake_in_a_layer_that_nobody_observed_leaves_the_errors_of_the_layers_above() -> None:
    """Of the layer itself no error is known, which is not an error of zero."""
    torch.manual_seed(1)
    module, x = nn.GRU(3, 4, num_layers=2), torch.randn(12, 4, 3)
    engine = copy.deepcopy(module)
    with torch.no_grad():
        engine.bias_hh_l0.zero_()
        output, _ = engine(x)
    meant, found = (rnnspect.check(made, x, recorded=output) for made in (engine, module))
    assert isinstance(found, rnnspect.Verdict)
    assert isinstance(meant, rnnspect.Verdict)
    assert meant.worst is not None
    assert [(cause.name, cause.scope) for cause in found.causes] == [("bias-dropped", ("layer 0 forward",))]
    assert 0 < found.causes[0].worst_ratio_after == pytest.approx(meant.worst.ratio, rel=0.1)


@pytest.mark.parametrize("batched", [False, True])
def test_states_in_another_order_are_told_beside_a_layer_that_was_not_recorded(batched: bool) -> None:
    """The state that stands for that of layer 1 is one of layer 0, which is known as well as it can be computed."""
    torch.manual_seed(0)
    module, x = nn.GRU(3, 4, 2, bidirectional=True), torch.randn(30, 3)
    x = x[:, None] if batched else x
    with torch.no_grad():
        output, h_n = module(x)
    found = rnnspect.check(module, x, recorded={"output": output, "h_n": h_n[[0, 2, 1, 3]]})
    assert isinstance(found, rnnspect.Verdict)
    assert [one.name for one in found.causes] == ["states-interleaved"]
    assert found.causes[0].left == ()


@pytest.mark.slow
def test_states_that_stand_for_each_other_are_told_of_items_of_several_lengths() -> None:
    torch.manual_seed(0)
    module, x, lengths = nn.LSTM(3, 4, 2), torch.randn(12, 3, 3), [12, 9, 5]
    with torch.no_grad():
        packed, (h_n, c_n) = module(nn.utils.rnn.pack_padded_sequence(x, torch.tensor(lengths)))
        output, _ = nn.utils.rnn.pad_packed_sequence(packed)
    found = rnnspect.check(module, x, lengths=lengths, recorded={"output": output, "h_n": c_n, "c_n": h_n})
    assert isinstance(found, rnnspect.Verdict)
    assert [one.name for one in found.causes] == ["h-c-exchanged"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("one", "other"),
    [
        (GATE_ORDER, "state-ignored"),
        (FLAGS["bias-doubled (sum twice)"], "state-ignored"),
        (GATE_ORDER, "h-c-exchanged"),
        (GATE_ORDER, "hard-sigmoid"),
        (FLAGS["bias-dropped (no hh)"], "hard-sigmoid"),
    ],
)
def test_a_mistake_in_parameters_beside_one_in_how_they_are_used(one: dict[str, Any], other: str) -> None:
    flags = next(mistake.flags for mistake in MISTAKES if mistake.id == other)
    planted = Planted(Setting("lstm", 1, 1))
    found = planted.check(planted.run({**one, **flags}))
    names = {cause.name for cause in found.causes}
    assert other in names
    assert len(names) == 2


def test_what_fits_a_run_that_shows_too_little_is_told_as_such() -> None:
    """x in 0..255: the gates are saturated, so that other factors would fit nearly as well."""
    torch.manual_seed(0)
    module, x = nn.LSTM(28, 16), torch.rand(28, 1, 28)
    found = rnnspect.check(module, x, recorded=module(255 * x)[0].detach())
    assert (found.verdict, found.causes) == ("differ", ())
    assert "possibly x is multiplied by 255" in found.notes[0]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 3, 5])
def test_zeros_that_rounding_left_are_no_lost_state(seed: int) -> None:
    """Beside other final states that are wrong, cut off to multiples of 1/90.3 as all of them were."""
    torch.manual_seed(seed)
    module = nn.LSTM(3, 4, 3, bias=False)
    with torch.no_grad():
        for p in module.parameters():
            p *= torch.rand_like(p) > 0.75
        x = torch.randn(8, 2, 3)
        h_n, c_n = module(x)[1]
    cut = {name: (of * 90.3).trunc() / 90.3 for name, of in (("h_n", h_n), ("c_n", c_n))}
    assert not bool(cut["h_n"][2].any())
    found = rnnspect.check(module, x, recorded=cut)
    assert (found.verdict, found.causes) == ("differ", ())


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
def test_a_stack_that_goes_backwards_alone_has_no_other_direction(kind: type[nn.RNNBase], tmp_path: Path) -> None:
    torch.manual_seed(3)
    module, x = kind(3, 6, 2, batch_first=True), torch.randn(1, 20, 3)
    with torch.no_grad():
        torch.save({f"{name}_reverse": w for name, w in module.state_dict().items()}, tmp_path / "p.pt")
        for name in ("bias_hh_l0", "bias_hh_l1"):
            getattr(module, name).zero_()
        output = module(x.flip(1))[0].flip(1)
    cell = kind.__name__.lower()
    spec = rnnspect.Spec(
        cell=cell, input_size=3, hidden_size=6, num_layers=2, reverse=True, weights=str(tmp_path / "p.pt")
    )
    assert rnnspect.check(spec, x, recorded=output).causes[0].name == "bias-dropped"


@pytest.mark.slow
def test_a_value_that_is_made_of_parameters_alone_is_the_same_for_each_item(tmp_path: Path) -> None:
    """A quantity of the cell, in some form of one of its lines; and a part of its state."""
    for name in ("layer_norm_lstm", "lru"):
        _in_two_layers(name, tmp_path)


def _in_two_layers(name: str, tmp_path: Path) -> None:
    """A cell of one's own, of which one layer was recorded, and which no known mistake explains."""
    cell = load_cell(f"examples/cells/{name}.py:{name}")
    keys = {"cell": cell, "input_size": 3, "hidden_size": 4, "num_layers": 2, "dtype": "float64"}
    torch.manual_seed(0)
    right = {p.name: 0.4 * torch.randn(p.shape) for p in rnnspect.shapes(rnnspect.Spec(**keys)).parameters}
    wrong = right | {f"bias_ih_l{layer}": right[f"bias_ih_l{layer}"].clone() for layer in (0, 1)}
    wrong["bias_ih_l1"][0] += 0.3
    wrong["bias_ih_l0"][1] -= 0.2
    specs = []
    for number, parameters in enumerate((right, wrong)):
        torch.save({name: w.double() for name, w in parameters.items()}, tmp_path / f"{number}.pt")
        specs.append(rnnspect.Spec(**keys, weights=str(tmp_path / f"{number}.pt")))
    x = torch.randn(3, 12, 3, dtype=torch.float64)
    recorded = {"output": rnnspect.trace(specs[1], x).layers[1].quantities["h"]}
    found = rnnspect.check(specs[0], x, recorded=recorded)
    assert found.verdict == "differ"
    assert not found.causes


@pytest.mark.parametrize(
    ("kind", "names"), sampled([(nn.GRU, ("output", "h_n")), (nn.LSTM, ("output", "h_n", "c_n"))], 2)
)
def test_final_states_of_layers_that_nobody_observed_hide_no_mistake_of_all_layers(
    kind: type[nn.RNNBase], names: tuple[str, ...]
) -> None:
    torch.manual_seed(0)
    module, wrong, x = kind(3, 4, 3), kind(3, 4, 3), torch.randn(30, 1, 3)
    wrong.load_state_dict(module.state_dict())
    with torch.no_grad():
        for layer in range(3):
            getattr(wrong, f"bias_hh_l{layer}").zero_()
        output, states = wrong(x)
    recorded = dict(zip(names, (output, *(states if isinstance(states, tuple) else (states,))), strict=True))
    found = rnnspect.check(module, x, recorded=recorded)
    assert [cause.name for cause in found.causes] == ["bias-dropped"]
    assert found.causes[0].scope == tuple(f"layer {layer} forward" for layer in range(3))


def test_where_a_mistake_fits_that_the_run_does_not_prove_no_weight_is_blamed() -> None:
    """x was multiplied by 255: the gates saturate, and a unit is as if a row of its weights were zero."""
    torch.manual_seed(0)
    module = nn.LSTM(2, 6, bias=False, dtype=torch.float64)
    for parameter in module.parameters():
        nn.init.xavier_uniform_(parameter)
    x = torch.eye(2, dtype=torch.float64)[torch.randint(0, 2, (16, 1))]
    found = rnnspect.check(module, x, recorded=module(255 * x)[0])
    assert not found.suspects
    assert "possibly x is multiplied by 255" in " ".join(found.notes)


@pytest.mark.slow
def test_final_states_alone_say_which_mistake_fits_and_what_to_record() -> None:
    torch.manual_seed(1)
    module, x = nn.GRU(4, 6, 2, bidirectional=True), torch.randn(20, 3, 4)
    right = rnnspect.check(module, x, recorded={"h_n": module(x)[1].detach()})
    assert (right.verdict, right.values) == ("cannot tell", 4 * 3 * 6)
    assert str(right.reason).endswith("record the output at every step")
    wrong = copy.deepcopy(module)
    nn.init.zeros_(wrong.bias_hh_l0)
    found = rnnspect.check(module, x, recorded={"h_n": wrong(x)[1].detach()})
    assert (found.verdict, found.causes) == ("differ", ())
    assert found.notes[0].startswith("no cause is named: possibly, in layer 0 forward, bias_hh is missing, but")
    assert found.notes[0].count("record") == 2  # why too little is known, and what to record


@pytest.mark.slow
def test_one_wrong_number_above_a_layer_that_was_not_recorded_is_no_mistake_of_that_layer() -> None:
    """Some mistake fits, as little can be told of that layer: it is not said which."""
    torch.manual_seed(1)
    module, x = nn.LSTM(3, 4, 2), torch.randn(50, 3)
    y = module(x)[0].detach()
    y[30, 2] += 0.001
    found = rnnspect.check(module, x, recorded=(y * 1e5).round() / 1e5)
    assert (found.verdict, found.causes) == ("differ", ())
    assert "possibly" not in found.notes[0]


@pytest.mark.slow
def test_a_mistake_below_that_changes_the_first_steps_is_not_judged_in_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """One value late in the run is wrong: what is right before that refutes most mistakes by itself."""
    torch.manual_seed(0)
    module, x = nn.LSTM(4, 4, 2), torch.randn(40, 1, 4)
    output = module(x)[0].detach()
    output[35, 0, 2] += 1e-4
    judged = []
    whole = Rejudging.whole

    def counted(self: Rejudging, *given: Any, **more: Any) -> Any:
        judged.append(given)
        return whole(self, *given, **more)

    monkeypatch.setattr(Rejudging, "whole", counted)
    verdict = rnnspect.check(module, x, recorded={"output": output})
    assert verdict.first is not None
    assert (verdict.first.step, verdict.causes) == (35, ())
    assert len(judged) < 100


@pytest.mark.slow
def test_a_glance_refutes_a_mistake_below_whose_input_is_known_roughly(monkeypatch: pytest.MonkeyPatch) -> None:
    """h of a layer that was not recorded is known to 1e-4 at a first look: no order of sums makes up for more."""
    torch.manual_seed(0)
    module, x = nn.GRU(4, 8, 2), torch.randn(20, 2, 4)
    recorded = module(x)[0].detach() + 1e-3 * torch.randn(20, 2, 8)
    looked: list[Judge] = []
    agrees = Judge.agrees

    def counted(self: Judge, run: LayerRun) -> bool:
        looked.append(self)
        return agrees(self, run)

    monkeypatch.setattr(Judge, "agrees", counted)
    found = rnnspect.check(module, x, recorded={"output": recorded})
    assert (found.verdict, found.causes) == ("differ", ())
    assert len(looked) < 20


@pytest.mark.slow
def test_a_mistake_in_one_direction_of_a_middle_layer_is_reached() -> None:
    torch.manual_seed(1)
    right = nn.GRU(8, 24, num_layers=3, bidirectional=True).eval()
    wrong, x = copy.deepcopy(right), torch.randn(60, 3, 8)
    with torch.no_grad():
        for name, packed in wrong.named_parameters():
            if name.endswith("l1_reverse"):
                r, z, n = packed.chunk(3)
                packed.copy_(torch.cat([z, r, n]))
        found = rnnspect.check(right, x, recorded={"output": wrong(x)[0]})
    assert found.causes[0].name == "gate-order"
    assert {cause.scope for cause in found.causes} == {("layer 1 reverse",)}
