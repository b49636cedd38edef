"""Examples of cells against somebody else's packages, where these are installed: fla-core (its naive files), mambapy,
xlstm, mlstm-kernels, lru-pytorch, s5-pytorch, haste-pytorch-cpu, sru, torchrecurrent. Of some a file is run by itself:
the packages want a GPU's compiler when they are loaded."""

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


def network(
    name: str, inputs: int = 6, **weights: Tensor
) -> tuple[rnnspect.Spec, Tensor, dict[str, Tensor], tuple[Tensor, ...]]:
    """A spec, x (T, I), its parameters by their names without _l0, and W_ih x + b_ih of each gate, (T, ·)."""
    spec = rnnspect.Spec(cell=cell(name), input_size=inputs, hidden_size=HIDDEN, seed=1)
    parameters = prepare(spec, "zeros:1").parameters | {f"{key}_l0": values for key, values in weights.items()}
    spec = spec.with_changes(weights={key: values.tolist() for key, values in parameters.items()})
    x = torch.randn(90, inputs, generator=torch.Generator().manual_seed(0))
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
@pytest.mark.parametrize("kind", ["all at once", "step by step"])
def test_a_block_of_mamba_is_that_of_mambapy(kind: str) -> None:
    """Its block step by step keeps the inputs of its convolution with the newest last."""
    pytest.importorskip("mambapy")
    from mambapy.mamba import MambaBlock, MambaConfig

    spec, x, p, _ = network("mamba", HIDDEN, bias_ih=torch.zeros(16))
    block = MambaBlock(MambaConfig(d_model=HIDDEN, n_layers=1, d_state=4, dt_rank=2, expand_factor=1))
    weights = {
        "in_proj.weight": p["weight_ih"],
        "conv1d.weight": torch.stack([p["w3"], p["w2"], p["w1"], p["w0"]], -1)[:, None],
        "conv1d.bias": p["conv_bias"],
        "x_proj.weight": torch.cat([p["dt_down"], p["B"], p["C"]]),
        "dt_proj.weight": p["dt_up"],
        "dt_proj.bias": p["dt_bias"],
        "A_log": p["A_log"],
        "D": p["D"],
        "out_proj.weight": p["out"],
    }
    block.load_state_dict(weights)
    with torch.inference_mode():
        if kind == "all at once":
            y = block(x[None])[0]
        else:
            state, outputs = (None, torch.zeros(1, HIDDEN, 3)), []
            for x_t in x[:, None]:
                y, state = block.step(x_t, state)
                outputs.append(y)
            y = torch.cat(outputs)
    assert told(spec, x, y) == ("agree", "differ")


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


@pytest.mark.usefixtures("no_causes")
def test_the_linear_recurrent_unit_is_that_of_s5_pytorch() -> None:
    """S5 (Smith, Warrington & Linderman 2022, arXiv 2208.04933) has steps of time Δ: λ = exp(Λ Δ), and B is what a
    zero-order hold makes of its own. Its Λ is that of our logarithms, in float64."""
    pytest.importorskip("einops")
    package = pytest.importorskip("s5.s5_model")
    drawn, step, eye = network("lru", HIDDEN)[2], 0.125, torch.eye(6, dtype=torch.complex64)
    rates = torch.complex(-drawn["nu_log"].double().exp(), drawn["theta_log"].double().exp())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = package.S5SSM(rates / step, eye, eye, HIDDEN, 6, step, step, bcInit="complex_normal")
    module.log_step.data = torch.full((6,), step, dtype=torch.float64).log()
    own, (_, b) = module.state_dict(), module.discretize(rates / step, torch.view_as_complex(module.B), step)
    weights = {"weight_ih": torch.cat([b.real, b.imag, own["D"].diag()]).float(), "bias_ih": torch.zeros(12 + HIDDEN)}
    weights |= {"gamma_log": torch.zeros(6), "C_re": own["C"].real, "C_im": own["C"].imag}
    spec, x, _, _ = network("lru", HIDDEN, **{name: values.detach() for name, values in weights.items()})
    module.C.data = module.C.data.to(torch.complex128)
    assert told(spec, x, module(x).detach().float()) == ("agree", "differ")


@pytest.mark.usefixtures("no_causes")
def test_the_independently_recurrent_network_is_that_of_torchrecurrent() -> None:
    package = pytest.importorskip("torchrecurrent")
    spec, x, p, _ = network("indrnn")
    module = package.IndRNN(6, HIDDEN)
    weights = {"weight_ih": p["weight_ih"], "bias_ih": p["bias_ih"], "vector_u": p["u"], "bias_hh": torch.zeros(HIDDEN)}
    module.load_state_dict({f"cells.0.{name}": values for name, values in weights.items()})
    assert told(spec, x, module(x[:, None])[0][:, 0].detach()) == ("agree", "differ")


@pytest.mark.usefixtures("no_causes")
def test_the_lstm_with_layer_normalisation_is_that_of_haste() -> None:
    """Theirs has its gates as i g f o, one bias, and no biases of the products."""
    package = pytest.importorskip("haste_pytorch")
    spec, x, p, _ = network("layer_norm_lstm", bias_ih=torch.zeros(4 * HIDDEN), bias_hh=torch.zeros(4 * HIDDEN))

    def theirs_of(rows: Tensor) -> Tensor:
        i, f, g, o = rows.chunk(4)
        return torch.cat([i, g, f, o])

    module = package.LayerNormLSTM(6, HIDDEN)
    gains = [theirs_of(p[name]).flatten() for name in ("gain_x", "gain_h")]
    weights = {"kernel": theirs_of(p["weight_ih"]).T, "recurrent_kernel": theirs_of(p["weight_hh"]).T}
    weights |= {"bias": theirs_of(p["shift"]).flatten(), "gamma": torch.stack(gains)}
    module.load_state_dict(weights | {"gamma_h": p["gain_c"], "beta_h": p["shift_c"]})
    assert told(spec, x, module(x[:, None])[0][:, 0].detach()) == ("agree", "differ")


@pytest.mark.usefixtures("no_causes")
def test_the_simple_recurrent_unit_is_that_of_its_authors(monkeypatch: pytest.MonkeyPatch) -> None:
    """In their loop in Python: kernels are compiled when the package is loaded, unless it is kept from that. They have
    the rows of all gates of a unit side by side, and for their loop they want to be warned."""
    from torch.utils import cpp_extension

    monkeypatch.setattr(cpp_extension, "load", lambda **_: None)
    monkeypatch.setattr(torch.jit, "script", lambda function: function)
    package = pytest.importorskip("sru")
    spec, x, p, _ = network("sru", bias_ih=torch.zeros(4 * HIDDEN))
    module = package.SRUCell(6, HIDDEN)
    by_unit = p["weight_ih"].view(4, HIDDEN, 6).transpose(0, 1).flatten(0, 1)
    weights = {"weight": by_unit.T, "weight_c": torch.cat([p["v_f"], p["v_r"]]), "bias": torch.zeros(2 * HIDDEN)}
    module.load_state_dict(weights, strict=False)
    with pytest.warns(UserWarning, match="grad_enabled"):
        y = module(x[:, None])[0][:, 0].detach()
    assert told(spec, x, y) == ("agree", "differ")
