"""Every key of a spec: its default, and what is said when it is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from rnnspect import Spec, SpecError
from rnnspect.cells import CELLS, VARIANTS
from rnnspect.network.spec import json_schema
from rnnspect.network.spec_keys import KEYS, PLAIN, Key
from tests.comparison import specs


def test_what_is_left_out_takes_the_notebooks_value():
    spec = Spec()
    assert (spec.cell, spec.input_size, spec.hidden_size, spec.num_layers) == ("rnn", 5, 2, 1)
    assert (spec.nonlinearity, spec.bias, spec.batch_first, spec.bidirectional) == ("tanh", True, True, False)
    assert (spec.dropout, spec.proj_size, spec.dtype, spec.seed) == (0.0, 0, "float32", 1)
    assert (spec.input, spec.batch, spec.h0, spec.c0, spec.lengths) == ("ramp:3", None, None, None, None)
    assert (spec.weights, spec.head) == (None, None)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_only_an_rnn_has_a_nonlinearity(cell: str):
    assert Spec(cell=cell).nonlinearity is None


MISTAKES: list[tuple[dict[str, Any], list[str]]] = [
    # what was given, and what the message must say: found, allowed, nearest
    ({"hidden": 3}, ["unknown key 'hidden'", "hidden_size", "did you mean 'hidden_size'?"]),
    ({"Cell": "rnn"}, ["unknown key 'Cell'", "did you mean 'cell'?"]),
    ({"qqqqq": 3}, ["unknown key 'qqqqq'", "cell, input_size, hidden_size"]),
    ({"cell": "ltsm"}, ["'ltsm'", "rnn, gru, lstm", "did you mean 'lstm'?"]),
    ({"cell": "LSTM"}, ["'LSTM'", "did you mean 'lstm'?"]),
    ({"cell": 3}, ["cell is 3", "text"]),
    ({"nonlinearity": "tahn"}, ["'tahn'", "tanh, relu", "did you mean 'tanh'?"]),
    ({"cell": "gru", "nonlinearity": "relu"}, ["cell gru has no nonlinearity", "leave it out"]),
    ({"dtype": "float23"}, ["'float23'", "float16, bfloat16, float32, float64", "did you mean 'float32'?"]),
    ({"dtype": "int8"}, ["'int8'", "float16, bfloat16, float32, float64"]),
    ({"input_size": "5"}, ["input_size is the text '5'", "a whole number"]),
    ({"input_size": 5.5}, ["input_size is 5.5", "a whole number"]),
    ({"input_size": True}, ["input_size is true", "a whole number"]),
    ({"input_size": None}, ["input_size is empty", "a whole number"]),
    ({"bias": 1}, ["bias is 1", "true or false"]),
    ({"bias": "yes"}, ["bias is the text 'yes'", "true or false"]),
    ({"hidden_size": 0}, ["hidden_size is 0", "1 to 2147483647"]),
    ({"hidden_size": -3}, ["hidden_size is -3", "1 to 2147483647"]),
    ({"hidden_size": 2**31}, ["hidden_size is 2147483648", "1 to 2147483647"]),
    ({"num_layers": 0}, ["num_layers is 0", "1 to 1000"]),
    ({"num_layers": 10**30}, ["num_layers is 1000000000000000000000000000000", "1 to 1000"]),
    ({"batch": 0}, ["batch is 0", "1 to 2147483647"]),
    ({"dropout": 1.5}, ["dropout is 1.5", "0 to 1"]),
    ({"dropout": -0.1}, ["dropout is -0.1", "0 to 1"]),
    ({"dropout": float("nan")}, ["dropout is nan", "0 to 1"]),
    ({"seed": -1}, ["seed is -1", "0 to 18446744073709551615"]),
    ({"seed": 2**64}, ["seed is 18446744073709551616", "0 to 18446744073709551615"]),
    ({"proj_size": -1}, ["proj_size is -1", "0 to 2147483647"]),
    ({"cell": "gru", "proj_size": 1}, ["cell gru has no proj_size", "cell lstm"]),
    ({"cell": "rnn", "proj_size": 1}, ["cell rnn has no proj_size", "cell lstm"]),
    ({"cell": "lstm", "proj_size": 2}, ["proj_size 2 is not smaller than hidden_size 2", "0 (no projection), or 1"]),
    (
        {"cell": "lstm", "hidden_size": 8, "proj_size": 9},
        ["proj_size 9 is not smaller than hidden_size 8", "0 (no projection), or 1 to 7"],
    ),
    ({"cell": "gru", "c0": "zeros"}, ["cell gru has no cell state", "leave c0 out"]),
    ({"head": {}}, ["head has no out_features", "{out_features: 1}"]),
    ({"head": 5}, ["head is 5", "{out_features: 1}"]),
    ({"head": {"out_featuers": 1}}, ["unknown key 'out_featuers'", "did you mean 'out_features'?"]),
    ({"head": {"out_features": 0}}, ["is 0", "1 to 2147483647"]),
    ({"lengths": [3, 0]}, ["lengths is 0", "1 to 2147483647"]),
    ({"lengths": "3,2"}, ["lengths is the text '3,2'", "a list"]),
    ({"lengths": [3, "2"]}, ["the text '2'", "a whole number"]),
    ({"input": 3}, ["input is 3", "a generator such as ramp:3, a file, or the numbers themselves"]),
    ({"h0": {"a": 1}}, ["h0 is the mapping", "a generator such as ramp:3"]),
    ({"weights": [1]}, ["weights is the list [1]", "a file, or a mapping from parameter name to numbers"]),
    ({"device": 0}, ["device is 0", "text"]),
]


@pytest.mark.parametrize(("keys", "said"), MISTAKES, ids=lambda value: repr(value)[:60])
def test_a_mistake_is_named_with_what_is_allowed(keys: dict[str, Any], said: list[str]):
    with pytest.raises(SpecError) as raised:
        Spec(**keys)
    assert raised.value.exit_status == 2
    for part in said:
        assert part in str(raised.value)


def test_every_mistake_is_said_at_once():
    with pytest.raises(SpecError) as raised:
        Spec(cell="ltsm", hidden_size=0, biass=True)
    assert len(raised.value.problems) == 3


def test_a_mistake_is_said_once_for_each_key():
    """`input` may be a text, a list or nothing: not three complaints."""
    with pytest.raises(SpecError) as raised:
        Spec(input=3.5)
    assert len(raised.value.problems) == 1


def test_a_mistake_says_where_it_stands():
    with pytest.raises(SpecError) as raised:
        Spec.from_data({"head": {"out_features": 0}}, lambda path: f"here:{path}")
    assert raised.value.problems[0].where == "here:('head', 'out_features')"


def test_long_values_are_cut_short():
    with pytest.raises(SpecError) as raised:
        Spec(input_size="x" * 10_000)
    assert len(str(raised.value)) < 200


def test_changes_are_validated_again():
    with pytest.raises(SpecError):
        Spec(cell="lstm", hidden_size=8, proj_size=5).with_changes(hidden_size=4)
    assert Spec().with_changes(hidden_size=7) == Spec(hidden_size=7)


def test_a_spec_cannot_be_changed_in_place():
    with pytest.raises(ValidationError, match="frozen"):
        Spec().hidden_size = 3  # type: ignore[misc]


@given(spec=specs())
def test_a_spec_is_made_again_from_what_it_dumps(spec: Spec):
    assert Spec(**spec.model_dump()) == spec


@pytest.mark.parametrize(
    ("keys", "directions", "output_size", "above"),
    [
        ({}, ("forward",), 4, 4),
        ({"bidirectional": True}, ("forward", "reverse"), 4, 8),
        ({"cell": "lstm", "proj_size": 3, "bidirectional": True}, ("forward", "reverse"), 3, 6),
    ],
)
def test_sizes_that_follow(keys: dict[str, Any], directions: tuple[str, ...], output_size: int, above: int):
    spec = Spec(hidden_size=4, num_layers=2, **keys)
    assert spec.directions == directions
    assert spec.output_size == output_size
    assert [spec.layer_input_size(layer) for layer in range(2)] == [5, above]


def test_the_schema_knows_every_key_and_no_other():
    schema = json_schema()
    assert set(schema["properties"]) == set(Spec.model_fields)
    assert schema["additionalProperties"] is False
    assert schema["properties"]["cell"]["enum"] == ["rnn", "gru", "lstm"]
    assert all("description" in key for key in schema["properties"].values())


def test_every_key_says_what_else_must_be_known_of_it():
    assert all(isinstance(key, Key) for key in KEYS.values())
    for name, key in KEYS.items():
        assert (name in PLAIN) == (key.kind != "variant")
        assert key.torch if key.kind == "variant" else not (key.torch or key.cell or key.equations)
        assert key.cell in ("", *CELLS)
        assert not key.equations or (key.cell, key.equations) in VARIANTS


@given(
    st.dictionaries(
        st.sampled_from([*Spec.model_fields, "x"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
            lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
            max_leaves=4,
        ),
        max_size=4,
    )
)
def test_any_data_is_a_spec_or_a_spec_error(data: dict[str, Any]):
    try:
        spec = Spec.from_data(data)
    except SpecError:
        return
    assert Spec(**spec.model_dump()).model_dump_json() == spec.model_dump_json()


def test_a_change_of_cell_takes_the_new_cells_defaults():
    assert Spec().with_changes(cell="gru").nonlinearity is None
    with pytest.raises(SpecError, match="no nonlinearity"):
        Spec(nonlinearity="tanh").with_changes(cell="gru")


@pytest.mark.parametrize("key", ["weights", "input", "h0", "c0"])
def test_a_file_may_be_a_path(key: str) -> None:
    spec = Spec(cell="lstm", input_size=2, hidden_size=2, **{key: Path("some") / "file.npy"})
    assert getattr(spec, key) == str(Path("some") / "file.npy")
