"""Drawn cases: a layer, an input, an engine that runs it rightly, and how its numbers were kept."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rnnspect.arithmetic.roundoff import ROUNDOFF, Roundoff
from rnnspect.cells import CELLS
from rnnspect.judging.chunks import LayerRun
from rnnspect.judging.judge import Judge
from rnnspect.network.parameters import LayerParameters
from tests import reference
from tests.judging import loops, onnx_loops

if TYPE_CHECKING:
    import random

    from rnnspect.judging.finding import Finding

DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
SIGNALS = ("random", "constant", "ones", "zero", "impulse", "tiny", "huge", "silence", "denormal", "positive", "kink")
SPECIALS = ("", "closed", "open", "same")


@dataclass(frozen=True)
class Case:
    kind: str = "tanh"
    dtype: torch.dtype = torch.float32
    steps: int = 20
    batch: int = 1
    inputs: int = 5
    hidden: int = 6
    proj: int = 0
    bias: bool = True
    scale: float = 1
    """Of the weights, over their initial scale."""
    signal: str = "random"
    special: str = ""
    engine: str = "torch"
    seed: int = 0
    reverse: bool = False
    ragged: bool = False
    recorded: str = ""

    @property
    def cell(self) -> str:
        return "rnn" if self.kind in ("tanh", "relu") else self.kind

    @property
    def nonlinearity(self) -> str:
        return "relu" if self.kind == "relu" else "tanh"

    @property
    def name(self) -> str:
        return f"{self.kind}{' projected' if self.proj else ''} {str(self.dtype).removeprefix('torch.')}"


def draw(rng: random.Random, largest: int = 64, work: float = 4e6) -> Case:
    """Sizes up to `largest`, spread evenly over their logarithm; no more steps than that many multiplications."""

    def size(top: int) -> int:
        return max(1, int(math.exp(rng.uniform(0, math.log(max(top, 1) + 0.99)))))

    kind = rng.choice(("tanh", "relu", "gru", "lstm", "lstm"))
    engine = rng.choice(("torch", "torch", "torch", "C", "C fast", "numpy", "cell"))
    if engine in loops.FLAGS and not loops.HAS_C:
        engine = "numpy"
    plain = engine in ("C", "C fast", "numpy")
    dtype = torch.float32 if plain else rng.choice((torch.float32, *DTYPES))
    inputs = 4096 if rng.random() < 0.01 else size(largest)
    hidden, batch = size(largest), size(8) if engine == "torch" else 1
    gates = len(CELLS["rnn" if kind in ("relu", "tanh") else kind].gates)
    steps = min(size(5000), max(1, int(work / (gates * hidden * (hidden + inputs) * batch))))
    if engine in ("numpy", "cell"):
        steps = min(steps, 60)
    projected = kind == "lstm" and engine == "torch" and hidden > 1 and rng.random() < 0.25
    scale = rng.choice((0.3, 1, 1, 1, 3, 10))
    return Case(
        kind, dtype, steps, batch, inputs, hidden, size(hidden - 1) if projected else 0, rng.random() < 0.8,
        min(scale, 1) if kind == "relu" else scale,  # a relu layer of larger weights leaves the range of floats
        rng.choice(("random", *SIGNALS)), rng.choice(("", "", *SPECIALS)), engine, rng.getrandbits(31),
        engine == "torch" and rng.random() < 0.3, engine == "torch" and rng.random() < 0.3,
        rng.choice(("", "", "", "decimals", "half")) if dtype == torch.float32 else "",
    )  # fmt: skip


def draw_onnxruntime(rng: random.Random, largest: int = 64, work: float = 4e6) -> Case:
    """A draw of its own, so that the others' cases stay what they were. float32; ONNX's LSTM has no projection."""
    case = draw(rng, largest, work)
    batch = min(case.batch if case.batch > 1 else rng.choice((1, 1, 2, 5)), largest)
    return replace(
        case, engine="onnxruntime", dtype=torch.float32, proj=0, batch=batch, steps=max(1, case.steps // batch),
        reverse=rng.random() < 0.3, ragged=rng.random() < 0.3, recorded=rng.choice(("", "", "", "decimals", "half")),
    )  # fmt: skip


def signal(case: Case) -> Tensor:
    shape = (case.steps, case.batch, case.inputs)
    x = torch.randn(shape)
    match case.signal:
        case "constant":
            x = x[:1].expand(shape).clone()
        case "ones":
            x = torch.ones(shape)
        case "zero":
            x = torch.zeros(shape)
        case "impulse":
            x = torch.zeros(shape)
            x[case.steps // 2] = 3
        case "tiny":
            x = x * 1e-6
        case "huge":
            x = x * 1e4
        case "silence":
            x[: case.steps // 2] = 0
            x[case.steps // 2 :] *= 1e-5
        case "denormal":
            x = x * 1e-39
        case "positive":
            x = torch.full(shape, 0.7371) + 1e-3 * x
        case "kink":  # what x adds, it nearly takes away again
            half = case.inputs // 2
            x[..., half : 2 * half] = -x[..., :half] * (1 + 1e-7 * torch.randn(case.steps, case.batch, half))
            x[..., 2 * half :] = 0
    return x.to(case.dtype)


def build(case: Case) -> nn.RNNBase:
    torch.manual_seed(case.seed)
    options: dict[str, Any] = {"nonlinearity": case.nonlinearity} if case.cell == "rnn" else {}
    if case.proj:
        options["proj_size"] = case.proj
    make = getattr(nn, CELLS[case.cell].torch_name)
    module: nn.RNNBase = make(case.inputs, case.hidden, bias=case.bias, bidirectional=case.reverse, **options)
    with torch.no_grad():
        for name, p in module.named_parameters():
            p.mul_(case.scale)
            if case.special == "same" and "weight" in name:
                p.copy_(p.abs().mean())
            if case.signal == "kink" and "weight_ih" in name:
                half = case.inputs // 2
                p[:, half : 2 * half] = p[:, :half]
            if case.signal == "kink" and "bias" in name:
                p.zero_()
            if "bias_ih" in name and case.cell != "rnn" and case.special in ("closed", "open"):
                gate = 0 if case.special == "closed" else 1  # the input gate; the forget or update gate
                p[gate * case.hidden : (gate + 1) * case.hidden] = -12 if case.special == "closed" else 6
    return module.to(case.dtype)


def parameters(module: nn.RNNBase, direction: str = "forward") -> LayerParameters:
    return LayerParameters.of({name: p.detach() for name, p in module.named_parameters()}, 0, direction)


def of_case(case: Case, module: nn.RNNBase) -> LayerParameters:
    return parameters(module, "reverse" if case.reverse else "forward")


def states(case: Case) -> tuple[Tensor, Tensor]:
    h0 = torch.randn(case.batch, case.proj or case.hidden).mul_(0.5).to(case.dtype)
    return h0, torch.randn(case.batch, case.hidden).to(case.dtype)


def outputs(case: Case, module: nn.RNNBase, run: LayerRun) -> Tensor:
    """What the case's engine returns for the run's input."""
    x, h0, c0 = run.x, run.h0, run.c0
    assert c0 is not None
    if case.engine == "torch":
        return _of_module(case, module, run)
    if case.engine == "onnxruntime":
        return onnx_loops.in_onnxruntime(case.kind, of_case(case, module), x, h0, c0, run.lengths, case.reverse)
    p = parameters(module)
    if case.engine == "cell":
        return _of_cell(case, p, x, h0, c0)
    if case.engine == "numpy":
        return loops.in_numpy(case.kind, p, x, h0, c0)
    return loops.in_c(case.engine, case.kind, p, x, h0, c0)


def _of_module(case: Case, module: nn.RNNBase, run: LayerRun) -> Tensor:
    assert run.c0 is not None
    each = 2 if case.reverse else 1
    state = tuple(s.expand(each, *s.shape).contiguous() for s in (run.h0, run.c0)[: len(CELLS[case.cell].states)])
    given: Any = run.x
    if run.lengths is not None:
        given = pack_padded_sequence(run.x, run.lengths, enforce_sorted=False)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="LSTM with projections is not supported with oneDNN")
        y = module(given, state if len(state) > 1 else state[0])[0]
    if run.lengths is not None:
        y = pad_packed_sequence(y, total_length=case.steps)[0]
    return y[..., y.shape[2] // each * (each - 1) :]


def _of_cell(case: Case, p: LayerParameters, x: Tensor, h: Tensor, c: Tensor) -> Tensor:
    """A loop over PyTorch's cells."""
    step: Any = {
        "tanh": torch.rnn_tanh_cell, "relu": torch.rnn_relu_cell, "gru": torch.gru_cell, "lstm": torch.lstm_cell,
    }[case.kind]  # fmt: skip
    out = []
    for row in x:
        state: Any = (h, c) if case.kind == "lstm" else h
        found = step(row, state, p.weight_ih, p.weight_hh, p.bias_ih, p.bias_hh)
        h, c = found if case.kind == "lstm" else (found, c)
        out.append(h)
    return torch.stack(out)


