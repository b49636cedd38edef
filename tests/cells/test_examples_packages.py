"""Examples of cells against somebody else's packages, where these are installed: fla-core (its naive files), mambapy,
xlstm, mlstm-kernels. Their files are run by themselves: the packages want a GPU's compiler when they are loaded."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import linear, softplus

import rnnspect
from rnnspect.tracing.prepare import prepare
from tests.cells.test_examples import cell

HIDDEN = 8


def theirs(package: str, file: str, needs: str = "torch") -> Any:
    """One file of a package as a module."""
    pytest.importorskip(needs)
    found = importlib.util.find_spec(package)
    paths = [] if found is None else [Path(root) / file for root in found.submodule_search_locations or ()]
    path = next((path for path in paths if path.exists()), None)
    if path is None:
        pytest.skip(f"skipped: {package} is not installed")
    name = f"theirs_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def network(name: str, **weights: Tensor) -> tuple[rnnspect.Spec, Tensor, dict[str, Tensor], tuple[Tensor, ...]]:
    """A spec, x (T, I), its parameters by their names without _l0, and W_ih x + b_ih of each gate, (T, ·)."""
    spec = rnnspect.Spec(cell=cell(name), input_size=6, hidden_size=HIDDEN, seed=1)
    parameters = prepare(spec, "zeros:1").parameters | {f"{key}_l0": values for key, values in weights.items()}
    spec = spec.with_changes(weights={key: values.tolist() for key, values in parameters.items()})
    x = torch.randn(90, 6, generator=torch.Generator().manual_seed(0))
    own = {key.removesuffix("_l0"): values for key, values in parameters.items()}
    gates = linear(x, own["weight_ih"], own["bias_ih"]).split_with_sizes(spec.gate_sizes, -1)
    return spec, x, own, gates


def told(spec: rnnspect.Spec, x: Tensor, output: Tensor, arithmetic: str | None = None) -> tuple[str, str]:
    """The verdict on their output (T, H), and on one of which a number is off by a thousandth of the largest."""
    wrong = output.clone()
    wrong[40, 3] += 1e-3 * float(output.abs().max())
    found = [rnnspect.check(spec, x, recorded={"output": y}, arithmetic=arithmetic) for y in (output, wrong)]
    return tuple(one.verdict for one in found)  # type: ignore[return-value]


@pytest.mark.usefixtures("no_causes")
def test_the_gated_delta_rule_is_that_of_flash_linear_attention() -> None:
    naive = theirs("fla", "ops/gated_delta_rule/naive.py", needs="einops")
    spec, x, p, (q, k, v, b, g) = network("gated_delta")
    decay = -p["A_log"].exp() * softplus(g + p["dt_bias"])
    by_head = (one.view(1, len(x), 2, -1) for one in (q, k, v))
    y, _ = naive.naive_recurrent_gated_delta_rule(*by_head, beta=b.sigmoid()[None], g=decay[None])
    assert told(spec, x, y.flatten(2)[0]) == ("agree", "differ")


@pytest.mark.usefixtures("no_causes")
def test_retention_is_that_of_flash_linear_attention() -> None:
    """Theirs computes all steps at once, with decays as powers of two, and divides q by √d_k."""
    naive = theirs("fla", "ops/retention/naive.py")
    decays = 1 - 2.0 ** torch.tensor([-5.0, -6.0], dtype=torch.float64)
    spec, x, _, (q, k, v) = network("retnet", theta=decays.logit())
    y = naive.naive_retention(*(one.view(1, len(x), 2, -1).transpose(1, 2) for one in (q, k, v))) * 3**0.5
    assert told(spec, x, y.transpose(1, 2).flatten(2)[0], "log-scan") == ("agree", "differ")


@pytest.mark.usefixtures("no_causes")
def test_the_selective_scan_is_that_of_mambapy() -> None:
    pytest.importorskip("mambapy")
    from mambapy.mamba import MambaBlock, MambaConfig

    spec, x, p, (u, d, b, r) = network("s6")
    block = MambaBlock(MambaConfig(d_model=HIDDEN, n_layers=1, d_state=4, expand_factor=1))
    given = (one[None] for one in (u, softplus(d + p["dt_bias"])))
    y = block.selective_scan_seq(*given, -p["A_log"].exp(), b[None], r[None], p["D"])
    assert told(spec, x, y[0].detach()) == ("agree", "differ")


@pytest.mark.usefixtures("no_causes")
def test_mlstm_is_that_of_mlstm_kernels() -> None:
    """Theirs adds 1e-6 to the normaliser unless it is told not to."""
    native = theirs("mlstm_kernels", "torch/recurrent/native_step.py")
    spec, x, _, gates = network("mlstm")
    state: tuple[Tensor, ...] = torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 4), torch.zeros(1, 2, 1)
    outputs = []
    for q, k, v, i, f, o in zip(*gates, strict=True):
        rows = (one.view(1, 2, -1) for one in (q, k, v, i, f))
        h, state = native.mlstm_recurrent_step__native_fw(*state, *rows, eps=0.0)
        outputs.append(o.sigmoid() * h.flatten())
    assert told(spec, x, torch.stack(outputs)) == ("agree", "differ")


@pytest.mark.usefixtures("no_causes")
def test_slstm_is_that_of_xlstm() -> None:
    """Theirs has its gates as i f z o."""
    vanilla = theirs("xlstm", "blocks/slstm/src/vanilla/slstm.py")
    spec, x, p, gates = network("slstm")
    states, outputs = torch.zeros(4, 1, HIDDEN), []
    for z, i, f, o in zip(*gates, strict=True):
        r_z, r_i, r_f, r_o = linear(states[0, 0], p["weight_hh"], p["bias_hh"]).chunk(4)
        of_x, of_h = torch.cat([i, f, z, o])[None], torch.cat([r_i, r_f, r_z, r_o])[None]
        states, _ = vanilla.slstm_forward_pointwise(of_x, of_h, torch.zeros(1, 4 * HIDDEN), states, {})
        outputs.append(states[0, 0])
    assert told(spec, x, torch.stack(outputs)) == ("agree", "differ")


@pytest.mark.usefixtures("no_causes")
def test_the_linear_recurrent_unit_is_that_of_lru_pytorch() -> None:
    """Its memory is long: |λ| is 0.98 to 0.999. Theirs has no biases."""
    package = pytest.importorskip("LRU_pytorch")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = package.LRU(6, HIDDEN, 6, rmin=0.98, rmax=0.999)
    own = {name: values.detach() for name, values in module.named_parameters()}
    weights = {name: own[name] for name in ("nu_log", "theta_log", "gamma_log")}
    weights |= {"C_re": own["C"].real, "C_im": own["C"].imag, "bias_ih": torch.zeros(12 + HIDDEN)}
    weights["weight_ih"] = torch.cat([own["B"].real, own["B"].imag, own["D"]])
    spec, x, _, _ = network("lru", **weights)
    assert told(spec, x, module(x).detach()) == ("agree", "differ")
