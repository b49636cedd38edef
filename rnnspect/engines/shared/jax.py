"""Shared by the engines on jax: arrays to jax and back, the device, and the arithmetic they declare."""

from __future__ import annotations

import contextlib
import platform
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import Tensor

from rnnspect.engines.shared.autograd import bridged
from rnnspect.engines.shared.layers import Place, Ran
from rnnspect.errors import EngineError
from rnnspect.network.recording import EngineInfo
from rnnspect.network.spec import Spec

_CPU = Path("/proc/cpuinfo")
_FLOAT16_OF_ITS_OWN = re.compile(r"^(flags|Features)\s*:.*\b(avx512_fp16|asimdhp)\b", re.MULTILINE)


def info(name: str, version: str, spec: Spec) -> EngineInfo:
    """XLA compiles float16 to the CPU's own float16 instructions (AVX512-FP16, ARMv8.2) where it has them, and then
    keeps sums in float16; on other CPUs it computes in float32 and rounds."""
    own = spec.dtype == "float16" and _computes_in_float16()
    switches = {"xla.allow_fp16_sums": "true"} if own else {}
    return EngineInfo(name, f"{version} (jax {jax.__version__})", "cpu", spec.dtype, switches)


def _computes_in_float16() -> bool:
    """Whether this CPU has instructions for float16 arithmetic: Linux says; Apple's all have them."""
    if _CPU.exists():
        return _FLOAT16_OF_ITS_OWN.search(_CPU.read_text(encoding="utf-8", errors="replace")) is not None
    return platform.system() == "Darwin" and platform.machine() == "arm64"


@contextlib.contextmanager
def on_cpu(spec: Spec) -> Iterator[None]:
    """Runs what is inside on the CPU; with x64 for float64, which jax else turns into float32.

    Raises `EngineError` for what XLA cannot compile: float16, say, on a CPU that cannot even convert it.
    """
    wide = jax.enable_x64(True) if spec.dtype == "float64" else contextlib.nullcontext()
    with jax.default_device(jax.devices("cpu")[0]), wide:
        try:
            yield
        except jax.errors.JaxRuntimeError as error:
            why = str(error).partition("\n")[0]
            raise EngineError(f"jax cannot run {spec.dtype} on this CPU: {why}", advice="use dtype: float32") from None


Scan = Callable[[Mapping[str, Any], Any, tuple[Any, ...]], tuple[Any, tuple[Any, ...]]]
"""From the arrays of a layer and direction by name, x and the state it starts from to h and the final state, in jax."""


def run_scan(scan: Scan, place: Place, x: Tensor) -> Ran:
    """A layer and direction on x (T, B, I). Under autograd jax.vjp traces it once, and autograd goes back through
    that."""
    names, count = tuple(place.arrays), len(place.state)
    given = (x, *place.state, *place.arrays.values())

    def run(x: Any, *more: Any) -> tuple[Any, ...]:
        h, final = scan(dict(zip(names, more[count:], strict=True)), x, more[:count])
        return h, *final

    def call(*tensors: Tensor) -> Any:
        returned, vjp = jax.vjp(run, *map(to_jax, tensors))

        def back(*gradients: Tensor) -> tuple[Tensor, ...]:
            return tuple(to_torch(one, x.dtype) for one in vjp(tuple(map(to_jax, gradients))))

        return tuple(to_torch(one, x.dtype) for one in returned), back

    if x.requires_grad:
        h, *final = bridged(call, *given)
    else:
        h, *final = (to_torch(one, x.dtype) for one in run(*map(to_jax, given)))
    return h, tuple(final)


def to_jax(tensor: Tensor) -> Any:
    """A tensor as a jax array. bfloat16, which numpy lacks, goes through float32, which is exact."""
    name = str(tensor.dtype).removeprefix("torch.")
    plain = tensor.float() if name == "bfloat16" else tensor
    return jnp.array(plain.detach().numpy(), dtype=name)


def to_torch(values: Any, dtype: torch.dtype) -> Tensor:
    """A jax array as a tensor of that dtype."""
    plain = values.astype(jnp.float32) if dtype == torch.bfloat16 else values
    return torch.from_numpy(np.array(plain)).to(dtype)
