"""Files with a pickle in them hold what torch.load and pickle.load give: names, shapes, dtypes, numbers."""

from __future__ import annotations

import collections
import io
import pickle
import struct
import subprocess
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from rnnspect import FileError
from rnnspect.files import torch_export
from rnnspect.files.dtypes import SIZES
from rnnspect.files.pickle_file import open_pickle, tensors
from tests.files import pickles
from tests.weights.readers import torch_files

drawn = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def equal(found: torch.Tensor, expected: torch.Tensor) -> bool:
    """The same bits; NaN is equal to itself."""
    if found.shape != expected.shape or found.dtype != expected.dtype or not found.numel():
        return found.shape == expected.shape and found.dtype == expected.dtype
    bits = [one.resolve_conj().resolve_neg().contiguous().reshape(-1).view(torch.uint8) for one in (found, expected)]
    return torch.equal(*bits)


def hold_against(path: Path, expected: dict[str, torch.Tensor]) -> None:
    """The tensors of the file are these, in this order."""
    found = tensors(path)
    read = found.read(list(found.stored))
    assert list(found.stored) == list(expected)
    for name, tensor in expected.items():
        stored = found.stored[name]
        assert (stored.shape, stored.dtype) == (tuple(tensor.shape), str(tensor.dtype).removeprefix("torch.")), name
        assert equal(read[name], tensor), name


DTYPES = [getattr(torch, name) for name in SIZES if hasattr(torch, name) and name != "complex32"]
"""torch warns of complex32."""


@st.composite
def views(draw: st.DrawFn) -> torch.Tensor:
    """A tensor of any dtype, perhaps a part of its storage, with its axes in another order, or one that repeats."""
    bytes_of = st.binary(min_size=16 * 24, max_size=16 * 24)
    dtype = draw(st.sampled_from(DTYPES))
    data = torch.frombuffer(bytearray(draw(bytes_of)), dtype=torch.uint8)
    flat = (data % 2).bool()[:24] if dtype is torch.bool else data.view(dtype)[:24]
    tensor = flat.reshape(draw(st.sampled_from([(24,), (4, 6), (2, 3, 4), (1, 24), (24, 1)])))
    match draw(st.integers(0, 5)):
        case 0:
            tensor = tensor[draw(st.integers(0, tensor.shape[0] - 1)) :]
        case 1:
            tensor = tensor.transpose(0, -1)
        case 2:
            tensor = tensor[..., :: draw(st.integers(1, 3))]
        case 3:
            tensor = tensor[:1].expand(5, *tensor.shape[1:])
        case 4:
            tensor = tensor[:0]
        case 5:
            tensor = tensor.reshape(-1)[3].reshape(())
    return tensor


@pytest.mark.slow
@pytest.mark.parametrize("how", ["zip", "packed zip", "legacy"])
@drawn
@given(data=st.data())
def test_tensors_of_any_kind(tmp_path: Path, how: str, data: st.DataObject):
    made = data.draw(st.dictionaries(st.text(min_size=1, max_size=5), views(), min_size=1, max_size=4))
    made["shared"] = next(iter(made.values()))
    made["a view"] = made["shared"][..., None]
    made["a parameter"] = nn.Parameter(made["shared"], requires_grad=False)
    path = tmp_path / "x.pt"
    torch.save(made, path, _use_new_zipfile_serialization=how != "legacy")
    if how == "packed zip":
        with zipfile.ZipFile(path) as plain, zipfile.ZipFile(tmp_path / "y.pt", "w", zipfile.ZIP_DEFLATED) as packed:
            for info in plain.infolist():
                packed.writestr(info.filename, plain.read(info))
        path = tmp_path / "y.pt"
    hold_against(path, made)


