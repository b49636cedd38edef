"""A whole stack in plain numpy loops, float32, with the mistakes of people written in where people make them.

Nothing here comes from the package. A mistake is a mapping of flags, read by `m.get(...)` at the line that it spoils;
an empty one is a right run. Which flags make which mistake is in `mistakes.py`; functions put in the place of others
are in `functions.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tests.causes.functions import Array as Array
from tests.causes.functions import int8, product, sigmoid

Flags = Mapping[str, Any]
ONE = np.float32(1)
GATE_BY_GATE = "gate by gate, "
GATES = {"rnn": "h", "gru": "rzn", "gru-before": "rzn", "lstm": "ifgo"}


@dataclass(frozen=True)
class Net:
    """Parameters by the names of torch.nn; kind is rnn, gru, gru-before or lstm."""

    kind: str
    hidden: int
    layers: int
    directions: int
    parameters: dict[str, Array]


@dataclass(frozen=True)
class Given:
    """x (T, B, I), h0 (L·D, B, P), c0 (L·D, B, H), of which only an LSTM knows; a length for each item, or None."""

    x: Array
    h0: Array
    c0: Array
    lengths: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Weights:
    """Of one layer and direction."""

    ih: Array
    hh: Array
    b_ih: Array
    b_hh: Array
    hr: Array | None


def run(net: Net, given: Given, m: Flags, *above: Flags) -> dict[str, Array]:
    """output (T, B, D·P), h_n and c_n (L·D, B, ·), and l0.forward.h (B, T, P) … of every layer and direction.

    A mistake is made in every layer, or, with one for each layer `above` the lowest, each in its own.
    """
    if m.get("made twice"):
        first = _once(net, given, m, above)
        given = replace(given, h0=first["h_n"], c0=first.get("c_n", given.c0))
    if m.get("items in a row"):
        return _in_a_row(net, given, m, above)
    if m.get("lengths") and given.lengths:
        theirs = [length - 1 for length in given.lengths] if m["lengths"] == "too short" else given.lengths[::-1]
        given = replace(given, lengths=tuple(theirs))
    if m.get("items turned"):
        right = _once(net, given, m, above)
        return {name: np.flip(value, 0 if ".h" in name else 1) for name, value in right.items()}
    if m.get("an item twice"):
        right, items = _once(net, given, m, above), [0, 0, *range(2, given.x.shape[1])]
        return {name: np.take(value, items, 0 if ".h" in name else 1) for name, value in right.items()}
    return _in_calls(net, given, m, above) if m.get("calls of") else _once(net, given, m, above)


def _in_calls(net: Net, given: Given, m: Flags, above: tuple[Flags, ...]) -> dict[str, Array]:
    """So many steps at a time, each call from zeros."""
    calls = []
    for start in range(0, len(given.x), m["calls of"]):
        calls.append(_once(net, replace(given, x=given.x[start : start + m["calls of"]]), m, above))
        given = replace(given, h0=0 * given.h0, c0=0 * given.c0)
    ends = {name: value for name, value in calls[-1].items() if name.endswith("_n")}
    return {name: np.concatenate([call[name] for call in calls], int(".h" in name)) for name in calls[0]} | ends


def _in_a_row(net: Net, given: Given, m: Flags, above: tuple[Flags, ...]) -> dict[str, Array]:
    """Each item by itself, from the states that the one before ended with."""
    found: list[dict[str, Array]] = []
    for b in range(given.x.shape[1]):
        h0, c0 = given.h0[:, b : b + 1], given.c0[:, b : b + 1]
        if found:
            h0, c0 = found[-1]["h_n"], found[-1].get("c_n", c0)
        lengths = None if given.lengths is None else (given.lengths[b],)
        found.append(_once(net, Given(given.x[:, b : b + 1], h0, c0, lengths), m, above))
    return {name: np.concatenate([one[name] for one in found], 0 if ".h" in name else 1) for name in found[0]}


def _once(net: Net, given: Given, m: Flags, above: tuple[Flags, ...]) -> dict[str, Array]:
    x = given.x * np.asarray(m.get("x times", 1), given.x.dtype)
    x = x[..., ::-1] if m.get("x's features") == "turned round" else x
    x = m.get("x through", _as_it_is)(x)
    if m.get("x turned"):
        x = x[::-1]
    if how := m.get("x moved"):
        x = _moved(x, *how.split(", "))
    if m.get("x viewed"):
        x = np.ascontiguousarray(x.transpose(1, 0, 2)).reshape(x.shape)
    if m.get("axes exchanged"):
        x = x.transpose(1, 0, 2)
    h0, c0 = _initial(net, given, m)
    rng, places, recorded = np.random.default_rng(m.get("seed", 0)), range(net.layers), {}
    last: list[tuple[Array, Array]] = []
    u = x
    for layer in places:
        if layer:
            u = _input_above(u, x, m)
            if m.get("dropped between"):
                u = _dropped(u, m["dropped between"], rng)
            u = u * np.asarray(m.get("between times", 1), u.dtype)
            u = m.get("between through", _as_it_is)(u)
            if how := m.get("between moved"):
                u = _moved(u, *how.split(", "))
        received, halves, here = u, [], (m, *above)[min(layer, len(above))]
        if layer < net.layers - 1:
            here = {name: how for name, how in here.items() if name != "c returned"}
        for d in range(net.directions):
            w = _weights(net, layer, d, here)
            row = layer * net.directions + d
            backwards = bool(d) != bool(here.get("runs the other way"))
            begun: tuple[Array, Array] = last[-1] if d and here.get("goes on from forward") else (h0[row], c0[row])
            of_before = {"the layer below": net.directions, "the place before": 1}.get(here.get("goes on from", ""))
            if of_before and row >= of_before:
                begun = last[row - of_before]
            h, final = _sweep(net.kind, w, u, *begun, given.lengths, backwards, here)
            halves.append(h)
            last.append(final)
        if here.get("halves exchanged"):
            halves.reverse()
        u = np.concatenate(halves, -1)
        if layer == net.layers - 1:
            u = _output(u, net, m, rng) + (received if m.get("residual") else 0)
        for d, h in enumerate(np.split(u, net.directions, -1)):
            # Each is what a hook on that layer sees; of the top one it is the output.
            recorded[f"l{layer}.{'reverse' if d else 'forward'}.h"] = h.transpose(1, 0, 2)
    recorded["output"] = u
    recorded |= _final(net, given, last, m)
    if m.get("axes exchanged"):
        square = x.shape[0] == x.shape[1]  # else the final states are of another shape, and nobody would record them
        same = {name: value.transpose(1, 0, 2) for name, value in recorded.items() if not name.endswith("_n")}
        recorded = {**recorded, **same} if square else same
    return {name: np.array(value, np.float32, order="C") for name, value in recorded.items()}


def _as_it_is(u: Array) -> Array:
    return u


def _moved(x: Array, when: str, edge: str) -> Array:
    """x of the step before ("late") or after ("early"); where there is none zeros, that of the step itself, or
    that of the other end."""
    end = x[:1] if (when == "late") == (edge == "its own") else x[-1:]
    end = np.zeros_like(end) if edge == "zeros" else end
    return np.concatenate([end, x[:-1]] if when == "late" else [x[1:], end])


def _initial(net: Net, given: Given, m: Flags) -> tuple[Array, Array]:
    h0, c0 = given.h0, given.c0
    if m.get("initial h and c exchanged"):
        h0, c0 = c0, h0
    states = []
    for s in (h0, c0):
        if m.get("states turned"):
            s = s[:, ::-1]
        if m.get("state ignored"):
            s = np.zeros_like(s)
        if m.get("axes exchanged") and s.shape[1] != len(given.x):
            s = np.zeros((len(s), len(given.x), s.shape[2]), np.float32)
        if m.get("state viewed"):
            s = np.ascontiguousarray(s.transpose(1, 0, 2)).reshape(s.shape)
        if m.get("state of item 0"):
            s = np.repeat(s[:, :1], s.shape[1], 1)
        if rows := m.get("states of the first"):
            s = np.concatenate([s[:rows]] * (len(s) // rows)) if rows <= net.directions else s
        if m.get("states by direction"):  # row d·L + layer is taken for row layer·D + d
            s = s.reshape(net.directions, net.layers, *s.shape[1:]).swapaxes(0, 1).reshape(s.shape)
        states.append(s)
    return states[0], states[1]


def _weights(net: Net, layer: int, d: int, m: Flags) -> Weights:
    """What one layer and direction takes for its own."""
    if m.get("layers exchanged"):
        layer = net.layers - 1 - layer
    if net.directions == 2:
        d = {"exchanged": 1 - d, "all forward": 0, "all reverse": 1}.get(m.get("direction's weights", ""), d)
    end, other = (f"_l{at}" + ("_reverse" if d else "") for at in (layer, net.layers - 1 - layer))
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
    ih, hh, b_ih, b_hh, hr = (net.parameters.get(name + end) for name in names)
    assert ih is not None
    assert hh is not None
    match m.get("of the other layer"):
        case "weight_hh":
            hh = net.parameters["weight_hh" + other]
        case "weight_ih":
            ih = net.parameters["weight_ih" + other]
        case "biases":
            b_ih, b_hh = net.parameters["bias_ih" + other], net.parameters["bias_hh" + other]
    assert b_ih is not None
    assert b_hh is not None
    count = len(GATES[net.kind])
    match m.get("biases"):
        case "no ih":
            b_ih = np.zeros_like(b_ih)
        case "no hh":
            b_hh = np.zeros_like(b_hh)
        case "none":
            b_ih, b_hh = np.zeros_like(b_ih), np.zeros_like(b_hh)
        case "ih twice":
            b_hh = b_ih
        case "hh twice":
            b_ih = b_hh
        case "sum twice":
            b_ih = b_hh = b_ih + b_hh
        case "ih added twice":
            b_ih = b_ih + b_ih
        case "hh added twice":
            b_hh = b_hh + b_hh
        case "the sum as hh":
            b_ih, b_hh = np.zeros_like(b_ih), b_ih + b_hh
        case "both added twice":
            b_ih, b_hh = 2 * b_ih, 2 * b_hh
        case "exchanged":
            b_ih, b_hh = b_hh, b_ih
    if m.get("kernels exchanged"):
        ih, hh = hh, ih
    ih, hh = _misread(ih, m.get("ih", ""), count), _misread(hh, m.get("hh", ""), count)
    if by := m.get("packed by"):  # gate or unit, and read the other way
        every = count if by == "gate" else len(ih) // count
        ih, hh, b_ih, b_hh = (np.concatenate([w[at::every] for at in range(every)]) for w in (ih, hh, b_ih, b_hh))
    if grid := m.get("few digits"):
        ih, hh, b_ih, b_hh = (grid(w).astype(np.float32) for w in (ih, hh, b_ih, b_hh))
    if rows := m.get("int8"):
        ih, hh = int8(ih, rows == "per row"), int8(hh, rows == "per row")
        hr = hr if hr is None else int8(hr, rows == "per row")
        if m.get("int8 biases"):
            b_ih, b_hh = int8(b_ih, False), int8(b_hh, False)
    if which := m.get("taken for", ()):  # of these parameters, the rows as gates in that order
        of, order = which
        places = [order.index(gate) for gate in GATES[net.kind]]
        ih, hh, b_ih, b_hh = (
            np.concatenate([np.split(w, count)[at] for at in places]) if name in of else w
            for name, w in (("weight_ih", ih), ("weight_hh", hh), ("bias_ih", b_ih), ("bias_hh", b_hh))
        )
    return Weights(ih, hh, b_ih, b_hh, hr)


def _misread(w: Array, how: str, blocks: int) -> Array:
    """Of (out, in), whose memory may be taken for (in, out), or that of its transpose for (out, in)."""
    if how.startswith(GATE_BY_GATE):
        return np.concatenate([_misread(block, how.removeprefix(GATE_BY_GATE), 1) for block in np.split(w, blocks)])
    match how:
        case "transposed":
            return np.concatenate([block.T for block in np.split(w, blocks)])
        case "out×in taken for in×out":
            return np.ascontiguousarray(w).reshape(w.shape[::-1]).T
        case "in×out taken for out×in":
            return np.ascontiguousarray(w.T).reshape(w.shape)
    return w


def _input_above(below: Array, x: Array, m: Flags) -> Array:
    """What layer 1 gets of what layer 0 gave."""
    forward, reverse = np.split(below, 2, -1) if below.shape[-1] % 2 == 0 else (below, below)
    match m.get("input above"):
        case "x":
            return x
        case "reverse half zero":
            return np.concatenate([forward, np.zeros_like(reverse)], -1)
        case "forward half twice":
            return np.concatenate([forward, forward], -1)
        case "halves exchanged":
            return np.concatenate([reverse, forward], -1)
    return below


def _dropped(v: Array, p: float, rng: np.random.Generator) -> Array:
    return (v * (rng.random(v.shape) >= p) / np.float32(1 - p)).astype(np.float32)


def _output(y: Array, net: Net, m: Flags, rng: np.random.Generator) -> Array:
    steps, batch, _ = y.shape
    match m.get("output viewed"):
        case "(B, T) as (T, B)":
            y = np.ascontiguousarray(y.transpose(1, 0, 2)).reshape(y.shape)
        case "(T, B) as (B, T)":
            y = y.reshape(batch, steps, -1).transpose(1, 0, 2)
    if m.get("output's halves exchanged"):
        y = np.concatenate(np.split(y, net.directions, -1)[::-1], -1)
    if m.get("output dropped"):
        y = _dropped(y, m["output dropped"], rng)
    return np.multiply(y, m.get("output times", 1), dtype=y.dtype)


def _final(net: Net, given: Given, last: list[tuple[Array, Array]], m: Flags) -> dict[str, Array]:
    h_n, c_n = np.stack([h for h, _ in last]), np.stack([c for _, c in last])
    if m.get("final from padded output") and given.lengths:  # zero where an item had ended
        ended = np.array(given.lengths) < len(given.x)
        for row in range(0, len(h_n), net.directions):
            h_n[row][ended] = 0
    if m.get("states by direction"):
        h_n, c_n = (
            s.reshape(net.layers, net.directions, *s.shape[1:]).swapaxes(0, 1).reshape(s.shape) for s in (h_n, c_n)
        )
    if net.kind != "lstm":
        return {"h_n": h_n}
    return {"h_n": c_n, "c_n": h_n} if m.get("final h and c exchanged") else {"h_n": h_n, "c_n": c_n}


def _sweep(
    kind: str,
    w: Weights,
    u: Array,
    h0: Array,
    c0: Array,
    lengths: tuple[int, ...] | None,
    backwards: bool,
    m: Flags,
) -> tuple[Array, tuple[Array, Array]]:
    """One layer and direction over u (T, B, ·): h (T, B, P), and the last h and c."""
    steps = len(u)
    ends = np.array(lengths or (steps,) * u.shape[1])
    runs = np.arange(steps)[:, None] < ends
    if m.get("padding runs in") in ("both", "reverse" if backwards else "forward"):
        runs = np.ones_like(runs)
    h, c, out = h0, c0, np.zeros((*u.shape[:2], h0.shape[1]), np.float32)
    first = steps - 1 if backwards else 0
    for padded in range(steps) if m.get("padding in front") and not backwards else ():
        after, c_after = _step(kind, w, np.zeros_like(u[0]), h, c, m)
        more = (padded < steps - ends)[:, None]
        h, c = np.where(more, after, h), np.where(more, c_after, c)
    for t in range(steps)[:: -1 if backwards else 1]:
        if t % m.get("kept every", 1) == 0 and (t or "kept every" not in m):  # a call is given its first state as it is
            h, c = m.get("h kept as", _as_it_is)(h), m.get("c kept as", _as_it_is)(c)
        before = h
        match m.get("each step from"):
            case "the initial state":
                h, c = h0, c0
            case "zero":
                h, c = np.zeros_like(h0), np.zeros_like(c0)
        after, c_after = _step(kind, w, u[t], h, c, m)
        if m.get("one state"):
            now, now_c = h[-1:] if t != first else h[:1], c[-1:] if t != first else c[:1]
            for item in range(len(h)):
                now, now_c = _step(kind, w, u[t, item : item + 1], now, now_c, m)
                after[item], c_after[item] = now[0], now_c[0]
        if at_once := m.get("in place"):
            after, c_after, block = h, c, np.arange(h.shape[1]) // at_once
            for number in range(block[-1] + 1):
                new, new_c = _step(kind, w, u[t], after, c, m)
                after, c_after = np.where(block == number, new, after), np.where(block == number, new_c, c_after)
        if limit := m.get("c clipped between"):
            c_after = np.clip(c_after, -np.float32(limit), np.float32(limit))
        if m.get("states exchanged"):
            after, c_after = c_after, after
        inside = runs[t][:, None]
        out[t] = np.where(inside, before if m.get("late") else c_after if m.get("c returned") else after, 0)
        h, c = np.where(inside, after, h), np.where(inside, c_after, c)
    for item, end in enumerate(ends):
        valid = out[:end, item]
        out[end:, item] *= not m.get("masked")
        if m.get("late") == "from zero":
            valid[-1 if backwards else 0] = 0
        if early := m.get("early"):
            in_order = valid[::-1] if backwards else valid
            in_order[:-1] = in_order[1:].copy()
            in_order[-1] *= early == "last repeated"
        if m.get("not realigned") and backwards:
            valid[:] = valid[::-1].copy()
    return out, (h, c)


def _step(kind: str, w: Weights, u: Array, h: Array, c: Array, m: Flags) -> tuple[Array, Array]:
    sigma, tanh = m.get("sigma", sigmoid), m.get("tanh", np.tanh)
    times = m.get("product", product)

    def gate(name: str, s: Array) -> Array:
        made: Array = m.get("gate", {}).get(name, sigma)(s)
        return made

    names = m.get("order", {}).get(kind, GATES[kind])
    i = dict(zip(names, np.split(times(u, w.ih) + w.b_ih, len(names), -1), strict=True))
    r = dict(zip(names, np.split(times(h, w.hh) + w.b_hh, len(names), -1), strict=True))
    if kind == "rnn":
        return tanh(i["h"] + r["h"]), c
    if kind == "lstm":
        forget = gate("f", i["f"] + r["f"] + np.float32(m.get("added to forget gate", 0)))
        before, c = c, forget * c + gate("i", i["i"] + r["i"]) * m.get("candidate", tanh)(i["g"] + r["g"])
        if limit := m.get("c clipped"):
            c = np.clip(c, -np.float32(limit), np.float32(limit))
        o = gate("o", i["o"] + r["o"])
        if w.hr is None:
            return o * m.get("squash", tanh)(before if m.get("h of the c before") else c), c
        match m.get("tanh of the projection"):
            case "too":
                return tanh(times(o * tanh(c), w.hr)), c
            case "only":
                return tanh(times(o * c, w.hr)), c
        return times(o * tanh(c), w.hr), c
    reset, z, tanh = gate("r", i["r"] + r["r"]), gate("z", i["z"] + r["z"]), m.get("candidate", tanh)
    at = names.index("n")
    w_hn, b_hn = np.split(w.hh, 3)[at], np.split(w.b_hh, 3)[at]
    match m.get("reset", "before" if kind == "gru-before" else "after"):
        case "before":
            n = tanh(i["n"] + times(reset * h, w_hn) + b_hn)
        case "after, without b_hn":
            n = tanh(i["n"] + reset * times(h, w_hn))
        case "after, b_hn outside":
            n = tanh(i["n"] + b_hn + reset * times(h, w_hn))
        case _:
            n = tanh(i["n"] + reset * (times(h, w_hn) + b_hn))
    of_n, of_h = (z, ONE - z) if m.get("mix flipped") else m.get("shares", lambda z: (ONE - z, z))(z)
    return of_n * n + of_h * h, c
