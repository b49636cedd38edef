"""What an installed package adds under a name: a cell, an engine and a layout, by its entry points."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import rnnspect
from rnnspect import engines
from rnnspect.cli import main
from rnnspect.weights import layouts

CELL = '''
"""h' = (1 − f) ⊙ h + f ⊙ n"""
from rnnspect.cells import Cell

def light(a, wx, h):
    s_f, s_n = a.gates(wx, h)
    f, n = a.sigmoid(s_f), a.tanh(s_n)
    return {"f": f, "n": n, "h": a.lerp(h, n, f)}

CELL = Cell("light", "", ("f", "n"), ("h",), ("f", "n", "h"), ("sigmoid", "tanh"), light)
OTHER = 3
'''
ENGINE = """
import torch
from rnnspect.network.recording import EngineInfo, Recording

class Engine:
    name = "lights"

    def run(self, spec, parameters, sequence):
        h, hs = sequence.h0[0], []
        w_ih, w_hh, b_ih, b_hh = parameters.values()
        for x in sequence.x:
            f, n = (x @ w_ih.T + b_ih + h @ w_hh.T + b_hh).chunk(2, -1)
            f, n = torch.sigmoid(f), torch.tanh(n)
            h = h + f * (n - h)
            hs.append(h)
        output = torch.stack(hs)
        info = EngineInfo(self.name, "1.0", "cpu", spec.dtype)
        return Recording(info, output, h[None], None, {(0, "forward"): output}, 0.0)

def broken():
    raise RuntimeError("no licence\\nat all")
"""
LAYOUT = """
title = "Lights"

[rnn]
where = "lights.RNN"
arrays = {kernel = "W_ih", recurrent = "W_hh", bias = "b_h"}
orientation = "in×out"
source = "lights/rnn.py"
"""
ENTRY_POINTS = """
[rnnspect.cells]
light = lights.cell:CELL
number = lights.cell:OTHER
gone = lights.nowhere:CELL

[rnnspect.engines]
lights = lights.engine:Engine
broken = lights.engine:broken

[rnnspect.layouts]
lights = lights:LAYOUT
missing = lights:MISSING
"""
SPEC = ["--hidden-size", "3", "--input", "randn:12"]


@pytest.fixture
def _lights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A package lights 1.0, as pip would install it."""
    package, info = tmp_path / "lights", tmp_path / "lights-1.0.dist-info"
    for folder in (package, info):
        folder.mkdir()
    paths = 'from pathlib import Path\nLAYOUT = Path(__file__).with_name("own.toml")\nMISSING = "no/such.toml"\n'
    (package / "__init__.py").write_text(paths)
    (package / "cell.py").write_text(CELL)
    (package / "engine.py").write_text(ENGINE)
    (package / "own.toml").write_text(LAYOUT)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lights\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "lights"]:
        del sys.modules[name]


@pytest.mark.usefixtures("_lights")
def test_a_package_adds_a_cell_an_engine_and_a_layout(tmp_path: Path, capsys: Any) -> None:
    assert main(["check", "--cell", "light", *SPEC, "--engine", "lights"]) == 0
    assert "lights matches this LIGHT" in capsys.readouterr().out
    assert main(["layouts", "lights", "keras"]) == 0
    assert "Lights" in capsys.readouterr().out
    assert layouts.find("lights").name == "lights"
    assert "lights" in engines.every()
    assert "lights" not in engines.names()
    assert rnnspect.Spec(cell="light").cell_type.gates == ("f", "n")
    (tmp_path / "net.yaml").write_text("cell: light\n")
    assert main(["shapes", str(tmp_path / "net.yaml")]) == 0


@pytest.mark.usefixtures("_lights")
@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (
            "shapes --cell gone",
            "gone of the package lights (lights.nowhere:CELL) cannot be loaded: ModuleNot",
        ),
        (
            "shapes --cell number",
            "--cell: what a package has as cell 'number' is a int; expected a rnnspect",
        ),
        ("shapes --cell ligth", "unknown cell 'ligth'; expected rnn, gru, lstm, gone, light, number, or your own"),
        (
            "check --cell light --engine broken",
            "the engine broken of an installed package failed with RuntimeError",
        ),
        ("check --cell light --engine ligths", "unknown engine 'ligths'"),
        ("layouts missing", "layouts: what a package has as layout 'missing' is no file: no/such.toml"),
        ("layouts ligths", "unknown layout 'ligths'; did you mean 'lights'?"),
    ],
)
def test_a_broken_one_is_told_where_it_is_asked_for(argv: str, said: str, capsys: Any) -> None:
    assert main(argv.split()) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1


@pytest.mark.usefixtures("_lights")
def test_nothing_is_looked_up_before_it_is_asked_for(tmp_path: Path) -> None:
    """Nor loaded: a package that fails does not stand in the way of what is ours."""
    code = (
        "import sys; from rnnspect.cli import main; from rnnspect import Spec, shapes;"
        "from rnnspect.files import installed; installed.names = installed.load = None; main(['layouts', 'keras']);"
        "main(['shapes', '--cell', 'gru']); main(['--help']); shapes(Spec(cell='lstm'));"
        "assert 'lights' not in sys.modules"
    )
    env = {"PYTHONPATH": f"{Path(rnnspect.__file__).parents[1]}:{tmp_path}", "PATH": ""}
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, env=env)