class Holder(nn.Module):
    """A module with all that a module can have."""

    def __init__(self, rnn: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.rnn = rnn
        self.layers = nn.ModuleList([nn.Linear(2, 2), nn.Sequential(nn.GRUCell(2, 3), nn.LayerNorm(3))])
        self.own = nn.Parameter(torch.randn(2, 2).T)
        self.register_buffer("steps", torch.arange(3))
        self.register_buffer("none", None)
        self.to(dtype)
        self.listed = [self.rnn, self.own]
        self.function = torch.tanh


CELLS = st.sampled_from([nn.RNN, nn.LSTM, nn.GRU])


@pytest.mark.parametrize("zipped", [True, False])
@settings(drawn, max_examples=12)
@given(
    kind=CELLS,
    sizes=st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3)),
    both=st.booleans(),
    bias=st.booleans(),
    dtype=st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64]),
    parallel=st.booleans(),
)
def test_a_module_has_the_names_of_its_state_dict(tmp_path: Path, zipped: bool, **made: Any):
    width, units, layers = made["sizes"]
    model: nn.Module = Holder(
        made["kind"](width, units, layers, bias=made["bias"], bidirectional=made["both"]), made["dtype"]
    )
    model = nn.DataParallel(model) if made["parallel"] else model
    torch.save({"epoch": 3, "model": model}, tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)
    hold_against(tmp_path / "x.pt", {f"model.{name}": one for name, one in model.state_dict().items()})


@pytest.mark.parametrize("traced", [True, False])
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(kind=CELLS, layers=st.integers(1, 2), both=st.booleans(), dtype=st.sampled_from([torch.float32, torch.float64]))
def test_a_torchscript_archive(tmp_path: Path, traced: bool, kind: Any, layers: int, both: bool, dtype: torch.dtype):
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Sequential(kind(3, 4, layers, bidirectional=both))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(x)[0]

    model = Model().to(dtype)
    torch_files.script(model, tmp_path / "x.pt", torch.randn(2, 2, 3, dtype=dtype) if traced else None)
    hold_against(tmp_path / "x.pt", torch_files.script_state(tmp_path / "x.pt"))


def test_constants_of_a_frozen_torchscript_archive(tmp_path: Path):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.freeze(torch.jit.script(nn.Linear(3, 2).eval())).save(str(tmp_path / "x.pt"))
    assert sorted(one.shape for one in tensors(tmp_path / "x.pt").stored.values()) == [(2,), (2, 3)]


class Exported(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.other = nn.LSTM(3, 4, bidirectional=True), nn.Linear(8, 8)
        self.tied = self.rnn
        self.other.weight = nn.Parameter(torch.randn(8, 8).T)
        self.register_buffer("scale", torch.ones(8, dtype=torch.float64), persistent=False)
        self.register_buffer("part", torch.arange(24.0)[5:13])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.other(self.rnn(x)[0]) * self.scale + self.part


def held_against_exported(path: Path, expected: dict[str, torch.Tensor]) -> None:
    found = torch_export.tensors(path)
    assert set(found.stored) == set(expected)
    read = found.read(list(found.stored))
    assert all(equal(read[name], expected[name]) for name in expected)


def test_an_archive_of_torch_export(tmp_path: Path):
    model = Exported()
    torch_files.export(model, tmp_path / "x.pt2", torch.randn(2, 2, 3))
    held_against_exported(tmp_path / "x.pt2", model.state_dict() | {"scale": model.scale})


@pytest.mark.parametrize(
    ("dictionary", "constants"),
    [
        ("serialized_state_dict.pt", "serialized_constants.pt"),  # torch 2.2 to 2.7
        ("serialized_state_dict.json", "serialized_constants.json"),  # torch 2.1, which had no constants
        ("x/data/weights/model.pt", "x/data/constants/model.pt"),  # torch 2.8
    ],
)
def test_older_archives_of_torch_export(tmp_path: Path, dictionary: str, constants: str):
    state, path = Exported().state_dict(), tmp_path / "x.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("serialized_exported_program.json", "{}")
        for name, held in ((dictionary, state), (constants, {"scale": torch.ones(8)})):
            buffer = io.BytesIO()
            torch.save(held, buffer)
            archive.writestr(name, buffer.getvalue())
    held_against_exported(path, state | ({"scale": torch.ones(8)} if constants.endswith(".pt") else {}))


NUMBERS = ["<f2", "<f4", ">f4", "<f8", ">f8", "i1", "<i2", ">i4", "<i8", "u1", ">u2", "?", "<c8", ">c16"]


@pytest.mark.slow
@drawn
@given(data=st.data())
def test_pickled_arrays(tmp_path: Path, data: st.DataObject):
    arrays = {}
    for name in data.draw(st.lists(st.text(min_size=1, max_size=4), min_size=1, max_size=3, unique=True)):
        dtype = np.dtype(data.draw(st.sampled_from(NUMBERS)))
        array = (np.arange(24) * 1.5).astype(dtype).reshape(data.draw(st.sampled_from([(24,), (4, 6), (2, 3, 4)])))
        order = data.draw(st.sampled_from(["C", "F", "T", "sliced", "empty"]))
        moved = {"T": array.T, "sliced": array[::2], "empty": array[:0]}.get(order)
        arrays[name] = np.array(array, order=order) if moved is None else moved  # type: ignore[call-overload]
    content: Any = arrays
    match data.draw(st.integers(0, 2)):
        case 1:
            content = collections.OrderedDict(arrays)
        case 2:
            content = {"epoch": 3, "arrays": arrays, "names": list(arrays)}
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(content, data.draw(st.integers(0, pickle.HIGHEST_PROTOCOL))))
    prefix = "arrays." if "arrays" in content and "epoch" in content else ""
    found = tensors(tmp_path / "x.pkl")
    read = found.read(list(found.stored))
    assert list(read) == [prefix + name for name in arrays]
    for name, array in arrays.items():
        expected = torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("="), order="C"))
        assert equal(read[prefix + name], expected)


