"""A whole stack forwards and backwards in plain numpy loops, with the mistakes of going back where people make them.

Written from the equations; nothing here comes from the package. A mistake is a mapping of flags, read by `m.get(...)`
at the line that it spoils; an empty one is a right pass. Which flags make which mistake is in `mistakes.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Flags = Mapping[str, Any]
DIRECTIONS = ("forward", "reverse")
GATES = {"rnn": "h", "gru": "rzn", "gru-before": "rzn", "lstm": "ifgo"}


@dataclass(frozen=True)
class Net:
    """Parameters by the names of torch.nn; kind is rnn, gru, gru-before or lstm; hard: hard_sigmoid in place of σ."""

    kind: str
    layers: int
    directions: int
    parameters: Mapping[str, Array]
    relu: bool = False
    hard: bool = False
    dropout: float = 0.0
    """Between layers; of a seed of its own, so that each run has the same."""


@dataclass(frozen=True)
class Given:
    """x (T, B, I), the states (L·D, B, H), the gradients of the loss by output, h_n and c_n, and the lengths."""

    x: Array
    h0: Array
    c0: Array
    dy: Array
    dh_n: Array
    dc_n: Array
    lengths: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Weights:
    ih: Array
    hh: Array
    b_ih: Array
    b_hh: Array


@dataclass
class Step:
    """What a step of the pass forwards keeps: its input, the state before and after it, and each gate with what it was
    taken of."""

    x: Array
    h: Array
    c: Array
    h_after: Array
    c_after: Array
    inside: Array
    s: dict[str, Array]
    v: dict[str, Array]


def passed(net: Net, given: Given, m: Flags) -> dict[str, Array]:
    """output, h_n and c_n; and the gradients: x, h0, c0, and each parameter by its name."""
    u, kept, last = given.x, [], []
    inputs = []
    for layer in range(net.layers):
        halves = []
        if layer and net.dropout:
            u = u * _mask(net, layer, u)
        inputs.append(u)
        for d in range(net.directions):
            row = layer * net.directions + d
            out, steps, final = _forwards(net, _weights(net, layer, d), u, given, (row, bool(d)), m)
            halves.append(out)
            kept.append(steps)
            last.append(final)
        u = np.concatenate(halves, -1)
    found = {"output": u, "h_n": np.stack([h for h, _ in last]), "c_n": np.stack([c for _, c in last])}
    states: dict[int, tuple[Array, Array]] = {}
    du = given.dy
    for layer in reversed(range(net.layers)):
        halves = np.split(du, net.directions, -1)
        if m.get("halves exchanged"):
            halves.reverse()
        below, own = np.zeros_like(inputs[layer]), {}
        for d in range(net.directions):
            row, end = layer * net.directions + d, f"_l{layer}" + "_reverse" * d
            back = _in_own_windows if "own windows" in m else _backwards
            dx, state, g = back(net, _weights(net, layer, d), kept[row], halves[d], given, (row, bool(d)), m)
            kept_out = m.get("dx without") == DIRECTIONS[d] and m.get("in layer", layer) == layer
            below = below + dx * (not kept_out)
            states[row] = state
            own |= _arranged(net, {name + end: value for name, value in _shared(net, g, m).items()}, m)
        found |= own
        if layer and net.dropout:
            below = below * _mask_back(net, layer, below, m)
        du = below * np.asarray(m.get("dx times", 1), below.dtype)
        if m.get("layer detached") == layer - 1:
            du = np.zeros_like(du)
    found["x"] = du
    found["h0"], found["c0"] = (np.stack([states[row][n] for row in range(len(states))]) for n in (0, 1))
    names = [name for name in found if "_l" in name]
    for name, value in _scaled({name: found[name] for name in names}, given, m).items():
        found[name] = value.astype(given.x.dtype)
    if net.dropout:
        found |= {f"x_l{layer}": inputs[layer] for layer in range(1, net.layers)}
    if net.kind != "lstm":
        del found["c0"], found["c_n"]
    return _given(found, given, m)


def _arranged(net: Net, g: dict[str, Array], m: Flags) -> dict[str, Array]:
    """The parameters' gradients with their gates in another order, transposed, or with a multiple of the parameter."""
    found = dict(g)
    for name, value in g.items():
        of, blocks = name.split("_l")[0], np.split(value, len(GATES[net.kind]))
        if of in m.get("another order in", ()):
            found[name] = np.concatenate([blocks[n] for n in m["order"]])
        if of in m.get("transposed", ()) and len(blocks[0]) == value.shape[1]:
            found[name] = np.concatenate([block.T for block in blocks])
        if of in m.get("decay of", ()):
            found[name] = (value + value.dtype.type(0.02) * net.parameters[name]).astype(value.dtype)
    return found


