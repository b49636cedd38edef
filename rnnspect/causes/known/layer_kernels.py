"""One parameter alone of another layer: W_ih, W_hh, the biases or the projection, while the rest is the layer's own.
That a layer runs on all the parameters of another one is in `stacks.py`."""

from __future__ import annotations

import functools
from collections.abc import Iterator

from rnnspect.causes.interface import Cause, both_ways
from rnnspect.errors import listed
from rnnspect.judging.assumption import Assumption

_KINDS = (("weight_hh",), ("weight_ih",), ("bias_ih", "bias_hh"), ("weight_hr",))


def causes(assumed: Assumption) -> Iterator[Cause]:
    own, stack = assumed.p, assumed.stack
    for layer in range(stack.spec.num_layers):
        if layer == assumed.layer:
            continue
        other = stack.parameters[layer, assumed.direction]
        between = " and ".join(map(str, sorted((layer, assumed.layer))))
        for names in _KINDS:
            theirs = {name: getattr(other, name) for name in names if getattr(other, name) is not None}
            if not theirs or any(values.shape != getattr(own, name).shape for name, values in theirs.items()):
                continue
            which, is_one = listed(theirs), len(theirs) == 1
            yield Cause(
                "layer-kernels-exchanged",
                f"{which} of layers {between} {'is' if is_one else 'are'} swapped: layer {assumed.layer} uses "
                f"{'that' if is_one else 'those'} of layer {layer}, and the rest of its own",
                both_ways(*[f"swap {which} of layers {between}."] * 2),
                functools.partial(Assumption.with_parameters, **theirs),
                {"which": which, "exchanged": between},
            )
