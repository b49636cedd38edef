"""Identities between the output of one run and its final states."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from rnnspect.judging.case import Case
from rnnspect.judging.final_states import last, where
from rnnspect.judging.observation import Observation
from rnnspect.judging.stack import Judged
from rnnspect.judging.verdict import Identity
from rnnspect.network.recording import by_direction
from rnnspect.network.sequence import Sequence
from rnnspect.network.shown import counted
from rnnspect.network.tensors import first_apart

ENDS = "output and h_n"
PADDING = "output beyond the end"
_UNPACKED = (
    "the padded batch was run without its lengths, or the framework repeats the last output; do not use steps beyond a "
    "sequence's end"
)
_USUAL = {
    "c_n": "the states read as (c, h), or c returned instead of h; torch.nn returns (h_n, c_n)",
    "elsewhere": "the layers or directions of h_n in another order, or h_n[0] instead of h_n[-1]",
    "padding": "the padded batch was run without its lengths, or its last step used as the final state",
    "late": "the output one step late, so that it ends before h_n does; or the last step processed twice",
    "twice": "the last step processed twice",
    "padded": "the padding of the last chunk processed like any other step",
    "items": "the items not put back into their order, as after sorting the batch by length",
    "zeros": "the state that the loop ended with was not returned",
    "initial": "the state that the loop ended with was not returned",
}
"""What usually makes an h_n another state of the run, by the kind of the `Lookalike`, the most telling first. h_n one
step ahead of output is "twice"; where values of output are wrong as well it is "late"."""
_OF_H_N = (
    "a state returned that is not the one that the loop ended with: the first, one a step early, or another call's"
)
_OF_EITHER = "output and h_n of different steps or calls, either of which may be the wrong one"


def ends_in_h_n(case: Case, judged: Judged) -> tuple[Identity, ...]:
    """Whether h_n is h at each item's last step, or of the reverse direction h at step 0. If not, the identity says
    which other part of the recording it is. Empty where h or h_n was not observed."""
    spec, sequence = case.spec, case.sequence
    points = [one for one in judged.finals if one.quantity == "h_n" and one.at not in judged.estimated]
    if not points:
        return ()
    wrong = [point for point in points if point.ratio > 1]
    if not wrong:
        at = "each sequence's last step" if sequence.valid() is not None else f"step {sequence.steps - 1}"
        at = "step 0" if spec.directions == ("reverse",) else at
        both = " (reverse direction: at step 0)" if spec.bidirectional else ""
        return (Identity(ENDS, True, f"h_n equals output at {at}{both}"),)
    for other in _misreadings(case):
        if other.ends and all(_near(case, other.h_n[spec.row(*at)], h) for at, h in other.ends.items()):
            return (Identity(ENDS, False, other.said, other.usual),)
    said = []
    for point in wrong:
        place = where(spec, *point.at)
        if found := judged.meanings.get(("h_n", *point.at)):
            said.append(f"h_n of {place} holds {found.said}")
        else:
            address = f"batch item {point.batch}, unit {point.unit}"
            said.append(f"h_n of {place} is {point.engine:.6g}, and output ends with {point.manual:.6g} ({address})")
    return (Identity(ENDS, False, "; ".join(said), _usual(judged)),)


def zero_beyond_the_end(sequence: Sequence, observation: Observation) -> tuple[Identity, ...]:
    """Whether h is zero, or NaN, at the steps beyond an item's length. Empty without padding, or without h."""
    seen = [(at, of["h"]) for at, of in observation.layers.items() if "h" in of]
    if sequence.valid() is None or sequence.lengths is None or not seen:
        return ()
    for (layer, direction), h in seen:
        for item, length in enumerate(sequence.lengths):
            beyond = h[length:, item]
            left = (beyond != 0) & ~beyond.isnan()
            if bool(left.any()):
                step, unit = left.nonzero()[0].tolist()
                at = f"step {length + step}, batch item {item}, which has only {counted(length, 'step')}"
                said = f"h of layer {layer} {direction} is {float(beyond[step, unit]):.6g} at {at}"
                return (Identity(PADDING, False, said, _UNPACKED),)
    return (Identity(PADDING, True, "output is zero or NaN beyond each sequence's length"),)


class _Misreading(NamedTuple):
    """One way to misread h_n: `h_n` (L·D, B, P) is the recorded one, corrected, and by (layer, direction) it then
    equals `ends` (B, P). `said` and `usual` are the words of the identity."""

    said: str
    usual: str
    h_n: Tensor
    ends: Mapping[tuple[int, str], Tensor]


