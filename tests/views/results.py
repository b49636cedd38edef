"""Results with the same numbers on every machine: made by hand, or by arithmetic that is exact."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

import rnnspect
from rnnspect import Spec
from rnnspect.causes.probing import RIGHT, Probe
from rnnspect.engines.interface import NoEngine
from rnnspect.judging.verdict import Explanation, GateResolution, Identity, Point, Skipped, Verdict
from rnnspect.network.recording import EngineInfo
from rnnspect.network.sequence import Sequence
from rnnspect.tracing.backward import gradients_prepared
from rnnspect.tracing.gradients import Gradients
from rnnspect.tracing.layers import LayerTrace
from rnnspect.tracing.prepare import prepare
from rnnspect.tracing.trace import Pair, Run, Trace

ENGINE = EngineInfo("torch", "2.9.1", "cpu", "float32", {"TF32": "on"})
OTHER = EngineInfo("keras", "3.12.0", "cpu", "float32")


def numbers(*shape: int, seed: int = 0, scale: float = 32.0) -> torch.Tensor:
    """Multiples of 1/scale around zero: with a power of two they are exact, and so is what is printed of them."""
    count = torch.Size(shape).numel()
    return ((torch.arange(count) * 37 + 11 * seed) % 101 - 50).reshape(shape) / scale


def run(batched: bool = True) -> Run:
    spec = Spec(cell="lstm", input_size=3, hidden_size=12, num_layers=2, bidirectional=True, head={"out_features": 2})
    batch, lengths = (7, (14, 2, 14, 14, 5, 14, 1)) if batched else (1, None)
    state = numbers(4, batch, 12, seed=2)
    return Run(
        spec=spec,
        engine=ENGINE,
        x=numbers(batch, 14, 3),
        h0=torch.zeros(4, batch, 12),
        c0=torch.zeros(4, batch, 12),
        lengths=lengths,
        batched=batched,
        output=numbers(batch, 14, 24, seed=1, scale=64.0),
        h_n=state,
        c_n=state * 1024,
        head=numbers(batch, 2),
        stack_difference=2.0**-20,
    )


def trace(engine: EngineInfo = ENGINE) -> Trace:
    network = {"cell": "gru", "input_size": 3, "hidden_size": 12, "bidirectional": True}
    spec = Spec(**network, head={"out_features": 2}, input=None)
    layers = []
    for seed, direction in enumerate(("forward", "reverse")):
        widths = {"x": 3, "input_projection": 36} | dict.fromkeys(spec.cell_type.quantities, 12)
        quantities = {
            name: numbers(2, 14, width, seed=seed + place, scale=64.0)
            for place, (name, width) in enumerate([*widths.items(), ("hidden_projection", 36)])
        }
        h = quantities["h"] + (numbers(2, 14, 12, seed=3) > 1) * 2.0**-22
        h[1, 3] = torch.tensor([torch.nan, torch.inf, -torch.inf] * 4)
        quantities["h"][0, 2, 1] = torch.nan
        layers.append(LayerTrace(0, direction, quantities, {"h": h}, torch.nan))
    output = Pair(numbers(2, 14, 24), numbers(2, 14, 24))
    state = Pair(numbers(2, 2, 12), numbers(2, 2, 12))
    head = numbers(2, 2)
    return Trace(
        spec=spec,
        engine=engine,
        x=numbers(2, 14, 3),
        h0=numbers(2, 2, 12, seed=5),
        c0=None,
        lengths=(14, 6),
        batched=True,
        layers=tuple(layers),
        output=output,
        h_n=state,
        c_n=None,
        head=Pair(head, head + 2.0**-20),
        max_abs_difference=2.0**-20,
        stack_difference=0.0,
        notes=("keras keeps one bias, the sum of both",) if engine is OTHER else (),
    )


def gradients(large: bool = False) -> Gradients:
    """Of exact weights, in float64; the engine's numbers are made up."""
    sizes = {"input_size": 8, "hidden_size": 24} if large else {"input_size": 3, "hidden_size": 4}
    spec = Spec(cell="lstm", dtype="float64", **sizes)
    scale = 128.0 if large else 64.0
    shapes = [(one.name, one.shape) for one in rnnspect.shapes(spec).parameters]
    weights = {name: numbers(*shape, seed=seed, scale=scale).double() for seed, (name, shape) in enumerate(shapes)}
    run = prepare(spec.with_changes(weights=weights), numbers(40 if large else 3, sizes["input_size"]).double())
    found = gradients_prepared(replace(run, engine=NoEngine("")), "last" if large else "sum")
    theirs = {name: Pair(one.manual, one.manual + 2.0**-50) for name, one in found.pairs.items()}
    parameters = {name: replace(one, gradient=theirs[name]) for name, one in found.parameters.items()}
    pairs = {name: theirs[name] for name in ("x", "h0", "c0")}
    engine = replace(ENGINE, dtype="float64")
    return replace(found, engine=engine, parameters=parameters, max_abs_difference=2.0**-50, notes=(), **pairs)


