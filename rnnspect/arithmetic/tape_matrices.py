"""Going back over matrices in the cell state. Their operations are linear in each argument, so that the same operations
take gradients through them."""

from __future__ import annotations

from functools import cached_property
from typing import Any

_Node = Any
"""A value of a step (`tape.Node`, which inherits from this)."""


class TapeMatrices:
    """The operations of `Tape` for matrices, and for a cell state of several blocks."""

    a: Any

    def made(self: Any, value: Any, *edges: tuple[str, _Node, Any]) -> _Node:
        """A node of that value, with an edge for each value that it was made of: the edge's name, and the way back."""
        node: _Node = self.node(value)
        for name, of, back in edges:
            self.edge(name, of, node, lambda g, back=back: back(self.known(g)))
        return node

    def blocks(self: Any, c: _Node) -> tuple[_Node, ...]:
        nodes = tuple(map(self.node, self.a.blocks(c.value)))
        for at, node in enumerate(nodes):
            self.edge(f"block-{at}", c, node, lambda g, at=at: self.a.placed(self.known(g), at))
        return nodes

    def packed(self, *blocks: _Node) -> _Node:
        a = self.a
        edges = ((f"packed-{at}", one, lambda g, at=at: a.blocks(g)[at]) for at, one in enumerate(blocks))
        return self.made(a.packed(*(one.value for one in blocks)), *edges)

    def outer(self, k: _Node, v: _Node, heads: int = 1) -> _Node:
        a, left, right = self.a, k.value, v.value
        return self.made(
            a.outer(left, right, heads),
            ("outer-keys", k, lambda g: a.by_value(g, right, heads)),
            ("outer-values", v, lambda g: a.by_key(g, left, heads)),
        )

    def by_key(self, s: _Node, q: _Node, heads: int = 1) -> _Node:
        a, matrix, keys = self.a, s.value, q.value
        return self.made(
            a.by_key(matrix, keys, heads),
            ("by-key-matrix", s, lambda g: a.outer(keys, g, heads)),
            ("by-key", q, lambda g: a.by_value(matrix, g, heads)),
        )

    def by_value(self, s: _Node, v: _Node, heads: int = 1) -> _Node:
        a, matrix, values = self.a, s.value, v.value
        return self.made(
            a.by_value(matrix, values, heads),
            ("by-value-matrix", s, lambda g: a.outer(g, values, heads)),
            ("by-value", v, lambda g: a.by_key(matrix, g, heads)),
        )

    def spread(self, f: _Node, s: _Node) -> _Node:
        a, numbers, like = self.a, f.value, s.value
        return self.made(a.spread(numbers, like), ("spread", f, lambda g: a.summed(g, numbers)))

    def carry_complex(self, p: _Node, q: _Node, c: _Node, v: _Node) -> _Node:
        a, re, im, state = self.a, p.value, q.value, c.value

        def to_state(g: Any) -> Any:
            g_re, g_im = a.blocks(g)
            of_re = a.plus(a.times(g_re, re), a.times(g_im, im))
            return a.packed(of_re, a.minus(a.times(g_im, re), a.times(g_re, im)))

        def to_re(g: Any) -> Any:
            (g_re, g_im), (c_re, c_im) = a.blocks(g), a.blocks(state)
            return a.plus(a.times(g_re, c_re), a.times(g_im, c_im))

        def to_im(g: Any) -> Any:
            (g_re, g_im), (c_re, c_im) = a.blocks(g), a.blocks(state)
            return a.minus(a.times(g_im, c_re), a.times(g_re, c_im))

        edges = ("complex-state", c, to_state), ("complex-re", p, to_re), ("complex-im", q, to_im)
        return self.made(a.carry_complex(re, im, state, v.value), *edges, ("complex-added", v, lambda g: g))

    def delta(self: Any, s: _Node, f: _Node | None, b: _Node, k: _Node, v: _Node, heads: int = 1) -> _Node:
        rule = _DeltaRule(self.a, (s.value, None if f is None else f.value, b.value, k.value, v.value), heads)
        edges = [("delta-matrix", s, rule.to_matrix), ("delta-share", b, rule.to_share)]
        edges += [("delta-keys", k, rule.to_keys), ("delta-values", v, rule.to_wrong)]
        edges += [] if f is None else [("delta-decay", f, rule.to_decay)]
        return self.made(self.a.delta(*rule.values, heads), *edges)


class _DeltaRule:
    """The way back through S' = f ⊙ S + β k wᵀ with w = v − (f ⊙ S)ᵀ k, from the gradient g of S'."""

    def __init__(self, a: Any, values: tuple[Any, ...], heads: int) -> None:
        self._a, self.values, self._heads = a, values, heads

    @cached_property
    def _kept(self) -> Any:
        s, f, *_ = self.values
        return s if f is None else self._a.spread(f, s) * s

    @cached_property
    def _wrong(self) -> Any:
        *_, k, v = self.values
        return self._a.plus(v, self._a.negative(self._a.by_key(self._kept, k, self._heads)))

    def to_wrong(self, g: Any) -> Any:
        """dL/dw, which is also dL/dv."""
        *_, b, k, _ = self.values
        return self._a.by_key(g, self._a.times(self._a.spread(b, k), k), self._heads)

    def to_share(self, g: Any) -> Any:
        *_, b, k, _ = self.values
        return self._a.summed(self._a.times(self._a.by_value(g, self._wrong, self._heads), k), b)

    def to_keys(self, g: Any) -> Any:
        a, (*_, b, k, _) = self._a, self.values
        written = a.times(a.by_value(g, self._wrong, self._heads), a.spread(b, k))
        return a.plus(written, a.negative(a.by_value(self._kept, self.to_wrong(g), self._heads)))

    def _to_kept(self, g: Any) -> Any:
        *_, k, _ = self.values
        return self._a.plus(g, self._a.negative(self._a.outer(k, self.to_wrong(g), self._heads)))

    def to_matrix(self, g: Any) -> Any:
        s, f, *_ = self.values
        kept = self._to_kept(g)
        return kept if f is None else self._a.times(kept, self._a.spread(f, s))

    def to_decay(self, g: Any) -> Any:
        s, f, *_ = self.values
        return self._a.summed(self._a.times(self._to_kept(g), s), f)
