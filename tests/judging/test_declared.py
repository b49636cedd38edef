"""Which arithmetic an engine declares: by dtype, by the kernel that runs, and by the switches that reach it."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from rnnspect.errors import InputError
from rnnspect.judging.declared import ARITHMETICS, Declared, declared_by, named
from rnnspect.network.device import exact_products, plain_defaults, precision_switches
from rnnspect.network.recording import EngineInfo

CUDA, CPU = torch.device("cuda:0"), torch.device("cpu")
F32, F16, BF16, F64 = torch.float32, torch.float16, torch.bfloat16, torch.float64


def backends(new: bool, **said: Any) -> Any:
    """torch.backends as PyTorch 2.6 has it, or as 2.9 has; `said` is what the user switched."""

    def operator(name: str) -> Any:
        return SimpleNamespace(fp32_precision=said.get(name, "none"))

    matmul = operator("matmul") if new else SimpleNamespace(allow_tf32=said.get("matmul") == "tf32")
    matmul.allow_fp16_reduced_precision_reduction = said.get("fp16", True)
    matmul.allow_bf16_reduced_precision_reduction = said.get("bf16", True)
    cudnn = SimpleNamespace(
        enabled=said.get("cudnn", True), is_available=lambda: True, version=lambda: said.get("version", 91900),
        allow_tf32=said.get("rnn") == "tf32",
    )  # fmt: skip
    mkldnn = SimpleNamespace(enabled=said.get("onednn", True), is_available=lambda: True)
    if new:
        cudnn.rnn, mkldnn.rnn, mkldnn.matmul = operator("rnn"), operator("onednn_rnn"), operator("onednn_matmul")
    return SimpleNamespace(cuda=SimpleNamespace(matmul=matmul), cudnn=cudnn, mkldnn=mkldnn)


def declared(monkeypatch: pytest.MonkeyPatch, given: Any, device: torch.device, dtype: Any, *kernel: Any) -> Declared:
    with monkeypatch.context() as m:
        m.setattr(torch, "backends", given)
        switches = precision_switches(device, dtype, *kernel)
    return declared_by(EngineInfo("torch", "", str(device), str(dtype).removeprefix("torch."), switches))


@pytest.mark.parametrize("new", [True, False], ids=["fp32_precision", "allow_tf32"])
@pytest.mark.parametrize("matmul", ["tf32", "ieee"])
@pytest.mark.parametrize("rnn", ["tf32", "ieee"])
@pytest.mark.parametrize("cudnn", [True, False])
@pytest.mark.parametrize("kernel", ["stack", "cells", "compiled"])
def test_tf32_is_told_from_the_switch_of_the_kernel_that_runs(monkeypatch, new, matmul, rnn, cudnn, kernel):
    found = declared(monkeypatch, backends(new, matmul=matmul, rnn=rnn, cudnn=cudnn), CUDA, F32, kernel)
    in_force = {"stack": rnn if cudnn else matmul, "cells": matmul, "compiled": max(matmul, rnn)}[kernel]
    assert found == ARITHMETICS["tf32" if in_force == "tf32" else "float32"]


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize("dtype", [F16, BF16])
@pytest.mark.parametrize("reduced", [True, False])
@pytest.mark.parametrize("kernel", ["stack", "cells"])
def test_sums_in_a_half_type_are_allowed_only_to_cublas(monkeypatch, new, dtype, reduced, kernel):
    short, name = ("fp16", "float16") if dtype == F16 else ("bf16", "bfloat16")
    found = declared(monkeypatch, backends(new, matmul="tf32", **{short: reduced}), CUDA, dtype, kernel)
    permitted = ARITHMETICS[f"{name}-sums"] if reduced and kernel == "cells" else None
    assert (found.name, found.permitted) == (f"{name}, float32 sums", permitted)


def test_bfloat16_stacks_run_in_cublas_before_cudnn_knew_them(monkeypatch):
    assert declared(monkeypatch, backends(True, version=90100), CUDA, BF16).permitted == ARITHMETICS["bfloat16-sums"]
    assert declared(monkeypatch, backends(True, version=91900), CUDA, BF16).permitted is None


@pytest.mark.parametrize("device", [CUDA, CPU])
def test_float64_obeys_no_switch(monkeypatch, device):
    said = {"matmul": "tf32", "rnn": "tf32", "onednn_rnn": "bf16", "onednn_matmul": "bf16"}
    assert declared(monkeypatch, backends(True, **said), device, F64, "cells") == ARITHMETICS["float64"]


@pytest.mark.parametrize("onednn", [True, False])
@pytest.mark.parametrize(("value", "name"), [("bf16", "bfloat16-products"), ("tf32", "tf32"), ("ieee", None)])
@pytest.mark.parametrize("lstm", [True, False])
def test_onednn_may_use_what_it_is_allowed(monkeypatch, onednn, value, name, lstm):
    """It does so on some processors only, so a run is held to it only where float32 does not explain it."""
    permitted = ARITHMETICS[name] if name else None
    stacked = backends(True, onednn_rnn=value, onednn=onednn)
    found = declared(monkeypatch, stacked, CPU, F32, "stack", lstm)
    assert (found.name, found.permitted) == ("float32", permitted if lstm and onednn else None)
    multiplied = backends(True, onednn_matmul=value, onednn=onednn)
    found = declared(monkeypatch, multiplied, CPU, F32, "stack", lstm)
    assert found.permitted == (None if lstm and onednn else permitted)
    assert declared(monkeypatch, multiplied, CPU, F32, "cells").permitted == permitted


@pytest.mark.parametrize(("said", "name"), [("medium", "bfloat16-products"), ("high", None), ("highest", None)])
def test_the_older_switch_of_onednn(monkeypatch, said, name):
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: said)
    found = declared(monkeypatch, backends(False), CPU, F32, "stack", False)
    assert found.permitted == (ARITHMETICS[name] if name else None)


def test_the_switches_that_this_torch_has():
    assert precision_switches(CPU, F32) == {}
    assert all("matmul" in name for name in precision_switches(CUDA, F16, "cells"))


def test_a_wider_arithmetic_allows_more_the_longer_its_sums_are():
    half, single = ARITHMETICS["float16-sums"], ARITHMETICS["float32"]
    assert half.over(400).products == pytest.approx(2 * half.over(100).products)
    assert single.over(400) == single.roundoff


def test_what_an_engine_is_held_to_is_computed_exactly():
    """Whatever the user's switches allow oneDNN; they are put back."""
    matmul: Any = getattr(torch.backends.mkldnn, "matmul", None)
    if not hasattr(matmul, "fp32_precision"):
        pytest.skip("skipped: this torch has no switch for each operator")
    before = matmul.fp32_precision
    try:
        matmul.fp32_precision = "bf16"
        with plain_defaults():
            assert matmul.fp32_precision == "ieee"
        assert matmul.fp32_precision == "bf16"
    finally:
        matmul.fp32_precision = before
    with torch.autocast("cpu", dtype=BF16):
        with exact_products():
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == F32
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == BF16


@pytest.mark.parametrize("dtype", ["", "bfloat16-", "float64-"])
def test_over_how_many_steps_logarithms_are_added_up(dtype: str) -> None:
    whole, some = named(f"{dtype}log-scan"), named(f"{dtype}log-scan:64")
    assert (whole.roundoff.logs, some.roundoff.logs) == (math.inf, 64)
    assert replace(some.roundoff, logs=math.inf) == whole.roundoff
    assert (some.name, some.telling) == (f"{whole.name} over 64 steps at most", whole.telling)


@pytest.mark.parametrize("wrong", ["log-scan:0", "log-scan:", "log-scan:many", "any-order:64", "float32:3"])
def test_no_such_number_of_steps(wrong: str) -> None:
    with pytest.raises(InputError, match=re.escape(repr(wrong))):
        named(wrong, "--arithmetic")


@pytest.mark.parametrize("steps", ["0", "x", "²", "٣", "-1", "9" * 5000])
def test_what_is_no_number_of_steps_is_refused(steps: str):
    with pytest.raises(InputError, match="is not a number of steps; expected such as log-scan:64"):
        named(f"log-scan:{steps}")
