"""Any network's parameters are found again, under any prefix and in any format, and the spec is read off them."""

from __future__ import annotations

import re
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from rnnspect import FileError, RnnspectError, Spec, WeightsError
from rnnspect.cells import CELLS
from rnnspect.cli import main
from rnnspect.cli.describing import Described, describe_every
from rnnspect.files.reading import Stored
from rnnspect.network.drawing import draw_parameters, generator_of
from rnnspect.network.parameters import parameters_of
from rnnspect.weights import readers
from rnnspect.weights.loading import weights_of
from rnnspect.weights.readers.pytorch import described, modules_in, weights_source
from tests.comparison import specs

TOLD = ("cell", "input_size", "hidden_size", "num_layers", "bias", "bidirectional", "proj_size", "dtype")
PREFIXES = st.sampled_from(["", "rnn.", "encoder.rnn.", "module.0.", "a/b/", "enc_", "x:", "é.", "..", " .", "l0."]) | (
    st.text("aZ09._/-: é", max_size=8).filter(lambda text: not text or not re.match("[0-9A-Za-z]", text[-1]))
)
NESTED = st.lists(st.sampled_from(["model_state", "state_dict", "a.b", "model"]), max_size=4)


def stored_of(spec: Spec, prefix: str = "") -> dict[str, Stored]:
    return {prefix + parameter.name: Stored(parameter.shape, spec.dtype) for parameter in parameters_of(spec)}


def describe(path: Path, module: str | None, flags: dict[str, Any]) -> Described:
    (one,) = describe_every(path, module, flags).values()
    return one.made()


