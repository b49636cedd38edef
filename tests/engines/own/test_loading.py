"""A model out of somebody's file: it is loaded as it would be imported, and what is wrong is said with its line."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING

import pytest
from torch import nn

from rnnspect import InputError, Spec
from rnnspect.engines.own.loading import evaluating, load_model, load_named, their_errors

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def write(tmp_path: Path):
    def written(text: str, name: str = "model.py") -> str:
        path = tmp_path / name
        path.write_text(text)
        return str(path)

    return written


def test_a_function_a_class_and_a_module(write):
    path = write(
        "from torch import nn\n"
        "def build():\n    return nn.Sequential(nn.GRU(3, 4))\n"
        "class Model(nn.LSTM):\n    def __init__(self): super().__init__(3, 4)\n"
        "model = nn.RNN(3, 4)\n"
    )
    assert isinstance(load_model(f"{path}:build")[0], nn.GRU)
    assert isinstance(load_model(f"{path}:Model"), nn.LSTM)
    assert isinstance(load_model(f"{path}:model"), nn.RNN)


def test_the_file_imports_its_neighbours(write):
    write("WIDTH = 7\n", "neighbour_of_the_model.py")
    path = write("import neighbour_of_the_model as n\nfrom torch import nn\ndef build(): return nn.GRU(3, n.WIDTH)\n")
    before = list(sys.path)
    assert load_model(f"{path}:build").hidden_size == 7
    assert sys.path == before


STEP = "\ndef step(x_t, h, weight_ih, weight_hh, bias_ih, bias_hh): return cell(x_t @ weight_ih.T, h @ weight_hh.T)\n"
CELL = "import numpy as np\ndef cell(a, b): return np.tanh(a + b)\n"


@pytest.mark.each_value_once
@pytest.mark.parametrize(
    ("mine", "cell", "line"),
    [
        ("src/theirs_a/mine.py", "src/theirs_a/inner/cell.py", "from theirs_a.inner.cell import cell"),
        ("src/theirs_b/mine.py", "src/theirs_b/inner/cell.py", "from .inner.cell import cell"),
        ("src/theirs_c/deep/mine.py", "src/theirs_c/inner/cell.py", "from ..inner.cell import cell"),
        ("theirs_d/mine.py", "theirs_d/cell.py", "from theirs_d.cell import cell"),
        ("src/theirs_e/mine.py", "src/theirs_e/cell.py", "from theirs_e.cell import cell"),
        ("examples/mine.py", "src/theirs_f/cell.py", "from theirs_f.cell import cell"),
    ],
)
@pytest.mark.parametrize("is_package", [True, False])
def test_the_file_imports_its_own_package(rnnspect, tmp_path, mine, cell, line, is_package):
    """Of a project that nobody installed: its packages have an __init__.py, or the project a pyproject.toml."""
    for place, text in {cell: CELL, mine: line + STEP}.items():
        path = tmp_path / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    packages = [folder for folder in tmp_path.rglob("*") if folder.is_dir() and folder.name not in ("src", "examples")]
    for folder in packages if is_package else []:
        (folder / "__init__.py").touch()
    if mine.startswith("examples") or not is_package:
        (tmp_path / "pyproject.toml").touch()
    before, loaded = list(sys.path), set(sys.modules)
    result = rnnspect("check", "--no-bias", "--input", "randn:9", "--engine", f"{tmp_path / mine}:step")
    for name in {one for one in sys.modules if one.startswith("theirs_")} - loaded:
        del sys.modules[name]
    assert sys.path == before
    if line.startswith("from .") and not is_package:
        assert (result.status, "put an empty __init__.py into" in result.err) == (2, True)
    else:
        assert result.status == 0, result.err


@pytest.mark.parametrize("parts", [("layers.py",), ("parts", "layers.py"), ("parts", "__init__.py")])
def test_each_file_imports_its_own_neighbours(tmp_path: Path, parts: tuple[str, ...]):
    """Of two folders with modules of the same names."""
    name = ".".join(part.removesuffix(".py") for part in parts if part != "__init__.py")
    for folder, layer in (("a", "LSTM(3, 4)"), ("b", "GRU(5, 7)")):
        helper = tmp_path.joinpath(folder, *parts)
        helper.parent.mkdir(parents=True)
        helper.write_text(f"from torch import nn\n\n\ndef make():\n    return nn.{layer}\n")
        late = f"def build():\n    from {name} import make\n\n    return make()\n"
        (tmp_path / folder / "model.py").write_text(late)
    found = [str(load_model(f"{tmp_path / folder / 'model.py'}:build")) for folder in "abab"]
    assert found == ["LSTM(3, 4)", "GRU(5, 7)"] * 2


def test_a_neighbour_is_there_while_the_model_runs(tmp_path: Path):
    """Also where a function imports it late, when all is loaded; and what somebody else imported before is kept."""
    (tmp_path / "neighbour.py").write_text("from torch import nn\n\nMADE = nn.LSTM(3, 4)\n")
    late = "import neighbour\n\n\ndef build():\n    return neighbour.MADE\n\n\ndef late():\n    import neighbour\n"
    (tmp_path / "model.py").write_text(late)
    try:
        load_model(f"{tmp_path}/model.py:build")
        load_named(f"{tmp_path}/model.py:late")[0]()
        sys.modules["neighbour"] = mine = ModuleType("neighbour")
        load_model(f"{write_other(tmp_path / 'b')}:MADE")
        assert sys.modules["neighbour"] is mine
    finally:
        sys.modules.pop("neighbour", None)


def write_other(folder: Path) -> Path:
    folder.mkdir()
    (folder / "model.py").write_text("from torch import nn\n\nMADE = nn.LSTM(3, 4)\n")
    return folder / "model.py"


def test_what_is_installed_below_the_folder_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Python itself may be, in the home of who has a model.py there."""
    (tmp_path / ".pyenv/lib").mkdir(parents=True)
    (tmp_path / ".pyenv/lib/installed_there.py").write_text("")
    (tmp_path / "model.py").write_text("import installed_there\nfrom torch import nn\n\nMADE = nn.LSTM(3, 4)\n")
    monkeypatch.syspath_prepend(str(tmp_path / ".pyenv/lib"))
    try:
        load_model(f"{tmp_path}/model.py:MADE")
        assert "installed_there" in sys.modules
    finally:
        sys.modules.pop("installed_there", None)


