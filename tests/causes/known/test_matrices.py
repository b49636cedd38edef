"""Matrices of cells of one's own that are reshaped or transposed, planted in forms in torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import rnnspect
from rnnspect import Spec, Verdict
from tests.causes.elementwise import cell_of, handing_on
from tests.marks import sampled

GATES = {
    "mingru": {"z": 6, "n": 6},
    "minlstm": {"f": 6, "i": 6, "n": 6},
    "carrying": {"f": 6, "n": 6, "o": 6},
    "retnet": {"q": 6, "k": 6, "v": 8},
    "s6": {"u": 6, "d": 6, "b": 4, "r": 4},
    "lru": {"r": 6, "i": 6, "d": 5},
    "mamba": {"v": 8, "z": 8},
}
"""The rows of each gate in weight_ih."""
UNITS = {"retnet": 8, "lru": 5}
"""Of the others it is 6."""
OWN = {"lru": ("C_re", "C_im"), "s6": ("A_log",), "mamba": ("dt_up", "dt_down", "B", "C", "out", "A_log")}
"""Parameters that are matrices."""
ORDERS: dict[str, Callable[[Tensor], Tensor]] = {
    "as in × out": lambda w: w.reshape(w.shape[1], w.shape[0]).T.contiguous(),
    "from in × out": lambda w: w.T.contiguous().reshape(w.shape),
}
DTYPES = ["float32", pytest.param("float64", marks=pytest.mark.slow)]


def first(cell: str, name: str, change: Callable[[Tensor], Tensor], **keys: Any) -> tuple[str, dict[str, Any]]:
    found = checked(cell, name, change, **keys)
    assert found.verdict == "differ"
    assert found.causes[0].left == ()
    return found.causes[0].name, found.causes[0].parameters


def checked(cell: str, name: str, change: Callable[[Tensor], Tensor], **keys: Any) -> Verdict:
    right = handing_on(cell, 8, "")

    def engine(x: Tensor, state: Any, parameters: dict[str, Tensor]) -> Any:
        return right(x, state, {**parameters, name: change(parameters[name])})

    spec = Spec(cell=cell_of(cell), **{"input_size": 3, "hidden_size": UNITS.get(cell, 6), "input": "randn:19", **keys})
    return rnnspect.check(spec, engine=engine)


def in_gates(cell: str, gates: list[str], change: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def made(w: Tensor) -> Tensor:
        blocks = zip(GATES[cell], w.split([*GATES[cell].values()]), strict=True)
        return torch.cat([change(block) if gate in gates else block for gate, block in blocks])

    return made


@pytest.mark.each_value_once
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("how", ORDERS)
@pytest.mark.parametrize(("cell", "gate"), sampled([(cell, gate) for cell, of in GATES.items() for gate in of], 4))
def test_the_kernel_of_one_gate(cell: str, gate: str, how: str, dtype: str) -> None:
    said = first(cell, "weight_ih_l0", in_gates(cell, [gate], ORDERS[how]), dtype=dtype)
    assert said == ("kernel-reshaped", {"which": f"the block of gate {gate} in weight_ih", "how": how})


@pytest.mark.each_value_once
@pytest.mark.parametrize("how", ORDERS)
@pytest.mark.parametrize("cell", sampled(GATES, 2))
def test_the_kernel_of_each_gate(cell: str, how: str) -> None:
    said = first(cell, "weight_ih_l0", in_gates(cell, [*GATES[cell]], ORDERS[how]))
    assert said == ("kernel-reshaped", {"which": "weight_ih", "how": f"gate by gate, {how}"})


@pytest.mark.slow
def test_a_mistake_that_is_as_small_as_the_roundings_of_a_half_type_is_looked_for_in_float64() -> None:
    assert first("mamba", "dt_up_l0", ORDERS["as in × out"], dtype="float64")[0] == "kernel-reshaped"


@pytest.mark.each_value_once
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("how", ORDERS)
@pytest.mark.parametrize(("cell", "name"), sampled([(cell, name) for cell, of in OWN.items() for name in of], 3))
def test_a_parameter_of_the_cell(cell: str, name: str, how: str, dtype: str) -> None:
    said = first(cell, f"{name}_l0", ORDERS[how], dtype=dtype)
    assert said == ("kernel-reshaped", {"which": name, "how": how})


@pytest.mark.parametrize(("cell", "name"), [("lru", "C_re"), ("lru", "C_im"), ("mamba", "out")])
def test_a_square_parameter_of_the_cell(cell: str, name: str) -> None:
    said = first(cell, f"{name}_l0", lambda w: w.T.contiguous(), hidden_size=8 if cell == "mamba" else 6)
    assert said == ("kernel-transposed", {"which": name})


@pytest.mark.parametrize(("cell", "gate"), [("mingru", "z"), ("s6", "b")])
def test_the_square_kernel_of_one_gate(cell: str, gate: str) -> None:
    rows = GATES[cell][gate]
    said = first(cell, "weight_ih_l0", in_gates(cell, [gate], lambda w: w.T.contiguous()), input_size=rows)
    assert said == ("kernel-transposed", {"which": f"the block of gate {gate} in weight_ih"})


@pytest.mark.parametrize("cell", GATES)
def test_right_matrices_agree(cell: str) -> None:
    assert checked(cell, "weight_ih_l0", lambda w: w).agrees


@pytest.mark.parametrize("gates", ["q", "k", "q k"])
def test_rows_with_heads_last(gates: str) -> None:
    """retnet has 2 heads with 3 keys each."""
    right = handing_on("retnet", 8, "")
    turned = in_gates("retnet", gates.split(), lambda w: w.view(3, 2, *w.shape[1:]).transpose(0, 1).reshape(w.shape))

    def engine(x: Tensor, state: Any, parameters: dict[str, Tensor]) -> Any:
        return right(x, state, {**parameters, **{n: turned(parameters[n]) for n in ("weight_ih_l0", "bias_ih_l0")}})

    spec = Spec(cell=cell_of("retnet"), input_size=3, hidden_size=8, input="randn:19")
    (cause,) = rnnspect.check(spec, engine=engine).causes
    assert (cause.name, cause.parameters) == ("kernel-reshaped", {"gates": gates})
    assert "are read as d_k × heads, not as heads × d_k" in cause.explanation
