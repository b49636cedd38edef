"""Which device a spec means, and what is said where it is not there."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from rnnspect import DeviceError, Spec, trace
from rnnspect.network.device import available, resolve


def test_auto_is_the_accelerator_or_the_cpu(device: str):
    if device == "cpu" and torch.accelerator.is_available():
        pytest.skip("skipped: auto is this machine's accelerator")
    assert resolve(Spec(device="auto")).type == device


def test_a_device_that_is_there_is_taken(device: str):
    assert resolve(Spec(device=device)).type == device
    assert trace(Spec(device=device)).engine.device.startswith(device)


def test_what_comes_back_is_on_the_cpu(device: str):
    found = trace(Spec(cell="lstm", device=device))
    assert found.c_n is not None
    tensors = [found.x, found.h0, found.output.engine, found.h_n.engine, found.c_n.engine]
    tensors += [*found.layers[0].quantities.values(), *found.layers[0].engine.values()]
    assert {tensor.device.type for tensor in tensors} == {"cpu"}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gpu", "unknown device 'gpu'"),
        ("cup", "did you mean 'cpu'"),
        ("", "unknown device ''"),
        ("cuda:x", "unknown device 'cuda:x'"),
        ("cuda:99", "this machine has no device 'cuda:99'"),
        ("meta", "the meta device holds no numbers"),
        ("cpu\n", "unknown device"),
    ],
)
def test_a_device_that_is_not_there(name: str, said: str):
    with pytest.raises(DeviceError, match=said) as raised:
        resolve(Spec(device=name), "here")
    assert f"expected auto, {', '.join(available())}" in str(raised.value)
    assert raised.value.problems[0].where == "here"
    assert raised.value.exit_status == 2


@pytest.mark.parametrize(
    "name",
    [
        "ipu",
        "xpu",
        "mkldnn",
        "opengl",
        "opencl",
        "ideep",
        "hip",
        "ve",
        "fpga",
        "maia",
        "xla",
        "lazy",
        "vulkan",
        "mps",
        "hpu",
        "mtia",
        "privateuseone",
        "cuda",
    ],
)
def test_every_kind_that_torch_knows_is_there_or_refused(name: str):
    if torch.accelerator.is_available() and torch.accelerator.current_accelerator().type == name:
        pytest.skip("skipped: this machine has one")
    with pytest.raises(DeviceError):
        resolve(Spec(device=name))


@pytest.mark.parametrize("refusal", [RuntimeError("not for Half"), NotImplementedError(), TypeError("no float64")])
def test_a_dtype_that_the_device_cannot_run(monkeypatch: pytest.MonkeyPatch, refusal: Exception):
    """As MPS has no float64: the device is there, its products are not."""

    def refuse(*_args: Any) -> None:
        raise refusal

    monkeypatch.setattr(torch.nn.functional, "linear", refuse)
    with pytest.raises(DeviceError, match="the device 'cpu' cannot run float16; choose another dtype or device"):
        resolve(Spec(dtype="float16"))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_every_dtype_runs(device: str, cell: str, dtype: str):
    found = trace(Spec(cell=cell, dtype=dtype, device=device))
    assert (found.engine.dtype, found.output.manual.dtype) == (dtype, getattr(torch, dtype))


def test_the_precision_in_force_is_said_where_it_can_be_reduced(device: str):
    found = trace(Spec(device=device)).engine.precision
    assert bool(found) == (device == "cuda")
    assert all("precision" in name or "tf32" in name for name in found)
