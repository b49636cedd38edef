"""A run under torch's autograd, and one pass backwards over it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from rnnspect.engines.interface import cannot
from rnnspect.errors import listed
from rnnspect.network.gradients import EngineGradients, Upstream
from rnnspect.network.parameters import LayerParameters
from rnnspect.network.recording import EngineInfo
from rnnspect.network.sequence import Sequence
from rnnspect.weights.layouts.interface import Layout
from rnnspect.weights.layouts.packing import pack, unpack_gradients


@dataclass(frozen=True)
class Leaves:
    """x, h0, c0 and the parameters of a network (not of its head) as leaves of autograd.

    They are copies: no `.grad` of anybody's is written or added to. x is zero beyond an item's length, so that whatever
    stands there, NaN say, is in no gradient.
    """

    sequence: Sequence
    parameters: Mapping[str, Tensor]

    @classmethod
    def of(cls, sequence: Sequence, parameters: Mapping[str, Tensor]) -> Self:
        with recorded_by_autograd():
            own = {name: _leaf(values) for name, values in parameters.items() if not name.startswith("head.")}
            return cls(replace(sequence.with_each_state(_leaf), x=_leaf(sequence.within(sequence.x))), own)

    def with_zeros(self, found: EngineGradients, states: bool = True) -> EngineGradients:
        """The gradients, with zeros, and a note, for leaves that no result depends on. `states`: whether the initial
        states were used."""
        own = {"x": self.sequence.x} | (dict(zip(("h0", "c0"), self.sequence.state, strict=False)) if states else {})
        there = found.named
        zeros = {name: torch.zeros_like(v) for name, v in (own | dict(self.parameters)).items() if name not in there}
        if not zeros:
            return found
        said = f"by autograd the output does not depend on {listed(zeros)}: the gradient is 0"
        x, h0, c0 = (there.get(name, zeros.get(name)) for name in ("x", "h0", "c0"))
        parameters = {name: {**there, **zeros}[name] for name in self.parameters}
        return replace(found, x=x, h0=h0, c0=c0, parameters=parameters, notes=(*found.notes, said))

    def gradients(
        self,
        info: EngineInfo,
        output: Tensor,
        state: tuple[Tensor, ...],
        upstream: Upstream,
        notes: tuple[str, ...] = (),
    ) -> EngineGradients:
        """One pass backwards from the output (T, B, D·P) and the final states, h_n or h_n and c_n."""
        finals = zip(("h_n", "c_n"), state, (upstream.h_n, upstream.c_n), strict=False)
        taken = [(name, final, given) for name, final, given in finals if given is not None]
        detached = tuple(name for name, final, _ in taken if not final.requires_grad)
        returned = [(output, upstream.output), *((final, given) for _, final, given in taken)]
        names = ("x", "h0", "c0")[: 1 + len(self.sequence.state)]
        leaves = dict(zip(names, (self.sequence.x, *self.sequence.state), strict=True)) | dict(self.parameters)
        found = gradients_by(tuple(leaves.values()), *zip(*returned, strict=True))
        by_name = dict(zip(leaves, found, strict=True))
        x, h0, c0 = (by_name.pop(name, None) for name in ("x", "h0", "c0"))
        h_n, c_n = (*(final.detach() for final in state), None)[:2]
        parameters = {name: values for name, values in by_name.items() if values is not None}
        if detached:
            verb = "is" if len(detached) == 1 else "are"
            notes = (*notes, f"{listed(detached)} {verb} detached: no gradient comes from there")
        return EngineGradients(info, output.detach(), h_n, c_n, x, h0, c0, parameters, notes, unused=detached)


def gradients_by(
    leaves: tuple[Tensor, ...], returned: tuple[Tensor, ...], given: tuple[Tensor, ...]
) -> tuple[Tensor | None, ...]:
    """The gradients by the leaves, of a loss with these gradients by what was returned. None for a leaf that nothing
    returned depends on."""
    roots = [(one, weight.to(one.dtype)) for one, weight in zip(returned, given, strict=True) if one.requires_grad]
    if not roots:
        return (None,) * len(leaves)
    ends, weights = zip(*roots, strict=True)
    return torch.autograd.grad(ends, leaves, weights, allow_unused=True)


_Called = Callable[..., tuple[tuple[Tensor, ...], Callable[..., tuple[Tensor | None, ...]]]]
"""From tensors to tensors, and a function from the gradients by these results to the gradients by the arguments."""


def bridged(call: _Called, *given: Tensor) -> tuple[Tensor, ...]:
    """A call in a framework with its own differentiation as one operation of torch's autograd."""
    return _Bridge.apply(call, *given)  # type: ignore[no-any-return, no-untyped-call]