def _given(found: dict[str, Array], given: Given, m: Flags) -> dict[str, Array]:
    """What is given of a right pass: some gradients twice, all of them clipped, in the padding, or of the other
    direction."""
    own = {name: value for name, value in found.items() if "_l" in name and not name.startswith("x_l")}
    own |= {name: found[name] for name in ("x", "h0", "c0") if name in found}
    if twice := m.get("given twice"):
        own = {name: value * (2 if name.split("_l")[0] in twice else 1) for name, value in own.items()}
    if limit := m.get("all clipped by value"):
        own = {name: np.clip(value, -limit, limit) for name, value in own.items()}
    if m.get("directions exchanged"):
        other = {
            name: name.removesuffix("_reverse") if name.endswith("_reverse") else name + "_reverse" for name in own
        }
        own = {name: own.get(other[name], value) for name, value in own.items()}
    if m.get("dx in padding"):
        ends = np.array(given.lengths or (len(given.x),) * given.x.shape[1])
        beyond = np.arange(len(given.x))[:, None, None] >= ends[:, None]
        own["x"] = np.where(beyond, own["x"][:1], own["x"])
    return found | {name: value.astype(given.x.dtype) for name, value in own.items()}


def _mask(net: Net, layer: int, like: Array) -> Array:
    """0 or 1/(1 − p)."""
    kept = np.random.default_rng(layer).random(like.shape) >= net.dropout
    return (kept / (1 - net.dropout)).astype(like.dtype)


def _mask_back(net: Net, layer: int, like: Array, m: Flags) -> Array:
    mask = _mask(net, layer, like)
    scale = like.dtype.type(1 / (1 - net.dropout))
    hows = {
        "not applied": np.ones_like(mask),
        "scale alone": np.full_like(mask, scale),
        "no scale": mask / scale,
        "twice": mask * mask,
        "turned round": mask[::-1],
        "the step after": np.roll(mask, -1, 0),
        "the step before": np.roll(mask, 1, 0),
        "the first step": np.broadcast_to(mask[:1], mask.shape),
        "the last step": np.broadcast_to(mask[-1:], mask.shape),
    }
    return hows.get(m.get("mask", ""), mask)