def _misreadings(case: Case) -> Iterator[_Misreading]:
    """The usual misreadings of h_n, or of the output beside it; the first that fits the numbers is reported."""
    spec, sequence, observation = case.spec, case.sequence, case.observation
    h_n = observation.h_n
    assert h_n is not None
    seen = {at: of["h"] for at, of in observation.layers.items() if "h" in of}
    lengths = None if sequence.lengths is None else torch.tensor(sequence.lengths)
    ends = {at: last(h, lengths, at[1] == "reverse") for at, h in seen.items()}
    whose = "sequence and direction" if spec.bidirectional else "sequence"
    reverse, padded = "reverse" in spec.directions, sequence.valid() is not None
    reasons = ["shorter sequences have ended before it"] if padded else []
    reasons += ["the reverse direction only starts there"] if reverse else []
    unpacked = "" if reverse else ", or the batch run without its lengths"  # the reverse direction would end at step 0
    yield _Misreading(
        f"h_n is output at step {sequence.steps - 1} for every {whose}",
        f"output[:, -1] used as the final state{unpacked}: {', and '.join(reasons)}",
        h_n,
        {at: h[-1] for at, h in seen.items()},
    )
    if spec.bidirectional and spec.num_layers > 1:
        yield _Misreading(
            "h_n is ordered by direction, then by layer",
            "the states of one direction stacked before those of the other; torch.nn orders layer 0 forward, layer 0 "
            "reverse, layer 1 forward …: h_n.view(num_layers, num_directions, batch, units)",
            h_n.reshape(spec.num_directions, spec.num_layers, *h_n.shape[1:]).transpose(0, 1).flatten(0, 1),
            ends,
        )
    places, batch = h_n.shape[:2]
    for moved in (h_n.reshape(batch, places, -1).transpose(0, 1), h_n.transpose(0, 1).reshape(places, batch, -1)):
        yield _Misreading(
            "in h_n, the axes batch and layers × directions are mixed up by a view",
            "view or reshape used instead of a transpose: h_n.transpose(0, 1).reshape(batch, -1)",
            moved,
            ends,
        )
    if observation.c_n is not None and observation.c_n.shape == h_n.shape:
        yield _Misreading(
            "output ends with c_n, not with h_n",
            "the states read as (c, h), as in TensorFlow 1; torch.nn returns (h_n, c_n)",
            observation.c_n,
            ends,
        )
    top = [seen[at] for at in ((spec.num_layers - 1, way) for way in spec.directions) if at in seen]
    if len(top) == spec.num_directions:
        output = torch.cat(top, -1)
        steps, batch = output.shape[:2]
        for found, view in (
            ("(step, batch, unit)", output.transpose(0, 1).reshape(steps, batch, -1)),
            ("(batch, step, unit)", output.reshape(batch, steps, -1).transpose(0, 1)),
        ):
            yield _Misreading(
                f"output is a view of {found}: read that way, it ends with h_n",
                "view or reshape used instead of a transpose: output.transpose(0, 1)",
                h_n,
                {
                    at: last(h, lengths, at[1] == "reverse")
                    for at, h in by_direction(spec, spec.num_layers - 1, view).items()
                },
            )


def _usual(judged: Judged) -> str:
    """The usual cause of an h_n that is not misread in all layers and directions."""
    meant = {(layer, way): one.kind for (name, layer, way), one in judged.meanings.items() if name == "h_n"}
    wrong = {place.at for place in judged.places if place.quantity == "h" and place.finding.first}
    kinds = {"late" if (kind, at in wrong) == ("twice", True) else kind for at, kind in meant.items()}
    named = next((usual for kind, usual in _USUAL.items() if kind in kinds), None)
    ended = {point.at for point in judged.finals if point.quantity == "h_n" and point.ratio > 1}
    return named or (_OF_EITHER if ended & wrong else _OF_H_N)


def _near(case: Case, h_n: Tensor, h: Tensor) -> bool:
    """Whether they are equal up to the rounding of the recording, and one rounding of a stored state."""
    observation, u = case.observation, case.declared.roundoff
    own = observation.kept_of("h_n")
    others = [observation.kept_of((*at, "h")) for at in observation.layers]
    relative = u.stored + own.relative + max(one.relative for one in others)
    absolute = u.tiny + own.absolute + max(one.absolute for one in others)
    return first_apart(h_n, h, relative, absolute) is None
