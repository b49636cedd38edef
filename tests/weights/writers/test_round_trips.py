"""From a checkpoint to a target's file, from that to PyTorch's, and to the target's again: the same arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn

from rnnspect.weights import writers
from tests.cli.test_convert import WRITERS, skip_without
from tests.weights.writers.loaders import NEEDS, SUFFIXES

if TYPE_CHECKING:
    from pathlib import Path

    Arrays = dict[str, np.ndarray[Any, Any]]


def arrays_in(path: Path) -> Arrays:
    """By whatever names."""
    match path.suffix:
        case ".onnx":
            import onnx

            held = onnx.load(path).graph.initializer
            return {one.name: onnx.numpy_helper.to_array(one) for one in held}
        case ".h5":
            import h5py

            found: Arrays = {}
            with h5py.File(path) as file:
                file.visititems(
                    lambda name, one: found.update({name: one[()]} if isinstance(one, h5py.Dataset) else {})
                )
            return found
        case ".msgpack":
            from flax import serialization
            from flax.traverse_util import flatten_dict

            return flatten_dict(serialization.msgpack_restore(path.read_bytes()), sep=".")
        case _:
            from safetensors.numpy import load_file

            return load_file(path)


def as_source(path: Path, folder: Path, target: str) -> list[tuple[str, ...]]:
    """What `convert` takes: the file itself, or its arrays beside the name of the layout; a node, or a layer, each."""
    if target == "onnx":
        return [(str(path), "--module", name) for name in ("lstm_l0", "lstm_l1")]
    if target != "keras":
        return [(str(path),)]
    named = {}
    for name, array in arrays_in(path).items():
        place, _, last = name.rpartition("/vars/")
        name = f"{place}/{('kernel', 'recurrent_kernel', 'bias')[int(last)]}"
        named[name.replace("backward_layer", "backward").replace("forward_layer", "forward")] = array
    np.savez(folder / "arrays.npz", **named)
    return [(str(folder / "arrays.npz"), "--layout", writers.find(target).layout)]


@pytest.mark.each_value_once
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("bidirectional", [False, True], ids=["one-way", "both-ways"])
@pytest.mark.parametrize("target", writers.names())
def test_there_and_back_and_there_again(rnnspect, tmp_path, target, bidirectional):
    skip_without(WRITERS[target], NEEDS[target])
    torch.manual_seed(0)
    net = nn.LSTM(4, 6, 2, batch_first=True, bidirectional=bidirectional)
    torch.save(net.state_dict(), tmp_path / "net.pt")
    there = tmp_path / f"there{SUFFIXES[target]}"
    assert rnnspect("convert", tmp_path / "net.pt", "--to", target, "-o", there).status == 0
    given = arrays_in(there)
    found: list[Arrays] = []
    for source in as_source(there, tmp_path, target):
        back, again = tmp_path / "back.safetensors", tmp_path / f"again{SUFFIXES[target]}"
        result = rnnspect("convert", *source, "--to", "pytorch", "-o", back)
        assert result.status == 0, result.err
        assert rnnspect("convert", back, "--to", target, "-o", again).status == 0
        found.append(arrays_in(again))
    if target == "onnx":  # a node is a network of its own, whose numbers are counted from 0
        for layer, arrays in enumerate(found):
            for name in "WRB":
                assert np.array_equal(arrays[f"{name}_0"], given[f"{name}_{layer}"])
        return
    assert found[0].keys() == given.keys()
    assert all(np.array_equal(found[0][name], given[name]) for name in given)
