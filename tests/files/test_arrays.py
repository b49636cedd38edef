"""Arrays from files: every format comes back as it was, and no file can do harm."""

from __future__ import annotations

import io
import json
import lzma
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from rnnspect import FileError, ResourceError, SequenceError, Spec, trace
from rnnspect.files.arrays import _READERS, parse_bytes, read_array, read_arrays, read_recording
from rnnspect.files.sources import SUFFIXES
from rnnspect.files.text import parse_json

NUMBERS = np.arange(12.0).reshape(4, 3)
OURS = (FileError, SequenceError, ResourceError)


def _npy(header: str, data: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    text = header.encode("latin1") + b"\n"
    size = struct.pack("<H" if version == b"\x01\x00" else "<I", len(text))
    return b"\x93NUMPY" + version + size + text + data


def _header(shape: Any, descr: str = "<f8", fortran: Any = False) -> str:
    return repr({"descr": descr, "fortran_order": fortran, "shape": shape})


def _written(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


# Round trips


DTYPES = ["<f8", ">f8", "<f4", ">f4", "<f2", ">f2", "<i8", ">i4", "|i1", "|u1", "<u2", ">u4", "<u8", "|b1"]


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_npy(tmp_path: Path, dtype: str, order: Any):
    array = np.array(NUMBERS, dtype=dtype, order=order)
    np.save(tmp_path / "x.npy", array)
    found = read_array(tmp_path / "x.npy")
    assert found.double().tolist() == array.astype(float).tolist()
    assert found.dtype.itemsize == array.itemsize


@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 4), (0, 3)])
def test_npy_of_any_shape(tmp_path: Path, shape: tuple[int, ...]):
    np.save(tmp_path / "x.npy", np.ones(shape))
    assert read_array(tmp_path / "x.npy").shape == shape


def test_npy_of_the_second_version(tmp_path: Path):
    content = _npy(_header((2,)), np.ones(2).tobytes(), b"\x02\x00")
    assert read_array(_written(tmp_path, "x.npy", content)).tolist() == [1, 1]


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_by_member(tmp_path: Path, save: Any):
    save(tmp_path / "x.npz", a=NUMBERS, b=NUMBERS + 1)
    assert read_array(tmp_path / "x.npz", "b").tolist() == (NUMBERS + 1).tolist()
    assert set(read_arrays(tmp_path / "x.npz")) == {"a", "b"}


@pytest.mark.parametrize(("suffix", "separator"), [("csv", ","), ("tsv", "\t")])
def test_rows_of_text(tmp_path: Path, suffix: str, separator: str):
    np.savetxt(tmp_path / f"x.{suffix}", NUMBERS, delimiter=separator, header="a header")
    assert read_array(tmp_path / f"x.{suffix}").tolist() == NUMBERS.tolist()


@pytest.mark.parametrize("content", ["1, 2\n3 ,4\n", "\ufeff1,2\r\n3,4\r\n", "#a,b\n1,2\n\n3,4", "1e0,+2\n3.,40e-1\n"])
def test_rows_of_text_as_people_write_them(tmp_path: Path, content: str):
    path = _written(tmp_path, "x.csv", content.encode())
    assert read_array(path).tolist() == [[1, 2], [3, 4]]


def test_words_for_what_is_not_finite(tmp_path: Path):
    path = _written(tmp_path, "x.csv", b"nan,inf,-Infinity\n")
    assert str(read_array(path).tolist()) == "[[nan, inf, -inf]]"


def test_json(tmp_path: Path):
    path = _written(tmp_path, "x.json", json.dumps(NUMBERS.tolist()).encode())
    assert read_array(path).tolist() == NUMBERS.tolist()


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("suffix", ["pt", "pth"])
def test_torch_tensor(tmp_path: Path, suffix: str, zipped: bool):
    torch.save(torch.tensor(NUMBERS), tmp_path / f"x.{suffix}", _use_new_zipfile_serialization=zipped)
    assert read_array(tmp_path / f"x.{suffix}").tolist() == NUMBERS.tolist()


def test_torch_dict_by_member(tmp_path: Path):
    torch.save({"x": torch.tensor(NUMBERS), "epoch": 3, "y": torch.zeros(1)}, tmp_path / "x.pt")
    assert read_array(tmp_path / "x.pt", "x").tolist() == NUMBERS.tolist()
    assert set(read_arrays(tmp_path / "x.pt")) == {"x", "y"}


