"""A recording in any of its shapes becomes what was seen of the run, and says what is wrong with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence

from rnnspect import SequenceError, Spec, check, trace
from rnnspect.checking.recording import observations_of
from rnnspect.judging.rounding import RecordedPrecision
from rnnspect.network.sequence import Sequence
from rnnspect.tracing.prepare import prepare
from rnnspect.tracing.trace import trace_arrays

if TYPE_CHECKING:
    from pathlib import Path

    from rnnspect import Trace
    from rnnspect.judging.observation import Observation

SPEC = Spec(cell="lstm", input_size=3, hidden_size=5, num_layers=2, bidirectional=True, batch_first=True)
T, B = 6, 4


def _spec(**changes: Any) -> Spec:
    return SPEC.with_changes(**changes)


def observation_of(spec: Spec, recorded: Any, steps: int, batch: int, batched: bool) -> Observation:
    """The only one, of a run whose inputs are all zero."""
    places = spec.num_layers * spec.num_directions
    states = (torch.zeros(places, batch, units) for units in (spec.output_size, spec.hidden_size))
    sequence = Sequence(torch.zeros(steps, batch, 3), *states, None, batched)
    (found,) = observations_of(spec, recorded, sequence).observations
    return found


def _random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("batch_first", [True, False])
def test_the_output_is_in_the_layout_of_the_module(batch_first: bool):
    output = _random(T, B, 10)
    seen = observation_of(_spec(batch_first=batch_first), output.transpose(0, 1) if batch_first else output, T, B, True)
    assert set(seen.layers) == {(1, "forward"), (1, "reverse")}
    assert torch.equal(seen.layers[1, "forward"]["h"], output[..., :5])
    assert torch.equal(seen.layers[1, "reverse"]["h"], output[..., 5:])
    assert seen.h_n is seen.c_n is None
    assert seen.kept_of((1, "forward", "h")) == RecordedPrecision()


def test_square_outputs_are_in_the_layout_of_the_module():
    output = _random(B, B, 10)
    seen = observation_of(_spec(batch_first=False), output, B, B, True)
    assert torch.equal(seen.layers[1, "forward"]["h"], output[..., :5])
    seen = observation_of(SPEC, output, B, B, True)
    assert torch.equal(seen.layers[1, "forward"]["h"], output.transpose(0, 1)[..., :5])


def test_an_output_in_the_other_layout_is_taken_where_it_fits():
    output = _random(B, T, 10)
    seen = observation_of(_spec(batch_first=False), output, T, B, True)
    assert torch.equal(seen.layers[1, "forward"]["h"], output.transpose(0, 1)[..., :5])


def test_an_output_in_the_other_layout_is_read_so_with_a_note():
    output = torch.nn.GRU(3, 5, batch_first=True)(torch.zeros(B, T, 3))[0].detach()
    spec = Spec(cell="gru", input_size=3, hidden_size=5, batch_first=True)
    sequence = Sequence(torch.zeros(T, B, 3), torch.zeros(1, B, 5), None, None, True)
    own, other, square = (
        observations_of(spec, {"output": given}, sequence).notes for given in (output, output.transpose(0, 1), output)
    )
    assert own == square == ()
    assert other == ("the output is read as (step, batch, unit), while x is (batch, step, feature)",)


def test_without_a_batch():
    output, h_n, c_n = _random(T, 10), _random(4, 5), _random(4, 5)
    seen = observation_of(SPEC, (output, (h_n, c_n)), T, 1, False)
    assert torch.equal(seen.layers[1, "reverse"]["h"], output[:, None, 5:])
    assert seen.h_n.shape == seen.c_n.shape == (4, 1, 5)


def test_layers_cell_states_and_gates():
    recorded = {
        "l0.forward.h": _random(B, T, 5), "l0.reverse.c": _random(B, T, 5), "l1.forward.i": _random(B, T, 5),
        "h_n": _random(4, B, 5), "c_n": _random(4, B, 5),
    }  # fmt: skip
    seen = observation_of(_spec(batch_first=False), recorded, T, B, True)
    assert {place: set(of) for place, of in seen.layers.items()} == {
        (0, "forward"): {"h"}, (0, "reverse"): {"c"}, (1, "forward"): {"i"},
    }  # fmt: skip
    assert torch.equal(seen.layers[0, "forward"]["h"], recorded["l0.forward.h"].transpose(0, 1))


def test_h_n_of_one_step_is_every_layers_h():
    """As a port of a single step is tested; where the output is there, too, that is the top layer's, and no other."""
    spec, h_n = _spec(), torch.randn(4, B, 5)
    found = observation_of(spec, {"h_n": h_n}, 1, B, True)
    assert set(found.layers) == set(spec.places)
    assert all(torch.equal(found.layers[place]["h"][0], h_n[spec.row(*place)]) for place in spec.places)
    assert not observation_of(spec, {"h_n": h_n}, T, B, True).layers
    both = observation_of(spec, {"h_n": h_n, "output": torch.zeros(B, 1, 10)}, 1, B, True)
    assert {layer for layer, _ in both.layers} == {1}


