"""x, h0, c0 and lengths: from wherever they are written, and what is said where they do not fit."""

from __future__ import annotations

import io
import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from rnnspect import FileError, InputError, SequenceError, Spec, trace
from rnnspect.files.sources import File, Generator, Literal, StandardInput, parse
from rnnspect.tracing.prepare import prepare

if TYPE_CHECKING:
    from pathlib import Path

    from rnnspect.network.sequence import Sequence

ONE = {"input_size": 1}
THREE = {"input_size": 3}


def _sequence(x: Any = None, h0: Any = None, c0: Any = None, **keys: Any) -> Sequence:
    return prepare(Spec(**{"dtype": "float64"} | keys), x, h0, c0).sequence


def _x(x: Any = None, **keys: Any) -> list[Any]:
    """The only item of the batch, [step][unit]."""
    found = _sequence(x, **keys).x
    assert found.shape[1] == 1
    return found[:, 0].tolist()


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("ramp:3", [[1, 1, 1], [2, 2, 2], [3, 3, 3]]),
        ("ones:2", [[1, 1, 1], [1, 1, 1]]),
        ("zeros:2", [[0, 0, 0], [0, 0, 0]]),
        ("impulse:3", [[1, 1, 1], [0, 0, 0], [0, 0, 0]]),
        (" ramp:1 ", [[1, 1, 1]]),
    ],
)
def test_a_generator_makes_its_numbers(source: str, expected: list[Any]):
    assert _x(source, **THREE) == expected


def test_integers_are_drawn_below_what_is_said():
    drawn = _sequence("randint:4000:7", **ONE).x
    assert drawn.shape == (4000, 1, 1)
    assert set(drawn.flatten().tolist()) == set(range(7))  # each is missed once in (7/6)^4000 > 10^267 drawings
    assert torch.equal(drawn, _sequence("randint:4000:7", **ONE).x), "by the seed"
    assert not torch.equal(drawn, _sequence("randint:4000:7", seed=9, **ONE).x)
    assert _sequence("randint:4:7", h0="randint:1:2", **ONE).h0.unique().tolist() in ([0], [1], [0, 1])


def test_a_sine_has_one_more_period_in_each_column():
    expected = [[math.sin(2 * math.pi * (i + 1) * t / 50) for i in range(3)] for t in range(50)]
    # Arguments up to 6π, each rounded to 2e-15.
    np.testing.assert_allclose(_x("sine:50", **THREE), expected, atol=1e-14)


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("kind", ["ramp", "ones", "zeros", "impulse", "sine"])
def test_a_batch_repeats_what_is_not_random(kind: str, batch_first: bool):
    found = _sequence(f"{kind}:5", batch=4, batch_first=batch_first)
    assert found.x.shape == (5, 4, 5)
    assert found.batched
    assert all(torch.equal(found.x[:, item], found.x[:, 0]) for item in range(4))


def test_a_random_batch_holds_different_items():
    x = _sequence("randn:5", batch=2).x
    assert not torch.equal(x[:, 0], x[:, 1])


@pytest.mark.parametrize("form", ["text", "lists", "array", "tensor", "tuples", "float32", "ints"])
def test_the_numbers_themselves_take_many_forms(form: str):
    lists = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
    given = {
        "text": json.dumps(lists),
        "lists": lists,
        "array": np.array(lists),
        "tensor": torch.tensor(lists),
        "tuples": tuple(map(tuple, lists)),
        "float32": np.array(lists, np.float32),
        "ints": np.array(lists, np.int64),
    }[form]
    assert _x(given, **THREE) == lists


@pytest.mark.parametrize("batch_first", [True, False])
def test_a_batched_x_is_laid_out_as_batch_first_says(batch_first: bool):
    x = torch.arange(24.0).reshape(2, 4, 3)
    found = _sequence(x, **THREE, batch_first=batch_first)
    assert torch.equal(found.x, (x.transpose(0, 1) if batch_first else x).double())
    assert (found.steps, found.batch) == ((4, 2) if batch_first else (2, 4))


def test_one_column_is_a_sequence_of_scalars():
    assert _x([1, 2, 3], **ONE) == [[1], [2], [3]]


def test_the_callers_array_is_not_written_to():
    x = np.ones((4, 5))
    found = trace(Spec(dtype="float64"), x)
    found.x[:] = 7
    assert (x == 1).all()


