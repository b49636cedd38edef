"""Spec files: YAML that can describe, and never makes code run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rnnspect import FileError, InputError, Spec, SpecError
from rnnspect.files.yaml import read_spec_file

if TYPE_CHECKING:
    from pathlib import Path


def _read(folder: Path, text: str | bytes) -> dict[str, Any]:
    return _written(folder, text)[0]


def _written(folder: Path, text: str | bytes) -> Any:
    path = folder / "spec.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_spec_file(path)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("1e-3", 0.001),
        ("1E3", 1000.0),
        ("1.5e3", 1500.0),
        ("1.5e+3", 1500.0),
        (".5", 0.5),
        ("-.5e1", -5.0),
        ("1.", 1.0),
        ("-3", -3),
        ("+3", 3),
        ("0", 0),
        ("0x1F", 31),
        ("1_000", 1000),
        (".inf", float("inf")),
        ("-.inf", float("-inf")),
        ("true", True),
        ("no", False),
        ("null", None),
        ("~", None),
        ("'1e-3'", "1e-3"),
        ('"5"', "5"),
        ("ramp:3", "ramp:3"),
        ("randn:100", "randn:100"),
        ("-", "-"),
        ("1e", "1e"),
        ("e3", "e3"),
        ("1.2.3", "1.2.3"),
        ("run.npz:x", "run.npz:x"),
    ],
)
def test_a_value_is_what_everybody_means_by_it(tmp_path: Path, written: str, meant: Any):
    if written == "-":
        written = "'-'"
    found = _read(tmp_path, f"seed: {written}\n")["seed"]
    assert found == meant
    assert type(found) is type(meant)


def test_nan_is_a_number(tmp_path: Path):
    found = _read(tmp_path, "input: [[.nan, 1e-3]]\n")["input"]
    assert found[0][0] != found[0][0]
    assert found[0][1] == 0.001


def test_flow_and_block_styles_mean_the_same(tmp_path: Path):
    flow = _read(tmp_path, "{cell: lstm, head: {out_features: 1}, lengths: [3, 2]}")
    assert flow == _read(tmp_path, "cell: lstm\nhead:\n  out_features: 1\nlengths:\n- 3\n- 2\n")


def test_a_byte_order_mark_and_comments_are_nothing(tmp_path: Path):
    assert _read(tmp_path, "\ufeff# a comment\ncell: gru  # another\n") == {"cell": "gru"}


BAD: list[tuple[str, str, list[str]]] = [
    # the file, line:column, and what is said
    (
        "cell: rnn\nbias: true\ncell: gru\n",
        "3:1",
        ["the key 'cell' is repeated (first on line 1)", "line 1", "is repeated"],
    ),
    ("head: {out_features: 1, out_features: 2}\n", "1:25", ["the key 'out_features' is repeated"]),
    ("cell: !!python/object/apply:os.system ['true']\n", "1:7", ["tag", "is not allowed in a spec"]),
    ("!!python/name:os.system\n", "1:1", ["tag", "is not allowed in a spec"]),
    ("cell: rnn\nseed: !int 3\n", "2:7", ["tag '!int'"]),
    ("seed: !!binary aGk=\n", "1:7", ["tag"]),
    ("!spec {cell: rnn}\n", "1:1", ["tag '!spec'"]),
    ("cell: &a rnn\n", "1:7", ["YAML anchors and aliases are not allowed in a spec", "write each value out"]),
    ("cell: rnn\n<<: {seed: 3}\n", "2:1", ["YAML merges (<<) are not read in a spec", "write each value out"]),
    ("cell: *a\n", "1:7", ["YAML anchors and aliases are not allowed in a spec"]),
    ("input: &a [1]\nh0: [*a, *a, *a]\n", "1:8", ["YAML anchors and aliases are not allowed in a spec"]),
    ("cell: rnn\n---\ncell: gru\n", "2:1", ["a second YAML document", "one spec per file"]),
    ("input: " + "[" * 40 + "]" * 40 + "\n", "1:39", ["nested too deeply", "at most 32 levels"]),
    ("- cell\n- rnn\n", "1:1", ["this is not a spec", "cell: lstm"]),
    ("just text\n", "1:1", ["this is not a spec"]),
    ("cell: rnn\nbias: [true\n", "3:1", ["not valid YAML"]),
    ("cell: rnn\n\tbias: true\n", "2:1", ["not valid YAML"]),
    ("cell: rnn\nseed: 0x_\n", "2:7", ["cannot read the value '0x_'"]),
]


@pytest.mark.parametrize(("text", "at", "said"), BAD, ids=[text[:30].strip() for text, _, _ in BAD])
def test_what_is_wrong_is_said_with_its_line_and_column(tmp_path: Path, text: str, at: str, said: list[str]):
    with pytest.raises(SpecError) as raised:
        _read(tmp_path, text)
    assert str(raised.value).startswith(f"{tmp_path / 'spec.yaml'}:{at}: ")
    for part in said:
        assert part in str(raised.value)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("cell: rnn\nhiden_size: 3\n", "2:1"),
        ("cell: rnn\nhead:\n  out_features: 0\n", "3:3"),
        ("hidden_size: 4\nproj_size: 2\n", "2:1"),
        ("lengths: [3, 2,\n  0]\n", "2:3"),
        ("cell: ltsm\n", "1:1"),
        ("dtype: 8\n", "1:1"),
    ],
)
def test_a_wrong_value_is_found_in_the_file(tmp_path: Path, text: str, at: str):
    data, where = _written(tmp_path, text)
    with pytest.raises(SpecError) as raised:
        Spec.from_data(data, where)
    assert str(raised.value).startswith(f"{tmp_path / 'spec.yaml'}:{at}: ")


def test_every_key_that_is_there_twice_is_said(tmp_path: Path):
    with pytest.raises(SpecError) as raised:
        _read(tmp_path, "cell: rnn\ncell: gru\nbias: true\nbias: false\n")
    assert len(raised.value.problems) == 2


def test_a_place_that_the_file_does_not_have_is_its_start(tmp_path: Path):
    _, where = _written(tmp_path, "\n\ncell: rnn\n")
    assert where(("hidden_size",)) == f"{tmp_path / 'spec.yaml'}:3:1"


@pytest.mark.parametrize("key", ["weights", "input", "h0", "c0"])
def test_files_are_counted_from_the_files_own_folder(tmp_path: Path, key: str):
    assert _read(tmp_path, f"{key}: data/x.npz:a\n")[key] == f"{tmp_path}/data/x.npz:a"


@pytest.mark.parametrize("source", ["ramp:3", "randn", "'-'", "'[[1, 2]]'", "/somewhere/x.npy"])
def test_what_is_no_path_in_that_folder_is_left_as_it_is(tmp_path: Path, source: str):
    assert _read(tmp_path, f"input: {source}\n")["input"] == source.strip("'")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the file is empty"),
        (b"# only a comment\n", "the file is empty"),
        (b"\xff\xfe\x00c", "this is a binary file"),
        (b"cell: r\0nn", "this is a binary file"),
        (b"\x93NUMPY\x01\x00", "this is a binary file"),
    ],
)
def test_a_file_that_is_no_spec(tmp_path: Path, content: bytes, said: str):
    with pytest.raises(InputError, match=said):
        _read(tmp_path, content)


def test_a_missing_file_or_a_folder(tmp_path: Path):
    with pytest.raises(FileError, match="no such file"):
        read_spec_file(tmp_path / "none.yaml")
    with pytest.raises(FileError, match="a folder"):
        read_spec_file(tmp_path)


YAML_LIKE = st.lists(
    st.sampled_from(
        [
            *"{}[]:,-?!&*#|>'\"%@` \n\t~<=.0189_",
            "cell",
            "head",
            "rnn",
            ": ",
            "\n- ",
            "\n  ",
            "1e3",
            "0x",
            "!!",
            "<<: ",
            "---\n",
            "...\n",
            "\\x",
            "é",
            "\x07",
            "\u2028",
            ".inf",
            "2001-01-01",
            "1:30",
        ]
    ),
    max_size=20,
).map("".join)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=YAML_LIKE | st.text(max_size=20) | st.binary(max_size=20))
def test_any_text_is_a_mapping_or_an_error_of_ours(tmp_path: Path, text: str | bytes):
    if isinstance(text, str):
        text = text.encode(errors="replace")
    message = "a spec"
    try:
        data, where = _written(tmp_path, text)
        Spec.from_data(data, where)
    except InputError as error:
        message = str(error)
    assert message == "a spec" or message.startswith(str(tmp_path))


def test_an_expanding_alias_is_refused_before_it_expands(tmp_path: Path):
    """The billion laughs: ten levels of ten references each."""
    levels = "\n".join(f"k{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10))
    with pytest.raises(SpecError, match="YAML anchors and aliases are not allowed in a spec"):
        _read(tmp_path, f"k0: &a0 lol\n{levels}\n")


def test_deeper_nesting_than_the_parser_itself_takes(tmp_path: Path):
    with pytest.raises(SpecError, match=r"spec\.yaml:1:\d+: .*nest"):
        _read(tmp_path, "input: " + "[" * 100_000 + "\n")


@pytest.mark.parametrize("written", ["010", "1:30", "12:30:45", "2024-01-31", "0b101", "0o17"])
def test_what_yaml_1_1_takes_for_a_number_is_text(tmp_path: Path, written: str):
    """hidden_size: 010 means 10 to one person and 8 to another; it is refused, with its place."""
    path = tmp_path / "net.yaml"
    path.write_text(f"cell: rnn\nseed: {written}\n")
    data, where = read_spec_file(path)
    assert data["seed"] == written
    with pytest.raises(SpecError, match=f"net.yaml:2:1: seed is the text '{written}'; expected a whole number"):
        Spec.from_data(data, where)


def test_a_character_that_no_yaml_may_hold_has_a_place(tmp_path: Path):
    path = tmp_path / "net.yaml"
    path.write_text("cell: rnn\nseed: \x1b[31m1\n")
    with pytest.raises(SpecError, match=r"net.yaml:2:7: this character"):
        read_spec_file(path)


def test_a_list_is_no_key(tmp_path: Path):
    path = tmp_path / "net.yaml"
    path.write_text("cell: rnn\n? [a, b]\n: 2\n")
    with pytest.raises(SpecError, match=r"net.yaml:2:3: a key cannot be a list or a mapping"):
        read_spec_file(path)


_ROWS = ", ".join(f"[{number}]" for number in range(10**5))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"input: [{_ROWS}]", "more than 100,000 values"),
        ("input:\n" + "- [1.5]\n" * 10**5, "more than 100,000 values"),
        ("".join(f"k{number}: 1\n" for number in range(2000)), "2000 keys; `rnnspect schema` lists"),
        ("cell: " + "x" * 5000, "this value has 5,000 characters; expected at most 4,096"),
        ("hidden_size: " + "1" * 5000, "this value has 5,000 characters; expected at most 4,096"),
        ("x" * 900 + ": [" + "a: {" * 40, "the lists are nested too deeply"),
        (
            "cell: lstm\n" + "#" * 2**23,
            "this spec is 8.0 MiB long; expected at most 8.0 MiB; save the numbers in a .npy",
        ),
    ],
    ids=["row of rows", "rows", "keys", "text", "digits", "nested", "size"],
)
def test_what_is_longer_than_a_spec_is_refused_in_short_words(tmp_path, text, said):
    path = tmp_path / "long.yaml"
    path.write_text(text)
    with pytest.raises(SpecError) as raised:
        read_spec_file(path)
    assert said in str(raised.value)
    assert str(path) in str(raised.value)
    assert len(str(raised.value)) < 400
    if "values" in said:
        assert "save the numbers in a .npy or .csv file and name it: input: x.npy" in str(raised.value)


@pytest.mark.slow
def test_a_list_of_many_numbers_is_read(tmp_path):
    path = tmp_path / "rows.yaml"
    path.write_text("input: [" + ", ".join("[0.5, -1]" for _ in range(20_000)) + "]")
    data, where = read_spec_file(path)
    assert data["input"] == [[0.5, -1]] * 20_000
    assert where(("input", 19_999, 1)).startswith(f"{path}:1:")