def test_a_projection_has_h_of_its_own_width():
    spec = _spec(proj_size=2)
    recorded = {"output": _random(B, T, 4), "l0.forward.c": _random(B, T, 5), "h_n": _random(4, B, 2)}
    seen = observation_of(spec, recorded | {"c_n": _random(4, B, 5)}, T, B, True)
    assert seen.layers[1, "reverse"]["h"].shape == (T, B, 2)


@pytest.mark.parametrize("batch_first", [True, False])
def test_a_trace_of_ours_shows_what_its_engine_gave(batch_first: bool):
    spec = _spec(input="randn:6", batch=4, lengths=[6, 2, 5, 1], batch_first=batch_first)
    found: Trace = trace(spec)
    arrays = trace_arrays(found)
    del arrays["spec"]
    (seen,) = observations_of(spec, arrays, prepare(spec).sequence).observations
    assert set(seen.layers) == {(layer, way) for layer in (0, 1) for way in ("forward", "reverse")}
    for layer in found.layers:
        assert set(seen.layers[layer.layer, layer.direction]) == {"h"}
        expected = layer.engine["h"].transpose(0, 1)
        torch.testing.assert_close(seen.layers[layer.layer, layer.direction]["h"], expected, equal_nan=True)
    assert torch.equal(seen.h_n, found.h_n.engine)
    assert torch.equal(seen.c_n, found.c_n.engine)


def test_a_mapped_file_is_not_copied(tmp_path: Path):
    np.save(tmp_path / "output.npy", _random(B, T, 10).numpy())
    mapped = np.load(tmp_path / "output.npy", mmap_mode="r")
    seen = observation_of(SPEC, {"output": mapped}, T, B, True)
    assert seen.layers[1, "forward"]["h"].data_ptr() == mapped.ctypes.data


@pytest.mark.parametrize("change", [lambda a: a[::-1], lambda a: a.astype(">f4"), lambda a: a.tolist()])
def test_arrays_that_torch_cannot_share(change: Any):
    output = _random(B, T, 10).numpy()
    seen = observation_of(SPEC, change(output), T, B, True)
    expected = torch.from_numpy(np.array(change(output), dtype=np.float32)).transpose(0, 1)
    assert torch.allclose(seen.layers[1, "forward"]["h"].float(), expected[..., :5])


def test_each_array_is_as_exact_as_it_was_kept():
    rounded = np.round(_random(B, T, 10).double().numpy(), 3)
    recorded = {"output": rounded, "l0.forward.h": _random(B, T, 5).half(), "h_n": _random(4, B, 5)}
    seen = observation_of(SPEC, recorded, T, B, True)
    assert seen.kept_of((1, "reverse", "h")) == RecordedPrecision(0, 0.0005, "3 decimals")
    assert seen.kept_of((0, "forward", "h")).relative == 2.0**-11
    assert seen.kept_of("h_n") == RecordedPrecision()


