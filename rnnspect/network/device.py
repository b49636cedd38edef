"""The device that a spec names, if this machine has it and it can run the spec's dtype; and PyTorch's switches that let
products of float32 or of half types be less exact there, by the kernel that they reach.

One kernel never obeys another's switch: nn.RNN, nn.LSTM and nn.GRU run in cuDNN on a GPU, cells in cuBLAS.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from typing import Any, Literal

import torch

from rnnspect.errors import DeviceError
from rnnspect.files.silenced import ignoring
from rnnspect.network.spec import Spec

Runs = Literal["stack", "cells", "compiled"]
"""How an engine runs: nn.RNN, nn.LSTM or nn.GRU as a whole; step by step in cells; or a stack that was compiled."""
Library = Literal["cudnn.rnn", "cuda.matmul", "mkldnn.rnn", "mkldnn.matmul"]

REDUCED = ("tf32", "bf16")
_CUDNN_WITH_BFLOAT16 = 91300
"""From this version on PyTorch gives a bfloat16 stack to cuDNN."""
_REFUSALS = (RuntimeError, TypeError, AssertionError, NotImplementedError, ImportError, ValueError)


def resolve(spec: Spec, where: str | None = None) -> torch.device:
    """The device that the spec names; auto is this machine's accelerator, or its CPU.

    Raises `DeviceError` for a device that is not there and for a dtype that it cannot run.
    """
    device = _named(spec.device, where)
    dtype: torch.dtype = getattr(torch, spec.dtype)
    try:
        torch.zeros(1, device=device)
    except _REFUSALS:
        raise _unavailable(f"this machine has no device {spec.device!r}", spec.device, where) from None
    try:
        one = torch.ones(1, 1, device=device, dtype=dtype)
        torch.nn.functional.linear(one, one, one[0]).tanh().sigmoid().tolist()
    except _REFUSALS:
        found = f"the device {str(device)!r} cannot run {spec.dtype}"
        raise DeviceError(found, advice="choose another dtype or device", where=where) from None
    return device


@contextmanager
def plain_defaults() -> Iterator[None]:
    """Inside, new tensors lie in main memory and products there have the full precision of their dtype, whatever
    torch.set_default_device, the precision switches and autocast say."""
    cpu = torch.device("cpu")
    # Asked of a tensor: torch 2.6's get_default_device does not know of `with torch.device(…)`.
    with nullcontext() if torch.empty(0).device == cpu else cpu, exact_products():
        yield


def available() -> list[str]:
    """The names of the devices of this machine."""
    names = ["cpu"]
    if torch.accelerator.is_available():
        kind = torch.accelerator.current_accelerator()
        assert kind is not None
        names += [f"{kind.type}:{index}" for index in range(torch.accelerator.device_count())]
    return names


def _named(name: str, where: str | None) -> torch.device:
    if name == "auto":
        accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        return accelerator or torch.device("cpu")
    try:
        with ignoring():  # about kinds that are no devices any more; they are refused below
            device = torch.device(name)
    except RuntimeError:
        raise _unavailable(f"unknown device {name!r}", name, where) from None
    if device.type == "meta":
        raise _unavailable("the meta device holds no numbers", name, where)
    return device


def _unavailable(found: str, name: str, where: str | None) -> DeviceError:
    return DeviceError.unknown(found, name, ["auto", *available()], where)


def precision_switches(
    device: torch.device, dtype: torch.dtype, runs: Runs = "stack", onednn_lstm: bool = False
) -> dict[str, str]:
    """The switches that can change what runs there, by name, with their values, such as
    {"cudnn.rnn.fp32_precision": "tf32"}. None can change float64.

    On a GPU: every switch that reaches the kernel. On the CPU, where the default is exact: those set to less.
    `onednn_lstm` says that it is an LSTM without a projection, the one stack that oneDNN has a kernel for.
    """
    half = _autocast(device, dtype)
    found = {"autocast": half} if half else {}
    dtype = getattr(torch, half) if half else dtype
    for library in libraries(device, dtype, runs, onednn_lstm):
        found |= _of_float32(library) if dtype == torch.float32 else _of_half(library, dtype)
    return found


def _autocast(device: torch.device, dtype: torch.dtype) -> str | None:
    """The half type that autocast computes in there, or None. It leaves float64 alone, and what is half already."""
    with suppress(RuntimeError):  # devices that know no autocast
        if dtype == torch.float32 and torch.is_autocast_enabled(device.type):
            half = str(torch.get_autocast_dtype(device.type)).removeprefix("torch.")
            return half if half in ("float16", "bfloat16") else None
    return None


def libraries(device: torch.device, dtype: torch.dtype, runs: Runs, onednn_lstm: bool) -> tuple[Library, ...]:
    """The libraries that may multiply there: two where nobody can tell from outside which one does."""
    if device.type == "cuda":
        if runs == "compiled":
            return "cudnn.rnn", "cuda.matmul"
        cudnn: Any = torch.backends.cudnn
        if runs == "cells" or not (cudnn.enabled and cudnn.is_available()):
            return ("cuda.matmul",)
        if dtype == torch.bfloat16 and (cudnn.version() or 0) < _CUDNN_WITH_BFLOAT16:
            return "cudnn.rnn", "cuda.matmul"
        return ("cudnn.rnn",)
    if device.type == "cpu":
        if runs == "compiled":
            return "mkldnn.rnn", "mkldnn.matmul"
        return ("mkldnn.rnn",) if runs == "stack" and onednn_lstm and _onednn() else ("mkldnn.matmul",)
    return ()


def _onednn() -> bool:
    # mkldnn.enabled is not in every supported torch; where it is missing nobody can switch oneDNN off.
    mkldnn: Any = torch.backends.mkldnn
    return bool(mkldnn.is_available() and getattr(mkldnn, "enabled", True))


def _of_float32(library: Library) -> dict[str, str]:
    """PyTorch 2.9 has one switch for each operator; the older flags raise where the two disagree, so they are read
    only where the new ones do not exist."""
    place, operator = library.split(".")
    on_gpu = place != "mkldnn"
    switch: Any = getattr(getattr(torch.backends, place), operator, None)
    if hasattr(switch, "fp32_precision"):
        value = str(switch.fp32_precision)
        return {f"{library}.fp32_precision": value} if on_gpu or value in REDUCED else {}
    if library == "cudnn.rnn":
        return {"cudnn.allow_tf32": str(torch.backends.cudnn.allow_tf32)}
    if library == "cuda.matmul":
        return {"cuda.matmul.allow_tf32": str(switch.allow_tf32)}
    if library == "mkldnn.matmul" and torch.get_float32_matmul_precision() == "medium":
        return {"mkldnn.matmul.float32_matmul_precision": "medium"}
    return {}


def _of_half(library: Library, dtype: torch.dtype) -> dict[str, str]:
    """cuDNN sums half types in float32 whatever is said, and so does oneDNN."""
    if library != "cuda.matmul" or dtype not in (torch.float16, torch.bfloat16):
        return {}
    short = "fp16" if dtype == torch.float16 else "bf16"
    matmul: Any = torch.backends.cuda.matmul
    names = [f"allow_{short}_reduced_precision_reduction", *(["allow_fp16_accumulation"] if short == "fp16" else [])]
    return {f"cuda.matmul.{name}": str(getattr(matmul, name)) for name in names if hasattr(matmul, name)}


@contextmanager
def exact_products() -> Iterator[None]:
    """Inside, products on the CPU have the full precision of float32, whatever the switches allow, and autocast is off:
    the equations that an engine is compared with must not be rounded as the engine may be."""
    matmul: Any = getattr(torch.backends.mkldnn, "matmul", None)
    with torch.autocast("cpu", enabled=False), ExitStack() as undo:
        if hasattr(matmul, "fp32_precision"):
            if matmul.fp32_precision in REDUCED:
                undo.callback(_set_back, matmul, matmul.fp32_precision)
                matmul.fp32_precision = "ieee"
        elif torch.get_float32_matmul_precision() == "medium":
            undo.callback(torch.set_float32_matmul_precision, "medium")
            torch.set_float32_matmul_precision("highest")
        yield


def _set_back(switch: Any, before: str) -> None:
    switch.fp32_precision = "none"  # as it was, if it had its value from the switch of all backends
    if switch.fp32_precision != before:
        switch.fp32_precision = before
