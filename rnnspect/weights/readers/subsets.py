"""Drops groups of tensors that are parts of larger ones: a GRU's gates alone could be an LSTM, its candidate an RNN."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def whole(groups: Iterable[frozenset[str]]) -> set[frozenset[str]]:
    """Those of the groups of names that lie in no other one."""
    every = set(groups)
    with_name: dict[str, list[frozenset[str]]] = defaultdict(list)
    for group in every:
        for name in group:
            with_name[name].append(group)
    return {group for group in every if not any(group < other for other in with_name[next(iter(group))])}