def save(path: Path, tensors: dict[str, torch.Tensor], nested: list[str]) -> None:
    if path.suffix == ".npz":
        np.savez(path, **{name: tensor.numpy() for name, tensor in tensors.items()})
    elif path.suffix == ".safetensors":
        save_file(tensors, path)
    else:
        content: dict[Any, Any] = dict(tensors)
        for name in reversed(nested):
            content = {name: content, "epoch": 3, "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}}}
        torch.save(content, path)


@settings(max_examples=150)
@given(st.data())
def test_any_network_is_found_again(data: st.DataObject):
    spec = data.draw(specs(head=None))
    suffix = data.draw(st.sampled_from([".pt", ".pth", ".safetensors", ".npz"]))
    if suffix == ".npz" and spec.dtype == "bfloat16":
        spec = spec.with_changes(dtype="float32")
    prefix, nested = data.draw(PREFIXES), data.draw(NESTED) if suffix.startswith(".pt") else []
    drawn = {
        name: tensor.to(getattr(torch, spec.dtype))
        for name, tensor in draw_parameters(spec, generator_of(spec)).items()
    }
    one_cell = spec.num_layers == 1 and not spec.bidirectional and not spec.proj_size
    as_cell = one_cell and data.draw(st.booleans())
    tensors = {prefix + (name.removesuffix("_l0") if as_cell else name): tensor for name, tensor in drawn.items()}
    if data.draw(st.booleans()):
        tensors |= {"fc.weight": torch.ones(2, 2), "epochs": torch.ones(1)}
    second = data.draw(st.booleans())
    if second:
        tensors |= {"second.weight_ih": torch.ones(3, 2), "second.weight_hh": torch.ones(3, 1)}
    full = ".".join([*nested, prefix]) if nested else prefix
    module = full.removesuffix(".") or full
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model" + suffix)
        save(path, tensors, nested)
        found = describe(path, module if second else None, {}).spec
        assert {key: getattr(found, key) for key in TOLD} == {key: getattr(spec, key) for key in TOLD}
        parameters = weights_of(found, generator_of(found), lambda keys: str(keys))
        assert list(parameters) == list(drawn)
        assert all(torch.equal(parameters[name], drawn[name]) for name in drawn)
        assert all(parameters[name].dtype == drawn[name].dtype for name in drawn)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors", ".npz"])
def test_headers_say_what_the_tensors_are(tmp_path: Path, suffix: str):
    tensors = {"a": torch.ones(2, 3), "b.c": torch.ones((), dtype=torch.float64), "d": torch.ones(0, 3).half()}
    tensors |= {"e": torch.ones(3, dtype=torch.int64), "f": torch.ones(1, dtype=torch.bool)}
    save(tmp_path / f"x{suffix}", tensors, [])
    found = readers.tensors_in(tmp_path / f"x{suffix}").stored
    assert {name: one.shape for name, one in found.items()} == {name: tuple(t.shape) for name, t in tensors.items()}
    assert [found[name].dtype for name in "ad"] == ["float32", "float16"]
    assert found["b.c"].dtype == "float64"


# Which module


def test_a_name_that_ends_in_an_underscore_is_that_of_the_module() -> None:
    names = [*stored_of(Spec(), "rnn_."), *stored_of(Spec(), "lstm_")]
    assert list(modules_in(dict.fromkeys(names, Stored((3, 3), "float32")))) == ["rnn_", "lstm_"]
    beside = stored_of(Spec(), "rnn_.") | stored_of(Spec(), "rnn_")
    assert list(modules_in(beside)) == ["rnn_.", "rnn_"]  # two modules


def test_the_forms_of_one_prefix_are_one_module():
    stored = stored_of(Spec(), "rnn.") | {"rnn.weight_ih": Stored((2, 5), "float32")}
    assert list(modules_in(stored)) == ["rnn"]
    assert "rnn.weight_ih" not in modules_in(stored)["rnn"].names.values()


@pytest.mark.parametrize(
    "name",
    [
        "fc.weight",
        "weight_ih_l0_raw",
        "weight_ih_l00",
        "weight_ih_l-1",
        "myweight_ih_l0",
        "weight_ii_l0",
        "weight_ih_reverse",
    ],
)
def test_what_is_no_recurrent_parameter(name: str):
    assert modules_in({name: Stored((2, 2), "float32")}) == {}


def test_a_file_without_recurrent_parameters(tmp_path: Path):
    save(tmp_path / "x.npz", {"w": torch.ones(2, 2)}, [])
    with pytest.raises(FileError, match=r"x\.npz: no recurrent parameters found; expected names such as weight_ih"):
        readers.modules_in(tmp_path / "x.npz", {})


def test_modules_are_taken_by_name_or_by_a_pattern(tmp_path: Path):
    path = tmp_path / "x.npz"
    shapes = {
        f"{prefix}.{one.name}": torch.ones(one.shape)
        for prefix, spec in (
            ("encoder.a", Spec(cell="lstm", input_size=4, hidden_size=6, num_layers=3)),
            ("encoder.b", Spec()),
            ("decoder", Spec()),
        )
        for one in parameters_of(spec)
    }
    save(path, shapes | {"broken.weight_hh_l0": torch.ones(2, 2)}, [])
    assert list(readers.modules_in(path, {})) == ["encoder.a", "encoder.b", "decoder", "broken"]
    assert list(readers.modules_in(path, {}, "encoder.*")) == ["encoder.a", "encoder.b"]
    assert list(readers.modules_in(path, {}, "decoder")) == ["decoder"]
    listed = r"'encoder.a' \(LSTM\(4, 6, num_layers=3\)\), 'encoder.b' \(RNN\(5, 2\)\), 'decoder' \(RNN\(5, 2\)\), "
    listed += r"'broken' \(unusable: missing: weight_ih_l0"
    with pytest.raises(FileError, match=rf"there is no module 'decodr'; expected {listed}.*did you mean 'decoder'\?"):
        readers.modules_in(path, {}, "decodr")
    with pytest.raises(FileError, match=rf"4 recurrent modules; name it after a colon: {listed}"):
        readers.module_in(path, {}, None)


def test_a_state_dict_alone_is_the_whole_file():
    stored = stored_of(Spec())
    (module,) = modules_in(stored).values()
    assert weights_source(module, "x.pt", stored) == "x.pt"
    assert weights_source(module, "x.pt", stored | {"fc": Stored((1,), "float32")}) == "x.pt:"


# Mutations: one thing wrong, one message that names it


STACK = Spec(cell="lstm", input_size=3, hidden_size=4, num_layers=2, bidirectional=True, proj_size=2)


def said_of(stored: dict[str, Stored], dtype: str | None = None) -> str:
    (module,) = modules_in(stored).values()
    with pytest.raises(WeightsError) as error:
        described(module, "x.pt", dtype)
    return str(error.value)


@pytest.mark.parametrize("name", stored_of(STACK))
def test_any_parameter_missing_is_named(name: str):
    stored = stored_of(STACK, "rnn.")
    del stored[f"rnn.{name}"]
    assert said_of(stored).startswith(f"x.pt:rnn: missing: {name} (found rnn.weight_")


@pytest.mark.parametrize("name", stored_of(STACK))
@pytest.mark.parametrize("change", ["axis 0", "axis -1", "an axis more", "empty"])
def test_any_shape_that_does_not_fit_is_named(name: str, change: str):
    stored = stored_of(STACK, "rnn.")
    shape = list(stored[f"rnn.{name}"].shape)
    match change:
        case "axis 0" | "axis -1":
            shape[int(change.split()[1])] += 1
        case "an axis more":
            shape.append(1)
        case _:
            shape[0] = 0
    if (name, change) == ("weight_ih_l0", "axis -1"):
        shape = [*shape[:-1], 2**40]  # any other width is an input size
    stored[f"rnn.{name}"] = Stored(tuple(shape), "float32")
    (module,) = modules_in(stored).values()
    with pytest.raises(RnnspectError) as error:
        described(module, "x.pt")
    assert str(error.value).startswith("x.pt:rnn")
    decides = name in {"weight_ih_l0", "weight_hh_l0", "weight_hr_l0"} and change.startswith("axis")
    if not decides:
        assert f"x.pt:rnn.{name}: {name} has the shape {tuple(shape)}; expected " in str(error.value)


def test_rows_of_no_cell():
    stored = {"weight_ih": Stored((8, 3), "float32"), "weight_hh": Stored((8, 4), "float32")}
    assert said_of(stored) == (
        "x.pt:weight_hh: weight_hh_l0 has the shape (8, 4), that is 2 rows per hidden unit; "
        "expected 1 (rnn), 3 (gru), 4 (lstm)"
    )


def test_shapes_that_fit_several_cells(monkeypatch: pytest.MonkeyPatch):
    """Whoever adds a cell with as many gates as another."""
    monkeypatch.setitem(CELLS, "fru", replace(CELLS["gru"], name="fru"))
    stored = stored_of(Spec(cell="gru"))
    assert "the shapes fit several cells: gru, fru; choose one with --cell" in said_of(stored)
    assert described(modules_in(stored)[""], "x.pt", cell="fru")["cell"] == "fru"


def test_a_projection_of_no_lstm():
    stored = stored_of(STACK.with_changes(num_layers=1, bidirectional=False))
    stored["weight_hh_l0"] = Stored((12, 2), "float32")
    assert "3 rows per hidden unit; expected 4 (lstm)" in said_of(stored)


@pytest.mark.parametrize("dtype", ["int8", "float8_e4m3fn"])
def test_a_dtype_of_no_network(dtype: str):
    stored = stored_of(Spec()) | {"weight_hh_l0": Stored((2, 2), dtype)}
    assert f"weight_hh_l0 has the dtype {dtype}; expected float16" in said_of(stored)


def test_several_dtypes():
    stored = stored_of(Spec()) | {"weight_hh_l0": Stored((2, 2), "float16")}
    assert "parameters of several dtypes: float32 and float16; choose one with --dtype" in said_of(stored)
    assert "dtype" not in described(modules_in(stored)[""], "x.pt", "float16")


def test_a_layer_beyond_all_layers():
    stored = stored_of(Spec()) | {"weight_hh_l999999999": Stored((2, 2), "float32")}
    assert said_of(stored) == "x.pt: the file has a layer 999999999; expected 0 to 999"


def test_many_missing_are_counted():
    stored = stored_of(Spec()) | {"weight_hh_l9": Stored((2, 2), "float32")}
    assert "weight_ih_l1, weight_hh_l1, bias_ih_l1, bias_hh_l1 and 31 more" in said_of(stored)


@pytest.mark.parametrize(("of", "beside"), [("rnns.0.module.", "rnns.0."), ("module.", ""), ("", "")])
def test_weights_that_are_dropped_in_each_call_are_named(of: str, beside: str, tmp_path: Path, capsys: Any):
    """As an AWD-LSTM saves them."""
    state = torch.nn.LSTM(3, 4).state_dict()
    named = {(f"{beside}{name}_raw" if name == "weight_hh_l0" else of + name): one for name, one in state.items()}
    torch.save({**named, "rnns.01.weight_hh_l0_raw": torch.ones(2, 2)}, tmp_path / "m.pt")
    assert main(["check", str(tmp_path / "m.pt")]) == 2
    names = re.search(r"weight_hh_l0_raw; say which stands for it: --names (\S+)", capsys.readouterr().err)
    assert names is not None
    assert main(["check", str(tmp_path / "m.pt"), "--names", names[1]]) == 0


@pytest.mark.parametrize("style", ["weight_norm", "spectral_norm"])
def test_a_weight_of_which_the_parts_alone_are_in_the_file_is_asked_for(style: str, tmp_path: Path, capsys: Any):
    module = getattr(torch.nn.utils.parametrizations, style)(torch.nn.LSTM(3, 4), "weight_hh_l0")
    torch.save(module.state_dict(), tmp_path / "m.pt")
    assert main(["check", str(tmp_path / "m.pt")]) == 2
    assert re.search(
        r"missing: weight_hh_l0 .* weight_norm, .* makes a weight, the file has only its parts", capsys.readouterr().err
    )


def _all_of(one_kind: str, make: Any) -> Any:
    """A function that makes every such parameter of a module from parts."""

    def made(module: torch.nn.Module) -> torch.nn.Module:
        for name in [name for name, _ in module.named_parameters() if re.fullmatch(one_kind, name)]:
            make(module, name)
        return module

    return made


IN_PARTS = {
    "every bias": (lambda: _all_of("bias.*", _pruned)(torch.nn.LSTM(3, 4)), "bias_ih_l0"),
    "one bias": (lambda: _all_of("bias_hh.*", _pruned)(torch.nn.LSTM(3, 4)), "bias_hh_l0"),
    "upper layer": (lambda: _all_of("weight.*_l1", _normed)(torch.nn.GRU(3, 4, 2, bias=False)), "weight_ih_l1"),
    "reverse": (
        lambda: _all_of(".*reverse", _normed)(torch.nn.GRU(3, 4, bias=False, bidirectional=True)),
        "weight_ih_l0_reverse",
    ),
    "projection": (
        lambda: _all_of("weight_hr.*", torch.nn.utils.spectral_norm)(torch.nn.LSTM(3, 4, proj_size=2)),
        "weight_hr_l0",
    ),
    "a cell": (lambda: _all_of("bias.*", _parametrized)(torch.nn.GRUCell(3, 4)), "bias_ih"),
    "all of it": (lambda: _all_of("weight.*", _parametrized)(torch.nn.GRU(3, 4, bias=False)), "weight_ih_l0"),
}


def _pruned(module: torch.nn.Module, name: str) -> None:
    torch.nn.utils.prune.l1_unstructured(module, name, amount=0.3)


def _parametrized(module: torch.nn.Module, name: str) -> None:
    torch.nn.utils.parametrize.register_parametrization(module, name, torch.nn.Tanh())


def _normed(module: torch.nn.Module, name: str) -> None:
    """With the names of torch.nn.utils.weight_norm, which warns that it will go."""
    weight = getattr(module, name)
    del module._parameters[name]
    module.register_parameter(f"{name}_g", torch.nn.Parameter(weight.norm(dim=1, keepdim=True)))
    module.register_parameter(f"{name}_v", torch.nn.Parameter(weight))


@pytest.mark.parametrize("prefix", ["", "encoder.rnn."])
@pytest.mark.parametrize(("made", "first"), IN_PARTS.values(), ids=IN_PARTS)
def test_no_layer_direction_or_bias_is_dropped_that_is_in_the_file_in_parts(
    made: Any, first: str, prefix: str, tmp_path: Path, capsys: Any
):
    """A smaller network would agree with itself."""
    state = {prefix + name: one for name, one in made().state_dict().items()}
    torch.save({**state, "fc.weight": torch.ones(2, 2)}, tmp_path / "m.pt")
    assert main(["check", str(tmp_path / "m.pt")]) == 2
    said = capsys.readouterr().err
    assert f"missing: {first} " in said or f"missing: {first}," in said
    assert "save the weights after remove_weight_norm, remove_parametrizations or prune.remove" in said


def test_a_parameter_that_is_there_is_not_made_from_what_is_beside_it(tmp_path: Path):
    state = torch.nn.GRU(3, 4).state_dict()
    torch.save({**state, "weight_hh_l0_orig": torch.ones(12, 4)}, tmp_path / "m.pt")
    assert describe(tmp_path / "m.pt", None, {}).spec.bias


@pytest.mark.parametrize("ends", [("_orig",), ("_g", "_v")], ids=str)
def test_arrays_of_an_optimizer_are_no_parts_of_a_module(tmp_path: Path, capsys: Any, ends: tuple[str, ...]) -> None:
    """As of Adam's averages, or a copy of the first weights: of the same shapes, and with no mask beside them."""
    module = torch.nn.LSTM(3, 4)
    held = {f"lstm.{name}": values for name, values in module.state_dict().items()}
    held |= {f"adam.{name}{end}": values for name, values in module.state_dict().items() for end in ends}
    torch.save(held, tmp_path / "m.pt")
    assert main(["check", str(tmp_path / "m.pt"), "-q"]) == 0
    assert "adam" not in capsys.readouterr().out
