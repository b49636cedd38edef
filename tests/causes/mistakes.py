"""The mistakes that people make, each as the flags that make it in `loops.py`, and what a run needs to show it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tests.causes import functions as f
from tests.causes.loops import GATE_BY_GATE

BASIC = ("rnn", "gru", "lstm")
GATED = ("gru", "lstm")
HIDDEN = 5
STEPS = 7


@dataclass(frozen=True)
class Setting:
    """What is run: its network and its sequence, without the numbers."""

    kind: str
    layers: int
    directions: int
    zero_biases: bool = False
    inputs: int = 4
    proj: int = 0
    steps: int = STEPS
    batch: int = 4
    packed: bool = False
    from_zero: bool = False


Need = Callable[[Setting], Setting | None]
"""The setting made to have it; None where none can."""


def two_layers(s: Setting) -> Setting | None:
    return s if s.layers > 1 else None


def one_direction(s: Setting) -> Setting | None:
    return s if s.directions == 1 else None


def two_directions(s: Setting) -> Setting | None:
    return s if s.directions == 2 else None


def more_than_one_state(s: Setting) -> Setting | None:
    return s if s.layers * s.directions > 1 else None


def square_kernels(s: Setting) -> Setting | None:
    """A layer above two directions has 2 H columns."""
    return replace(s, inputs=HIDDEN) if s.layers == 1 or s.directions == 1 else None


def layers_as_wide(s: Setting) -> Setting | None:
    return replace(s, inputs=HIDDEN * s.directions)


def padding(s: Setting) -> Setting | None:
    return replace(s, packed=True)


def no_padding(s: Setting) -> Setting | None:
    return replace(s, packed=False)


def no_states(s: Setting) -> Setting | None:
    return replace(s, from_zero=True)


def batch_of_steps(s: Setting) -> Setting | None:
    return replace(s, batch=STEPS)


def projection(s: Setting) -> Setting | None:
    return replace(s, proj=HIDDEN - 2)


REASONS: dict[Need, str] = {
    two_layers: "one layer has none below it",
    one_direction: "two directions already run both ways",
    two_directions: "there is one direction only",
    more_than_one_state: "one initial state alone lies in the same order of memory either way",
    square_kernels: "a layer above two directions has 2 H columns: its blocks have no transpose of their shape",
}


@dataclass(frozen=True)
class Mistake:
    """`id` as a check names it; `variant` is what is told of it."""

    id: str
    variant: str
    flags: dict[str, Any]
    cells: tuple[str, ...] = BASIC
    needs: tuple[Need, ...] = ()

    def __str__(self) -> str:
        return f"{self.id} ({self.variant})" if self.variant else self.id

    def setting(self, plain: Setting) -> Setting | str:
        """The plain setting made to show this mistake, or why none can."""
        made = plain
        for need in self.needs:
            found = need(made)
            if found is None:
                return REASONS[need]
            made = found
        return made

    def can_be_made_in(self, s: Setting) -> bool:
        return s.kind in self.cells and self.setting(s) == s


def _gates() -> Iterator[Mistake]:
    """Orders are what the engine takes the rows for that PyTorch packs."""
    orders = {"iofg": "onnx", "igfo": "tensorflow 1, haiku", "figo": "openvino", "ifog": "miopen, coreml, ncnn",
              "igof": "an onnx file taken for pytorch's", "gifo": "an openvino file taken for pytorch's"}  # fmt: skip
    for order, whose in orders.items():
        yield Mistake("gate-order", f"{order}: {whose}", {"order": {"lstm": order}}, ("lstm",))
    for order, whose in {"zrn": "keras", "rnz": "coreml", "nzr": "candidate first"}.items():
        yield Mistake("gate-order", f"{order}: {whose}", {"order": {"gru": order}}, ("gru",))
    some: dict[str, tuple[str, ...]] = {
        "the weight matrices": ("weight_ih", "weight_hh"),
        "the biases": ("bias_ih", "bias_hh"),
    }
    some |= {"weight_hh": ("weight_hh",), "bias_hh": ("bias_hh",)}
    for said, which in some.items():
        yield Mistake("gate-order", f"iofg in {said}", {"taken for": (which, "iofg")}, ("lstm",))
        yield Mistake("gate-order", f"zrn in {said}", {"taken for": (which, "zrn")}, ("gru",))
    for by in ("gate", "unit"):
        yield Mistake("gate-order", f"ifgo: packed {by} by {by}", {"packed by": by}, ("lstm",))
        yield Mistake("gate-order", f"rzn: packed {by} by {by}", {"packed by": by}, ("gru",))
    yield Mistake("gru-reset-before", "", {"reset": "before"}, ("gru",))
    yield Mistake("gru-reset-after", "", {"reset": "after"}, ("gru-before",))
    yield Mistake("gru-mix-flipped", "", {"mix flipped": True}, ("gru",))
    yield Mistake("gru-b_hn-dropped", "", {"reset": "after, without b_hn"}, ("gru",))
    yield Mistake("gru-b_hn-folded", "", {"reset": "after, b_hn outside"}, ("gru",))


def _biases() -> Iterator[Mistake]:
    for which in ("no ih", "no hh", "none"):
        yield Mistake("bias-dropped", which, {"biases": which})
    for which in ("ih twice", "hh twice", "sum twice", "ih added twice", "hh added twice"):
        yield Mistake("bias-doubled", which, {"biases": which})
    # Elsewhere they are added before anything else is done: exchanged, they give the same numbers.
    yield Mistake("bias-misplaced", "", {"biases": "exchanged"}, ("gru",))
    yield Mistake("forget-bias-added", "", {"added to forget gate": 1}, ("lstm",))
    yield Mistake("forget-bias-missing", "", {"added to forget gate": -1}, ("lstm",))


def _kernels() -> Iterator[Mistake]:
    yield Mistake("kernel-transposed", "", {"ih": "transposed"}, needs=(square_kernels,))
    yield Mistake("recurrent-kernel-transposed", "", {"hh": "transposed"})
    for how in ("out×in taken for in×out", "in×out taken for out×in"):
        for which in (("ih",), ("hh",), ("ih", "hh")):
            # The one block of an RNN's W_hh is square: reshaped it is transposed, which is the mistake above.
            cells = GATED if which == ("hh",) else BASIC
            yield Mistake("kernel-reshaped", f"{' and '.join(which)}, {how}", dict.fromkeys(which, how), cells)
            if which != ("hh",):  # each block of W_hh is square
                each = f"{GATE_BY_GATE}{how}"
                yield Mistake("kernel-reshaped", f"{' and '.join(which)}, {each}", dict.fromkeys(which, each), GATED)


def _directions() -> Iterator[Mistake]:
    exchanged = "directions-exchanged"
    yield Mistake(exchanged, "each runs the other way", {"runs the other way": True})
    yield Mistake(exchanged, "halves of each layer", {"halves exchanged": True}, needs=(two_directions,))
    yield Mistake(exchanged, "halves of the output", {"output's halves exchanged": True}, needs=(two_directions,))
    for packed in (no_padding, padding):
        variant = "padded" if packed is padding else ""
        yield Mistake("reverse-not-realigned", variant, {"not realigned": True}, needs=(two_directions, packed))
    reverse = {"padding runs in": "reverse"}
    yield Mistake("reverse-from-padding", "", reverse, needs=(two_directions, padding))
    yield Mistake("reverse-from-padding", "masked", {**reverse, "masked": True}, needs=(two_directions, padding))
    for how in ("exchanged", "all forward", "all reverse"):
        name = "direction-weights-exchanged" if how == "exchanged" else "direction-weights-shared"
        yield Mistake(name, how, {"direction's weights": how}, needs=(two_directions,))


def _states() -> Iterator[Mistake]:
    swapped = "time-batch-exchanged"
    yield Mistake(swapped, "from zero", {"axes exchanged": True}, needs=(no_padding, no_states))
    yield Mistake(swapped, "batch of T", {"axes exchanged": True}, needs=(no_padding, batch_of_steps))
    yield Mistake("states-interleaved", "", {"states by direction": True}, needs=(two_layers, two_directions))
    flags = ("initial h and c exchanged", "final h and c exchanged")
    yield Mistake("h-c-exchanged", "initial", {flags[0]: True}, ("lstm",))
    yield Mistake("h-c-exchanged", "final", {flags[1]: True}, ("lstm",))
    yield Mistake("h-c-exchanged", "initial and final", dict.fromkeys(flags, True), ("lstm",))
    yield Mistake("batch-mixed", "x viewed", {"x viewed": True}, needs=(no_padding,))
    yield Mistake("batch-mixed", "output viewed", {"output viewed": "(B, T) as (T, B)"}, needs=(no_padding,))
    there_and_back = {"x viewed": True, "output viewed": "(T, B) as (B, T)"}
    yield Mistake("batch-mixed", "x and output viewed", there_and_back, needs=(no_padding,))
    yield Mistake("batch-mixed", "initial state viewed", {"state viewed": True}, needs=(more_than_one_state,))
    yield Mistake("batch-mixed", "initial state of item 0", {"state of item 0": True})
    yield Mistake("state-ignored", "", {"state ignored": True})
    for start in ("the initial state", "zero"):
        yield Mistake("state-not-carried", f"each step from {start}", {"each step from": start})
    yield Mistake("chunk-state-lost", "called anew", {"calls of": 3}, needs=(no_padding,))
    yield Mistake("state-left-over", "", {"made twice": True})
    yield Mistake("state-left-over", "from item to item", {"items in a row": True})
    yield Mistake("state-of-other-direction", "", {"goes on from forward": True}, needs=(two_directions,))
    yield Mistake("state-of-layer-below", "", {"goes on from": "the layer below"}, needs=(two_layers,))
    place_before = {"goes on from": "the place before"}
    yield Mistake("state-of-layer-below", "place before", place_before, needs=(two_layers, two_directions))
    yield Mistake("state-shared", "first row", {"states of the first": 1}, needs=(more_than_one_state,))
    yield Mistake("state-shared", "first rows", {"states of the first": 2}, needs=(two_layers, two_directions))
    yield Mistake("shifted-by-one", "late", {"late": True})
    yield Mistake("shifted-by-one", "late, zero first", {"late": "from zero"})
    yield Mistake("shifted-by-one", "early, last repeated", {"early": "last repeated"})
    yield Mistake("shifted-by-one", "early, zero last", {"early": "zero last"})
    yield Mistake("reverse-not-realigned", "the input", {"x turned": True}, needs=(no_padding, one_direction))
    yield Mistake("batch-mixed", "items turned", {"items turned": True})
    yield Mistake("batch-mixed", "an item twice", {"an item twice": True})
    yield Mistake("batch-mixed", "initial states turned", {"states turned": True})
    ends = ("zeros", "its own", "that of the other end")
    for how in (f"{when}, {end}" for when in ("late", "early") for end in ends):
        yield Mistake("shifted-by-one", f"the input {how}", {"x moved": how})
    for how in ("too short", "of other items"):
        yield Mistake("lengths-wrong", how, {"lengths": how}, needs=(padding,))
    masked = "padding-not-masked"
    yield Mistake(masked, "runs on through it", {"padding runs in": "both"}, needs=(padding,))
    yield Mistake(masked, "in front", {"padding in front": True}, needs=(padding,))
    yield Mistake(masked, "last of padded output", {"final from padded output": True}, needs=(padding,))


def _functions() -> Iterator[Mistake]:
    yield Mistake("hard-sigmoid", "0.2 x + 0.5", {"sigma": f.hard_sigmoid_fifth}, GATED)
    yield Mistake("hard-sigmoid", "x / 6 + 0.5", {"sigma": f.hard_sigmoid_sixth}, GATED)
    yield Mistake("activation-relu", "", {"tanh": f.relu})
    variants = {"hard": f.hard_tanh, "softsign": f.softsign, "padé": f.pade_tanh, "table": f.looked_up_tanh}
    for variant, tanh in variants.items():
        yield Mistake("activation-approximated", f"{variant} tanh", {"tanh": tanh})
    for variant, sigma in {"softsign": f.softsign_sigmoid, "PLAN": f.plan_sigmoid}.items():
        yield Mistake("activation-approximated", f"{variant} sigmoid", {"sigma": sigma}, GATED)


def _between_layers() -> Iterator[Mistake]:
    for p in (0.2, 0.5):
        yield Mistake("dropout-active", f"{p} between layers", {"dropped between": p}, needs=(two_layers,))
        yield Mistake("dropout-active", f"{p} on the output", {"output dropped": p})
    for factor in (0.8, 1 / 255, -1.0, 1.0717):
        yield Mistake("output-scaled", f"{factor:.4g}", {"output times": factor})
        yield Mistake("input-scaled", f"{factor:.4g}", {"x times": factor})
    yield Mistake("features-reordered", "", {"x's features": "turned round"})
    yield Mistake("input-scaled", "between layers", {"between times": 0.8}, needs=(two_layers,))
    for moved in ("late, zeros", "early, its own"):
        yield Mistake("shifted-by-one", f"between layers, {moved}", {"between moved": moved}, needs=(two_layers,))
    name = "layer-input-wrong"
    yield Mistake(name, "x", {"input above": "x"}, needs=(two_layers, layers_as_wide))
    for what in ("reverse half zero", "forward half twice", "halves exchanged"):
        yield Mistake(name, what, {"input above": what}, needs=(two_layers, two_directions))
    yield Mistake(name, "layers exchanged", {"layers exchanged": True}, needs=(two_layers, layers_as_wide))
    for which in ("weight_hh", "weight_ih", "biases"):
        needs = (two_layers, layers_as_wide) if which == "weight_ih" else (two_layers,)
        yield Mistake("layer-kernels-exchanged", which, {"of the other layer": which}, needs=needs)
    # h carried unprojected, or projected before o, needs P = H, which is no projection to PyTorch.
    for how in ("too", "only"):
        flags = {"tanh of the projection": how}
        yield Mistake("projection-misplaced", f"tanh after it {how}", flags, ("lstm",), needs=(projection,))


def _precision() -> Iterator[Mistake]:
    yield Mistake("tf32-products", "", {"product": f.tf32_product})
    yield Mistake("bfloat16-products", "", {"product": f.bfloat16_product})
    yield Mistake("float16-products", "", {"product": f.float16_product})
    for half, kept in {"float16": f.to_float16, "bfloat16": f.to_bfloat16}.items():
        yield Mistake("state-rounded", f"h to {half}", {"h kept as": kept})
        yield Mistake("state-rounded", f"c to {half}", {"c kept as": kept}, ("lstm",))
        yield Mistake("state-rounded", f"h and c to {half}", {"h kept as": kept, "c kept as": kept}, ("lstm",))
        flags = {"h kept as": kept, "c kept as": kept, "kept every": 3}
        yield Mistake("state-rounded", f"to {half} between chunks", flags, needs=(one_direction,))
    yield Mistake("activation-approximated", "tanh to float16", {"tanh": lambda v: f.to_float16(np.tanh(v))}, GATED)
    yield Mistake("float16-sums", "", {"product": f.float16_sum})
    for scale in ("per tensor", "per row"):
        yield Mistake("int8-weights", scale, {"int8": scale})
    yield Mistake("int8-weights", "with an offset per row", {"few digits": f.with_an_offset})
    yield Mistake("bfloat16-weights", "cut off", {"few digits": f.cut_to_bfloat16})
    yield Mistake("int8-weights", "biases, too", {"int8": "per tensor", "int8 biases": True})
    for said, grid in {
        "3 decimals": lambda w: np.round(w.astype(np.float64), 3),
        "Q3.12": lambda w: np.round(w * 4096) / 4096,
        "8 bits, cut off": lambda w: np.trunc(w * 256) / 256,
        "8 bits, shifted": lambda w: np.floor(w * 256) / 256,
    }.items():
        yield Mistake("rounded-weights", said, {"few digits": grid})


def _given_out() -> Iterator[Mistake]:
    yield Mistake("residual-added", "", {"residual": True}, needs=(no_padding, layers_as_wide))
    for name, function in {"relu": f.relu, "tanh": np.tanh, "σ": f.sigmoid}.items():
        yield Mistake(
            "input-through-function", f"{name} between layers", {"between through": function}, needs=(two_layers,)
        )
        yield Mistake("input-through-function", f"{name} of x", {"x through": function})
    yield Mistake("cell-state-returned", "", {"c returned": True}, ("lstm",))
    for limit in (1, 0.5):
        yield Mistake("cell-state-clipped", f"±{limit}", {"c clipped": limit}, ("lstm",))
    yield Mistake("cell-state-clipped", "±0.5 between steps", {"c clipped between": 0.5}, ("lstm",))
    yield Mistake("h-c-exchanged", "at each step", {"states exchanged": True}, ("lstm",))


def _in_place() -> Iterator[Mistake]:
    for units in (1, 4):
        yield Mistake("state-updated-in-place", f"{units} at a time", {"in place": units})
    yield Mistake("batch-mixed", "one state", {"one state": True}, needs=(no_padding,))


def _left_out() -> Iterator[Mistake]:
    yield Mistake("activation-left-out", "tanh", {"tanh": lambda v: v})
    yield Mistake("activation-left-out", "of c", {"squash": lambda v: v}, ("lstm",))


def _in_place_of_another() -> Iterator[Mistake]:
    yield Mistake("kernels-exchanged", "", {"kernels exchanged": True}, needs=(square_kernels,))
    yield Mistake("bias-doubled", "both added twice", {"biases": "both added twice"}, ("gru",))
    yield Mistake("bias-misplaced", "the sum as bias_hh", {"biases": "the sum as hh"}, ("gru",))


def _equations() -> Iterator[Mistake]:
    names = {"i": ("lstm",), "f": ("lstm",), "o": ("lstm",), "r": ("gru", "gru-before"), "z": ("gru", "gru-before")}
    for name, cells in names.items():
        yield Mistake("line-function-other", f"tanh for {name}", {"gate": {name: np.tanh}}, cells)
        if name != "z":  # without σ it grows beyond any number
            yield Mistake("line-function-left-out", f"σ of {name}", {"gate": {name: lambda v: v}}, cells)
            yield Mistake("line-factor-left-out", name, {"gate": {name: np.ones_like}}, cells)
            yield Mistake("line-sign", f"1 − {name}", {"gate": {name: lambda v: f.sigmoid(-v)}}, cells)
    yield Mistake("line-function-left-out", "every σ", {"sigma": lambda v: v}, ("lstm",))
    for said, sigma in {
        "tanh": np.tanh,
        "half a tanh": lambda v: np.tanh(v / f.F(2)),
        "twice": lambda v: f.sigmoid(f.sigmoid(v)),
        "negative": lambda v: f.sigmoid(-v),
    }.items():
        yield Mistake("line-function-other", f"every σ, {said}", {"sigma": sigma}, GATED)
    yield Mistake("line-function-other", "σ for the candidate", {"candidate": f.sigmoid}, GATED)
    yield Mistake("line-function-other", "σ for c", {"squash": f.sigmoid}, ("lstm",))
    yield Mistake("line-function-other", "tanh of c twice", {"squash": lambda v: np.tanh(np.tanh(v))}, ("lstm",))
    yield Mistake("line-state-read-early", "", {"h of the c before": True}, ("lstm",))
    grus = ("gru", "gru-before")
    yield Mistake("line-factor-left-out", "1 − z", {"shares": lambda z: (f.F(1), z)}, grus)
    yield Mistake("line-factor-left-out", "z", {"shares": lambda z: (f.F(1) - z, f.F(1))}, grus)
    yield Mistake("line-rest-left-out", "", {"shares": lambda z: (z, z)}, grus)


FAMILIES = {
    "gates": tuple(_gates()),
    "biases": tuple(_biases()),
    "kernels": tuple(_kernels()),
    "directions": tuple(_directions()),
    "states": tuple(_states()),
    "functions": tuple(_functions()),
    "between layers": tuple(_between_layers()),
    "precision": tuple(_precision()),
    "given out": tuple(_given_out()),
    "in place": tuple(_in_place()),
    "left out": tuple(_left_out()),
    "in place of another": tuple(_in_place_of_another()),
    "equations": tuple(_equations()),
}
MISTAKES = tuple(mistake for family in FAMILIES.values() for mistake in family)
