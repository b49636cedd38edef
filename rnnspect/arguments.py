"""What a result came of, so that the same can be run again, and is known to be the same."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

    from rnnspect.network.spec import Spec
    from rnnspect.tracing.prepare import Prepared


@dataclass(frozen=True, eq=False)
class Arguments:
    """As they were given to `rnnspect.trace` or `rnnspect.check`."""

    source: Spec | nn.RNNBase
    run: dict[str, Any]
    """x, h0, c0 and lengths."""
    digest: str
    """Of the numbers that ran, and of a recording's: modules are trained on, and arrays are written to."""
    judged: dict[str, Any] = field(default_factory=dict)
    """recorded, engine and arithmetic."""


def digest_of(prepared: Prepared, recorded: Any = None) -> str:
    """Names the numbers of the parameters, x, the initial states and a recording. A copy would take their memory."""
    sequence = prepared.sequence
    made = hashlib.sha256()
    for part in _parts([prepared.parameters, sequence.x, sequence.h0, sequence.c0, sequence.lengths, recorded]):
        made.update(part)
    return made.hexdigest()


def _parts(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        yield from _parts(list(value.items()))
    elif isinstance(value, tuple | list):
        yield f"{len(value)} of {type(value).__name__}".encode()
        for one in value:
            yield from _parts(one)
    elif hasattr(value, "shape"):
        yield from _numbers(value)
    else:
        yield repr(value).encode()


def _numbers(array: Any) -> Iterator[Any]:
    import torch

    from rnnspect.network.tensors import from_anything

    tensor = from_anything(array, "recorded").detach().cpu().contiguous()
    yield f"{tuple(tensor.shape)} {tensor.dtype}".encode()
    yield tensor.reshape(-1).view(torch.uint8).numpy().data