@pytest.mark.parametrize(
    "other", [(torch.ones(2), torch.ones(2)), [torch.ones(2)], [1.0, 2.0], {"f": torch.ones(2)}], ids=str
)
def test_a_torch_dict_with_numbers_that_are_no_tensor(tmp_path: Path, other: Any):
    """Of which nothing would be said, were they left out; but a name chooses one array, and words are no numbers."""
    path = tmp_path / "y.pt"
    words = {"config": {"cell": "lstm", "p": 0.1}, "argv": ["--cpu"], "shape": [5, 2, 3], "made by": "us", "none": []}
    harmless = {"output": torch.ones(3), "epoch": 3, "done": True, "seed": None, **words}
    torch.save(harmless, path)
    assert list(read_arrays(path)) == ["output"]
    torch.save({"state": other, **harmless}, path)
    with pytest.raises(FileError, match="state is no tensor; save each"):
        read_recording(path)
    assert read_array(path, "output").tolist() == [1, 1, 1]


def test_a_list_that_holds_itself_is_no_state(tmp_path: Path):
    """A file may hold one, and lists in lists without an end."""
    own: list[Any] = [1]
    own.append(own)
    deep: list[Any] = []
    for _ in range(100):
        deep = [deep]
    torch.save({"output": torch.ones(3), "own": own, "deep": deep}, tmp_path / "y.pt")
    assert list(read_arrays(tmp_path / "y.pt")) == ["output"]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int32])
def test_safetensors(tmp_path: Path, dtype: torch.dtype):
    save_file({"x": torch.tensor(NUMBERS).to(dtype)}, tmp_path / "x.safetensors")
    found = read_array(tmp_path / "x.safetensors")
    assert (found.dtype, found.tolist()) == (dtype, NUMBERS.tolist())


@pytest.mark.parametrize("suffix", ["NPY", "Npy"])
def test_a_suffix_in_any_case(tmp_path: Path, suffix: str):
    with (tmp_path / f"x.{suffix}").open("wb") as file:
        np.save(file, NUMBERS)
    assert read_array(tmp_path / f"x.{suffix}").tolist() == NUMBERS.tolist()


def test_a_parameter_in_a_file_is_taken_as_numbers(tmp_path: Path):
    torch.save(torch.nn.Parameter(torch.ones(3, 5)), tmp_path / "x.pt")
    assert not trace(Spec(), str(tmp_path / "x.pt")).x.requires_grad


# Which array is meant


def test_an_array_that_is_not_there(tmp_path: Path):
    np.savez(tmp_path / "x.npz", input=NUMBERS, state=NUMBERS)
    with pytest.raises(FileError, match=r"no array named 'inptu'; expected input, state; did you mean 'input'\?"):
        read_array(tmp_path / "x.npz", "inptu")


def test_a_name_for_the_array_of_a_file_without_names(tmp_path: Path):
    np.save(tmp_path / "x.npy", NUMBERS)
    with pytest.raises(FileError, match=r"no array named 'foo': the file has only one, .*; leave out :foo$"):
        read_array(tmp_path / "x.npy", "foo")


def test_several_arrays_and_none_chosen(tmp_path: Path):
    np.savez(tmp_path / "x.npz", a=NUMBERS, b=NUMBERS)
    with pytest.raises(FileError, match=r"the file holds 2 arrays: a, b; name one: .*x\.npz:a"):
        read_array(tmp_path / "x.npz")


# Files that cannot be read


def test_a_missing_file(tmp_path: Path):
    for suffix in SUFFIXES:
        with pytest.raises(FileError, match="no such file"):
            read_array(tmp_path / f"none{suffix}")


def test_a_folder(tmp_path: Path):
    for suffix in SUFFIXES:
        (tmp_path / f"folder{suffix}").mkdir()
        with pytest.raises(FileError, match="a folder"):
            read_array(tmp_path / f"folder{suffix}")


def test_an_empty_file(tmp_path: Path):
    for suffix in SUFFIXES:
        with pytest.raises(FileError, match="the file is empty"):
            read_array(_written(tmp_path, f"x{suffix}", b""))