WRONG = {
    "unknown name": ({"h_m": _random(4, B, 5)}, r"unknown array 'h_m' .* output, h_n, c_n.*did you mean 'h_n'"),
    "layers alone": ({"layer0": _random(B, T, 5)}, r"expected output, h_n, c_n, l0\.forward\.h, l0\.reverse\.h, "),
    "another direction": ({"l0.backward.h": _random(B, T, 5)}, r"did you mean 'l0\.forward\.h'"),
    "no such layer": ({"l2.forward.h": _random(B, T, 5)}, "did you mean"),
    "output of a step less": ({"output": _random(B, 5, 10)}, r"5 steps, the default input has 6; .* \(batch, step"),
    "h_n": ({"h_n": _random(3, B, 5)}, r"\(layers × directions, batch, unit\) = \(4, 4, 5\)"),
    "h_n of the top layer": ({"h_n": _random(2, B, 5)}, "record h_n of every layer, or the output at every step"),
    "gate": ({"l0.forward.i": _random(B, T, 4)}, r"\(batch, step, unit\) = \(4, 6, 5\)"),
    "text": ({"output": "run.npy"}, "of dtype|not an array of numbers"),
    "complex": ({"output": _random(B, T, 10) * 1j}, "real"),
    "nothing": ({"x": torch.zeros(B, T, 3)}, "nothing to compare"),
    "empty": ({}, "nothing to compare"),
}  # fmt: skip


