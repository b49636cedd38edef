"""The modules of a live model, their sizes, and the shapes of its recurrent ones: frozen data. Loads no framework."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rnnspect.errors import listed
from rnnspect.network.shapes import Shapes
from rnnspect.network.shown import Shown, counted, in_brief


@dataclass(frozen=True)
class ModelPart:
    """One module of a model, and how many numbers its parameters have, those of the modules in it included."""

    name: str
    """encoder.rnn; empty for the model itself."""
    layer: str
    """As PyTorch prints it where that is a line, such as Linear(in_features=3, out_features=2, bias=True); else its
    class."""
    count: int
    trainable: int
    """How many of them are trained: those with requires_grad."""

    @property
    def depth(self) -> int:
        """How many modules it is in."""
        return self.name.count(".") + 1 if self.name else 0


@dataclass(frozen=True)
class ModelShapes(Shown):
    """What `rnnspect shapes` shows of a live model: its modules in their order, and the shapes of each recurrent one by
    its name."""

    parts: tuple[ModelPart, ...]
    recurrent: Mapping[str, Shapes]
    refused: Mapping[str, str]
    """By the name of a recurrent module why its shapes cannot be told."""

    def __repr__(self) -> str:
        recurrent = listed((name or "the model itself" for name in self.recurrent), 4) or "none"
        return in_brief(self, f"{self.parts[0].layer}: {counted(self.total, 'parameter')}, recurrent: {recurrent}")

    @property
    def total(self) -> int:
        return self.parts[0].count
