"""What the gradients of an engine are held to: torch.autograd in float64, over the module of torch.nn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rnnspect.network.gradients import EngineGradients, Upstream

if TYPE_CHECKING:
    from rnnspect.network.spec import Spec
    from rnnspect.tracing.prepare import Prepared

ROUNDINGS = 100
"""So many roundings of the largest number of a gradient, at worst: it is a sum over 7 steps × 3 items of products that
went through 7 steps × 2 layers, with about five roundings each. The largest seen is 3."""


def upstream_of(prepared: Prepared, states: bool = True) -> Upstream:
    """Drawn gradients of what the network returns, zero beyond an item's length."""
    spec, sequence = prepared.spec, prepared.sequence
    generator = torch.Generator().manual_seed(3)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(sequence.x.dtype)

    output = drawn(sequence.steps, sequence.batch, spec.output_size * spec.num_directions)
    valid = sequence.valid()
    output = output if valid is None else torch.where(valid[..., None], output, 0)
    if not states:
        return Upstream(output)
    return Upstream(output, drawn(*sequence.h0.shape), None if sequence.c0 is None else drawn(*sequence.c0.shape))


def module_of(spec: Spec, parameters: dict[str, Tensor]) -> Any:
    """The module of torch.nn with these parameters, in float64."""
    options: dict[str, Any] = {"nonlinearity": spec.nonlinearity} if spec.nonlinearity else {}
    options |= {"proj_size": spec.proj_size} if spec.proj_size else {}
    options |= {"num_layers": spec.num_layers, "bias": spec.bias, "bidirectional": spec.bidirectional}
    module = getattr(nn, spec.cell.upper())(spec.input_size, spec.hidden_size, **options).double()
    own = {name: values.double() for name, values in parameters.items() if not name.startswith("head.")}
    module.load_state_dict(own)
    return module


def expected(prepared: Prepared, upstream: Upstream) -> dict[str, Tensor]:
    """output, x, h0, c0 and each parameter: float64 gradients of the sum of what is returned times `upstream`."""
    spec, sequence = prepared.spec, prepared.sequence
    module = module_of(spec, prepared.parameters)
    x, *state = (values.double().requires_grad_() for values in (sequence.x, *sequence.state))
    lengths = sequence.lengths
    given = x if lengths is None else pack_padded_sequence(x, torch.tensor(lengths), enforce_sorted=False)
    output, final = module(given, tuple(state) if len(state) > 1 else state[0])
    if lengths is not None:
        output, _ = pad_packed_sequence(output, total_length=sequence.steps)
    finals = final if isinstance(final, tuple) else (final,)
    loss = (output * upstream.output.double()).sum()
    for one, weight in zip(finals, (upstream.h_n, upstream.c_n), strict=False):
        loss = loss if weight is None else loss + (one * weight.double()).sum()
    loss.backward()
    leaves = dict(zip(("x", "h0", "c0"), (x, *state), strict=False)) | dict(module.named_parameters())
    return {"output": output.detach()} | {name: leaf.grad for name, leaf in leaves.items()}


def by_name(found: EngineGradients) -> dict[str, Tensor]:
    """What an engine gave, by the names of `expected`."""
    named = {name: getattr(found, name) for name in ("output", "x", "h0", "c0")}
    return {name: values for name, values in named.items() if values is not None} | dict(found.parameters)


def apart(found: dict[str, Tensor], right: dict[str, Tensor]) -> float:
    """The largest difference, in roundings of the largest number of the same array."""
    assert found.keys() == right.keys()
    return max(_roundings(values, right[name]) for name, values in found.items())


def _roundings(values: Tensor, right: Tensor) -> float:
    assert values.shape == right.shape
    assert bool(values.isfinite().all())
    unit = torch.finfo(values.dtype).eps * float(right.abs().max())
    return float((values.double() - right).abs().max()) / unit if unit else float(values.abs().max())