def test_a_file_that_may_not_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Whatever user runs this: permission bits do not stop every one of them."""

    def refuse(*_args: Any, **_options: Any) -> None:
        raise PermissionError(13, "Permission denied")

    paths = [_written(tmp_path, f"x{suffix}", b"1") for suffix in (".npy", ".csv", ".json")]
    monkeypatch.setattr(Path, "open", refuse)
    for path in paths:
        with pytest.raises(FileError, match="permission denied"):
            read_array(path)


def test_an_unknown_suffix(tmp_path: Path):
    with pytest.raises(FileError, match=r"files that end in '\.xlsx'; expected \.npy, \.npz, \.csv"):
        read_array(_written(tmp_path, "x.xlsx", b"1"))


TEXTS: list[tuple[str, bytes, str]] = [
    ("csv", b"1,2\n3\n", r"x\.csv:2: this row has 1 number, the first row has 2"),
    ("csv", b"1,2\n3,4,5\n", r"x\.csv:2: this row has 3 numbers, the first row has 2"),
    (
        "csv",
        b"a,b\n1,2\n",
        r"x\.csv:1:1: 'a' is not a number; start a header line with #",
    ),
    (
        "csv",
        b"0,1,2\n0.5,0.25,1.0\n",
        r"x\.csv:1: this line numbers the columns; leave it out \(header=False in pandas\)",
    ),
    ("csv", b"1,2\n3,four\n", r"x\.csv:2:3: 'four' is not a number$"),
    ("csv", b"1,\n", r"x\.csv:1:3: this cell is empty"),
    ("csv", b",a,b\n0,1,2\n", r"x\.csv:1:1: this cell is empty; pandas .* \(index=False, header=False\)"),
    ("csv", b"1;2\n", r"x\.csv:1:1: '1;2' is not a number; write commas between numbers, and points in them"),
    ("csv", b"1.5e-3 -2\n", r"x\.csv:1:1: '1.5e-3 -2' is not a number; write commas between numbers"),
    ("csv", b"0,5;0,25\n", r"x\.csv:1:3: '5;0' is not a number; write commas between numbers, and points in them"),
    ("tsv", b"1,2\n", r"x\.tsv:1:1: '1,2' is not a number; write tabs between numbers, and points in them"),
    ("csv", b"\n\n# only\n", "no rows"),
    ("csv", b"1\0,2\n", "this is a binary file"),
    ("csv", b"\xff\xfe1\x00", "this is a binary file"),
    ("csv", b"\x93NUMPY\x01\x00", "this is a binary file"),
    ("json", b"\x80", "this is a binary file"),
    ("json", b"[[1,2],[3]]", r"x\.json\[1\]: this row has length 1, the first has length 2"),
    ("json", b'[["a"]]', r"x\.json\[0\]\[0\]: 'a' is not a number"),
    ("json", b"[[1,\n2,,]]", r"x\.json:2:3: not JSON"),
    ("json", b'{"x": [1]}', "a mapping of names is not a number; expected one array of numbers; several, by name"),
    ("json", b"nothing", "not JSON"),
]


@pytest.mark.parametrize(("suffix", "content", "said"), TEXTS)
def test_text_that_is_not_rows_of_numbers(tmp_path: Path, suffix: str, content: bytes, said: str):
    with pytest.raises((FileError, SequenceError), match=said):
        read_array(_written(tmp_path, f"x.{suffix}", content))


# Hostile files


HEADERS = {
    "negative sizes": _header((-1, -1)),
    "a negative size": _header((-1,)),
    "more elements than there are": _header((10**12,)),
    "more elements than a float can count": _header((10**400,)),
    "none, of absurd size": _header((0, 10**30)),
    "a hundred axes": _header((1,) * 100),
    "sizes that are true": _header((True,)),
    "sizes that are fractions": _header((1.5,)),
    "no sizes": _header(None),
    "objects": _header((1,), "|O"),
    "a time": _header((1,), "<M8[s]"),
    "complex numbers": _header((1,), "<c16"),
    "text": _header((1,), "<U4"),
    "a record": _header((1,), "<f8,<f8"),
    "a long double": _header((1,), "<f16"),
    "no dtype": _header((1,), "nonsense"),
    "a number for a dtype": "{'descr': 1, 'fortran_order': False, 'shape': (1,)}",
    "an order that is neither": _header((1,), fortran=3),
    "a dtype that is nearly one": _header((1,), "<f8, "),
    "a dtype that numpy would parse": _header((1,), "<08"),
    "a missing key": "{'descr': '<f8', 'shape': (1,)}",
    "an unhashable key": "{[]: 1}",
    "code": "__import__('os').abort()",
    "half a dict": "{'descr':",
    "half a text": "{'descr': 'a",
    "half a tuple": "(" * 200,
    "many tuples": "(" * 5000,
    "a long sum": "1+" * 3000 + "1",
    "a zero": "\0",
    "nothing": "",
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS.keys())
def test_npy_with_a_hostile_header(tmp_path: Path, header: str):
    with pytest.raises(OURS):
        read_array(_written(tmp_path, "x.npy", _npy(header, np.ones(4).tobytes())))


def test_npy_written_by_python_2_is_read_or_refused_quietly(tmp_path: Path):
    """numpy warns about its long integers: nothing a person who opens the file could do about."""
    path = _written(tmp_path, "x.npy", _npy("{'descr': '<f8', 'fortran_order': False, 'shape': (3L,)}", bytes(24)))
    assert read_array(path).tolist() == [0, 0, 0]


def test_npy_cut_anywhere(tmp_path: Path):
    np.save(tmp_path / "whole.npy", NUMBERS)
    whole = (tmp_path / "whole.npy").read_bytes()
    for size in range(1, len(whole)):
        with pytest.raises(FileError):
            read_array(_written(tmp_path, "cut.npy", whole[:size]))


@pytest.mark.parametrize("suffix", ["npz", "pt", "safetensors"])
def test_an_archive_cut_anywhere(tmp_path: Path, suffix: str):
    whole = tmp_path / f"whole.{suffix}"
    if suffix == "npz":
        np.savez_compressed(whole, x=NUMBERS)
    elif suffix == "pt":
        torch.save(torch.tensor(NUMBERS), whole)
    else:
        save_file({"x": torch.tensor(NUMBERS)}, whole)
    content = whole.read_bytes()
    for size in range(1, len(content), 7):
        with pytest.raises(OURS):
            read_array(_written(tmp_path, f"cut.{suffix}", content[:size]))


def test_a_header_that_claims_more_than_the_file_holds_says_so(tmp_path: Path):
    with pytest.raises(FileError, match=r"expected 7.3 TiB, found 8 bytes"):
        read_array(_written(tmp_path, "x.npy", _npy(_header((10**12,)), bytes(8))))


class _Runs:
    """Unpickled, it writes a file: whoever loads it would see that it ran."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


