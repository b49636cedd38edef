"""Parameters as a spec's `weights` give them: from every kind of file, or as numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from rnnspect import FileError, InputError, SequenceError, Spec, WeightsError, trace
from rnnspect.tracing.prepare import prepare

if TYPE_CHECKING:
    from pathlib import Path

SHAPES = {"cell": "lstm", "hidden_size": 4, "proj_size": 3, "num_layers": 2, "bidirectional": True}


def _state_dict(seed: int = 5, **keys: Any) -> dict[str, torch.Tensor]:
    """Other numbers than a spec's own seed gives."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        options = {name: value for name, value in keys.items() if name != "cell"}
        return getattr(nn, keys.get("cell", "rnn").upper())(
            **{"input_size": 5, "hidden_size": 2} | options
        ).state_dict()


def _save(folder: Path, suffix: str, tensors: dict[str, torch.Tensor]) -> str:
    path = folder / f"weights.{suffix}"
    if suffix in {"pt", "pth"}:
        torch.save(tensors, path)
    elif suffix == "npz":
        np.savez(path, **{name: tensor.numpy() for name, tensor in tensors.items()})
    else:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    return str(path)


@pytest.mark.parametrize("suffix", ["pt", "pth", "npz", "safetensors"])
def test_weights_from_a_file_are_those_in_it(tmp_path: Path, suffix: str):
    tensors = _state_dict(**SHAPES)
    found = prepare(Spec(**SHAPES, weights=_save(tmp_path, suffix, tensors))).parameters
    assert list(found) == list(tensors)
    for name, tensor in tensors.items():
        assert torch.equal(found[name], tensor), name


def test_weights_as_numbers_are_those_numbers():
    tensors = _state_dict(**SHAPES)
    numbers = {name: tensor.tolist() for name, tensor in tensors.items()}
    found = prepare(Spec(**SHAPES, weights=numbers)).parameters
    for name, tensor in tensors.items():
        assert torch.equal(found[name], tensor), name


def test_the_order_in_which_they_are_given_is_nothing(tmp_path: Path):
    tensors = _state_dict(**SHAPES)
    turned = dict(reversed(list(tensors.items())))
    assert list(prepare(Spec(**SHAPES, weights=_save(tmp_path, "pt", turned))).parameters) == list(tensors)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_weights_are_cast_to_the_specs_dtype(tmp_path: Path, dtype: str):
    tensors = _state_dict()
    found = prepare(Spec(weights=_save(tmp_path, "pt", tensors), dtype=dtype)).parameters
    for name, tensor in tensors.items():
        assert torch.equal(found[name], tensor.to(getattr(torch, dtype))), name


def test_a_trace_with_given_weights_is_the_modules(tmp_path: Path):
    module = nn.RNN(5, 2, batch_first=True)
    module.load_state_dict(_state_dict())
    x = torch.ones(3, 5)
    with torch.no_grad():
        expected = module(x)[0]
    found = trace(Spec(weights=_save(tmp_path, "pt", module.state_dict())), x)
    assert torch.equal(found.output.engine[0], expected)


def test_head_weights_are_given_by_name():
    numbers = {name: tensor.tolist() for name, tensor in _state_dict().items()}
    numbers |= {"head.weight": [[1.0, 2.0]], "head.bias": [0.5]}
    found = trace(Spec(weights=numbers, head={"out_features": 1}, dtype="float64"))
    assert found.head is not None
    h = found.h_n.manual[0, 0]
    assert found.head.manual.item() == pytest.approx((h[0] + 2 * h[1] + 0.5).item(), abs=1e-14)  # three roundings


def _changed(**changes: Any) -> dict[str, Any]:
    numbers: dict[str, Any] = {name: tensor.tolist() for name, tensor in _state_dict().items()}
    numbers |= changes
    return {name: value for name, value in numbers.items() if value is not None}