def _weights(net: Net, layer: int, d: int) -> Weights:
    end = f"_l{layer}" + "_reverse" * d
    return Weights(*(net.parameters[name + end] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")))


def sigmoid(s: Array) -> Array:
    return (1 / (1 + np.exp(-s))).astype(s.dtype)


def hard_sigmoid(s: Array) -> Array:
    return np.clip(s * s.dtype.type(0.2) + s.dtype.type(0.5), 0, 1)


def _forwards(
    net: Net, w: Weights, u: Array, given: Given, place: tuple[int, bool], m: Flags
) -> tuple[Array, list[Step], tuple[Array, Array]]:
    row, backwards = place
    h, c, steps = given.h0[row], given.c0[row], []
    out = np.zeros((*u.shape[:2], h.shape[1]), u.dtype)
    ends = np.array(given.lengths or (len(u),) * u.shape[1])
    for t in range(len(u))[:: -1 if backwards else 1]:
        inside = (t < ends)[:, None]
        s, v, h_after, c_after = _step(net, w, u[t], h, c)
        out[t] = np.where(inside, h_after, 0)
        steps.append(Step(u[t], h, c, h_after, c_after, inside, s, v))
        goes_on = inside | (m.get("padding") == "goes on" and not backwards)
        h, c = np.where(goes_on, h_after, h), np.where(goes_on, c_after, c)
    return out, steps, (h, c)


def _step(
    net: Net, w: Weights, x: Array, h: Array, c: Array
) -> tuple[dict[str, Array], dict[str, Array], Array, Array]:
    names = GATES[net.kind]
    i = dict(zip(names, np.split(x @ w.ih.T + w.b_ih, len(names), -1), strict=True))
    r = dict(zip(names, np.split(h @ w.hh.T + w.b_hh, len(names), -1), strict=True))
    sigma = hard_sigmoid if net.hard else sigmoid
    s = {name: i[name] + r[name] for name in names}
    if net.kind == "rnn":
        after = np.maximum(s["h"], 0) if net.relu else np.tanh(s["h"])
        return s, {"h": after}, after, c
    if net.kind == "lstm":
        v = {name: np.tanh(s[name]) if name == "g" else sigma(s[name]) for name in names}
        c = v["f"] * c + v["i"] * v["g"]
        return s, v, v["o"] * np.tanh(c), c
    v = {name: sigma(s[name]) for name in "rz"}
    hidden = len(w.hh) // 3
    if net.kind == "gru-before":
        s["hidden"] = (v["r"] * h) @ w.hh[2 * hidden :].T + w.b_hh[2 * hidden :]
        s["n"] = i["n"] + s["hidden"]
    else:
        s["hidden"] = r["n"]
        s["n"] = i["n"] + v["r"] * r["n"]
    v["n"] = np.tanh(s["n"])
    return s, v, (1 - v["z"]) * v["n"] + v["z"] * h, c


def _backwards(
    net: Net, w: Weights, kept: list[Step], dy: Array, given: Given, place: tuple[int, bool], m: Flags
) -> tuple[Array, tuple[Array, Array], dict[str, Array]]:
    """dL/dx of one direction, dL/d of its initial state, and dL/d of its parameters."""
    row, backwards = place
    steps, dtype = len(kept), dy.dtype
    scale: Any = dtype.type(m.get("loss times", 1))
    if m.get("mean over own steps"):
        scale = (1 / np.array(given.lengths)[:, None]).astype(dtype)
    dh, dc = given.dh_n[row] * scale, given.dc_n[row] * scale
    if row // net.directions == net.layers - 1:  # what comes to the layers below has it in it
        dy = dy * scale
    if m.get("final h lost"):
        dh = np.zeros_like(dh)
    if m.get("final c lost"):
        dc = np.zeros_like(dc)
    if backwards and m.get("upstream not turned"):
        dy = dy[::-1]
    how = m.get("dy", "")
    how = _IN_REVERSE.get(how, how) if backwards and m.get("each in its own order") else how
    dy = _upstream(dy, np.array(given.lengths or (steps,) * dy.shape[1]), how)
    dx = np.zeros((steps, len(dh), w.ih.shape[1]), dtype)
    g = {"weight_ih": np.zeros_like(w.ih), "weight_hh": np.zeros_like(w.hh)}
    g |= {"bias_ih": np.zeros_like(w.b_ih), "bias_hh": np.zeros_like(w.b_hh)}
    for n in reversed(range(steps)):
        one, t = kept[n], steps - 1 - n if backwards else n
        if n < _skipped(m, steps):
            dh, dc = (g * dtype.type(m.get("before it", "carried") != "zero") for g in (dh, dc))
            continue
        inside = one.inside
        if m.get("padding") and not (backwards and m["padding"] == "goes on"):
            inside = np.ones_like(inside)
            one = replace(one, inside=inside)
        into_h = _clipped(np.where(inside, dh + dy[t], 0), "h", m)
        ds, dr, dh_before, dc_before = _step_back(net, w, one, into_h, np.where(inside, dc, 0), m)
        dh_before, dc_before = _clipped(dh_before, "carried h", m), _clipped(dc_before, "carried c", m)
        done = steps - n if m.get("counted from the end") else n
        if (k := m.get("truncated")) and done % k == 0 and n:
            dh_before, dc_before = _detached(dh_before, dc_before, m)
        if m.get("start detached") and n == 0:
            dh_before, dc_before = _detached(dh_before, dc_before, m)
        dh, dc = np.where(inside, dh_before, dh), np.where(inside, dc_before, dc)
        at = steps - 1 - t if backwards and m.get("dx not turned") else t
        dx[at] = ds @ w.ih
        if m.get("W_ih not transposed") and len(w.ih) == len(GATES[net.kind]) * w.ih.shape[1]:
            dx[at] = sum(part @ block.T for part, block in _gates(net, ds, w.ih))
        operand = one.h_after if m.get("h after in dW_hh") else one.h
        operand = np.where(inside, operand, 0)
        for name, value in _added(net, ds, dr, operand, (kept, n), m).items():
            set_ = m.get("set, not added up") == "of the last step gone over" and m.get("in", name) == name
            g[name] = value if set_ else g[name] + value
    return dx, (dh, dc), g


def _skipped(m: Flags, steps: int) -> int:
    """How many first steps are not gone back over."""
    last: int = m.get("last steps alone", steps)
    return int(m.get("first steps skipped", steps - last))


def _in_own_windows(
    net: Net, w: Weights, kept: list[Step], dy: Array, given: Given, place: tuple[int, bool], m: Flags
) -> tuple[Array, tuple[Array, Array], dict[str, Array]]:
    """As `_backwards`, for the output of each step by itself, which goes back so many steps and no further, or as far
    as the last of some outputs that go back `together`."""
    steps, total = len(kept), list[Any]()
    ends = np.array(given.lengths or (steps,) * dy.shape[1])
    for n in range(steps):
        alone, t = np.zeros_like(dy), steps - 1 - n if place[1] else n
        alone[t] = dy[t]
        ended = (np.full_like(ends, steps) if place[1] else ends)[:, None] == n + 1
        one = replace(given, dh_n=given.dh_n * ended, dc_n=given.dc_n * ended)
        every = m.get("together", 1)
        end = n // every * every + every - 1
        end = end if m.get("last one whole") else min(end, steps - 1)
        flags = {"first steps skipped": max(0, end - m["own windows"]), "before it": "zero"}
        dx, (dh, dc), g = _backwards(net, w, kept, alone, one, place, flags)
        found = [dx, dh, dc, *g.values()]
        total = [old + new for old, new in zip(total, found, strict=True)] if total else found
    return total[0], (total[1], total[2]), dict(zip(g, total[3:], strict=True))


def _is_last(kept: list[Step], n: int) -> Array:
    """(B,): for which items step n is the last."""
    after = kept[n + 1].inside if n + 1 < len(kept) else np.zeros_like(kept[n].inside)
    last: Array = np.broadcast_to(kept[n].inside & ~after, (len(kept[n].h), 1))[:, 0]
    return last


def _added(net: Net, ds: Array, dr: Array, operand: Array, at: tuple[list[Step], int], m: Flags) -> dict[str, Array]:
    """What a step adds to the gradient of each parameter."""
    kept, n = at
    skipped = {
        m.get("step 0 left out of") if n == 0 else "",
        m.get("last step left out of") if n == len(kept) - 1 else "",
    }
    item = {"of the last item": len(ds) - 1, "of the first item": 0}.get(m.get("set, not added up", ""))
    x, found = _x_of(kept, n, m.get("x in dW_ih", "")), {}
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        counted = np.ones((len(ds), 1), ds.dtype)
        if m.get("own last step", "") in ("alone", "left out") and m.get("in", name) == name:
            counted[:, 0] = _is_last(kept, n) == (m["own last step"] == "alone")
        if item is not None and m.get("in", name) == name:
            counted[np.arange(len(ds)) != item] = 0
        if name in skipped or "every parameter" in skipped:
            counted *= 0
        own_s, own_r = ds * counted, dr * counted
        match name:
            case "weight_ih":
                found[name] = own_s.T @ x
            case "weight_hh":
                found[name] = _outer(net, own_r, operand, kept[n], m)
            case _:
                if name == "bias_hh" and m.get("r in db_hn"):
                    own_r = _blocks_times(own_r, kept[n].v["r"])
                found[name] = (own_s if name == "bias_ih" else own_r).sum(0)
    return found


def _x_of(kept: list[Step], n: int, which: str) -> Array:
    """x that dL/dW_ih is made of at a step."""
    none = np.zeros_like(kept[n].x)
    match which:
        case "the step before":
            return kept[n - 1].x if n else none
        case "the step before, round":
            return kept[n - 1].x
        case "the step after":
            return kept[n + 1].x if n + 1 < len(kept) else none
    return kept[n].x


_IN_REVERSE = {
    "of the last step lost": "of the first step lost",
    "of the first step lost": "of the last step lost",
    "of the last step alone": "of the first step alone",
    "of the step after": "of the step before",
    "of the step before": "of the step after",
}


def _upstream(dy: Array, ends: Array, how: str) -> Array:
    """What each step takes for dL/d of its own output; the last step is that of each item."""
    places = np.arange(len(dy))[:, None, None]
    first, last = places == 0, places == ends[:, None] - 1
    match how:
        case "of the longest items' last step lost":
            return np.where(places == len(dy) - 1, 0, dy)
        case "of the last step lost":
            return np.where(last, 0, dy)
        case "of the first step lost":
            return np.where(first, 0, dy)
        case "of the last step alone":
            return np.where(last, dy, 0)
        case "of the first step alone":
            return np.where(first, dy, 0)
        case "of the step after":
            return np.where(last, 0, np.roll(dy, -1, 0))
        case "of the step before":
            return np.where((places < ends[:, None]) & ~first, np.roll(dy, 1, 0), 0)
    return dy


def _detached(dh: Array, dc: Array, m: Flags) -> tuple[Array, Array]:
    """No gradient: of both states, or of one alone."""
    return (dh if m.get("of") == "c" else np.zeros_like(dh)), (dc if m.get("of") == "h" else np.zeros_like(dc))


def _clipped(g: Array, what: str, m: Flags) -> Array:
    """At each step, where `clip at each step` says so: (what, how, limit)."""
    wanted, how, limit = m.get("clip at each step", ("", "", 0))
    if what not in wanted.split(" and "):
        return g
    if how == "value":
        return np.clip(g, -limit, limit)
    norm = np.sqrt(np.square(g).sum(-1, keepdims=True) if how == "norm" else np.square(g).sum())
    return g * np.minimum(1, limit / (norm + 1e-6)).astype(g.dtype)


def _outer(net: Net, dr: Array, operand: Array, one: Step, m: Flags) -> Array:
    if net.kind != "gru-before" or m.get("as the other"):
        if m.get("as the other") and net.kind == "gru":
            return _blocks(dr, operand, one.v["r"] * operand)
        if net.kind == "gru" and m.get("r missing in dW_hn"):
            n = dr.shape[1] // 3
            ds_n = dr[:, 2 * n :] / one.v["r"]
            return np.concatenate([dr[:, : 2 * n], ds_n], 1).T @ operand
        return dr.T @ operand
    return _blocks(dr, operand, operand if m.get("r missing in dW_hn") else one.v["r"] * operand)


def _blocks(dr: Array, operand: Array, of_n: Array) -> Array:
    r, z, n = np.split(dr, 3, -1)
    return np.concatenate([r.T @ operand, z.T @ operand, n.T @ of_n])


def _blocks_times(dr: Array, r: Array) -> Array:
    """The rows of n times r."""
    return np.concatenate([dr[:, : 2 * r.shape[1]], dr[:, 2 * r.shape[1] :] * r], 1)


def _slope(name: str, s: Array, v: Array, how: str, which: str, v_before: Array | None = None) -> Array:
    """The derivative of a function at s, where it gave v, and `v_before` in the step before; `how` says which mistake
    is made in it."""
    one = np.ones_like(s)
    if how in ("left out", "none"):
        return one if how == "left out" else one - one
    if how == "one factor":
        return v
    if how in ("not squared", "the other factor"):
        return one - v
    if how == "of the value":  # f'(v) in place of f'(s)
        s, v = v, {"sigmoid": sigmoid, "tanh": np.tanh, "hard": hard_sigmoid}.get(which, lambda q: q)(v)
    if how == "formula of s":
        v = s
    if how == "of the step before" and v_before is not None:
        v = v_before
    if how == "of σ" or (which == "sigmoid" and how != "of tanh"):
        return v * (1 - v)
    if how == "of tanh" or which == "tanh":
        return one - v * v
    if which == "relu":
        return (s > 0).astype(s.dtype)
    line = s * s.dtype.type(0.2) + s.dtype.type(0.5)
    inside = one if how == "without limits" else ((line >= 0) & (line <= 1)).astype(s.dtype)
    return s.dtype.type(0.2) * inside


def _step_back(net: Net, w: Weights, one: Step, dh: Array, dc: Array, m: Flags) -> tuple[Array, Array, Array, Array]:
    """dL/d of the pre-activations, dL/d of what W_hh gave, and of h and c before the step."""
    s, v = one.s, one.v
    sigma = "hard" if net.hard else "sigmoid"

    def slope(name: str, which: str) -> Array:
        how = m.get(f"slope of {name}", m.get(f"slope of {'tanh' if which == 'tanh' else 'sigma'}", ""))
        return _slope(name, s[name], v[name], how, which)

    if net.kind == "rnn":
        ds = dh * _slope("h", s["h"], v["h"], m.get("slope of h", ""), "relu" if net.relu else "tanh", one.h)
        ds = _clipped(ds, "gates", m)
        dr = ds
    elif net.kind == "lstm":
        t = np.tanh(one.c_after)
        others = {"left out": np.ones_like(t), "c": one.c_after, "of the step before": np.tanh(one.c)}
        do = dh * others.get(m.get("factor of o", ""), t)
        cell = _slope("c", one.c_after, t, m.get("slope of c", ""), "tanh", np.tanh(one.c))
        if not m.get("c from h lost"):
            dc = dc + dh * (1 if m.get("factor of c") == "left out" else v["o"]) * cell
        dc = _clipped(dc, "c", m)
        of_f = (
            one.c_after if m.get("c after in df") else np.ones_like(t) if m.get("factor of f") == "left out" else one.c
        )
        beside = {"left out": (np.ones_like(t),) * 2, "its own": (v["i"], v["g"])}
        of_i, of_g = (beside.get(m.get(f"factor of {k}", ""), (v["g"], v["i"]))[n] for n, k in enumerate("ig"))
        parts = {"i": dc * of_i, "f": dc * of_f, "g": dc * of_g, "o": do}
        ds = np.concatenate([parts[k] * slope(k, "tanh" if k == "g" else sigma) for k in "ifgo"], -1)
        ds = _clipped(ds, "gates", m)
        dr = ds
        dc = np.zeros_like(dc) if m.get("c lost") else dc if m.get("c without f") else dc * v["f"]
    else:
        return _gru_back(net, w, one, dh, dc, m, slope)
    return ds, dr, _into_hidden(w, dr, m), dc


def _gru_back(
    net: Net, w: Weights, one: Step, dh: Array, dc: Array, m: Flags, slope: Any
) -> tuple[Array, Array, Array, Array]:
    s, v, h = one.s, one.v, one.h
    h = np.where(one.inside, h, 0)
    before = (net.kind == "gru-before") != bool(m.get("as the other"))
    sigma = "hard" if net.hard else "sigmoid"
    shares = {"left out": (np.ones_like(h),) * 2, "exchanged": (v["z"], 1 - v["z"])}
    of_n, of_h = (shares.get(m.get(f"factor of {k}", ""), (1 - v["z"], v["z"]))[at] for at, k in enumerate("nh"))
    dn = dh * of_n * slope("n", "tanh")
    dn = _clipped(dn, "gates", m)
    others = {"left out": np.ones_like(h), "flipped": v["n"] - h, "h": h, "-n": -v["n"], "after": one.h_after - v["n"]}
    beside = others.get(m.get("factor of z", ""), h - v["n"])
    dz = dh * beside * slope("z", sigma)
    direct = np.zeros_like(dh) if m.get("z path lost") else dh * of_h
    hidden = h.shape[1]
    u_n = w.hh[2 * hidden :]
    missing, of_r = m.get("r missing"), 0 if m.get("r path lost") else 1
    if before:
        dm = dn @ (u_n.T if m.get("not transposed") else u_n)
        dr_gate = dm * (1 if m.get("factor of r") else h) * slope("r", sigma) * of_r
        if m.get("hidden lost") or m.get("hidden lost of") == 2:
            dm = np.zeros_like(dm)
        ds = np.concatenate([dr_gate, dz, dn], -1)
        ds = _clipped(_clipped(_clipped(ds, "gates", m), "gates after n", m), "gates after n, h kept", m)
        if m.get("clip at each step", ("",))[0] == "gates after n":
            dm = ds[:, 2 * hidden :] @ u_n
        direct = direct + (dm if missing else dm * v["r"])
        rest = np.concatenate([ds[:, : 2 * hidden], np.zeros_like(dn)], -1)
        return ds, ds, direct + _into_hidden(w, rest, m), dc
    product = s["hidden"] if net.kind == "gru" else h @ u_n.T + w.b_hh[2 * hidden :]
    others = {"left out": np.ones_like(h), "h": h, "no bias": product - w.b_hh[2 * hidden :]}
    beside = others.get(m.get("factor of r", ""), product)
    dr_gate = dn * beside * slope("r", sigma) * of_r
    ds = np.concatenate([dr_gate, dz, dn], -1)
    dr = np.concatenate([dr_gate, dz, dn if missing else v["r"] * dn], -1)
    ds, dr = _clipped(ds, "gates after n", m), _clipped(dr, "W_hh h", m)
    if "W_hh h" not in m.get("clip at each step", ("W_hh h",))[0]:
        ds = _clipped(ds, "gates", m)
        dr = np.concatenate([ds[:, : 2 * hidden], ds[:, 2 * hidden :] * (1 if missing else v["r"])], -1)
    into = ds if m.get("r missing in dh") else dr
    return ds, ds if m.get("r missing in dW_hn and db_hn") else dr, direct + _into_hidden(w, into, m), dc


def _gates(net: Net, ds: Array, w: Array) -> list[tuple[Array, Array]]:
    """The gradient and the rows of a weight of each gate."""
    count = len(GATES[net.kind])
    return list(zip(np.split(ds, count, -1), np.split(w, count), strict=True))


def _into_hidden(w: Weights, dr: Array, m: Flags) -> Array:
    if m.get("hidden lost"):
        return np.zeros((len(dr), w.hh.shape[1]), dr.dtype)
    if "hidden lost of" in m:
        place, hidden = m["hidden lost of"], w.hh.shape[1]
        dr = dr.copy()
        dr[:, place * hidden : (place + 1) * hidden] = 0
    if m.get("not transposed"):
        blocks = np.split(w.hh, len(w.hh) // w.hh.shape[1])
        return sum(part @ block.T for part, block in zip(np.split(dr, len(blocks), -1), blocks, strict=True))
    return dr @ w.hh


def _shared(net: Net, g: dict[str, Array], m: Flags) -> dict[str, Array]:
    ih, hh = g["bias_ih"], g["bias_hh"]
    pairs = {
        "half each": (ih / 2, hh / 2),
        "sum each": (ih + hh, ih + hh),
        "hh as ih": (ih, ih),
        "ih as hh": (hh, hh),
        "exchanged": (hh, ih),
    }
    ih, hh = pairs.get(m.get("biases", ""), (ih, hh))
    return {**g, "bias_ih": ih, "bias_hh": hh}


def _scaled(found: dict[str, Array], given: Given, m: Flags) -> dict[str, Array]:
    """The gradients of the parameters, scaled or clipped."""
    steps, batch = given.x.shape[:2]
    scales = {"1/B": 1 / batch, "1/T": 1 / steps, "1/(B T)": 1 / (batch * steps), "B": batch, "T": steps, "2": 2}
    scales |= {"-1": -1, "1/N": 1 / sum(given.lengths or (batch * steps,))}
    factor = scales.get(m.get("parameters times", ""), 1)
    found = {name: value * value.dtype.type(factor) for name, value in found.items()}
    if limit := m.get("each clipped by norm"):
        norms = {name: np.sqrt(np.square(value).sum()) for name, value in found.items()}
        found = {name: value * value.dtype.type(min(1, limit / norms[name])) for name, value in found.items()}
    if part := m.get("clipped by norm"):  # to a part of the norm that they have, in two digits, as people write it
        norm = np.sqrt(sum(np.square(value).sum() for value in found.values()))
        limit = float(f"{part * norm:.2g}")
        found = {name: value * value.dtype.type(limit / (norm + 1e-6)) for name, value in found.items()}
    if part := m.get("clipped by value"):
        limit = part * max(np.abs(value).max() for value in found.values())
        found = {name: np.clip(value, -limit, limit) for name, value in found.items()}
    return found
