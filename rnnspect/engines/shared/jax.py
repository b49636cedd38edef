"""What the engines on jax share: arrays there and back, and where they run."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from rnnspect.network.spec import Spec


@contextlib.contextmanager
def on_cpu(spec: Spec) -> Iterator[None]:
    """Without x64 jax makes float32 of float64."""
    wide = jax.enable_x64(True) if spec.dtype == "float64" else contextlib.nullcontext()
    with jax.default_device(jax.devices("cpu")[0]), wide:
        yield


def given(tensor: Tensor) -> Any:
    """Through float32 for bfloat16, which numpy lacks; exact."""
    name = str(tensor.dtype).removeprefix("torch.")
    plain = tensor.float() if name == "bfloat16" else tensor
    return jnp.array(plain.numpy(), dtype=name)


def taken(values: Any, dtype: torch.dtype) -> Tensor:
    plain = values.astype(jnp.float32) if dtype == torch.bfloat16 else values
    return torch.from_numpy(np.array(plain)).to(dtype)