@pytest.mark.parametrize(
    "x",
    [
        np.arange(15.0).reshape(3, 5)[::-1],
        np.arange(15.0).reshape(3, 5).astype(">f4"),
        np.asfortranarray(np.arange(15.0).reshape(3, 5)),
        np.broadcast_to(np.arange(5.0), (3, 5)),
        np.arange(15, dtype=np.uint16).reshape(3, 5),
        np.arange(15).reshape(3, 5) > 4,
    ],
    ids=["reversed", "big-endian", "fortran", "read-only", "uint16", "bool"],
)
def test_any_numeric_array_is_as_good_as_its_numbers(x: np.ndarray):
    """torch refuses or warns about some of them; a caller cannot be asked to know that."""
    assert _x(x) == x.astype(float).tolist()


@pytest.mark.parametrize(
    "x", [[[np.float32(1)] * 5], [np.ones(5)], [torch.ones(5)], (np.ones(5), np.ones(5))], ids=repr
)
def test_lists_of_numpy_and_torch_numbers_are_numbers(x: Any):
    assert _x(x)[0] == [1.0] * 5


@pytest.mark.parametrize(
    "x",
    [object(), {"a": 1}, np.array([None] * 5), ((1, 2), (3,)), b"abc", {1, 2}, np.array(["a"] * 5)],
    ids=["object", "mapping", "objects", "ragged", "bytes", "set", "texts"],
)
def test_what_is_no_array_is_refused(x: Any):
    with pytest.raises(SequenceError):
        prepare(Spec(), x)


def test_a_tensor_that_learns_is_taken_as_numbers():
    found = trace(Spec(), torch.ones(3, 5, requires_grad=True))
    assert not found.x.requires_grad


BAD_X: list[tuple[Any, dict[str, Any], list[str]]] = [
    (
        "[[1,2],[3]]",
        {"input_size": 2},
        ["input[1]: this row has length 1, the first has length 2", "this row has length 1, the first has length 2"],
    ),
    ([[1, 2], [3]], {"input_size": 2}, ["input", "this row has length 1, the first has length 2"]),
    ("[[1,2],3]", {"input_size": 2}, ["expected a row of numbers"]),
    ("[1,[2]]", ONE, ["expected a number, got a list"]),
    ('[["a"]]', ONE, ["input[0][0]: 'a' is not a number", "a number, NaN or Infinity"]),
    ("[[null]]", ONE, ["null is not a number"]),
    ("[[true]]", ONE, ["True is not a number"]),
    ('[["+-nan"]]', ONE, ["is not a number"]),
    ("[[1,]]", ONE, ["input:1:", "not JSON"]),
    ("[[1]", ONE, ["not JSON"]),
    ("[" * 50, ONE, ["not JSON"]),
    ("[" * 100_000 + "]" * 100_000, ONE, ["nested too deeply"]),
    ("[]", ONE, ["which is empty"]),
    ("[[]]", ONE, ["which is empty"]),
    (5.0, ONE, ["x has the shape ()"]),
    ([[[[1.0]]]], ONE, ["x has the shape (1, 1, 1, 1)", "(T, 1) or (B, T, 1)"]),
    (np.zeros((0, 5)), {}, ["x has the shape (0, 5), which is empty"]),
    (np.zeros((2, 0, 5)), {}, ["x has the shape (2, 0, 5), which is empty"]),
    ("ramp:0", {}, ["ramp:0 needs a length", "ramp:3 for 3 steps"]),
    ("ramp", {}, ["ramp needs a length"]),
    ("randint", {}, ["randint needs a length", "randint:20:5000 for 20 steps"]),
    ("randint:3", {}, ["randint:3 needs an upper limit", "randint:20:5000"]),
    ("randint:3:0", {}, ["randint:3:0 needs an upper limit", "randint:20:5000"]),
    ("randit:3:4", {}, ["there is no file or generator", "did you mean 'randint:20:5000'?"]),
    ([[1.0, 2.0]], {}, ["x has 2 features per step, input_size is 5", "(T, 5) or (B, T, 5)"]),
    ([[1.0]], {"batch_first": False}, ["x has 1 feature per step", "(T, 5) or (T, B, 5)"]),
    ("rmap:3", {}, ["there is no file or generator 'rmap:3'", "did you mean 'ramp:3'?"]),
    ("rand:5", {}, ["there is no file or generator 'rand:5'", "did you mean 'randn:3'?"]),
    (torch.ones(3, 5) * 1j, {}, ["complex64", "a dense tensor of real numbers"]),
    (torch.eye(5).to_sparse(), {}, ["sparse", "a dense tensor of real numbers"]),
]


def test_a_batch_size_goes_with_a_generator():
    with pytest.raises(SequenceError, match="this input has its own batch size"):
        prepare(Spec(input=[[1.0] * 5], batch=2))


