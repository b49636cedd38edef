"""Which layers of a file are taken for one network: those of one kind of which each takes the output of all steps of
the one below as it is, and no others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from rnnspect.files.operators import FileArray, Operator
from rnnspect.files.reading import Stored
from rnnspect.weights.readers.operators import DescribedOperator, modules_of


def layer(name: str, takes: str, inputs: int = 4, **said: Any) -> Operator:
    """An RNN of 4 units whose outputs are NAME and NAME.last."""
    shapes = {"weight_ih": (4, inputs), "weight_hh": (4, 4)}
    arrays = {key: FileArray(Stored(shape, "float32"), lambda: None) for key, shape in shapes.items()}
    every = {"gives_steps": True, "gives": (name, f"{name}.last")} | said
    return Operator("rnn", name, arrays, every.pop("keys", {}), takes=takes, **every)


def describe(operator: Operator, _where: str) -> DescribedOperator:
    keys: Mapping[str, Any] = {"batch_first": False, **operator.settings}
    return DescribedOperator("rnn", "coreml", (operator.arrays,), keys, ())


def networks(*operators: Operator) -> dict[str, tuple[int, str]]:
    """By the name of each network its layers, and what it reads from."""
    found = modules_of(operators, Path("m"), {}, describe)
    told = {name: one.tell() for name, one in found.items() if not one.in_stack}
    return {name: (one.keys.get("num_layers", 1), one.reads_from) for name, one in told.items()}


ABOVE = {
    "of its last step": layer("b", "a.last"),
    "of something that is computed of it": layer("b", "relu"),
    "of another function": layer("b", "a", keys={"nonlinearity": "relu"}),
    "in the other direction": layer("b", "a", keys={"reverse": True}),
    "of another width": layer("b", "a", 8),
}


def test_a_chain_is_one_network():
    assert networks(layer("a", "x", 3), layer("b", "a"), layer("c", "b")) == {"network": (3, "")}


@pytest.mark.parametrize("above", ABOVE.values(), ids=ABOVE)
def test_a_layer_stands_alone(above: Operator):
    assert [count for count, _ in networks(layer("a", "x", 3), above).values()] == [1, 1]


def test_what_gives_no_steps_is_no_layer_of_a_network():
    assert networks(layer("a", "x", 3, gives_steps=False), layer("b", "a")) == {"a": (1, ""), "b": (1, "a")}


def test_a_layer_that_two_others_read_ends_its_network():
    found = networks(layer("a", "x", 3), layer("b", "a"), layer("c", "b"), layer("d", "b"))
    assert found == {"network": (2, ""), "c": (1, "network"), "d": (1, "network")}


def test_networks_and_layers_read_from_networks():
    relu = {"nonlinearity": "relu"}
    lower, upper = (layer("a", "x", 3), layer("b", "a")), (layer("c", "b", keys=relu), layer("d", "c", keys=relu))
    assert networks(*lower, *upper) == {"network": (2, ""), "network#2": (2, "network")}
