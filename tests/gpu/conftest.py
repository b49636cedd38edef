from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch


@pytest.fixture(params=["cpu", "cuda"])
def place(request: pytest.FixtureRequest) -> str:
    """Where a test runs: every body on the CPU too, so that only what is truly CUDA's stays unrun without one."""
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("skipped: this machine has no CUDA device")
    return str(request.param)


@contextmanager
def float32_in(precision: str) -> Iterator[None]:
    """ieee or tf32 inside, in cuDNN's recurrent kernels and in cuBLAS, which PyTorch's own kernels and cells call."""
    cudnn: Any = torch.backends.cudnn
    matmul: Any = torch.backends.cuda.matmul
    if not hasattr(matmul, "fp32_precision"):  # before PyTorch 2.9
        before = cudnn.allow_tf32, matmul.allow_tf32
        cudnn.allow_tf32 = matmul.allow_tf32 = precision == "tf32"
        try:
            yield
        finally:
            cudnn.allow_tf32, matmul.allow_tf32 = before
        return
    with _switched(cudnn.rnn, precision), _switched(matmul, precision):
        yield


@contextmanager
def _switched(switch: Any, precision: str) -> Iterator[None]:
    before = switch.fp32_precision
    switch.fp32_precision = precision
    try:
        yield
    finally:
        switch.fp32_precision = "none"  # as it was, if it had its value from the switch of all backends
        if switch.fp32_precision != before:
            switch.fp32_precision = before


@pytest.fixture
def float32_products(request: pytest.FixtureRequest) -> Iterator[str]:
    """The precision of products in float32: that of the parameter, or exact."""
    precision = str(getattr(request, "param", "ieee"))
    with float32_in(precision):
        yield precision