def test_a_package_that_is_not_found_is_said_with_what_to_do(rnnspect, tmp_path):
    (tmp_path / "mine.py").write_text("import no_such_package.of_theirs\n" + STEP)
    result = rnnspect("check", "--engine", f"{tmp_path / 'mine.py'}:step")
    assert result.status == 2
    assert "mine.py:1: loading this file failed with ModuleNotFoundError: No module named" in result.err
    assert "if no_such_package is yours, pip install -e its project, or set PYTHONPATH to the folder" in result.err


def test_dataclasses_find_their_module(write):
    path = write(
        "from __future__ import annotations\nfrom dataclasses import dataclass\nfrom torch import nn\n"
        "@dataclass\nclass Config:\n    width: int = 5\n"
        "def build(): return nn.GRU(3, Config().width)\n"
    )
    assert load_model(f"{path}:build").hidden_size == 5


def test_what_it_prints_is_no_result(write, capsys: pytest.CaptureFixture[str]):
    path = write(
        "from torch import nn\nprint('loading')\ndef build():\n    print('building')\n    return nn.GRU(1, 1)\n"
    )
    load_model(f"{path}:build")
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "loading\nbuilding\n"


WRONG = {
    "no such name": ("def build(): pass\n", "biuld", r"'biuld'; expected build; did you mean 'build'"),
    "no module": ("def build(): return 3\n", "build", r"py:build: build\(\) returns a int; expected a torch"),
    "a number": ("build = 3\n", "build", r"a int; expected a torch\.nn\.Module, or a function"),
    "it raises": ("def build():\n    return {}['a']\n", "build", r"model\.py:2: build\(\) failed with KeyError: 'a'"),
    "loading raises": ("x = 1\nx / 0\n", "build", r"model\.py:2: loading this file failed with ZeroDivisionError"),
    "torch raises": (
        "from torch import nn\ndef build():\n    return nn.GRU('a', 2)\n",
        "build",
        r"model\.py:3: build\(\) failed with",
    ),
    "syntax": ("def build(:\n", "build", r"model\.py:1: loading this file failed with SyntaxError"),
    "it exits": ("import sys\nsys.exit(3)\n", "build", r"model\.py:2: loading this file failed with SystemExit: 3"),
    "arguments": ("def build(size): pass\n", "build", r"model\.py:build: build needs the arguments size; name a"),
    "no import": ("import no_such_pack\n", "build", r"model\.py:1: loading this file failed with ModuleNotFound"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "name", "message"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_is_said_with_its_line(write, text: str, name: str, message: str):
    with pytest.raises(InputError, match=message) as error:
        load_model(f"{write(text)}:{name}")
    assert "Traceback" not in str(error.value)


@pytest.mark.parametrize("source", ["model.py", ":build", "model.py:", ""])
def test_an_argument_of_another_form(source: str):
    with pytest.raises(InputError, match=r"does not name a model; expected path/to/model\.py:build"):
        load_model(source)


def test_no_such_file(tmp_path: Path):
    with pytest.raises(InputError, match="no such file"):
        load_model(f"{tmp_path / 'model.py'}:build")
    with pytest.raises(InputError, match="no such file"):
        load_model(f"{tmp_path}:build")
    (tmp_path / "model.txt").write_text("")
    with pytest.raises(InputError, match="this is not a Python file"):
        load_model(f"{tmp_path / 'model.txt'}:build")


def test_eval_mode_is_put_back():
    model = nn.Sequential(nn.Dropout(), nn.LSTM(2, 2))
    model[1].eval()
    with evaluating(model):
        assert not any(module.training for module in model.modules())
    assert [module.training for module in model.modules()] == [True, True, False]
    with pytest.raises(ZeroDivisionError), evaluating(model):
        raise ZeroDivisionError
    assert [module.training for module in model.modules()] == [True, True, False]


def test_an_error_inside_rnnspect_is_said_with_the_line_that_led_there():
    """Not with a line of rnnspect itself, in whatever folder of it that is."""
    with pytest.raises(InputError) as caught, their_errors("it"):
        Spec(cell="rnn", hidden_size=-1)
    assert f"{__file__}:" in str(caught.value)
    assert "network" not in str(caught.value)