BAD: list[tuple[dict[str, Any], list[str]]] = [
    (_changed(bias_ih_l0=None), ["missing: 'bias_ih_l0'", "weight_ih_l0, weight_hh_l0"]),
    (_changed(bias_ih=[1, 2]), ["unknown parameter 'bias_ih'", "did you mean 'bias_ih_l0'?"]),
    (_changed(bias_ih_l0=[1, 2, 3]), ["bias_ih_l0 has the shape (3,)", "expected (2,)"]),
    (_changed(weight_ih_l0=[[0] * 2] * 5), ["weight_ih_l0 has the shape (5, 2)", "expected (2, 5)"]),
    (_changed(weight_hh_l0=[1, 2, 3, 4]), ["weight_hh_l0 has the shape (4,)", "expected (2, 2)"]),
    (_changed(bias_ih_l0=5), ["bias_ih_l0 has the shape (1,)", "expected (2,)"]),
    (_changed(**{"head.weight": [[1, 2]]}), ["unknown parameter 'head.weight'"]),
    ({}, ["missing: 'weight_ih_l0'", "'bias_hh_l0'"]),
]


@pytest.mark.parametrize(("weights", "said"), BAD, ids=[said[0] for _, said in BAD])
def test_weights_that_do_not_fit(weights: dict[str, Any], said: list[str]):
    with pytest.raises(WeightsError) as raised:
        prepare(Spec(weights=weights))
    for part in said:
        assert part in str(raised.value)
    assert raised.value.exit_status == 2


def test_all_that_does_not_fit_is_said_at_once():
    with pytest.raises(WeightsError) as raised:
        prepare(Spec(weights=_changed(bias_ih_l0=None, bias_ih=[1, 2], weight_hh_l0=[[1]])))
    assert len(raised.value.problems) == 2


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([[1, 2], [3]], "this row has length 1, the first has length 2"),
        (["a", 1], "'a' is not a number"),
        ({"a": 1}, "is not a number"),
    ],
)
def test_weights_that_are_no_numbers(value: Any, said: str):
    with pytest.raises(SequenceError, match=said):
        prepare(Spec(weights=_changed(bias_ih_l0=value)))


def test_a_mistake_is_found_where_it_is_written(tmp_path: Path):
    path = _save(tmp_path, "pt", {"bias": torch.ones(2)} | _state_dict())
    with pytest.raises(WeightsError, match=rf"{path}:bias: unknown parameter 'bias'"):
        prepare(Spec(weights=path))
    with pytest.raises(WeightsError, match=r"at \('weights', 'bias'\): unknown parameter 'bias'"):
        prepare(Spec(weights=_changed(bias=[1])), where=lambda keys: f"at {keys}")


def test_weights_of_a_network_with_another_shape_say_every_one() -> None:
    with pytest.raises(WeightsError) as raised:
        prepare(Spec(weights=dict(_state_dict(cell="gru"))))
    assert "weight_ih_l0 has the shape (6, 5); expected (2, 5)" in str(raised.value)
    assert "weight_hh_l0 has the shape (6, 2); expected (2, 2)" in str(raised.value)


def test_a_file_of_another_network_says_which(tmp_path: Path):
    with pytest.raises(
        WeightsError, match=r"\(6, 5\), .* cell gru .*; the file has cell gru, the spec has cell rnn; add"
    ):
        prepare(Spec(weights=_save(tmp_path, "pt", _state_dict(cell="gru"))))


@pytest.mark.parametrize("path", ["none.pt", "none.safetensors", "weights.txt", ""])
def test_a_file_that_is_not_there(tmp_path: Path, path: str):
    with pytest.raises(FileError):
        prepare(Spec(weights=str(tmp_path / path)))


ODD = {
    "complex": torch.ones(2, 2) * 1j,
    "sparse": torch.ones(2, 2).to_sparse(),
    "meta": torch.ones(2, 2, device="meta"),
}


@pytest.mark.parametrize("tensor", ODD.values(), ids=ODD.keys())
def test_a_parameter_without_plain_numbers(tmp_path: Path, tensor: torch.Tensor):
    torch.save(_state_dict() | {"weight_hh_l0": tensor}, tmp_path / "weights.pt")
    with pytest.raises(InputError):
        trace(Spec(weights=str(tmp_path / "weights.pt")))


def test_parameters_in_a_file_are_taken_as_numbers(tmp_path: Path):
    torch.save({name: nn.Parameter(tensor) for name, tensor in _state_dict().items()}, tmp_path / "weights.pt")
    found = prepare(Spec(weights=str(tmp_path / "weights.pt")))
    assert not any(tensor.requires_grad for tensor in found.parameters.values())


def test_a_text_holds_no_weights(tmp_path: Path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(
        FileError, match=r"notes\.txt: this is a text file, which holds no weights; expected a weights file"
    ):
        prepare(Spec(weights=str(tmp_path / "notes.txt")))