def test_an_x_replaces_the_generator_and_its_batch_size():
    assert prepare(Spec(batch=2), np.ones((4, 5))).sequence.batch == 1


@pytest.mark.parametrize(("x", "keys", "said"), BAD_X, ids=lambda value: repr(value)[:50].replace("\n", ""))
def test_an_x_that_cannot_be_run(x: Any, keys: dict[str, Any], said: list[str]):
    with pytest.raises(SequenceError) as raised:
        prepare(Spec(**keys), x)
    for part in said:
        assert part in str(raised.value)
    assert raised.value.exit_status == 2


@pytest.mark.parametrize(
    "x", ["nothing.npy", "", "no such thing", "a" * 5000, "a" * 5000 + ".npz:x", "a\0b.csv", "ramp:-3"]
)
def test_a_text_that_is_no_source_is_a_missing_file(x: str):
    with pytest.raises((FileError, SequenceError)):
        prepare(Spec(), x)


def test_a_spec_without_input_needs_an_x():
    with pytest.raises(SequenceError, match="no input"):
        prepare(Spec(input=None))
    assert prepare(Spec(input=None), "ramp:2").sequence.steps == 2


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_numbers_beyond_the_dtype_become_infinite(dtype: str):
    assert _sequence([[1e39]], **ONE, dtype=dtype).x.isinf().all()


def test_an_integer_that_no_float_holds_is_infinite():
    assert _x("[[" + "1" * 5000 + "]]", **ONE) == [[math.inf]]


def test_text_writes_infinity_and_nan_as_json_and_as_words():
    found = _x('[[NaN], [Infinity], ["-inf"], ["nan"], [1e999]]', **ONE)
    assert str(found) == "[[nan], [inf], [-inf], [nan], [inf]]"


@pytest.mark.parametrize(
    ("h0", "expected"),
    [
        (None, [[0, 0], [0, 0]]),
        ("zeros", [[0, 0], [0, 0]]),
        ("ones", [[1, 1], [1, 1]]),
        ("ramp", [[1, 1], [2, 2]]),
        ("ramp:2", [[1, 1], [2, 2]]),
        ("impulse", [[1, 1], [0, 0]]),
        ("[[1,2],[3,4]]", [[1, 2], [3, 4]]),
    ],
)
def test_a_state_has_a_row_for_each_layer(h0: Any, expected: list[Any]):
    assert _sequence(None, h0, num_layers=2).h0[:, 0].tolist() == expected


def test_a_state_of_a_batch_has_the_batch_in_the_middle():
    found = _sequence("randn:3", "ramp", batch=3, num_layers=2)
    assert found.h0.tolist() == [[[1, 1]] * 3, [[2, 2]] * 3]


def test_with_a_projection_h_and_c_have_their_own_units():
    found = _sequence(cell="lstm", hidden_size=4, proj_size=3, h0="ones", c0="ones")
    assert found.c0 is not None
    assert (found.h0.shape, found.c0.shape) == ((1, 1, 3), (1, 1, 4))


BAD_STATES: list[tuple[str, Any, dict[str, Any], list[str]]] = [
    ("h0", [[1.0]], {}, ["h0 has the shape (1, 1)", "(layers, units) = (1, 2)"]),
    ("h0", [1.0, 2.0], {}, ["h0 has the shape (2,)", "(layers, units) = (1, 2)"]),
    ("h0", np.zeros((1, 3, 2)), {"batch": 2}, ["(1, 3, 2)", "(layers, batch, units) = (1, 2, 2)"]),
    ("h0", np.zeros((1, 2)), {"batch": 2}, ["(1, 2)", "(layers, batch, units) = (1, 2, 2)"]),
    ("h0", np.zeros((2, 2)), {"num_layers": 2, "bidirectional": True}, ["(layers × directions, units) = (4, 2)"]),
    ("h0", "ramp:3", {}, ["ramp:3 gives 3 initial states", "write ramp"]),
    ("c0", np.zeros((1, 3)), {"cell": "lstm", "hidden_size": 4, "proj_size": 3}, ["c0", "(layers, units) = (1, 4)"]),
    ("c0", "zeros", {"cell": "gru"}, ["cell gru has no cell state", "leave c0 out"]),
    ("h0", "[[1,2],[3]]", {}, ["this row has length 1, the first has length 2"]),
]


@pytest.mark.parametrize(
    ("name", "state", "keys", "said"), BAD_STATES, ids=lambda value: repr(value)[:50].replace("\n", "")
)
def test_a_state_that_does_not_fit(name: str, state: Any, keys: dict[str, Any], said: list[str]):
    with pytest.raises(SequenceError) as raised:
        prepare(Spec(**keys), **{name: state})
    for part in said:
        assert part in str(raised.value)


