"""What the engines on jax share: arrays to jax and back, and the device they run on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import Tensor

from rnnspect.network.spec import Spec


@contextlib.contextmanager
def on_cpu(spec: Spec) -> Iterator[None]:
    """Runs what is inside on the CPU; with x64 for float64, which jax else turns into float32."""
    wide = jax.enable_x64(True) if spec.dtype == "float64" else contextlib.nullcontext()
    with jax.default_device(jax.devices("cpu")[0]), wide:
        yield


def to_jax(tensor: Tensor) -> Any:
    """A tensor as a jax array. bfloat16, which numpy lacks, goes through float32, which is exact."""
    name = str(tensor.dtype).removeprefix("torch.")
    plain = tensor.float() if name == "bfloat16" else tensor
    return jnp.array(plain.numpy(), dtype=name)


def to_torch(values: Any, dtype: torch.dtype) -> Tensor:
    """A jax array as a tensor of that dtype."""
    plain = values.astype(jnp.float32) if dtype == torch.bfloat16 else values
    return torch.from_numpy(np.array(plain)).to(dtype)
