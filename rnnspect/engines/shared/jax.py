"""Shared by the engines on jax: arrays to jax and back, the device, and the arithmetic they declare."""

from __future__ import annotations

import contextlib
import platform
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import Tensor

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


def to_jax(tensor: Tensor) -> Any:
    """A tensor as a jax array. bfloat16, which numpy lacks, goes through float32, which is exact."""
    name = str(tensor.dtype).removeprefix("torch.")
    plain = tensor.float() if name == "bfloat16" else tensor
    return jnp.array(plain.numpy(), dtype=name)


def to_torch(values: Any, dtype: torch.dtype) -> Tensor:
    """A jax array as a tensor of that dtype."""
    plain = values.astype(jnp.float32) if dtype == torch.bfloat16 else values
    return torch.from_numpy(np.array(plain)).to(dtype)
