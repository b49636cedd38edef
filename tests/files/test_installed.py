"""What an installed package adds under a name: a cell, an engine and a layout, by its entry points."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import rnnspect
from rnnspect import engines
from rnnspect.cli import main
from rnnspect.weights import layouts

ROOT = Path(__file__).parents[2]
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

made = Engine()

def step(x_t, h, weight_ih):
    return h

def text():
    return "text"

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
made = lights.engine:made
step = lights.engine:step
text = lights.engine:text

[rnnspect.layouts]
lights = lights:LAYOUT
missing = lights:MISSING
empty = lights:EMPTY
nowhere = lights:NOWHERE
"""
SPEC = ["--hidden-size", "3", "--input", "randn:12"]


@pytest.fixture
def _lights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A package lights 1.0, as pip would install it."""
    package, info = tmp_path / "lights", tmp_path / "lights-1.0.dist-info"
    for folder in (package, info):
        folder.mkdir()
    paths = 'from pathlib import Path\nLAYOUT = Path(__file__).with_name("own.toml")\nMISSING = "no/such.toml"\n'
    paths += 'EMPTY = LAYOUT.with_name("empty.toml")\n'
    (package / "empty.toml").write_text('title = "Empty"\n')
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
        (
            "check --cell light --engine step",
            "the engine step of an installed package needs the arguments x_t, h, weight_ih; expected a class, or a "
            "function without arguments, that gives an object with a name and run(spec, parameters, sequence); a step, "
            "or a function of a sequence, is named by its file: --engine path/to/mine.py:step",
        ),
        ("check --cell light --engine made", "installed package is a Engine; expected a class, or a function without"),
        ("check --cell light --engine text", "installed package gives a str; expected an object with a name and run("),
        ("layouts empty", "empty.toml: no cell; expected a table [rnn], [lstm], [gru], [gru-before]"),
        ("check --cell light --engine ligths", "unknown engine 'ligths'"),
        ("layouts missing", "layouts: what a package has as layout 'missing' is not a file: no/such.toml"),
        ("layouts ligths", "unknown layout 'ligths'; did you mean 'lights'?"),
    ],
)
def test_a_broken_one_is_told_where_it_is_asked_for(argv: str, said: str, capsys: Any) -> None:
    assert main(argv.split()) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1


@pytest.mark.usefixtures("_lights")
def test_installed_layouts_are_listed_and_broken_ones_are_named(capsys: Any) -> None:
    assert main(["layouts"]) == 0
    shown, told = capsys.readouterr()
    assert [line.split()[:4] for line in shown.splitlines() if "lights" in line] == [["lights", "h", "fused", "in×out"]]
    assert told.splitlines() == [
        "note: layout empty of an installed package is left out: empty.toml: no cell; expected a table [rnn], [lstm], "
        "[gru], [gru-before]",
        "note: layout missing of an installed package is left out: what a package has as layout 'missing' is not a "
        "file: no/such.toml; expected the path of a TOML file",
        "note: layout nowhere of an installed package is left out: nowhere of the package lights (lights:NOWHERE) "
        "cannot be loaded: AttributeError: module 'lights' has no attribute 'NOWHERE'; update or remove that package: "
        "pip install --upgrade lights",
    ]
    assert main(["layouts", "--format", "json"]) == 0
    assert "lights" in [one["name"] for one in json.loads(capsys.readouterr().out)["layouts"]]


@pytest.mark.usefixtures("_lights")
def test_what_the_page_shows_of_a_package_works(tmp_path: Path, capsys: Any) -> None:
    page = (ROOT / "docs/own-cells.md").read_text().partition("## From another package")[2]
    engine, (names, layout) = blocks(page, "python")[0], blocks(page, "toml")
    package = tmp_path / "lights"
    (package / "engine.py").write_text(engine)
    (package / "own.toml").write_text(layout)
    (package / "cells.py").write_text((ROOT / "examples/cells/mingru.py").read_text())
    groups = tomllib.loads(names)["project"]["entry-points"]
    said = "".join(f"[{group}]\n{name} = {place}\n" for group, one in groups.items() for name, place in one.items())
    (tmp_path / "lights-1.0.dist-info/entry_points.txt").write_text(said)
    assert main(["check", "--cell", "mingru", *SPEC, "--engine", "lights"]) == 0
    assert "lights matches this MINGRU" in capsys.readouterr().out
    assert main(["check", "--cell", "mingru", *SPEC, "--num-layers", "2", "--engine", "lights"]) == 2
    assert "lights cannot run this network: it has one layer of mingru" in capsys.readouterr().err
    assert main(["layouts", "lights", "keras"]) == 0
    assert "lights.GRU" in capsys.readouterr().out


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


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