def test_an_array_of_objects_does_not_run_its_code(tmp_path: Path):
    np.save(tmp_path / "x.npy", np.array([_Runs(tmp_path / "ran")], dtype=object))
    with pytest.raises(FileError, match="the array holds objects; expected numbers"):
        read_array(tmp_path / "x.npy")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("how", ["zip", "legacy", "pickle", "beside a tensor"])
def test_a_checkpoint_does_not_run_its_code(tmp_path: Path, how: str):
    path, code = tmp_path / "x.pt", _Runs(tmp_path / "ran")
    if how == "pickle":
        path.write_bytes(pickle.dumps(code))
    else:
        torch.save(
            {"x": torch.ones(1), "y": code} if how == "beside a tensor" else code,
            path,
            _use_new_zipfile_serialization=how != "legacy",
        )
    with pytest.raises(FileError, match="loading this file would run code; save only the tensors"):
        read_array(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "content",
    [[torch.ones(1)], "text", 3, {}, {"epoch": 3}, None],
    ids=repr,
)
def test_a_checkpoint_without_tensors(tmp_path: Path, content: Any):
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(FileError, match="the file holds"):
        read_array(tmp_path / "x.pt")


def test_a_checkpoint_of_a_whole_module_says_what_to_save(tmp_path: Path):
    torch.save(torch.nn.RNN(5, 2), tmp_path / "x.pt")
    with pytest.raises(FileError, match=r"save only the tensors: torch\.save\(model\.state_dict\(\)"):
        read_array(tmp_path / "x.pt")


