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

from rnnspect.engines.shared.autograd import Leaves, run_elsewhere
from rnnspect.engines.shared.layers import Place, Returned, layers_backward, run_layers
from rnnspect.errors import EngineError
from rnnspect.network.arrays import array
from rnnspect.network.gradients import EngineGradients, Upstream
from rnnspect.network.recording import EngineInfo, Recording
from rnnspect.network.sequence import Sequence
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


JaxScan = Callable[[Mapping[str, Any], Any, tuple[Any, ...]], tuple[Any, tuple[Any, ...]]]
"""In jax: from the arrays of a layer and direction by name, x and the initial state to h and the final state."""


class JaxEngine:
    """An engine that scans each layer and direction under jax, and goes back by jax.vjp."""

    name: str
    layout: str
    piece: int | None = 1 << 17

    def run(self, spec: Spec, parameters: Mapping[str, Tensor], sequence: Sequence) -> Recording:
        info = self.info(spec, sequence)
        with on_cpu(spec):
            return run_layers(spec, parameters, sequence, info, self._run_one, self.layout)

    def backward(
        self, spec: Spec, parameters: Mapping[str, Tensor], sequence: Sequence, upstream: Upstream
    ) -> EngineGradients:
        info = self.info(spec, sequence)
        with on_cpu(spec):
            leaves = Leaves.of(sequence, parameters)
            return layers_backward(spec, leaves, info, self._run_one, upstream, self.layout)

    def info(self, spec: Spec, sequence: Sequence) -> EngineInfo:
        """Raises `EngineError` for what no cell of the framework computes."""
        raise NotImplementedError

    def scan(self, place: Place) -> JaxScan:
        """The cell of a layer and direction, over the steps."""
        raise NotImplementedError

    def _run_one(self, place: Place, x: Tensor) -> Returned:
        """A layer and direction on x (T, B, I)."""
        scan, names, count = self.scan(place), tuple(place.arrays), len(place.state)

        def run(x: Any, *more: Any) -> tuple[Any, ...]:
            h, final = scan(dict(zip(names, more[count:], strict=True)), x, more[:count])
            return h, *final

        given = (x, *place.state, *place.arrays.values())
        h, *final = run_elsewhere(run, jax.vjp, to_jax, to_torch, given)
        return h, tuple(final)


def to_jax(tensor: Tensor) -> Any:
    """A tensor as a jax array."""
    return jnp.array(array(tensor), dtype=str(tensor.dtype).removeprefix("torch."))


def to_torch(values: Any, dtype: torch.dtype) -> Tensor:
    """A jax array as a tensor of that dtype."""
    plain = values.astype(jnp.float32) if dtype == torch.bfloat16 else values
    return torch.from_numpy(np.array(plain)).to(dtype)