class _Bridge(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, call: _Called, *given: Tensor) -> tuple[Tensor, ...]:
        returned, ctx.back = call(*given)
        return returned

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return None, *ctx.back(*gradients)


def run_elsewhere(
    run: Callable[..., tuple[Any, ...]],
    vjp: Callable[..., tuple[Any, Callable[[Any], Any]]],
    theirs: Callable[[Tensor], Any],
    ours: Callable[[Any, torch.dtype], Tensor],
    given: tuple[Tensor, ...],
) -> tuple[Tensor, ...]:
    """The results of `run` in another framework for these tensors, in the dtype of the first. Under autograd it is
    traced once by `vjp`, which is called like jax.vjp, and autograd goes back through that."""
    dtype = given[0].dtype

    def call(*tensors: Tensor) -> Any:
        returned, back = vjp(run, *map(theirs, tensors))

        def gradients(*upstream: Tensor) -> tuple[Tensor, ...]:
            return tuple(ours(one, dtype) for one in back(tuple(map(theirs, upstream))))

        return tuple(ours(one, dtype) for one in returned), gradients

    if given[0].requires_grad:
        return bridged(call, *given)
    return tuple(ours(one, dtype) for one in run(*map(theirs, given)))


def packed(layout: Layout, form: str, p: LayerParameters) -> dict[str, Tensor]:
    """The arrays of one layer and direction as `pack` gives them. For leaves of autograd, gradients come back in
    PyTorch's names and shapes, by `unpack_gradients`."""
    there = p.tensors
    if not p.weight_ih.requires_grad:
        return pack(layout, form, p)
    names: list[str] = []

    def call(*_given: Tensor) -> Any:
        arrays = pack(layout, form, p)
        names.extend(arrays)

        def back(*gradients: Tensor) -> tuple[Tensor | None, ...]:
            found = vars(unpack_gradients(layout, form, dict(zip(arrays, gradients, strict=True))))
            return tuple(found[name] for name in there)

        return tuple(arrays.values()), back

    return dict(zip(names, bridged(call, *there.values()), strict=True))


@contextmanager
def recorded_by_autograd() -> Iterator[None]:
    """Inside, autograd records, even if the caller has switched it off."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


@contextmanager
def trained(module: nn.Module, engine: str) -> Iterator[None]:
    """Inside, every parameter of a live module gets gradients, frozen ones too. Raises `EngineError` for a module made
    in torch.inference_mode, which autograd cannot use."""
    frozen = [one for one in module.parameters() if not one.requires_grad]
    if any(one.is_inference() for one in module.parameters()):
        advice = "make the module, or its copy, outside of torch.inference_mode()"
        raise cannot(engine, "the backward pass", "the module was made in torch.inference_mode()", advice)
    try:
        for one in frozen:
            one.requires_grad_(True)
        with parametrize.cached():  # so that a parametrized weight is one tensor, whoever asks for it
            yield
    finally:
        for one in frozen:
            one.requires_grad_(False)


def _leaf(values: Tensor) -> Tensor:
    return values.detach().clone().requires_grad_()