@pytest.mark.parametrize(
    "tensor",
    [torch.ones(3, 5, device="meta"), torch.ones(3, 5).to_sparse(), torch.ones(3, 5) * 1j],
    ids=["meta", "sparse", "complex"],
)
def test_a_tensor_without_plain_numbers(tmp_path: Path, tensor: torch.Tensor):
    torch.save(tensor, tmp_path / "x.pt")
    with pytest.raises(OURS):
        trace(Spec(), str(tmp_path / "x.pt"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_tensor_that_repeats_one_number_is_counted_before_it_is_written_out(tmp_path: Path, dtype: torch.dtype):
    """A file of a kilobyte can hold a tensor of 10^14 rows, all of them the same memory."""
    torch.save(torch.ones(1, 5, dtype=dtype).expand(10**14, 5), tmp_path / "x.pt")
    with pytest.raises(ResourceError):
        trace(Spec(), str(tmp_path / "x.pt"))


def _zip(folder: Path, compression: int, members: dict[str, bytes]) -> Path:
    path = folder / "x.npz"
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def _npy_of_zeros(numbers: int) -> bytes:
    return _npy(_header((numbers,)), bytes(8 * numbers))


def _with_little_memory(monkeypatch: pytest.MonkeyPatch, available: int) -> None:
    monkeypatch.setattr("psutil.virtual_memory", lambda: type("Memory", (), {"available": available}))


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = _zip(tmp_path, zipfile.ZIP_DEFLATED, {"x.npy": _npy_of_zeros(1 << 17)})
    assert path.stat().st_size < 5000
    _with_little_memory(monkeypatch, 1 << 20)
    with pytest.raises(ResourceError, match=r"unpacking this file would need 2\.0 MiB"):
        read_array(path)


def test_a_zip_bomb_of_many_members_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = _zip(tmp_path, zipfile.ZIP_DEFLATED, {f"{n}.npy": _npy_of_zeros(1 << 12) for n in range(32)})
    _with_little_memory(monkeypatch, 1 << 20)
    with pytest.raises(ResourceError):
        read_arrays(path)


def test_a_checkpoint_that_is_a_zip_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    torch.save(torch.zeros(1 << 17, dtype=torch.float64), tmp_path / "plain.pt")
    with (
        zipfile.ZipFile(tmp_path / "plain.pt") as plain,
        zipfile.ZipFile(tmp_path / "x.pt", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for info in plain.infolist():
            packed.writestr(info.filename, plain.read(info))
    assert (tmp_path / "x.pt").stat().st_size < 5000
    _with_little_memory(monkeypatch, 1 << 20)
    with pytest.raises(OURS):
        read_array(tmp_path / "x.pt")


@pytest.mark.parametrize("suffix", [suffix for suffix in SUFFIXES if suffix != ".npy"])
def test_a_file_larger_than_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str):
    """A .npy file is mapped and may be larger."""
    path = tmp_path / f"x{suffix}"
    if suffix == ".npz":
        np.savez(path, x=np.zeros(1 << 14))
    elif suffix == ".pt":
        torch.save(torch.zeros(1 << 14, dtype=torch.float64), path)
    elif suffix == ".safetensors":
        save_file({"x": torch.zeros(1 << 14, dtype=torch.float64)}, path)
    else:
        path.write_text("[" + ",".join(["1"] * (1 << 16)) + "]")
    _with_little_memory(monkeypatch, 1 << 17)
    with pytest.raises(ResourceError, match=r"would need .* of memory"):
        read_array(path)


def test_a_size_in_a_zip_that_is_not_true(tmp_path: Path):
    """The directory says 88 bytes, the member is cut: the numbers that are not there are not made up."""
    content = _npy(_header((4,)), np.ones(4).tobytes())
    path = _zip(tmp_path, zipfile.ZIP_STORED, {"x.npy": content[:-8]})
    data = path.read_bytes()
    lying = data.replace(
        struct.pack("<II", len(content) - 8, len(content) - 8), struct.pack("<II", *[len(content)] * 2)
    )
    assert lying != data
    path.write_bytes(lying)
    with pytest.raises(FileError):
        read_array(path)


def test_an_encrypted_zip(tmp_path: Path):
    path = _zip(tmp_path, zipfile.ZIP_STORED, {"x.npy": _npy_of_zeros(1)})
    data = bytearray(path.read_bytes())
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(bytes(data))
    with pytest.raises(FileError, match="encrypted"):
        read_array(path)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_with_a_damaged_member(tmp_path: Path, compression: int):
    torch.manual_seed(1)
    noise = torch.randn(64, dtype=torch.float64).numpy()
    path = _zip(tmp_path, compression, {"x.npy": _npy(_header((64,)), noise.tobytes())})
    data = path.read_bytes()
    for at in range(35, len(data) - 80, 23):
        path.write_bytes(data[:at] + bytes([data[at] ^ 0x5A]) + data[at + 1 :])
        try:
            read_array(path)
        except OURS:
            continue
        except lzma.LZMAError as error:
            raise AssertionError(f"byte {at}") from error


@pytest.mark.parametrize("name", ["../../x.npy", "/etc/x.npy", "a\nb.npy", "[red]x.npy", "x"])
def test_a_member_with_any_name_is_only_a_name(tmp_path: Path, name: str):
    path = _zip(tmp_path, zipfile.ZIP_STORED, {name: _npy_of_zeros(2)})
    assert read_array(path).tolist() == [0, 0]
    assert {found.name for found in tmp_path.iterdir()} == {"x.npz"}


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, '["+-inf"]'])
def test_hostile_json(text: str):
    with pytest.raises(OURS):
        parse_json(text, "here")


def test_a_message_about_large_json_stays_short():
    with pytest.raises(SequenceError) as raised:
        parse_json(json.dumps({"a": list(range(10_000))}), "here")
    assert len(str(raised.value)) < 500


def _refusal(read: Any, *given: Any) -> str | None:
    """Our error's message; None where there are numbers. Any other exception is what these tests are for."""
    try:
        read(*given)
    except OURS as error:
        return str(error)
    return None


fuzzed = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])