@torch.inference_mode()
def prepared(case: Case) -> tuple[nn.RNNBase, LayerRun, Roundoff]:
    """The module, what the engine made of it, and how exactly that was kept."""
    module, x, (h0, c0), u = build(case), signal(case), states(case), ROUNDOFF[case.dtype]
    lengths = torch.randint(1, case.steps + 1, (case.batch,)) if case.ragged else None
    run = LayerRun(x, x, h0, c0, lengths, case.reverse)
    y = outputs(case, module, run)
    if case.recorded == "decimals":
        y, u = y.mul(1e4).round().div(1e4), replace(u, absolute=0.5e-4, readable=3e34)
    if case.recorded == "half":
        y, u = y.half().float(), replace(u, relative=2.0**-11, absolute=2.0**-25, readable=65504.0)
    return module, replace(run, h=y), u


@torch.inference_mode()
def judge(case: Case, p: LayerParameters, run: LayerRun, u: Roundoff | None = None, rows: int | None = None) -> Finding:
    return Judge(CELLS[case.cell], p, u, case.nonlinearity)(run, rows)[0]


def found(case: Case) -> Finding:
    """What is found of the case's engine, which is right."""
    module, run, u = prepared(case)
    return judge(case, of_case(case, module), run, u)


def expected(case: Case, p: LayerParameters, run: LayerRun) -> Tensor:
    """The equations as `tests.reference` has them, step by step: h starts each time from the engine's, c runs on.
    Without lengths; (steps, batch, units) in processing order. NaN where the engine's are not all numbers."""
    if not bool(run.h.isfinite().all()):
        return torch.full(run.h.shape, torch.nan, dtype=torch.float64)
    named = {f"{name}_l0": w.double().numpy() for name, w in p.tensors.items()}
    weights, step = reference.Weights(named, 0, "forward"), reference.STEPS["rnn" if case.kind == "tanh" else case.kind]
    x, y = (v.flip(0) if run.reverse else v for v in (run.x.double(), run.h.double()))
    assert run.c0 is not None
    items = []
    for b in range(x.shape[1]):
        h, c, out = run.h0[b].double().tolist(), run.c0[b].double().tolist(), []
        for row, engine in zip(x[:, b].tolist(), y[:, b].tolist(), strict=True):
            found = step(weights, row, h, c)
            h, c = engine, found.get("c", c)
            out.append(found["h"])
        items.append(out)
    return torch.tensor(items, dtype=torch.float64).transpose(0, 1)
