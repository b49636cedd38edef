"""Files of Flax: as flax.serialization and `convert` write them, in pieces, and damaged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
import torch

from rnnspect.cli import main
from rnnspect.errors import FileError
from rnnspect.files.flax_file import tensors
from rnnspect.weights.writers.shared import flax_file
from tests.files.test_dynet_file import refused


def network(cell: str = "cell") -> dict[str, Any]:
    """What linen.RNN(linen.LSTMCell(4)) has for 3 features."""
    torch.manual_seed(0)
    kernels = {f"{side}{gate}": torch.randn(rows, 4) for side, rows in (("i", 3), ("h", 4)) for gate in "ifgo"}
    tree = {name: {"kernel": kernel} for name, kernel in kernels.items()}
    for gate in "ifgo":
        tree[f"h{gate}"]["bias"] = torch.randn(4)
    return {"params": {cell: tree}}


def written(path: Path, tree: dict[str, Any]) -> Path:
    with path.open("wb") as file:
        flax_file.write_tree(tree, file)
    return path


@pytest.mark.parametrize("most", [1 << 30, 20], ids=["whole", "in-pieces"])
def test_the_numbers_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int):
    monkeypatch.setattr(flax_file, "MOST", most)
    tree = network()
    tree["params"] |= {"half": torch.randn(3, 3).bfloat16(), "none": torch.empty(0, 2)}
    path = written(tmp_path / "m.msgpack", {"step": 7, **tree})
    assert (b"chunked" in path.read_bytes()) == (most == 20)
    found = tensors(path)
    kernel = tree["params"]["cell"]["if"]["kernel"]
    assert found.stored["params.cell.if.kernel"].shape == (3, 4)
    assert found.stored["params.half"].dtype == "bfloat16"
    read = found.read(list(found.stored))
    assert len(read) == 14
    assert torch.equal(read["params.cell.if.kernel"], kernel)
    for name in ("half", "none"):
        assert read[f"params.{name}"].dtype == tree["params"][name].dtype
        assert torch.equal(read[f"params.{name}"], tree["params"][name])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("cell", ["SimpleCell", "LSTMCell", "OptimizedLSTMCell", "GRUCell"])
def test_what_flax_writes_of_its_own_cells(tmp_path: Path, cell: str):
    """nnx.LSTMCell calls the forget gate's kernel of x if_, as `if` is a word of Python."""
    pytest.importorskip("flax")
    from flax import linen, nnx, serialization
    from jax import numpy, random

    linen_model = linen.RNN(getattr(linen, cell)(4))
    variables = linen_model.init(random.key(0), numpy.ones((1, 2, 3)))
    pure = nnx.to_pure_dict(nnx.state(nnx.RNN(getattr(nnx, cell)(3, 4, rngs=nnx.Rngs(0))), nnx.Param))
    for name, tree in (("linen", variables), ("nnx", pure)):
        (tmp_path / f"{name}.msgpack").write_bytes(serialization.msgpack_serialize(tree))
        assert main(["check", str(tmp_path / f"{name}.msgpack"), "--engine", "flax", "-q"]) == 0


def test_it_is_checked_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["check", str(written(tmp_path / "without_an_end", network())), "-q"]) == 0
    assert "LSTM(3, 4" in capsys.readouterr().out


def cell_tree(features: int) -> dict[str, Any]:
    tree: dict[str, Any] = network()["params"]["cell"]
    for gate in "ifgo":
        tree[f"i{gate}"] = {"kernel": torch.randn(features, 4)}
    return tree


@pytest.mark.parametrize(
    ("names", "beside", "stacked"),
    [
        (("layers_0.cell", "layers_1.cell"), {}, True),
        (("layers_0.cell", "layers_2.cell"), {}, True),  # dropout between them has no arrays
        (("layers_0.cell", "layers_2.cell"), {"layers_1": {"scale": torch.ones(4)}}, False),
        (("layers_0.cell", "layers_2.cell"), {"layers_3": {"scale": torch.ones(4)}}, True),
        (("LSTMCell_0", "LSTMCell_1"), {}, False),
    ],
)
def test_cells_are_a_stack_where_nothing_stands_between_and_the_file_says_an_order(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], names: tuple[str, str], beside: dict[str, Any], stacked: bool
):
    """Flax gives names such as LSTMCell_1 also to branches and directions."""
    tree: dict[str, Any] = dict(beside)
    for name, features in zip(names, (3, 4), strict=True):
        outer, _, inner = name.partition(".")
        tree[outer] = {inner: cell_tree(features)} if inner else cell_tree(features)
    path = str(written(tmp_path / "m.msgpack", {"params": tree}))
    assert main(["shapes", path]) == 0
    out = capsys.readouterr().out
    assert ("num_layers=2" in out, "LSTM(4, 4" in out) == (stacked, not stacked)
    if beside.get("layers_1"):
        return
    assert main(["shapes", path, "--module", f"params.{names[0]}", "--num-layers", "2"]) == 0
    assert "num_layers=2" in capsys.readouterr().out


def test_averages_of_an_optimizer_are_no_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    tree = {**network(), "opt_state": {"0": {"mu": network()["params"], "nu": network()["params"]}}, "step": 7}
    assert main(["check", str(written(tmp_path / "m.msgpack", tree)), "-q"]) == 0
    assert "opt_state" not in capsys.readouterr().out
    assert set(tensors(tmp_path / "m.msgpack").stored) == set(tensors(written(tmp_path / "n", network())).stored)


def test_what_is_no_number_is_told(tmp_path: Path):
    array = msgpack.ExtType(1, msgpack.packb(((2,), "<U4", b"\0" * 32)))
    (tmp_path / "m").write_bytes(msgpack.packb({"a": array}))
    with pytest.raises(FileError, match="the array holds '<U4'"):
        tensors(tmp_path / "m").read(["a"])


def test_damaged_files_are_told(tmp_path: Path):
    assert refused(written(tmp_path / "m", network()), tensors, early=0.5) > 200


@pytest.mark.slow
def test_long_names_take_no_memory_for_each_array(tmp_path: Path):
    """Of a file of 4 MB the names would take 40 GB."""
    tree: dict[str, Any] = {str(at): torch.zeros(1) for at in range(10_000)}
    for _ in range(40):
        tree = {"k" * 100_000: tree}
    with pytest.raises(FileError, match="the names have more than 134,217,728 characters"):
        tensors(written(tmp_path / "m", tree))


def test_a_shape_beyond_its_bytes_takes_no_memory(tmp_path: Path):
    array = msgpack.ExtType(1, msgpack.packb(((2**40, 2**20), "float32", np.zeros(2, np.float32).tobytes())))
    (tmp_path / "m").write_bytes(msgpack.packb({"a": array}))
    with pytest.raises(FileError, match="the file is damaged: the array has 8 bytes"):
        tensors(tmp_path / "m").read(["a"])