STARTS = st.sampled_from(
    [
        b"",
        b"\x93NUMPY\x01\x00",
        b"\x93NUMPY\x02\x00",
        b"\x93NUMPY\x01\x00\x10\x00{",
        b"PK\x03\x04",
        b"PK\x05\x06",
        b"\x80\x02",
        b"\x80\x02}q\x00.",
        b"[[1,",
        b"1,2\n",
        b'{"a": ',
        b"\x08\x00\x00\x00\x00\x00\x00\x00{",
        b"\xef\xbb\xbf1",
    ]
)


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".pth"])
@fuzzed
@given(start=STARTS, rest=st.binary(max_size=60))
def test_any_bytes_are_numbers_or_an_error_of_ours(tmp_path: Path, suffix: str, start: bytes, rest: bytes):
    message = _refusal(read_array, _written(tmp_path, f"x{suffix}", start + rest))
    assert message is None or str(tmp_path) in message


@fuzzed
@given(start=STARTS, rest=st.binary(max_size=60) | st.text('0123456789.,-+enaif\t\n []"', max_size=40).map(str.encode))
def test_any_bytes_of_a_pipe_are_numbers_or_an_error_of_ours(start: bytes, rest: bytes):
    message = _refusal(parse_bytes, start + rest, "here")
    assert message is None or "here" in message


def _samples() -> dict[str, bytes]:
    found = {}
    for suffix in ("npy", "npz", "pt", "legacy.pt", "safetensors"):
        buffer = io.BytesIO()
        if suffix == "npy":
            np.save(buffer, NUMBERS)
        elif suffix == "npz":
            np.savez_compressed(buffer, x=NUMBERS)
        elif suffix.endswith("pt"):
            torch.save({"x": torch.tensor(NUMBERS)}, buffer, _use_new_zipfile_serialization=suffix == "pt")
        found[suffix] = buffer.getvalue()
    from safetensors.torch import save

    return found | {"safetensors": save({"x": torch.tensor(NUMBERS)})}


SAMPLES = _samples()


@pytest.mark.parametrize("suffix", SAMPLES)
@fuzzed
@given(data=st.data())
def test_a_damaged_file_is_numbers_or_an_error_of_ours(tmp_path: Path, suffix: str, data: st.DataObject):
    content = bytearray(SAMPLES[suffix])
    places = st.integers(0, len(content) - 1) | st.integers(0, min(200, len(content) - 1))
    for at in data.draw(st.lists(places, min_size=1, max_size=4)):
        content[at] = data.draw(st.integers(0, 255))
    message = _refusal(read_array, _written(tmp_path, f"x.{suffix}", bytes(content)))
    assert message is None or str(tmp_path) in message


@pytest.mark.parametrize(
    "text", ["0,1\n", "0,1\n2,3\n", "0,1\n0.5,0.5\n2,3\n", "0.0,1.0\n0.5,0.5\n", "0\n0.5\n", "1,2\n.5,.5\n"]
)
def test_a_first_row_that_numbers_no_columns(tmp_path: Path, text: str) -> None:
    (path := tmp_path / "x.csv").write_text(text)
    assert len(read_array(path)) == text.count("\n")


def test_every_ending_that_is_read_is_said_and_no_other() -> None:
    assert set(SUFFIXES) == set(_READERS)
