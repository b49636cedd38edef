"""DynamicQuantizeLSTM of onnxruntime (domain com.microsoft): an LSTM with 8-bit products, as one that can be judged.

W and R are 8-bit integers with a scale and a zero point, for the whole tensor or for each row. At run time x is
quantised once, over all steps and items, and h anew before each step, over the batch: to 256 levels between its least
and its largest number and 0. The integer products are summed exactly and scaled in float32; all else is float32. So the
sums are those of the numbers that the integers stand for, which are exact in float64.

As the products receive a rounded h that no output shows, it is judged as an LSTM that has that h among its inputs:
[W R] times [x; h] in place of W x + R h.

Source: onnxruntime's dynamic_quantize_lstm.cc, rnn_helpers.cc (ComputeGemm) and qmath.h (GetQuantizationParameter).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rnnspect.arithmetic.roundoff import SINGLE
from rnnspect.judging.declared import Declared
from rnnspect.network.parameters import suffix
from rnnspect.network.spec import Spec

Array = np.ndarray[Any, Any]

ARITHMETIC = Declared("float32, 8-bit products", SINGLE)
NOTE = (
    "8-bit products: judged with the quantized W and R, x quantized once per call, h at each step over the batch "
    "(in one thread); what the weights lost when they were quantized is not judged"
)
_LEVELS = np.float32(255)
_CUT_OFF = (
    "the sum of two products can exceed 16 bits, and processors without VNNI cut it off (quantize with reduce_range)"
)


def quantized(values: Array) -> Array:
    """The numbers, float64, that float32 numbers stand for once they are quantised together."""
    low, high = min(values.min(), np.float32(0)), max(values.max(), np.float32(0))
    scale = (high - low) / _LEVELS if high > low else np.float32(1)
    zero = np.rint(np.clip(-low / scale, np.float32(0), _LEVELS))
    found: Array = np.clip(np.rint(values / scale), -zero, _LEVELS - zero).astype(np.float64) * np.float64(scale)
    return found


def with_h_as_input(spec: Spec, parameters: Mapping[str, Tensor]) -> tuple[Spec, dict[str, Tensor]]:
    """The LSTM of D directions whose input is [x; h of each direction], (I + D·H), and whose weight_hh is zero."""
    wide = dict(parameters)
    for at, direction in enumerate(spec.directions):
        of_x, of_h = ("weight_ih" + suffix(0, direction), "weight_hh" + suffix(0, direction))
        zeros = torch.zeros_like(parameters[of_h])
        columns = [parameters[of_h] if place == at else zeros for place in range(spec.num_directions)]
        wide[of_x], wide[of_h] = torch.cat([parameters[of_x], *columns], 1), zeros
    return spec.with_changes(input_size=spec.input_size + spec.num_directions * spec.hidden_size), wide


def with_h(x: Tensor, h0: Tensor, h: Mapping[tuple[int, str], Tensor], lengths: Tensor) -> Tensor:
    """[x; h of the step before] as the products received them, (T, B, I + D·H) in float64.

    x (T, B, I), h0 (D, B, H), h (T, B, H) by (0, direction). All items of the batch have to be there, also those of
    length 0: they count for the scales, with zeros for h beyond their length.
    """
    longest, items = int(lengths.max()), torch.arange(len(lengths))
    taken = [torch.zeros(x.shape, dtype=torch.float64)]
    taken[0][:longest] = torch.from_numpy(quantized(x[:longest].numpy()))
    for at, ((_, direction), own) in enumerate(h.items()):
        received, before = torch.zeros(own.shape, dtype=torch.float64), h0[at]
        for step in range(longest):
            inside = lengths > step
            places = lengths - 1 - step if direction == "reverse" else torch.full_like(lengths, step)
            received[places[inside], items[inside]] = torch.from_numpy(quantized(before.numpy()))[inside]
            before = torch.where(inside[:, None], own[places, items], 0)
        taken.append(received)
    return torch.cat(taken, -1)


def cut_off(weights: Mapping[str, Array]) -> list[str]:
    """A note where sums of two products, of W or R in int8 with numbers up to 255, may leave 16 bits; else none."""
    for name in ("W", "R"):
        values = weights[name].astype(np.int32)
        if weights[name].dtype == np.int8 and values.shape[1] > 1:
            pairs = values[:, : values.shape[1] // 2 * 2].reshape(len(values), -1, 2, values.shape[2]).sum(2)
            if int(np.abs(pairs).max()) * 255 > np.iinfo(np.int16).max:
                return [f"{name}: {_CUT_OFF}"]
    return []