@pytest.mark.parametrize("axes", [(1, 0, 2), (2, 0, 1), (0, 2, 1), (1, 2, 0)])
def test_a_pickled_array_whose_axes_are_in_another_order(tmp_path: Path, axes: tuple[int, ...]):
    array = np.arange(24.0).reshape(2, 3, 4).transpose(axes)
    (tmp_path / "x.pkl").write_bytes(pickle.dumps({"w": array}, 5))
    assert tensors(tmp_path / "x.pkl").read(["w"])["w"].tolist() == array.tolist()


PYTHON_2 = (
    b"\x80\x02}q\x01U\x01wcnumpy.core.multiarray\n_reconstruct\nq\x02cnumpy\nndarray\nq\x03K\x00\x85U\x01b\x87R"
    b"(K\x01K\x02K\x01\x86cnumpy\ndtype\nq\x04U\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
    b"U\x08" + struct.pack("<2f", 0.5, -3.25) + b"tbs."
)
"""{"w": numpy.array([[0.5], [-3.25]], "float32")} by cPickle of Python 2: texts and bytes are one type there."""


def test_a_pickle_of_python_2(tmp_path: Path):
    (tmp_path / "x.pkl").write_bytes(PYTHON_2)
    assert pickle.loads(PYTHON_2, encoding="latin1")["w"].tolist() == [[0.5], [-3.25]]
    assert tensors(tmp_path / "x.pkl").read(["w"])["w"].tolist() == [[0.5], [-3.25]]


def test_arrays_in_lists_objects_and_arrays_of_objects(tmp_path: Path):
    ragged = np.empty(2, dtype=object)
    ragged[:] = [np.ones(2), np.ones(3)]
    thing = types.SimpleNamespace(weight=np.ones((2, 2)), layers=[{"b": np.zeros(1)}], text="text")
    (tmp_path / "x.pkl").write_bytes(pickle.dumps([thing, (np.ones(4), "text"), ragged]))
    shapes = {name: one.shape for name, one in tensors(tmp_path / "x.pkl").stored.items()}
    assert shapes == {"0.weight": (2, 2), "0.layers.0.b": (1,), "1.0": (4,), "2.0": (2,), "2.1": (3,)}


@pytest.mark.parametrize("order", ["C", "F"])
def test_the_plain_form_of_joblib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: Any):
    """The numbers stand in the middle of the pickle, behind what says their shape."""
    module = types.ModuleType("joblib.numpy_pickle")
    wrapper = type("NumpyArrayWrapper", (), {"__module__": module.__name__})
    module.NumpyArrayWrapper = wrapper  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "joblib", types.ModuleType("joblib"))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    array, kept = np.array(np.arange(6.0).reshape(2, 3), order=order), wrapper()
    vars(kept).update(subclass=np.ndarray, shape=(2, 3), order=order, dtype=array.dtype, allow_mmap=True)
    vars(kept).update(numpy_array_alignment_bytes=16)
    data = pickle.dumps({"w": kept}, 2)
    assert data.endswith(b"bs.")
    numbers = b"\x03\xff\xff\xff" + array.tobytes(order)
    (tmp_path / "x.joblib").write_bytes(data[:-2] + numbers + data[-2:])
    assert tensors(tmp_path / "x.joblib").read(["w"])["w"].tolist() == array.tolist()


