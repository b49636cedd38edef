"""The device that a spec names, if this machine has it and it can run the spec's dtype."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch

from rnnspect.errors import DeviceError, listed, nearest
from rnnspect.network.precision import exact_products
from rnnspect.network.spec import Spec

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
        raise DeviceError(found, allowed="another dtype or device", where=where) from None
    return device


@contextmanager
def plain_defaults() -> Iterator[None]:
    """Inside, new tensors lie in main memory and products there have the full precision of their dtype, whatever
    torch.set_default_device, the precision switches and autocast say."""
    cpu = torch.device("cpu")
    with nullcontext() if torch.get_default_device() == cpu else cpu, exact_products():
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
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about kinds that are no devices any more; they are refused below
            device = torch.device(name)
    except RuntimeError:
        raise _unavailable(f"no device is called {name!r}", name, where) from None
    if device.type == "meta":
        raise _unavailable("the meta device holds no numbers", name, where)
    return device


def _unavailable(found: str, name: str, where: str | None) -> DeviceError:
    names = ["auto", *available()]
    return DeviceError(found, allowed=listed(names), nearest=nearest(name, names), where=where)
