"""A trace as heat maps: what is drawn is what was traced, and nothing of pyplot is left."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

import rnnspect
from rnnspect import Spec

pytest.importorskip("matplotlib", reason="skipped: matplotlib is not installed")
LSTM = Spec(cell="lstm", input_size=3, hidden_size=4, num_layers=2, bidirectional=True, batch=2, lengths=[9, 6])


def _maps(figure):
    return {axes.get_title(loc="left"): axes for axes in figure.axes if axes.get_title(loc="left")}


def test_each_gate_and_state_is_drawn_over_the_steps_of_the_item():
    trace = rnnspect.trace(LSTM, "randn:9")
    figure = trace.plot(layer=-1, direction="reverse", batch_index=1)
    maps = _maps(figure)
    assert list(maps) == ["i", "f", "g", "o", "c", "h"]
    assert "layer 1 reverse, batch item 1" in figure.get_suptitle()
    for name, axes in maps.items():
        (image,) = axes.images
        drawn = np.asarray(image.get_array())
        assert np.array_equal(drawn.T, trace.layers[3].quantities[name][1, :6].double().numpy())
        low, high = image.get_clim()
        largest = np.abs(drawn).max()
        assert (low, high) == ((0, 1) if name in "ifo" else (-largest, largest))
        assert image.get_extent() == [-0.5, 5.5, 3.5, -0.5]  # step to the right, unit downwards


@pytest.mark.parametrize(
    ("keys", "gates"),
    [
        ({"cell": "rnn", "nonlinearity": "relu"}, ""),
        ({"cell": "gru"}, "rz"),
        ({"cell": "lstm"}, "ifo"),
    ],
    ids=str,
)
def test_only_a_gate_has_a_scale_from_0_to_1(keys, gates):
    """The weights are all positive, and so are x, every state and every candidate."""
    spec = Spec(**keys, input_size=1, hidden_size=2)
    weights = {one.name: torch.full(one.shape, 0.1) for one in rnnspect.shapes(spec).parameters}
    trace = rnnspect.trace(spec.with_changes(weights=weights), torch.ones(5, 1))
    for name, axes in _maps(trace.plot()).items():
        low, high = axes.images[0].get_clim()
        assert ((low, high) == (0, 1)) if name in gates else (low == -high)


def test_what_is_no_number_is_drawn_as_such():
    trace = rnnspect.trace(Spec(), torch.tensor([[1.0] * 5, [float("nan")] * 5]))
    (image,) = _maps(trace.plot())["h"].images
    assert np.isnan(np.asarray(image.get_array(), float)[:, 1]).all()
    assert trace.plot()._repr_png_().startswith(b"\x89PNG")


def test_a_long_run_says_what_is_drawn_of_it():
    axes = _maps(rnnspect.trace(Spec(), "randn:4001").plot(["h"]))["h"]
    assert axes.images[0].get_array().shape == (2, 1334)
    assert axes.get_xlabel() == "step (1 of 3 is drawn)"
    assert axes.images[0].get_extent()[1] == 4000.5


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"quantities": ["z"]}, "quantities: cell lstm has no quantity 'z'; expected x"),
        ({"layer": 2}, "layer: no layer 2; expected 0 to 1"),
        ({"direction": "back"}, "direction: no direction 'back'; expected forward, reverse"),
        ({"batch_index": 2}, "batch_index: no batch item 2; expected 0 to 1"),
    ],
)
def test_what_is_not_there_is_refused(asked, said):
    with pytest.raises(rnnspect.InputError) as refused:
        rnnspect.trace(LSTM, "randn:9").plot(**asked)
    assert str(refused.value).startswith(said)


@pytest.mark.slow
def test_no_window_and_no_pyplot(tmp_path):
    code = """
import sys, rnnspect
rnnspect.trace(rnnspect.Spec(), "ramp:3").plot().savefig("gates.svg")
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
    assert (tmp_path / "gates.svg").read_text().startswith("<?xml")