@pytest.mark.parametrize(("recorded", "message"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_is_said(recorded: Any, message: str):
    with pytest.raises(SequenceError, match=message):
        observation_of(SPEC, recorded, T, B, True)


def test_the_axes_of_a_module_with_time_first():
    with pytest.raises(SequenceError, match=r"\(step, batch, unit\) = \(6, 4, 10\)"):
        observation_of(_spec(batch_first=False), _random(5, 4, 10), T, B, True)
    with pytest.raises(SequenceError, match=r"\(step, unit\) = \(6, 10\)"):
        observation_of(SPEC, _random(5, 10), T, 1, False)


def test_a_state_without_its_axis_of_layers():
    spec = Spec(cell="lstm", input_size=3, hidden_size=5)
    with pytest.raises(SequenceError, match=r"\(1, 4, 5\); add its axis of layers, which has the size 1"):
        observation_of(spec, {"h_n": _random(B, 5)}, T, B, True)
    with pytest.raises(SequenceError, match=r"\(1, 4, 5\); swap its axes"):
        observation_of(spec, {"h_n": _random(B, 1, 5)}, T, B, True)


def test_forwards_known_dropout_is_checked_layer_by_layer():
    """As the message and docs/prove.md say."""
    torch.manual_seed(0)
    x, mask = torch.randn(12, 2, 3), (torch.rand(12, 2, 5) > 0.4) / 0.6
    whole, layers = torch.nn.GRU(3, 5, 2, dropout=0.4), (torch.nn.GRU(3, 5), torch.nn.GRU(5, 5))
    for at, layer in enumerate(layers):
        layer.load_state_dict(
            {n: whole.get_parameter(n.replace("_l0", f"_l{at}")) for n, _ in layer.named_parameters()}
        )
    h = layers[0](x)[0].detach()
    output = layers[1](h * mask)[0].detach()
    said = r"x_l1 is the input of layer 1, which only a check of gradients uses; .* layer 1 with x_l1 as its x"
    with pytest.raises(SequenceError, match=said):
        check(whole, x, recorded={"output": output, "x_l1": h * mask})
    assert check(layers[0], x, recorded=h).agrees
    assert check(layers[1], h * mask, recorded=output).agrees


def test_a_gru_has_no_cell_state():
    spec = Spec(cell="gru", input_size=3, hidden_size=5)
    with pytest.raises(SequenceError, match="unknown array 'c_n' in the recording"):
        observation_of(spec, {"c_n": _random(1, B, 5)}, T, B, True)


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("steps", [T, T + 2])
def test_a_packed_sequence(batch_first: bool, steps: int):
    """Longer than its longest item, where x is padded more."""
    lengths, spec = (3, T, 1, 5), _spec(batch_first=batch_first)
    states = (torch.zeros(4, B, 5) for _ in range(2))
    sequence = Sequence(torch.zeros(steps, B, 3), *states, lengths, True)
    output = _random(T, B, 10)
    packed = pack_padded_sequence(output, torch.tensor(lengths), enforce_sorted=False)
    (seen,) = observations_of(spec, packed, sequence).observations
    h = seen.layers[1, "reverse"]["h"]
    assert h.shape == (steps, B, 5)
    for item, length in enumerate(lengths):
        assert torch.equal(h[:length, item], output[:length, item, 5:])
    other = pack_padded_sequence(output, torch.tensor([3, T, 1, 4]), enforce_sorted=False)
    with pytest.raises(SequenceError, match=r"it has \[3, 6, 1, 4\], this run has \[3, 6, 1, 5\]"):
        observations_of(spec, {"output": other}, sequence)


def test_what_fills_up_x_behind_an_item_may_be_anything() -> None:
    """The engine's padding need not be ours: no step of any item reads it."""
    spec = _spec(input=f"randn:{T}", batch=B, lengths=[T, 2, 5, 1])
    made = prepare(spec)
    x, valid = made.sequence.x, made.sequence.valid()
    assert valid is not None
    padded = torch.where(valid.unsqueeze(-1), x, 9.0)
    output = made.engine.run(spec, made.parameters, made.sequence).output
    recorded = {name: v.transpose(0, 1) for name, v in {"x": padded, "output": output}.items()}
    assert observations_of(spec, recorded, made.sequence).observations
    recorded["x"][1, 1] += 1
    with pytest.raises(SequenceError, match="at step 1, batch item 1"):
        observations_of(spec, recorded, made.sequence)


@pytest.mark.parametrize("step", [-1, slice(-1, None)], ids=["without an axis of steps", "one step"])
def test_an_output_of_the_last_step_alone_is_h_n(step: int | slice) -> None:
    """As Keras gives it without return_sequences. Of a stack, h_n has the other layers, too."""
    module, x = torch.nn.LSTM(5, 7, batch_first=True), torch.randn(2, 9, 5)
    said = r"record the output at every step; if this is the last step, name it h_n, with the shape \(1, 2, 7\)"
    with pytest.raises(SequenceError, match=said):
        check(module, x, recorded=module(x)[0][:, step])
    for keys in ({"num_layers": 2}, {"bidirectional": True}):
        module = torch.nn.LSTM(5, 7, batch_first=True, **keys)
        with pytest.raises(SequenceError, match="; record the output at every step, or h_n of every layer"):
            check(module, x, recorded=module(x)[0][:, step])


WITH_DIRECTIONS = {  # by the place of each axis of (step, batch, direction, unit)
    "onnx": (0, 2, 1, 3),
    "onnx with layout 1": (1, 0, 2, 3),
    "a view of torch's": (0, 1, 2, 3),
    "stacked": (1, 2, 0, 3),
}


@pytest.mark.parametrize("axes", WITH_DIRECTIONS.values(), ids=WITH_DIRECTIONS)
@pytest.mark.parametrize("name", ["output", "Y"])
def test_directions_may_be_an_axis_of_the_output(axes: tuple[int, ...], name: str) -> None:
    output = _random(T, B, 2, 5)
    seen = observation_of(SPEC, {name: output.permute(*axes)}, T, B, True)
    for at, way in enumerate(("forward", "reverse")):
        assert torch.equal(seen.layers[1, way]["h"], output[:, :, at])


def test_where_directions_and_items_are_as_many_their_order_is_asked_for() -> None:
    output = _random(T, 2, 2, 5)
    with pytest.raises(SequenceError, match=r"may be \(step, direction, batch, unit\) or \(step, batch, direction, "):
        observation_of(SPEC, output, T, 2, True)
    both = output[:, :, :1].expand(T, 2, 2, 5)
    both = torch.stack([both[:, 0], both[:, 0]], 1)  # the same in either order
    assert torch.equal(observation_of(SPEC, both, T, 2, True).layers[1, "reverse"]["h"], both[:, 1])


@pytest.mark.parametrize("batch_first", [True, False])
def test_square_outputs_with_directions_are_in_the_layout_of_the_module(batch_first: bool) -> None:
    output = _random(B, B, 2, 5)
    given = output.transpose(0, 1) if batch_first else output
    seen = observation_of(_spec(batch_first=batch_first), given, B, B, True)
    assert torch.equal(seen.layers[1, "reverse"]["h"], output[:, :, 1])


def test_one_direction_or_the_sum_of_both_is_not_the_output() -> None:
    with pytest.raises(SequenceError, match=r"record both directions, .*, or one of them, as l1\.forward\.h"):
        observation_of(_spec(input="randn:6"), _random(B, T, 5), T, B, True)
