"""DynamicQuantizeLSTM of onnxruntime (domain com.microsoft): what its products receive.

W and R are integers of 8 bits with scales and zero points, a tensor's or a row's. x is quantised once a call, over
all its steps and items, and h anew at each step, over the batch: to 256 levels between its least and its largest
number, 0 among them. Integers are multiplied and summed exactly and scaled in float32; all else is float32. So the
sums are those of the numbers that the integers stand for, which are given here, exactly, in float64.

Source: onnxruntime's dynamic_quantize_lstm.cc, rnn_helpers.cc (ComputeGemm) and qmath.h (GetQuantizationParameter).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rnnspect.arithmetic.roundoff import SINGLE
from rnnspect.errors import WeightsError
from rnnspect.judging.declared import Declared
from rnnspect.weights.readers.onnx import SCALES, OnnxNode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from rnnspect.judging.observation import Observation
    from rnnspect.network.sequence import Sequence

    Array = np.ndarray[Any, Any]

ARITHMETIC = Declared("float32, 8-bit products", SINGLE)
NOTE = (
    "8-bit products: W and R as their integers say, x quantised once a call, h at each step over the batch (in one "
    "thread); what the weights lost when they were quantised is not judged"
)
_LEVELS = np.float32(255)
_CUT_OFF = (
    "two products of it can together leave 16 bits, which processors without VNNI cut off (to avoid it: reduce_range)"
)


def untold(node: OnnxNode) -> str | None:
    """Why the integers of a node are not known; None where they are."""
    unknown = [name for name in ("W", "R", *SCALES) if not node.is_fixed(name)]
    return f"its {unknown[0]} is no constant of the file" if unknown else None


def dequantized(node: OnnxNode, weights: Mapping[str, Array]) -> dict[str, Array]:
    """An LSTM's W, R, B and P, float64: (directions, 4·hidden, in) of W and R.

    Raises `WeightsError` for scales and zero points that are neither a tensor's nor a row's.
    """
    found: dict[str, Array] = {name: np.asarray(values, np.float64) for name, values in weights.items()}
    for name in ("W", "R"):
        directions, rows = len(weights[name]), weights[name].shape[-1]
        scale, zero = (np.asarray(node.constant(f"{name}_{what}")) for what in ("scale", "zero_point"))
        if weights[name].ndim != 3 or not {scale.size, zero.size} <= {directions, directions * rows}:
            said = f"{name} of shape {weights[name].shape} with a scale of shape {scale.shape}"
            raise WeightsError(said, allowed=f"({directions},) or ({directions}, {rows})", where=node.where)
        scale, zero = (values.astype(np.float64).reshape(directions, 1, -1) for values in (scale, zero))
        found[name] = ((found[name] - zero) * scale).transpose(0, 2, 1)
    return found


def quantized(values: Array, axes: tuple[int, ...]) -> Array:
    """The numbers, float64, that the integers of float32 values stand for; the values along the axes share a scale."""
    low = np.minimum(values.min(axes, keepdims=True), np.float32(0))
    high = np.maximum(values.max(axes, keepdims=True), np.float32(0))
    scale = np.where(high == low, np.float32(1), (high - low) / _LEVELS)
    zero = np.rint(np.clip(-low / scale, np.float32(0), _LEVELS))
    steps = np.clip(np.rint(values / scale), -zero, _LEVELS - zero)
    found: Array = steps.astype(np.float64) * scale.astype(np.float64)
    return found


def received(
    x: Tensor, h0: Tensor, h: Mapping[str, Tensor], lengths: Tensor
) -> tuple[Tensor, dict[tuple[int, str], Tensor]]:
    """What the products took as x (T, B, I), and by layer and direction as h of the step before (T, B, H).

    h0 (D, B, H); h (T, B, H) by direction, zero beyond an item's length, as onnxruntime leaves it. All items of the
    batch are there, also those of length 0: they have a part in the scales.
    """
    longest = int(lengths.max())
    taken = torch.zeros(x.shape, dtype=torch.float64)
    taken[:longest] = torch.from_numpy(quantized(x[:longest].numpy(), (0, 1, 2)))
    states = {}
    for at, (direction, own) in enumerate(h.items()):
        before = torch.cat([h0[at][None], own[: longest - 1]])
        steps = torch.arange(longest)[:, None].expand(longest, len(lengths))
        if direction == "reverse":
            steps = lengths - 1 - steps  # an item's last step comes first, whatever its length
            last = steps[:-1].clamp(min=0)[..., None].expand(-1, -1, own.shape[2])
            before = torch.cat([h0[at][None], torch.where(steps[:-1, :, None] >= 0, own.gather(0, last), 0)])
        rounded = torch.from_numpy(quantized(before.numpy(), (1, 2)))
        placed = torch.zeros(own.shape, dtype=torch.float64)
        inside = (steps >= 0) & (torch.arange(longest)[:, None] < lengths)
        items = torch.arange(len(lengths)).expand_as(steps)
        placed[steps[inside], items[inside]] = rounded[inside]
        states[0, direction] = placed
    return taken, states


def as_received(sequence: Sequence, seen: Observation) -> tuple[Sequence, Observation]:
    """The same run with what its products received in place of x, and beside h."""
    lengths = torch.tensor(sequence.lengths or [sequence.steps] * sequence.batch)
    h = {direction: values["h"] for (_, direction), values in seen.layers.items()}
    x, states = received(sequence.x, sequence.h0, h, lengths)
    return replace(sequence, x=x), replace(seen, received=states)


def cut_off(weights: Mapping[str, Array]) -> list[str]:
    """What may be wrong with a run on another processor: W and R of int8 times numbers up to 255."""
    for name in ("W", "R"):
        values = weights[name].astype(np.int32)
        if weights[name].dtype == np.int8 and values.shape[1] > 1:
            pairs = values[:, : values.shape[1] // 2 * 2].reshape(len(values), -1, 2, values.shape[2]).sum(2)
            if int(np.abs(pairs).max()) * 255 > np.iinfo(np.int16).max:
                return [f"{name}: {_CUT_OFF}"]
    return []