def _verdict(**changes: Any) -> Verdict:
    spec = Spec(cell="gru", input_size=3, hidden_size=4, num_layers=2)
    worst = Point("h", 1, "forward", 3, 1, 2, 0.198565971, 0.19856593, 1.21e-06, 0.034)
    resolution = [
        GateResolution(layer, "forward", gate, 1.25e-5, 2.5e-5, coarsest, unit, unit)
        for layer in (0, 1)
        for unit, (gate, coarsest) in enumerate({"r": 5e-5, "z": float("inf"), "n": 0.02}.items())
    ]
    agreed = Verdict(
        verdict="agree",
        reason=None,
        arithmetic="float32",
        worst=worst,
        first=None,
        pattern=None,
        resolution=tuple(resolution),
        compared=(("layer 0 forward", "h_n"), ("layer 1 forward", "h"), ("layer 1 forward", "h_n")),
        estimated=("layer 0 forward",),
        steps=10,
        values=12345,
        cleared=2,
        spec=spec,
        engine=ENGINE,
        telling=0.01,
        notes=("the recording was rounded to 5 decimals",),
        identities=(Identity("output and h_n", True, "the same"),),
    )
    return replace(agreed, **changes)


def agree() -> Verdict:
    return _verdict()


def differ() -> Verdict:
    first = Point("h", 0, "forward", -1, 0, 3, 0.25, -0.25, 1.5e-06, 333333.3)
    alone = Explanation(
        name="gate-order",
        family="gates",
        parameters={},
        explanation="the packed gates are in the order z, r, n",
        fix="pack r before z: w[[1, 0, 2]]",
        worst_ratio_before=333333.3,
        worst_ratio_after=0.25,
        scope=("layer 0 forward",),
        left=("layer 1 forward",),
    )
    names = ("forget-bias-added", "bias-missing")
    together = [replace(alone, name=name, explanation=f"{name} is done", left=(), together=names) for name in names]
    return _verdict(
        verdict="differ",
        reason="TF32 would explain some of it",
        first=first,
        pattern="every unit of layer 0 from the first step on",
        causes=(alone, *together),
        indistinguishable=(("gate-order", " + ".join(names)),),
        identities=(
            Identity("output and h_n", True, "the same"),
            Identity("neighbours in the batch", False, "item 0 changes with item 1", "statistics over the batch"),
        ),
        cleared=0,
        estimated=(),
        notes=(),
        resolution=(),
    )


def cannot_tell() -> Verdict:
    return _verdict(verdict="cannot tell", reason="nobody would have seen a shift of 0.01 in z", steps=1)


ROWS: list[tuple[str, Verdict | Skipped | str]] = [
    ("configs/gru.yaml", agree()),
    ("a/longer/name/of/a/checkpoint.safetensors", differ()),
    ("model.onnx", cannot_tell()),
    ("missing.yaml", "no such file"),
    ("keras", Skipped("keras is not installed")),
]


def derivation(cell: str) -> rnnspect.Derivation:
    """The first step on exact numbers, in float64; the engine's is made up."""
    spec = Spec(cell=cell, input_size=12, hidden_size=3, batch_first=True, weights=_weights(cell))
    found = rnnspect.derive(spec, numbers(1, 2, 12), numbers(1, 1, 3), step=0, unit=1)
    return replace(found, engine=ENGINE, engine_value=found.value + 2.0**-24, bound=2.0**-20)


def _weights(cell: str) -> dict[str, torch.Tensor]:
    shapes = {one.name: one.shape for one in rnnspect.shapes(Spec(cell=cell, input_size=12, hidden_size=3)).parameters}
    return {name: numbers(*shape, seed=seed, scale=128.0) for seed, (name, shape) in enumerate(shapes.items())}


def probe() -> Probe:
    spec = Spec(cell="lstm", input_size=3, hidden_size=4, num_layers=2, lengths=[3, 2])
    sequence = Sequence(numbers(3, 2, 3), numbers(2, 2, 4), numbers(2, 2, 4), (3, 2), batched=True)
    alike = ((RIGHT, "tanh-approximated (pade)"), ("gate-order", "kernel-order"))
    return Probe(spec, {}, sequence, alike)