BAD_LENGTHS: list[tuple[dict[str, Any], list[str]]] = [
    ({"lengths": [4, 3], "batch": 2}, ["length 4 in a batch of 3 steps", "1 to 3"]),
    ({"lengths": [3], "batch": 2}, ["1 length for a batch of 2 sequences"]),
    ({"lengths": [], "batch": 2}, ["0 lengths for a batch of 2"]),
    ({"lengths": [3, 1], "batch": 1}, ["2 lengths for a batch of 1 sequence"]),
    ({"lengths": [3]}, ["lengths are for a batch, and this x has no batch axis"]),
]


@pytest.mark.parametrize(("keys", "said"), BAD_LENGTHS, ids=str)
def test_lengths_that_do_not_fit(keys: dict[str, Any], said: list[str]):
    with pytest.raises(SequenceError) as raised:
        prepare(Spec(**keys))
    for part in said:
        assert part in str(raised.value)


@pytest.mark.parametrize("lengths", [["a"], [2.7], [None], 5, [0]], ids=repr)
def test_lengths_that_are_none_are_refused(lengths: Any):
    with pytest.raises(InputError):
        trace(Spec(batch=1), lengths=lengths)


def test_lengths_may_be_a_tensor():
    assert trace(Spec(batch=2), lengths=torch.tensor([3, 1])).lengths == (3, 1)


@pytest.mark.parametrize(("lengths", "expected"), [(None, None), ([3, 3], None), ([3, 1], [[1, 1], [1, 0], [1, 0]])])
def test_valid_steps_are_those_within_a_length(lengths: list[int] | None, expected: list[list[int]] | None):
    valid = _sequence(batch=2, lengths=lengths).valid()
    assert (valid if valid is None else valid.int().tolist()) == expected


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("ramp:3", Generator("ramp", 3)),
        ("randn", Generator("randn", None)),
        ("-", StandardInput()),
        ("[[1]]", Literal("[[1]]")),
        ("x.npz:a", ("x.npz", "a")),
        ("x.npz", ("x.npz", None)),
        ("x.csv:a", ("x.csv:a", None)),
        ("ramp:3.npy", ("ramp:3.npy", None)),
        ("dir.npz/x.npy", ("dir.npz/x.npy", None)),
        ("a.npz:b:c.npz:d", ("a.npz:b:c.npz", "d")),
    ],
)
def test_what_a_text_means(text: str, meant: Any):
    found = parse(text)
    assert ((str(found.path), found.member) if isinstance(found, File) else found) == meant


def test_a_file_whose_name_looks_like_a_member_is_the_file(tmp_path: Path):
    (tmp_path / "x.npz:a").touch()
    found = parse(str(tmp_path / "x.npz:a"))
    assert isinstance(found, File)
    assert found.member is None


class _Pipe:
    def __init__(self, data: bytes) -> None:
        self.buffer = io.BytesIO(data)


def _saved(save: Any, *arrays: Any, **named: Any) -> bytes:
    buffer = io.BytesIO()
    save(buffer, *arrays, **named)
    return buffer.getvalue()


PIPED = [
    _saved(np.save, np.array([[1.0], [2.0]])),
    _saved(np.savez, np.array([[1.0], [2.0]])),
    b"[[1], [2]]\n",
    b"1\n2\n",
    b"# header\n1.0\r\n2.0\r\n",
]


@pytest.mark.parametrize("data", PIPED, ids=["npy", "npz", "json", "csv", "crlf"])
def test_standard_input_is_what_it_looks_like(monkeypatch: pytest.MonkeyPatch, data: bytes):
    monkeypatch.setattr("sys.stdin", _Pipe(data))
    assert _x("-", **ONE) == [[1], [2]]


def test_tabs_on_standard_input_are_columns(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.stdin", _Pipe(b"1\t2\n3\t4\n"))
    assert _x("-", input_size=2) == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" \n",
        b"\xff\xfe",
        b"a,b\n",
        b"PK",
        b"\x93NUMPY",
        _saved(np.savez, a=np.ones(2), b=np.ones(2)),
        b"[[1]",
        b"1,2\n3\n",
        b"1\0",
    ],
)
def test_standard_input_that_holds_no_sequence(monkeypatch: pytest.MonkeyPatch, data: bytes):
    monkeypatch.setattr("sys.stdin", _Pipe(data))
    with pytest.raises((FileError, SequenceError), match="standard input"):
        prepare(Spec(**ONE), "-")
