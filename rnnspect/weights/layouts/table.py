"""Describes in words how a framework packs its weights, and the steps from one packing to another.

Loads no framework.
"""

from __future__ import annotations

from itertools import product

from rnnspect.errors import listed
from rnnspect.weights.layouts.interface import FORMS, Packing


def notes(packing: Packing) -> tuple[str, ...]:
    """What there is besides gates, kernels and biases: forget bias, mix, peepholes, projection, quirks."""
    found = []
    if packing.forget_bias:
        found.append(f"adds {packing.forget_bias:g} to the forget gate's bias at run time (not stored)")
    found += ["z and 1 − z swapped: h' = (1 − z) ⊙ h + z ⊙ n"] if is_flipped(packing) else []
    found += [f"peepholes {packing.peepholes}"] if packing.peepholes else []
    found += [f"projection {name}" for name in packing.arrays if packing.is_projection(name)]
    return (*found, *packing.quirks)


def gate_order(packing: Packing) -> str:
    """The gates in PyTorch's letters, in the order in which the input's kernels hold them."""
    return " ".join(block.gate for block in packing.every_block if (block.kind, block.side) == ("W", "i"))


def kernel(packing: Packing) -> str:
    """Whether the gates' kernels are fused, separate, or fused with x above h: [x; h] stacked."""
    stacked = any(len(packing.blocks[name]) > 1 for name in packing.weights)
    count = len(packing.weights)
    if stacked:
        return "[x; h] stacked" if count == 1 else f"[x; h] stacked, in {count}"
    return "fused" if count == 2 else "separate"


def is_flipped(packing: Packing) -> bool:
    """Whether a GRU's z stands for PyTorch's 1 − z."""
    return any(block.sign < 0 for block in packing.every_block)


def biases(packing: Packing) -> str:
    """How many biases there are, and where each is."""
    arrays, gates = packing.biases, [block.gate for block in packing.every_block if block.kind == "b"]
    if len(gates) == 2 * len(FORMS[packing.form]):
        return "two" if len(arrays) > 1 else "two rows" if len(packing.blocks[arrays[0]]) > 1 else "two, joined"
    if packing.form == "gru":
        return "one, b_hn separate" if gates.count("n") == 2 else "one, without b_hn"
    # Some frameworks keep their one bias with the input's or the state's kernel, which makes no difference.
    sides = {name.rpartition(".")[0].removeprefix("dense_")[:1] for name in arrays}
    return "one (sum)" + {"i": ", input side", "h": ", hidden side"}.get("".join(sides), "")


def steps_between(one: Packing, other: Packing) -> list[str]:
    """How to get from one packing to another of the same form, a sentence each."""
    steps = []
    kernels, wanted_kernels = kernel(one), kernel(other)
    if kernels != wanted_kernels:
        steps.append(f"weights: {_as_arrays(one)} become {_as_arrays(other)}")
    gates, wanted = gate_order(one).split(), gate_order(other).split()
    if gates != wanted and "separate" not in {kernels, wanted_kernels}:
        taken = ", ".join(str(gates.index(gate)) for gate in wanted)
        axis = "rows" if one.orientation == "out×in" else "columns"
        steps.append(f"gates: {' '.join(gates)} → {' '.join(wanted)}: put the blocks of H {axis} in the order {taken}")
    if is_flipped(one) != is_flipped(other):
        steps.append("z: negate its weights and biases, since z and 1 − z are swapped")
    if one.orientation != other.orientation:
        steps += _turns(one, other)
    steps += _bias_steps(one, other)
    if one.forget_bias != other.forget_bias:
        change = one.forget_bias - other.forget_bias
        how = f"add {change:g} to" if change > 0 else f"subtract {-change:g} from"
        steps.append(f"f: {how} its bias")
    if one.states != other.states:
        steps.append(f"states: {one.states} → {other.states}")
    gates = [*FORMS[one.form], *("r" if one.form == "lstm" else "")]
    steps += [
        f"{kind}_{side}{gate} cannot be stored in {other.where}: lost unless it is zero"
        for kind, side, gate in product("Wb", "ih", gates)
        if (kind, side, gate) in one.held - other.held
    ]
    return steps or ["nothing to do: the arrays are the same, with other names"]


def _turns(one: Packing, other: Packing) -> list[str]:
    """How kernels get from one orientation to another; what is reshaped is (out, in) first."""
    by_gate = "each gate of a weight matrix separately"
    first = "out×in" if one.orientation == "reshaped" else one.orientation
    wanted = "out×in" if other.orientation == "reshaped" else other.orientation
    steps = [f"{by_gate}: (in, H) reshaped to (H, in)"] if one.orientation == "reshaped" else []
    steps += [f"transpose every weight matrix: {first} → {wanted}"] if first != wanted else []
    return [*steps, *([f"{by_gate}: (H, in) reshaped to (in, H)"] if other.orientation == "reshaped" else [])]


def _bias_steps(one: Packing, other: Packing) -> list[str]:
    first, second = biases(one), biases(other)
    if first == second:
        return []
    step = f"biases: {first} → {second}"
    if first.startswith("two") and second.startswith("one"):
        sums = {block.gate for block in other.every_block if not block.side}
        summed = ", ".join(f"b_{g} = b_i{g} + b_h{g}" for g in FORMS[one.form] if g in sums)
        step += f": {summed}"
        step += "; b_in is unchanged" if one.form == "gru" else ""
    elif first.startswith("one") and second.startswith("two"):
        step += ": the one bias becomes the first, the second is zeros"
        step += ", except b_hn" if ("b", "h", "n") in one.held and one.form == "gru" else ""
    return [step]


def _as_arrays(packing: Packing) -> str:
    return f"{listed(packing.weights, 4)} ({kernel(packing)})"
