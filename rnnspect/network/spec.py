"""The spec: a recurrent network and the sequence it runs, as plain data. Loads no framework."""

from __future__ import annotations

import math
import os
from typing import Any

from pydantic import (
    ModelWrapValidatorHandler,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)

from rnnspect.cells import CELLS, VARIANTS, Cell, named
from rnnspect.cells.functions import KINDS, Activation, Functions, Nonlinearity, parse
from rnnspect.cells.named import CellName
from rnnspect.cells.trial import units_of
from rnnspect.errors import SpecError, Where, listed, nearest
from rnnspect.network.quantities import PROJECTIONS
from rnnspect.network.spec_cells import cell_of_name, check_sizes, own_cell, wrong
from rnnspect.network.spec_keys import DEFAULTS, KEYS, Keys, Source

_FEW = 8
"""Numbers of a list that a spec shows in its own line."""
_VARIANT = {name: DEFAULTS[name] for name, key in KEYS.items() if key.kind == "variant"}


class Spec(Keys):
    """A recurrent network and the sequence it runs. Names as in `torch.nn`; defaults are those of the notebook
    that this tool grew from.

    Raises `SpecError` naming every key that is wrong.
    """

    def __repr__(self) -> str:
        """Spec(cell='gru', hidden_size=4): the keys that were given. Weights and numbers are only counted."""
        given = ((name, getattr(self, name)) for name in KEYS if name in self.model_fields_set)
        return f"Spec({', '.join(f'{name}={_counted(value)}' for name, value in given)})"

    __str__ = __repr__

    @property
    def cell_type(self) -> Cell:
        """The cell with the equations that the keys ask for."""
        variant = self.variant
        cell = VARIANTS[self.cell, variant] if variant else named(self.cell)
        assert cell is not None, "a spec names a cell that there is"
        return cell

    @property
    def variant_keys(self) -> dict[str, Any]:
        """The keys of kind `variant` whose values are not the defaults, which an engine has to know."""
        return {name: value for name, default in _VARIANT.items() if (value := getattr(self, name)) != default}

    @property
    def variant(self) -> str:
        """The `variant` of the `Cell`: what tells its equations from those of torch.nn; empty where nothing does."""
        return ", ".join(KEYS[name].equations for name in self.variant_keys if KEYS[name].equations)

    @property
    def beyond_torch(self) -> str | None:
        """Why no module of torch.nn computes this; None where one does."""
        if self.is_own_cell:
            return f"torch.nn has no {self.cell_type.title}"
        reasons = (KEYS[name].torch or f"has no {name}" for name in self.variant_keys)
        return next((f"torch.nn.{self.cell_type.torch_name} {reason}" for reason in reasons), None)

    @property
    def is_own_cell(self) -> bool:
        """Whether the cell is none of ours, so that no framework has it."""
        return not self.cell_type.torch_name

    def nonlinearity_of(self, direction: str) -> Nonlinearity:
        """tanh or relu where all else is as usual, else every function of that direction."""
        own = {name for name, key in KEYS.items() if key.cell == self.cell}
        constants = {name: getattr(self, name) if name in own else of for name, of in self.cell_type.constants}
        if self.activations is None and self.clip is None and not constants:
            return self.nonlinearity or "tanh"
        names = self.cell_type.chosen_functions
        chosen: dict[str, Any]
        if self.activations is None:
            chosen = {"phi": Activation(self.nonlinearity)} if self.nonlinearity else {}
        else:
            read = [known for written in self.activations if (known := parse(written))]
            start = len(names) if direction == "reverse" and len(read) > len(names) else 0
            chosen = dict(zip(names, read[start:], strict=False))
        return Functions(**chosen, clip=self.clip, constants=tuple(constants.items()))

    @property
    def num_directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def directions(self) -> tuple[str, ...]:
        return ("forward", "reverse") if self.bidirectional else ("reverse",) if self.reverse else ("forward",)

    @property
    def places(self) -> tuple[tuple[int, str], ...]:
        """Every (layer, direction), in the order of the rows of h0, c0, h_n and c_n."""
        return tuple((layer, direction) for layer in range(self.num_layers) for direction in self.directions)

    def row(self, layer: int, direction: str) -> int:
        """The row of h0, c0, h_n and c_n that belongs to a layer and direction."""
        return self.places.index((layer, direction))

    @property
    def output_size(self) -> int:
        """Units of h in one layer and direction: proj_size where there is one, else hidden_size."""
        return self.proj_size or self.hidden_size

    @property
    def output_width(self) -> int:
        """Numbers of the output at a step: h of the top layer, both directions side by side."""
        return self.output_size * self.num_directions

    @property
    def gate_sizes(self) -> tuple[int, ...]:
        """The rows of each gate in a packed parameter."""
        cell, sizes = self.cell_type, (self.hidden_size, self.input_size)
        return tuple(math.prod(cell.shape(cell.gate_shape(gate), *sizes)) for gate in cell.gates)

    def units(self, quantity: str) -> int:
        """How many numbers a quantity, or h_n, c_n, h0 or c0, has at a step of an item."""
        name = quantity[0] if quantity in ("h_n", "c_n", "h0", "c0") else quantity
        return units_of(self.cell_type, self.hidden_size, self.input_size, self.proj_size)[name]

    def block(self, quantity: str, unit: int) -> tuple[str, tuple[int, ...]]:
        """The block of a cell state, or the gate, that a unit of it is in, and its place there: S, (1, 2, 0)."""
        cell, name = self.cell_type, quantity.removeprefix("grad.").removesuffix("_pre")
        blocks = cell.cell_state if name in ("c", "c_n", "c0") else ()
        for block, sizes in blocks or ((name, cell.gate_shape(name)),):
            shape = cell.shape(sizes, self.hidden_size, self.input_size)
            if unit < math.prod(shape) or not blocks:
                place = (unit // math.prod(shape[axis + 1 :]) % size for axis, size in enumerate(shape))
                return block, tuple(place)
            unit -= math.prod(shape)
        return name, (unit,)

    def layer_input_size(self, layer: int) -> int:
        """Features that a layer reads: those of x, or h of the layer below, both directions side by side."""
        return self.input_size if layer == 0 else self.output_width

    @property
    def quantities(self) -> tuple[str, ...]:
        """What there is to see at each step of a layer, in the order of computation."""
        cell = self.cell_type
        return ("x", *(PROJECTIONS if cell.is_recurrent else PROJECTIONS[:1]), *cell.quantities)

    def with_changes(self, **changes: Any) -> Spec:
        """The same spec with some keys replaced, validated again."""
        given = {name: getattr(self, name) for name in self.model_fields_set}
        return Spec(**(given | changes))

    @classmethod
    def from_data(cls, data: dict[str, Any], where: Where | None = None) -> Spec:
        """A spec from the keys in files and flags; `where` says in an error message where a key was given."""
        return cls.model_validate(data, context={"where": where})

    @field_validator("cell", mode="wrap")
    @classmethod
    def _known_cell(cls, cell: Any, handler: ValidatorFunctionWrapHandler) -> str:
        if isinstance(cell, CellName):
            return cell
        return own_cell(cell) if isinstance(cell, Cell) else cell_of_name(handler(cell))

    @field_validator("hidden_size")
    @classmethod
    def _hidden_size_of_its_cell(cls, hidden_size: int, info: ValidationInfo) -> int:
        if cell := _cell(info):
            check_sizes(cell, hidden_size, info.data.get("input_size", 1))
        return hidden_size

    @field_validator("nonlinearity")
    @classmethod
    def _nonlinearity_of_rnn(cls, nonlinearity: str | None, info: ValidationInfo) -> str | None:
        cell = _cell(info)
        if cell is None:
            return nonlinearity
        if cell.has_nonlinearity:
            return nonlinearity or "tanh"
        if nonlinearity is not None:
            raise wrong(f"cell {cell.name} has no nonlinearity to choose", advice="leave it out")
        return None

    @field_validator("proj_size")
    @classmethod
    def _projection_fits(cls, proj_size: int, info: ValidationInfo) -> int:
        cell, hidden_size = _cell(info), info.data.get("hidden_size")
        if proj_size and cell is not None and not cell.has_projection:
            having = listed(name for name, known in CELLS.items() if known.has_projection)
            raise wrong(f"cell {cell.name} has no proj_size, only cell {having} has one", advice="leave it out")
        if hidden_size is not None and proj_size >= hidden_size:
            found = f"proj_size {proj_size} is not smaller than hidden_size {hidden_size}"
            raise wrong(found, "0 (no projection)" + _up_to(hidden_size - 1))
        return proj_size

    @field_validator("input", "weights", "h0", "c0", mode="before")
    @classmethod
    def _name_of_a_file(cls, value: Any) -> Any:
        return os.fspath(value) if isinstance(value, os.PathLike) else value

    @field_validator("reverse")
    @classmethod
    def _only_direction(cls, reverse: bool, info: ValidationInfo) -> bool:
        if reverse and info.data.get("bidirectional"):
            raise wrong("reverse and bidirectional exclude each other", advice="leave one of them out")
        return reverse

    @field_validator(*(name for name, key in KEYS.items() if key.cell))
    @classmethod
    def _variant_of_its_cell(cls, value: Any, info: ValidationInfo) -> Any:
        cell, name = _cell(info), info.field_name or ""
        if value == DEFAULTS[name]:
            return value
        if cell is not None and cell.name != KEYS[name].cell:
            found = f"cell {cell.name} has no {name}, only cell {KEYS[name].cell} has it"
            raise wrong(found, advice="leave it out")
        if info.data.get("proj_size"):
            raise wrong(f"{name} and proj_size exclude each other", advice="leave one of them out")
        return value

    @field_validator("activations")
    @classmethod
    def _known_functions(cls, activations: list[str] | None, info: ValidationInfo) -> list[str] | None:
        cell = _cell(info)
        if cell is None or activations is None:
            return activations
        if info.data.get("proj_size"):
            raise wrong("activations and proj_size exclude each other", advice="leave one of them out")
        if info.data.get("nonlinearity") == "relu":
            raise wrong("activations and nonlinearity exclude each other", advice="leave one of them out")
        for written in activations:
            if parse(written) is None:
                name = written.partition("(")[0].strip()
                if name in KINDS:
                    raise wrong(f"cannot read the activation {written!r}", advice="write numbers as in leaky_relu(0.1)")
                raise wrong(f"unknown activation {name!r}", listed(KINDS), nearest(name, KINDS))
        one = len(cell.chosen_functions)
        fitting = [one, 2 * one] if info.data.get("bidirectional") else [one]
        if len(activations) not in fitting:
            raise wrong(f"{len(activations)} activations for cell {cell.name}", " or ".join(map(str, fitting)))
        return activations

    @field_validator("c0")
    @classmethod
    def _cell_state_of_lstm(cls, c0: Source | None, info: ValidationInfo) -> Source | None:
        cell = _cell(info)
        if c0 is not None and cell is not None and not cell.has_cell_state:
            raise wrong(f"cell {cell.name} has no cell state", advice="leave c0 out")
        return c0

    @field_validator("layout")
    @classmethod
    def _layout_of_a_file(cls, layout: str | None, info: ValidationInfo) -> str | None:
        if layout is not None and not isinstance(info.data.get("weights"), str):
            raise wrong("layout says how a weights file is packed, and there is none", advice="add weights: FILE")
        return layout

    @model_validator(mode="wrap")
    @classmethod
    def _as_our_error(cls, data: Any, handler: ModelWrapValidatorHandler[Spec], info: ValidationInfo) -> Spec:
        try:
            return handler(data)
        except ValidationError as error:
            where = (info.context or {}).get("where")
            from rnnspect.network.spec_errors import problems

            raise SpecError(problems(error, data, where, cls)) from None


def json_schema() -> dict[str, Any]:
    """The JSON Schema behind a spec file."""
    schema = Spec.model_json_schema()
    described = {"title": "rnnspect spec", "description": "A recurrent network and the sequence it runs."}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, **described}


def _counted(value: Any) -> str:
    """The value of a key. Of weights, and of numbers in rows or many of them, only how many there are."""
    if isinstance(value, dict):
        return f"<{len(value)} of them>"
    many = isinstance(value, list) and (len(value) > _FEW or any(isinstance(one, list) for one in value))
    return f"<{len(value)} of them>" if many else repr(value)


def _cell(info: ValidationInfo) -> Cell | None:
    return named(info.data.get("cell", ""))


def _up_to(most: int) -> str:
    return f", or 1 to {most}" if most > 1 else ", or 1" if most == 1 else ""


def form_of(spec: Spec) -> str:
    """What `layouts` call the cell: rnn, lstm, gru, or gru-before where it resets before the product."""
    return "gru-before" if spec.reset == "before" else spec.cell