def test_joblib_itself(tmp_path: Path):
    joblib = pytest.importorskip("joblib")
    arrays = {"w": np.asfortranarray(np.arange(6.0).reshape(2, 3)), "b": np.ones(3, ">f4")}
    joblib.dump({"model": arrays}, tmp_path / "x.joblib")
    read = tensors(tmp_path / "x.joblib").read(["model.w", "model.b"])
    assert {name: one.tolist() for name, one in read.items()} == {
        f"model.{n}": one.tolist() for n, one in arrays.items()
    }


@pytest.mark.filterwarnings("ignore:Python 3.14 will:DeprecationWarning")  # torch.load unpacks it
def test_the_tar_archive_of_2016(tmp_path: Path):
    (tmp_path / "x.pt").write_bytes(pickles.tar())
    loaded = torch.load(tmp_path / "x.pt", weights_only=False)
    hold_against(tmp_path / "x.pt", {"w": loaded["w"], "v": loaded["v"]})
    assert loaded["v"].tolist() == [3, 5]


SIX = np.arange(6, dtype="<f4")
WHOLE = pickles.tensor(0, pickles.integers(2, 3), pickles.integers(3, 1))


def test_a_view_of_a_storage_in_the_format_up_to_1_5(tmp_path: Path):
    view = b"(" + pickles.text("8") + b"K\x02K\x04t"
    content = pickles.tensor(1, pickles.integers(3), pickles.integers(1), view)
    (tmp_path / "x.pt").write_bytes(pickles.legacy(content, SIX.tobytes()))
    expected = torch.load(tmp_path / "x.pt", weights_only=True)
    assert expected.tolist() == [3, 4, 5]
    hold_against(tmp_path / "x.pt", {"array": expected})


@pytest.mark.parametrize("how", ["zip", "legacy"])
def test_numbers_of_a_big_endian_machine(tmp_path: Path, how: str):
    numbers = SIX.astype(">f4").tobytes()
    written = pickles.zipped(WHOLE, numbers, "big") if how == "zip" else pickles.legacy(WHOLE, numbers, False)
    (tmp_path / "x.pt").write_bytes(written)
    hold_against(tmp_path / "x.pt", {"array": torch.from_numpy(SIX.reshape(2, 3))})


BEYOND = {
    "more than the storage": pickles.tensor(0, pickles.integers(7), pickles.integers(1)),
    "beyond it by an offset": pickles.tensor(4, pickles.integers(3), pickles.integers(1)),
    "beyond it by a stride": pickles.tensor(0, pickles.integers(3), pickles.integers(3)),
    "a negative offset": pickles.tensor(-1, pickles.integers(1), pickles.integers(1)),
    "a negative size": pickles.tensor(0, pickles.integers(-1), pickles.integers(1)),
    "a negative stride": pickles.tensor(3, pickles.integers(2), pickles.integers(-1)),
    "no stride": pickles.tensor(0, pickles.integers(2), pickles.integers()),
    "a size of 2^70": pickles.tensor(0, pickles.integers(2**70), pickles.integers(0)),
    "sizes of 2^93 together": pickles.tensor(0, pickles.integers(2**31, 2**31, 2**31), pickles.integers(0, 0, 0)),
    "numbers of eight bytes": pickles.tensor(0, pickles.integers(4), pickles.integers(1), kind="Double"),
    "a storage that promises more": pickles.tensor(0, pickles.integers(1), pickles.integers(1), count=7),
}


@pytest.mark.parametrize("content", BEYOND.values(), ids=BEYOND.keys())
def test_a_tensor_beyond_its_storage(tmp_path: Path, content: bytes):
    (tmp_path / "x.pt").write_bytes(pickles.zipped(content, SIX.tobytes()))
    with pytest.raises(FileError, match=r"x\.pt.*: the file is damaged"):
        open_pickle(tmp_path / "x.pt")


