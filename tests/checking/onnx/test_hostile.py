"""Files in .onnx that were made to do harm, in a process with little memory: one message, exit status 2."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from tests import onnx_models as made
from tests.wire_format import field, nested

HUGE = [1, 10**6, 10**6]
MOST = 6 * 2**30
"""Bytes of address space; torch and onnxruntime take two thirds of it when they are loaded."""
MOST_RESIDENT = 2 * 2**30

RUN = """
import contextlib, io, json, resource, sys
limit = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
from rnnspect.cli import main
found = {}
for name, *argv in json.loads(sys.argv[2]):
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        status = main(argv)
    found[name] = [status, out.getvalue(), err.getvalue()]
with open("/proc/self/status") as lines:  # ru_maxrss begins with what the parent held
    found["resident"] = next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
print(json.dumps(found))
"""


def nested_ifs(depth: int) -> bytes:
    """Ifs in one another, as bytes: protobuf itself would not write them."""
    branch = field(1, b"then_branch") + bytes([20 << 3 & 0x7F | 0x80, 1, 5])
    graph = nested(depth, field(1, field(4, b"Relu")), (branch, 6), (field(4, b"If"), 5), (b"", 1))
    return bytes([8, 8]) + field(8, bytes([16, 17])) + field(7, graph)


def external(location: str, **more: str) -> bytes:
    model = made.of_node("LSTM")
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in {"location": location, **more}.items():
        tensor.external_data.add(key=key, value=value)
    return model.SerializeToString()


def claiming(kind: str) -> bytes:
    model = made.of_node("LSTM")
    if kind == "hidden_size":
        model.graph.node[0].attribute[0].i = 10**12
        return model.SerializeToString()
    tensor = model.graph.initializer[0]
    tensor.dims[:] = HUGE
    if kind == "external":
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="x.npz")
    if kind == "input":
        model.graph.input.append(made.value(tensor.name, made.F, HUGE))
        del model.graph.initializer[0]
    return model.SerializeToString()


def beside(*nodes: onnx.NodeProto, **held: np.ndarray) -> bytes:
    """An LSTM, and beside it what nobody can hold."""
    model = made.of_node("LSTM")
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(numpy_helper.from_array(values, name) for name, values in held.items())
    model.graph.output.append(made.value(nodes[-1].output[0]))
    return model.SerializeToString()


def doubling() -> bytes:
    """x beside itself ten times, and that again, thirteen times over."""
    names = ["x", *(f"c{at}" for at in range(13))]
    nodes = [helper.make_node("Concat", 10 * [a], [b], axis=2) for a, b in itertools.pairwise(names)]
    model = onnx.load_from_string(beside(*nodes))
    for axis, size in zip(model.graph.input[0].type.tensor_type.shape.dim, (6, 2, made.INPUTS), strict=True):
        axis.dim_value = size
    return model.SerializeToString()


def calling(calls: dict[str, list[str]]) -> bytes:
    """Functions of a and b by name, each calling others one after the other; the model calls the last."""
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("mine", 1)]
    functions = []
    for name, called in calls.items():
        steps = ["a", *(f"t{at}" for at in range(len(called) - 1)), "b"]
        nodes = [
            helper.make_node(other, [steps[at]], [steps[at + 1]], domain="" if other == "Relu" else "mine")
            for at, other in enumerate(called)
        ]
        functions.append(helper.make_function("mine", name, ["a"], ["b"], nodes, opsets))
    call = helper.make_node([*calls][-1], ["x"], ["xx"], domain="mine")
    model = made.model([call, made.node("LSTM", "xx")], made.weights("LSTM"), functions=functions)
    return model.SerializeToString()


def misnamed(**attributes: object) -> bytes:
    """A node with attributes of a type that they never have."""
    model = made.of_node("LSTM")
    node = next(one for one in model.graph.node if one.op_type == "LSTM")
    kept = [one for one in node.attribute if one.name not in attributes]
    del node.attribute[:]
    node.attribute.extend([*kept, *(helper.make_attribute(name, value) for name, value in attributes.items())])
    return model.SerializeToString()  # type: ignore[no-any-return]


def reshaped(dims: list[int], kind: int | None = None) -> bytes:
    """W with other sizes than its numbers have, or of a type that ONNX does not know."""
    model = made.of_node("LSTM")
    tensor = next(one for one in model.graph.initializer if len(one.dims) == 3)
    del tensor.dims[:]
    tensor.dims.extend(dims)
    tensor.data_type = kind or tensor.data_type
    return model.SerializeToString()  # type: ignore[no-any-return]


TOWER = {"F0": ["Relu"] * 10} | {f"F{at}": [f"F{at - 1}"] * 10 for at in range(1, 12)}
WHOLE = made.of_node("LSTM").SerializeToString()
FILES = {
    "cut short": (WHOLE[: len(WHOLE) // 2], "not an ONNX model, or damaged"),
    "cut within a tensor": (WHOLE[:-40], "not an ONNX model, or damaged"),
    "empty": (b"", "the file is empty"),
    "HDF5's magic": (b"\x89HDF\r\n\x1a\n" + bytes(200), "not an HDF5 file"),
    "outside": (external("../secret"), "lies outside the model's folder"),
    "absolute": (external("/etc/passwd"), "lies outside the model's folder"),
    "through a link": (external("link"), "lies outside the model's folder"),
    "beyond its end": (external("x.npz", offset="10000000000"), "the external data lies beyond the end"),
    "a negative length": (external("x.npz", length="-5"), "the external data lies beyond the end"),
    "a claim": (claiming("raw"), "the tensor has less data than its shape"),
    "a claim outside": (claiming("external"), "the external data lies beyond the end"),
    "a claim of an input": (claiming("input"), "W has the shape (1, 1000000, 1000000)"),
    "a claim of units": (claiming("hidden_size"), "hidden_size 1000000000000"),
    "graphs nested too deeply": (nested_ifs(50), "graphs nested too deeply"),
    "graphs in graphs in …": (nested_ifs(20000), "graphs nested too deeply"),
    "a function of itself": (calling({"F": ["F"]}), "the function F calls itself"),
    "functions of each other": (calling({"F": ["Relu", "G"], "G": ["F"]}), "calls itself"),
    "a size of text": (misnamed(hidden_size="abc"), "the attribute hidden_size has the wrong type; expected INT"),
    "sizes": (misnamed(hidden_size=[4]), "the attribute hidden_size has the wrong type"),
    "a direction of a number": (misnamed(direction=1), "the attribute direction has the wrong type; expected STRING"),
    "functions of a number": (misnamed(activations=1), "the attribute activations has the wrong type"),
    "a limit of text": (misnamed(clip="x"), "the attribute clip has the wrong type; expected FLOAT"),
    "more data than the shape": (reshaped([1, 4, 3]), "the tensor has more data than its shape"),
    "an unknown type": (reshaped([1, 16, 3], 99), "the tensor has the unknown data type 99"),
    "a tower of functions": (calling(TOWER), "the model has 1.11e+12 nodes with its functions written out"),
}
RUNNING = {
    "a tensor beside it": (
        beside(helper.make_node("ConstantOfShape", ["shape"], ["big"]), shape=np.array([10**6, 10**6])),
        "the tensor big would need 3.6 TiB",
    ),
    "ten times itself": (doubling(), "would need"),
}
"""What is well formed, and would take all memory when it runs."""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[object]]:
    folder = tmp_path_factory.mktemp("hostile") / "inner"
    folder.mkdir()
    (folder.parent / "secret").write_bytes(bytes(10**4))
    (folder / "link").symlink_to(folder.parent / "secret")
    np.savez(folder / "x.npz", x=np.zeros((6, 2, made.INPUTS), np.float32))
    runs = []
    for at, (name, (data, _)) in enumerate((FILES | RUNNING).items()):
        path = folder / f"{at}.onnx"
        path.write_bytes(data)
        runs.append([f"check {name}", "check", str(path), "--input", str(folder / "x.npz")])
        if name in FILES:
            runs += [[f"shapes {name}", "shapes", str(path)], [f"trace {name}", "trace", str(path)]]
    ran = subprocess.run([sys.executable, "-c", RUN, str(MOST), json.dumps(runs)], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-2000:]
    return json.loads(ran.stdout.splitlines()[-1])  # type: ignore[no-any-return]


@pytest.mark.parametrize("command", ["shapes", "trace", "check"])
@pytest.mark.parametrize("name", FILES)
def test_it_is_one_message(found: dict[str, list[str]], name: str, command: str):
    status, out, err = found[f"{command} {name}"]
    assert (status, out) == (2, ""), err
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1
    assert FILES[name][1] in err


@pytest.mark.parametrize("name", RUNNING)
def test_what_would_take_all_memory_is_not_run(found: dict[str, list[str]], name: str):
    status, out, err = found[f"check {name}"]
    assert (status, out) == (2, ""), err
    assert RUNNING[name][1] in err
    assert len(err.splitlines()) == 1


def test_none_of_them_took_much(found: dict[str, int]):
    assert found["resident"] < MOST_RESIDENT
