"""Mistakes in the direction in which a sequence is processed, and between the two directions of a layer."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from rnnspect.arithmetic.unroll import processing_order
from rnnspect.causes.interface import Cause, both_ways
from rnnspect.causes.known.order import without_lengths
from rnnspect.judging.assumption import Assumption
from rnnspect.judging.chunks import OUTPUT


def causes(assumed: Assumption) -> Iterator[Cause]:
    run = assumed.run
    yield Cause(
        "directions-exchanged",
        "the sequence is processed in the opposite direction"
        + (", padding included" if run.lengths is not None else ""),
        "Reverse the direction, or swap the two halves of the output.",
        lambda r: r.with_run(reverse=not r.run.reverse),
        {"what": "the order of steps"},
    )
    if run.reverse:
        yield Cause(
            "reverse-not-realigned",
            "the reverse direction's output is in the order in which it was computed, last step first",
            "Flip it in time, each sequence within its own length, "
            + (
                "before concatenating it with the forward half."
                if assumed.stack.spec.bidirectional
                else "or flip what you recorded (Keras gives it so with go_backwards=True)."
            ),
            _realigned,
        )
        if run.lengths is not None:
            yield Cause(
                "reverse-from-padding",
                "the reverse direction starts in the padding: at the last step of the batch, not of each sequence",
                "Pass the lengths (pack_padded_sequence, sequence_lens, a mask), or reverse each sequence separately.",
                without_lengths,
            )
    if assumed.stack.spec.bidirectional:
        yield from _between(assumed)


def _between(assumed: Assumption) -> Iterator[Cause]:
    other = assumed.other[1]
    yield Cause(
        "directions-exchanged",
        f"the two halves of {assumed.output_in_words} are swapped",
        "Put the forward half first, in every layer.",
        _as_the_other,
        {"what": "the halves of the output"},
        reach="layer",
    )
    yield Cause(
        "direction-weights-exchanged",
        "the two directions use each other's parameters",
        both_ways(
            "swap the two sets: in PyTorch they end in _l0 and _l0_reverse, in ONNX and Keras forward comes first.",
            "swap the two sets.",
        ),
        _with_the_others_parameters,
        reach="layer",
    )
    yield Cause(
        "direction-weights-shared",
        f"the {assumed.direction} direction uses the {other} direction's parameters",
        both_ways(
            f"load the {assumed.direction} direction's own parameters (in PyTorch, the reverse ones end in _reverse).",
            f"use the {other} direction's parameters for the {assumed.direction} direction too, as the model does.",
        ),
        _with_the_others_parameters,
        {"direction": assumed.direction},
    )


def _with_the_others_parameters(assumed: Assumption) -> Assumption:
    return replace(assumed, p=assumed.stack.parameters[assumed.other])


def _as_the_other(assumed: Assumption) -> Assumption:
    stack, other = assumed.stack, assumed.other
    functions = stack.spec.nonlinearity_of(other[1])
    made = replace(assumed, p=stack.parameters[other], nonlinearity=functions, has_final_states=False)
    return made.with_run(reverse=not assumed.run.reverse).with_states(stack.states[other])


def _realigned(assumed: Assumption) -> Assumption:
    turn = functools.partial(turned, lengths=assumed.run.lengths)
    return replace(assumed, run=assumed.run.mapped(turn, OUTPUT), back=lambda values, _: turn(values))


def turned(values: Tensor, lengths: Tensor | None) -> Tensor:
    """(T, B, ·) in the opposite order of steps, each item within its own length. Applied twice it changes nothing."""
    if lengths is None:
        return values.flip(0)
    order = processing_order(torch.arange(len(values)).unsqueeze(1), lengths, reverse=True)
    return values[order, torch.arange(len(lengths))]