@pytest.mark.parametrize(
    "content", [pickles.called("torch._utils", "_rebuild_qtensor"), b"}", WHOLE.replace(b"Float", b"QUInt4x2")]
)
def test_a_tensor_without_plain_numbers_is_left_out(tmp_path: Path, content: bytes):
    (tmp_path / "x.pt").write_bytes(pickles.zipped(content, SIX.tobytes()))
    assert open_pickle(tmp_path / "x.pt").tensors == {}


def test_a_lazily_conjugated_tensor(tmp_path: Path):
    number = torch.tensor([1 + 2j])
    for lazy, value in ((number.conj(), 1 - 2j), (torch._neg_view(number), -1 - 2j)):
        torch.save({"w": lazy}, tmp_path / "x.pt")
        assert torch.load(tmp_path / "x.pt")["w"].tolist() == [value]
        hold_against(tmp_path / "x.pt", {"w": torch.tensor([value])})


def test_a_module_in_two_places_is_listed_once(tmp_path: Path):
    rnn = nn.GRU(2, 3)
    torch.save(nn.ModuleDict({"one": rnn, "two": rnn}), tmp_path / "x.pt")
    assert {name.partition(".")[0] for name in tensors(tmp_path / "x.pt").stored} == {"one"}
    torch.save(nn.ModuleDict({"one": rnn, "two": rnn}).state_dict(), tmp_path / "x.pt")
    assert {name.partition(".")[0] for name in tensors(tmp_path / "x.pt").stored} == {"one", "two"}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_tensors_that_python_itself_pickled(tmp_path: Path, protocol: int):
    """Each storage is a file of torch in the pickle."""
    torch.manual_seed(0)
    whole, half, module = torch.randn(4, 6), torch.randn(5).bfloat16(), nn.LSTM(2, 3)
    held = {"w": whole, "t": whole.T[2:, 1:], "half": half, "k": nn.Parameter(torch.ones(2, 3).double()), "m": module}
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(held, protocol))
    named = {f"m.{name}": p.data for name, p in module.named_parameters()}
    hold_against(tmp_path / "x.pkl", {name: one for name, one in held.items() if name != "m"} | named)


def test_damage_in_a_storage_that_python_pickled(tmp_path: Path):
    content = pickle.dumps({"w": torch.ones(3)})
    at = content.index(b"little_endian")
    for damaged in (
        content.replace(b"FloatStorage", b"OtherStorage"),
        content[:at] + b"\x00" * 40 + content[at + 40 :],
    ):
        (tmp_path / "x.pkl").write_bytes(damaged)
        with pytest.raises(FileError):
            tensors(tmp_path / "x.pkl").read(["w"])


def test_what_holds_no_arrays_says_what_it_is(tmp_path: Path):
    for content, said in (
        ({"a": 1, "b": 2}, "a dict with keys a, b"),
        ([1, 2], "a list of 2 items"),
        (Path("x"), "an object of pathlib"),
        ("text", "a str"),
    ):
        (tmp_path / "x.pkl").write_bytes(pickle.dumps(content))
        assert open_pickle(tmp_path / "x.pkl").described.startswith(said)


def test_a_storage_that_is_not_there(tmp_path: Path):
    torch.save({"w": torch.ones(2)}, tmp_path / "whole.pt")
    with zipfile.ZipFile(tmp_path / "whole.pt") as whole, zipfile.ZipFile(tmp_path / "x.pt", "w") as part:
        for info in whole.infolist():
            if "/data/" not in info.filename:
                part.writestr(info.filename, whole.read(info))
    with pytest.raises(FileError, match="the storage 'whole/data/0' is missing"):
        open_pickle(tmp_path / "x.pt")


def test_names_and_shapes_load_no_framework(tmp_path: Path):
    torch.save({"model": nn.LSTM(2, 3)}, tmp_path / "x.pt")
    program = (
        "import sys; from pathlib import Path; from rnnspect.files.pickle_file import tensors\n"
        "print(len(tensors(Path(sys.argv[1])).stored), sorted({'torch', 'numpy'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", program, tmp_path / "x.pt"], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "4 []"
