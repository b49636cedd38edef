"""Which flags of the loops make which mistake of going back, where it can be made, and what a check has to call it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.causes.backward.loops import Flags

ALL = ("rnn", "lstm", "gru", "gru-before")
DROPPED = {
    "mask-missing": ("not applied", "scale alone"),
    "scale": ("no scale", "twice"),
    "another-mask": ("turned round", "the step after", "the step before", "the first step", "the last step"),
}
ARGUMENTS = ("left out", "of the value", "formula of s")
OF_TANH = (*ARGUMENTS, "not squared", "of σ")
PARAMETERS = "weight_ih", "weight_hh", "bias_ih", "bias_hh"
GRU, AFTER, BEFORE = ("gru", "gru-before"), ("gru",), ("gru-before",)


@dataclass(frozen=True)
class Mistake:
    """`expected` are the parameters that the cause has to have, of those that it has."""

    name: str
    flags: Flags
    cells: tuple[str, ...] = ALL
    expected: dict[str, Any] = field(default_factory=dict)
    needs: dict[str, Any] = field(default_factory=dict)
    """Of a plan, where not every one of them shows the mistake."""

    @property
    def id(self) -> str:
        said = ", ".join(f"{flag}: {how}" if how is not True else flag for flag, how in self.flags.items())
        return f"{self.name} ({said})"


def _slope(of: str, how: str, cells: tuple[str, ...], called: str | None = None, **needs: Any) -> Mistake:
    name = "grad-slope-left-out" if how == "left out" else "grad-slope-wrong"
    kind = {"formula of s": "of the input", "of the value": "of the value"}.get(how, how)
    return Mistake(name, {f"slope of {of}": how}, cells, {"of": called or of, "how": kind}, needs)


def _detached(name: str, state: str, expected: dict[str, Any], **flags: Any) -> Mistake:
    return Mistake(name, {**flags, "of": state}, ("lstm",), {"of": state, **expected})


def _factor(of: str, how: str, said: str, cells: tuple[str, ...] = ("lstm",)) -> Mistake:
    name = "grad-factor-left-out" if how == "left out" else "grad-factor-wrong"
    return Mistake(name, {f"factor of {of}": how}, cells, {"of": of, "how": said})


def _each_step(what: str, how: str, limit: float, cells: tuple[str, ...] = ALL) -> Mistake:
    after_n = "after r got its own from n,"
    named = {
        "gates": "the pre-activations",
        "gates after n": f"the pre-activations, {after_n}",
        "gates after n and W_hh h": f"the pre-activations and W_hh h, {after_n}",
        "gates after n, h kept": "the pre-activations, after r and h got their own from n,",
    }
    of = named.get(what, " and ".join(dict.fromkeys(what.replace("carried ", "").split(" and "))))
    of += " that comes from the step after it" if "carried" in what else ""
    flags = {"clip at each step": (what, how, limit)}
    return Mistake("grad-clipped-at-each-step", flags, cells, {"of": of, "how": how, "limit": limit})


MISTAKES: tuple[Mistake, ...] = (
    Mistake("grad-c-path-lost", {"c lost": True}, ("lstm",)),
    Mistake("grad-c-carried-without-f", {"c without f": True}, ("lstm",)),
    Mistake("grad-final-state-ignored", {"final c lost": True}, ("lstm",), {"state": "c_n"}),
    Mistake("grad-final-state-ignored", {"final h lost": True}, ALL, {"state": "h_n"}),
    Mistake("grad-c-from-h-lost", {"c from h lost": True}, ("lstm",)),
    Mistake("grad-c-after-in-f", {"c after in df": True}, ("lstm",)),
    Mistake("grad-hidden-path-lost", {"hidden lost": True}),
    Mistake("grad-truncated", {"truncated": 3}, ALL, {"steps": 3}),
    Mistake("grad-truncated", {"truncated": 4}, ALL, {"steps": 4}),
    Mistake("grad-truncated", {"truncated": 3, "start detached": True}, ALL, {"steps": 3}),
    Mistake("grad-detached", {"truncated": 5}, ALL, {"step": 5}),
    Mistake("grad-layer-detached", {"layer detached": 0}, ALL, {"layer": 0}, {"layers": 2}),
    Mistake("grad-initial-state-detached", {"start detached": True}),
    Mistake("grad-first-step-skipped", {"first steps skipped": 1}),
    Mistake("grad-first-step-skipped", {"first steps skipped": 1, "before it": "zero"}),
    Mistake("grad-truncated", {"last steps alone": 4}, ALL, {"steps": 4, "of": "the last steps alone"}),
    Mistake(
        "grad-truncated",
        {"last steps alone": 3, "before it": "zero"},
        ALL,
        {"steps": 3, "of": "the last steps alone"},
    ),
    Mistake(
        "grad-truncated",
        {"own windows": 3},
        ALL,
        {"steps": 3, "of": "each output"},
        {"layers": 1, "directions": 1},
    ),
    *(
        Mistake(
            "grad-truncated",
            {"own windows": steps - 1, "together": every, **flags},
            ALL,
            {"steps": steps, "every": every, "of": "windows"},
            {"layers": 1, "directions": 1},
        )
        for every, steps, flags in ((2, 4, {}), (3, 5, {}), (2, 5, {"last one whole": True}))
    ),
    *(_detached("grad-truncated", state, {"steps": k}, truncated=k) for state in "hc" for k in (1, 3)),
    *(_detached("grad-detached", state, {"step": 5}, truncated=5) for state in "hc"),
    *(_detached("grad-initial-state-detached", state, {}, **{"start detached": True}) for state in "hc"),
    Mistake("grad-output-ignored", {"dy": "of the last step lost"}, ALL, {"of": "the last step"}),
    Mistake("grad-output-ignored", {"dy": "of the first step lost"}, ALL, {"of": "the first step"}),
    Mistake("grad-output-ignored", {"dy": "of the last step alone"}, ALL, {"of": "all but the last step"}),
    Mistake(
        "grad-output-ignored",
        {"dy": "of the longest items' last step lost"},
        ALL,
        {"of": "the last step of the longest items"},
        {"lengths": True},
    ),
    Mistake("grad-output-shifted", {"dy": "of the step after"}, ALL, {"of": "the step after"}),
    Mistake("grad-output-shifted", {"dy": "of the step before"}, ALL, {"of": "the step before"}),
    Mistake("grad-accumulated", {"loss times": 2}, ALL, {"of": "everything"}),
    Mistake("grad-accumulated", {"parameters times": "2"}, ALL, {"of": "parameters"}),
    Mistake("grad-accumulated", {"dx times": 2}, ALL, {"of": "x"}),
    Mistake("grad-mean-for-sum", {"parameters times": "1/B"}, ALL, {"of": "parameters", "factor": 1 / 3}),
    Mistake("grad-mean-for-sum", {"parameters times": "1/T"}, ALL, {"of": "parameters", "factor": 1 / 9}),
    Mistake("grad-mean-for-sum", {"parameters times": "1/(B T)"}, ALL, {"of": "parameters", "factor": 1 / 27}),
    Mistake("grad-sum-for-mean", {"parameters times": "B"}, ALL, {"of": "parameters", "factor": 3.0}),
    Mistake("grad-sum-for-mean", {"parameters times": "T"}, ALL, {"of": "parameters", "factor": 9.0}),
    Mistake("grad-mean-for-sum", {"loss times": 1 / 3}, ALL, {"of": "everything"}),
    Mistake("grad-halved", {"loss times": 0.5}, ALL, {"of": "everything"}),
    Mistake("grad-negated", {"loss times": -1}, ALL, {"of": "everything"}),
    Mistake("grad-negated", {"parameters times": "-1"}, ALL, {"of": "parameters"}),
    Mistake("grad-negated", {"dx times": -1}, ALL, {"of": "x"}),
    Mistake("grad-mean-for-sum", {"parameters times": "1/N"}, ALL, {"of": "parameters"}, {"lengths": True}),
    Mistake("grad-mean-for-sum", {"mean over own steps": True}, ALL, {"of": "everything"}, {"lengths": True}),
    *(
        Mistake("grad-accumulated", {"given twice": what}, ALL, {"factor": 2.0})
        for what in (("weight_hh",), ("h0", "c0"), ("x", "h0", "c0"))
    ),
    Mistake("grad-multiplied", {"loss times": 0.3712}, ALL, {"of": "everything"}),
    Mistake("grad-multiplied", {"loss times": 1.7}, ALL, {"of": "everything"}),
    Mistake("grad-clipped-by-norm", {"clipped by norm": 0.37}),
    Mistake("grad-clipped-by-norm", {"each clipped by norm": 2.0}, ALL, {"norm": 2.0, "of": "each"}),
    Mistake("grad-clipped-by-value", {"all clipped by value": 0.5}, ALL, {"limit": 0.5, "of": "everything"}),
    Mistake("grad-through-padding", {"dx in padding": True}, ALL, {"how": "given"}, {"lengths": True}),
    Mistake("grad-clipped-by-value", {"clipped by value": 0.3}, ALL, {}, {"layers": 1, "directions": 1}),
    *(_each_step("h", how, 0.8) for how in ("value", "norm", "norm of the batch")),
    *(_each_step("carried h", how, 0.3) for how in ("value", "norm", "norm of the batch")),
    *(_each_step("c", how, 0.7, ("lstm",)) for how in ("value", "norm")),
    *(_each_step("carried c", how, 0.4, ("lstm",)) for how in ("value", "norm")),
    *(_each_step("h and c", how, 0.9, ("lstm",)) for how in ("value", "norm")),
    *(_each_step("carried h and carried c", how, 0.25, ("lstm",)) for how in ("value", "norm")),
    *(_each_step("gates", how, 0.125, ("rnn", "lstm")) for how in ("value", "norm")),
    *(_each_step(what, "value", 0.125, GRU) for what in ("gates", "gates after n")),
    _each_step("gates after n and W_hh h", "value", 0.125, AFTER),
    _each_step("gates after n, h kept", "value", 0.125, BEFORE),
    *(
        Mistake(f"grad-dropout-{name}", {"mask": how}, ALL, {"how": how}, {"layers": 2, "dropout": 0.4})
        for name, hows in DROPPED.items()
        for how in hows
    ),
    Mistake("grad-reset-path-lost", {"r path lost": True}, GRU),
    Mistake("grad-reset-gate-missing", {"r missing": True}, GRU),
    Mistake("grad-reset-gate-missing", {"r missing in dW_hn": True}, GRU, {"in": "weight_hh"}),
    Mistake("grad-z-path-lost", {"z path lost": True}, GRU),
    Mistake("grad-z-sign", {"factor of z": "flipped"}, GRU),
    Mistake("grad-after-as-before", {"as the other": True}, AFTER),
    Mistake("grad-before-as-after", {"as the other": True}, BEFORE),
    _factor("i", "left out", "without g"),
    _factor("g", "left out", "without i"),
    _factor("i", "its own", "with i in place of g"),
    _factor("g", "its own", "with g in place of i"),
    Mistake("grad-factor-wrong", {"factor of i": "its own", "factor of g": "its own"}, ("lstm",), {"of": "i and g"}),
    _factor("f", "left out", "without c"),
    _factor("o", "left out", "without tanh(c')"),
    _factor("o", "c", "with c' in place of tanh(c')"),
    _factor("o", "of the step before", "with tanh(c) in place of tanh(c')"),
    _factor("c", "left out", "without o"),
    _factor("n", "left out", "without 1 − z", GRU),
    _factor("n", "exchanged", "with z in place of 1 − z", GRU),
    _factor("h", "left out", "without z", GRU),
    _factor("h", "exchanged", "with 1 − z in place of z", GRU),
    _factor("z", "left out", "without h − n", GRU),
    _factor("z", "h", "with h in place of h − n", GRU),
    _factor("z", "-n", "with −n in place of h − n", GRU),
    _factor("z", "after", "with h' − n in place of h − n", GRU),
    _factor("r", "left out", "without what it multiplies", GRU),
    _factor("r", "h", "with h in place of W_hn h + b_hn", AFTER),
    Mistake("grad-factor-wrong", dict.fromkeys(("factor of n", "factor of h"), "exchanged"), GRU, {"of": "n and h"}),
    Mistake(
        "grad-factor-wrong",
        {"factor of n": "exchanged", "factor of h": "exchanged", "factor of z": "flipped"},
        GRU,
        {"of": "n, h and z"},
    ),
    Mistake("grad-biases-shared", {"biases": "half each"}, ALL, {"how": "half each"}),
    Mistake("grad-biases-shared", {"biases": "sum each"}, ALL, {"how": "both together"}),
    Mistake("grad-biases-shared", {"biases": "hh as ih"}, AFTER, {"how": "that of bias_ih"}),
    Mistake("grad-biases-shared", {"biases": "ih as hh"}, AFTER, {"how": "that of bias_hh"}),
    Mistake("grad-biases-shared", {"biases": "exchanged"}, AFTER, {"how": "exchanged"}),
    Mistake("grad-h-after-in-weight_hh", {"h after in dW_hh": True}),
    *(
        Mistake("grad-first-step-left-out", {"step 0 left out of": what}, ALL, {"in": what})
        for what in ("weight_hh", "every parameter", "weight_ih")
    ),
    *(
        Mistake("grad-last-step-left-out", {"last step left out of": what}, ALL, {"in": what})
        for what in ("every parameter", "weight_hh", "bias_ih")
    ),
    *(Mistake("grad-x-shifted", {"x in dW_ih": of}, ALL, {"of": of}) for of in ("the step before", "the step after")),
    Mistake("grad-x-shifted", {"x in dW_ih": "the step before, round"}, ALL, {"of": "the step before, round"}),
    Mistake("grad-reverse-not-realigned", {"upstream not turned": True}, ALL, {"of": "output"}, {"directions": 2}),
    Mistake("grad-reverse-not-realigned", {"dx not turned": True}, ALL, {"of": "x"}, {"directions": 2}),
    *(
        Mistake("grad-x-of-one-direction", {"dx without": direction}, ALL, {"without": direction}, {"directions": 2})
        for direction in ("forward", "reverse")
    ),
    Mistake(
        "grad-reverse-not-realigned",
        {"upstream not turned": True, "dx not turned": True},
        ALL,
        {"of": "output and x"},
        {"directions": 2},
    ),
    Mistake("grad-halves-exchanged", {"halves exchanged": True}, ALL, {}, {"directions": 2}),
    Mistake("grad-halves-exchanged", {"directions exchanged": True}, ALL, {"of": "parameters"}, {"directions": 2}),
    Mistake("grad-through-padding", {"padding": "kept"}, ("rnn", *GRU), {"how": "kept"}, {"lengths": True}),
    Mistake("grad-through-padding", {"padding": "goes on"}, ALL, {"how": "goes on"}, {"lengths": True}),
    Mistake("grad-weight_hh-not-transposed", {"not transposed": True}),
    Mistake("grad-weight_ih-not-transposed", {"W_ih not transposed": True}, ALL, {}, {"features": 5}),
    *(_slope("h", how, ("rnn",)) for how in (*OF_TANH, "of the step before")),
    _slope("c", "of the step before", ("lstm",)),
    _slope("h", "left out", ("rnn",), relu=True),
    _slope("h", "of tanh", ("rnn",), relu=True),
    *(_slope("sigma", how, ("lstm", "gru"), "the gates") for how in (*ARGUMENTS, "one factor", "of tanh")),
    *(_slope("sigma", how, ("lstm",), "the gates", hard=True) for how in ("left out", "of σ", "without limits")),
    *(_slope("g", how, ("lstm",)) for how in OF_TANH),
    *(_slope("c", how, ("lstm",)) for how in OF_TANH),
    *(_slope("n", how, GRU) for how in OF_TANH),
    *(_slope(gate, how, ("lstm",)) for gate in "ifo" for how in ("left out", "of tanh")),
    *(_slope(gate, how, GRU) for gate in "rz" for how in ("left out", "of tanh")),
    *(Mistake("grad-gate-path-lost", {f"slope of {gate}": "none"}, ("lstm",), {"of": gate}) for gate in "ifgo"),
    *(Mistake("grad-gate-path-lost", {f"slope of {gate}": "none"}, GRU, {"of": gate}) for gate in "zn"),
    Mistake("grad-reset-gate-missing", {"r missing in dW_hn and db_hn": True}, AFTER, {"in": "weight_hh and bias_hh"}),
    Mistake("grad-reset-gate-missing", {"r missing in dh": True}, AFTER, {"in": "h"}),
    *(
        Mistake("grad-overwritten", {"set, not added up": is_}, ALL, {"is": is_})
        for is_ in ("of the last step gone over", "of the last item", "of the first item")
    ),
    *(
        Mistake("grad-overwritten", {"set, not added up": is_, "in": name}, ALL, {"is": is_, "in": name})
        for is_ in ("of the last step gone over", "of the last item")
        for name in ("weight_ih", "bias_hh")
    ),
    *(
        Mistake("grad-gate-order", {"another order in": of, "order": order}, cells, {"in": said})
        for order, cells in (((0, 1, 3, 2), ("lstm",)), ((1, 0, 2), GRU), ((2, 0, 1), GRU))
        for of, said in ((PARAMETERS, "parameters"), (("weight_hh",), "weight_hh"))
    ),
    Mistake("grad-transposed", {"transposed": ("weight_hh",)}, ALL, {"in": "weight_hh"}),
    Mistake("grad-decay-added", {"decay of": PARAMETERS}, ALL, {"of": "parameters", "factor": 0.02}),
    Mistake("grad-decay-added", {"decay of": ("weight_ih", "weight_hh")}, ALL, {"of": "weights", "factor": 0.02}),
    Mistake("grad-decay-added", {"decay of": ("weight_hh",)}, ALL, {"of": "weight_hh", "factor": 0.02}),
    _slope("sigma", "the other factor", ("lstm", "gru"), "the gates"),
    _slope("o", "the other factor", ("lstm",)),
    *(
        Mistake("grad-hidden-path-lost", {"hidden lost of": place}, cells, {"of": gate})
        for cells, gates in ((("lstm",), "ifgo"), (GRU, "rzn"))
        for place, gate in enumerate(gates)
    ),
    _factor("r", "no bias", "with W_hn h in place of W_hn h + b_hn", AFTER),
    Mistake("grad-factor-wrong", {"r in db_hn": True}, BEFORE, {"of": "b_hn"}),
)
