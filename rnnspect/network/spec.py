"""What to build: a recurrent network and the sequence it runs, as plain data. Loads no framework."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from rnnspect.cells import CELLS, VARIANTS
from rnnspect.cells.functions import KINDS, Activation, Functions, Nonlinearity, parse
from rnnspect.errors import SpecError, listed, nearest
from rnnspect.network.dtypes import DType

if TYPE_CHECKING:
    from collections.abc import Callable

    from rnnspect.cells.interface import Cell

    Path = tuple[int | str, ...]

MAX_SIZE = 2**31 - 1
MAX_LAYERS = 1000

Size = Annotated[int, Field(ge=1, le=MAX_SIZE)]
Source = str | list[Any]
_SOURCE_FORMS = "a generator such as ramp:3, a file, or the numbers themselves"


class Head(BaseModel):
    """A Linear on the last layer's final hidden state (both directions side by side)."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, defer_build=True)

    out_features: Size = Field(description="How many numbers the head gives for each sequence.")


class Spec(BaseModel):
    """A recurrent network and the sequence it runs. Names as in `torch.nn`; defaults are those of the notebook
    that this tool grew from.

    Raises `SpecError` naming every key that is wrong.
    """

    # Built when the first spec is made: --help makes none.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, validate_default=True, defer_build=True)

    cell: str = Field("rnn", description="The recurrent cell.", json_schema_extra={"enum": list(CELLS)})
    input_size: Size = Field(5, description="Features of x at each step. Never guessed from the input.")
    hidden_size: Size = Field(2, description="Units of each layer and direction.")
    num_layers: Annotated[int, Field(ge=1, le=MAX_LAYERS)] = Field(1, description="Stacked layers.")
    nonlinearity: Literal["tanh", "relu"] | None = Field(
        None, description="For cell rnn only: tanh (what is taken when left out) or relu."
    )
    bias: bool = Field(True, description="Whether there are b_ih and b_hh.")
    batch_first: bool = Field(True, description="Whether batched x and output are (B, T, I) or (T, B, I).")
    dropout: Annotated[float, Field(ge=0, le=1)] = Field(
        0.0, description="Dropout between layers. Everything runs in eval mode, where it does nothing."
    )
    bidirectional: bool = Field(False, description="Whether each layer also runs from the end to the start.")
    proj_size: Annotated[int, Field(ge=0, le=MAX_SIZE)] = Field(
        0, description="For cell lstm only: h is projected to this many units (0: no projection)."
    )
    reverse: bool = Field(False, description="Whether the only direction runs from the end to the start.")
    reset: Literal["after", "before"] = Field(
        "after", description="For cell gru: whether r acts after the product with h, as in torch.nn.GRU, or before."
    )
    input_forget: bool = Field(False, description="For cell lstm: f = 1 − i, without parameters of f (ONNX).")
    peepholes: bool = Field(False, description="For cell lstm: i, f and o see the cell state through weight_ch.")
    activations: list[str] | None = Field(
        None,
        description="The functions, where they are not the usual ones: for rnn [φ], gru [σ, tanh of n], lstm [σ, tanh "
        f"of g, tanh of c]; with two directions the reverse one's may follow. Of {', '.join(KINDS)}; numbers in "
        "parentheses: leaky_relu(0.1).",
    )
    clip: Annotated[float, Field(gt=0, le=1e38)] | None = Field(
        None, description="What goes into each function is limited to ± this."
    )
    dtype: DType = Field("float32", description="The dtype of parameters, states and input.")
    device: str = Field("cpu", description="auto, or what torch.device takes: cpu, cuda, cuda:1, mps, …")
    seed: Annotated[int, Field(ge=0, le=2**64 - 1)] = Field(
        1, description="Parameters, then the head, then random x, h0 and c0 are drawn from it, in that order."
    )
    weights: str | dict[str, Any] | None = Field(
        None, description="A file (.pt, .npz, .safetensors), or the numbers by parameter name."
    )
    layout: str | None = Field(
        None, description="How the file of weights packs them, by the name in `rnnspect layouts` (left out: PyTorch)."
    )
    head: Head | None = Field(None, description="A Linear on the last layer's final hidden state.")
    input: Source | None = Field("ramp:3", description=f"x: {_SOURCE_FORMS}.")
    batch: Size | None = Field(None, description="How many sequences a generator makes (left out: one, unbatched).")
    h0: Source | None = Field(None, description=f"The initial hidden state: {_SOURCE_FORMS}. Left out: zeros.")
    c0: Source | None = Field(None, description="For cell lstm only: the initial cell state, like h0.")
    lengths: list[Size] | None = Field(None, description="The length of each sequence of the batch: a packed batch.")

    @property
    def cell_type(self) -> Cell:
        variant = self.variant
        return VARIANTS[self.cell, variant] if variant else CELLS[self.cell]

    @property
    def variant(self) -> str:
        """What tells the cell from torch.nn's of the same name; empty for that."""
        said = {"reset before": self.reset == "before", "coupled": self.input_forget, "peepholes": self.peepholes}
        return ", ".join(name for name, chosen in said.items() if chosen)

    @property
    def beyond_torch(self) -> str | None:
        """What this spec asks for that no module of torch.nn does, as a reason; None where there is one."""
        module = f"torch.nn.{self.cell_type.torch_name}"
        reasons = {
            "resets after the product": self.reset == "before",
            "has a forget gate of its own": self.input_forget,
            "has no peepholes": self.peepholes,
            "has no activations to choose": self.activations is not None,
            "does not clip": self.clip is not None,
            "has no reverse direction alone": self.reverse,
        }
        return next((f"{module} {reason}" for reason, asked in reasons.items() if asked), None)

    def nonlinearity_of(self, direction: str) -> Nonlinearity:
        """tanh or relu where all else is as usual, else every function of that direction."""
        if self.activations is None and self.clip is None:
            return self.nonlinearity or "tanh"
        names = self.cell_type.functions
        chosen: dict[str, Any]
        if self.activations is None:
            chosen = {"phi": Activation(self.nonlinearity)} if self.nonlinearity else {}
        else:
            read = [known for written in self.activations if (known := parse(written))]
            start = len(names) if direction == "reverse" and len(read) > len(names) else 0
            chosen = dict(zip(names, read[start:], strict=False))
        return Functions(**chosen, clip=self.clip)

    @property
    def num_directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def directions(self) -> tuple[str, ...]:
        return ("forward", "reverse") if self.bidirectional else ("reverse",) if self.reverse else ("forward",)

    @property
    def output_size(self) -> int:
        """Units of h in one layer and direction: proj_size where there is one, else hidden_size."""
        return self.proj_size or self.hidden_size

    def layer_input_size(self, layer: int) -> int:
        return self.input_size if layer == 0 else self.output_size * self.num_directions

    @property
    def quantities(self) -> tuple[str, ...]:
        """What there is to see at each step of a layer, in the order of computation."""
        return ("x", "input_projection", *self.cell_type.quantities)

    def with_changes(self, **changes: Any) -> Spec:
        """The same spec with some keys replaced, validated again."""
        said = {name: getattr(self, name) for name in self.model_fields_set}
        return Spec(**(said | changes))

    @classmethod
    def from_data(cls, data: dict[str, Any], where: Callable[[Path], str] | None = None) -> Spec:
        """A spec from what a file and flags said; `where` says in an error message which of them said it."""
        return cls.model_validate(data, context={"where": where})

    @field_validator("cell")
    @classmethod
    def _known_cell(cls, cell: str) -> str:
        if cell not in CELLS:
            raise _wrong(f"no cell is called {cell!r}", listed(CELLS), nearest(cell, CELLS))
        return cell

    @field_validator("nonlinearity")
    @classmethod
    def _nonlinearity_of_rnn(cls, nonlinearity: str | None, info: ValidationInfo) -> str | None:
        cell = _cell(info)
        if cell is None:
            return nonlinearity
        if cell.has_nonlinearity:
            return nonlinearity or "tanh"
        if nonlinearity is not None:
            raise _wrong(f"cell {cell.name} has no nonlinearity to choose", "leave it out")
        return None

    @field_validator("proj_size")
    @classmethod
    def _projection_fits(cls, proj_size: int, info: ValidationInfo) -> int:
        cell, hidden_size = _cell(info), info.data.get("hidden_size")
        if proj_size and cell is not None and not cell.has_projection:
            having = listed(name for name, known in CELLS.items() if known.has_projection)
            raise _wrong(f"proj_size with cell {cell.name}", f"proj_size goes with cell {having}")
        if hidden_size is not None and proj_size >= hidden_size:
            found = f"proj_size {proj_size} is not smaller than hidden_size {hidden_size}"
            raise _wrong(found, "0 for no projection" + _up_to(hidden_size - 1))
        return proj_size

    @field_validator("reverse")
    @classmethod
    def _only_direction(cls, reverse: bool, info: ValidationInfo) -> bool:
        if reverse and info.data.get("bidirectional"):
            raise _wrong("reverse beside bidirectional", "one of them")
        return reverse

    @field_validator("reset", "input_forget", "peepholes")
    @classmethod
    def _variant_of_its_cell(cls, chosen: str | bool, info: ValidationInfo) -> str | bool:
        cell, key = _cell(info), info.field_name or ""
        owner = "gru" if key == "reset" else "lstm"
        if cell is not None and cell.name != owner and chosen not in ("after", False):
            raise _wrong(f"{key} with cell {cell.name}", f"{key} goes with cell {owner}")
        if info.data.get("proj_size") and chosen is True:
            raise _wrong(f"{key} beside proj_size", "one of them")
        return chosen

    @field_validator("activations")
    @classmethod
    def _known_functions(cls, activations: list[str] | None, info: ValidationInfo) -> list[str] | None:
        cell = _cell(info)
        if cell is None or activations is None:
            return activations
        if info.data.get("proj_size"):
            raise _wrong("activations beside proj_size", "one of them")
        if info.data.get("nonlinearity") == "relu":
            raise _wrong("activations beside nonlinearity relu", "one of them")
        for written in activations:
            if parse(written) is None:
                name = written.partition("(")[0].strip()
                found = f"no activation is written {written!r}" if name in KINDS else f"no activation {name!r}"
                raise _wrong(found, f"{listed(KINDS)}; numbers in parentheses", nearest(name, KINDS))
        one = len(cell.functions)
        fitting = [one, 2 * one] if info.data.get("bidirectional") else [one]
        if len(activations) not in fitting:
            raise _wrong(f"{len(activations)} activations with cell {cell.name}", " or ".join(map(str, fitting)))
        return activations

    @field_validator("c0")
    @classmethod
    def _cell_state_of_lstm(cls, c0: Source | None, info: ValidationInfo) -> Source | None:
        cell = _cell(info)
        if c0 is not None and cell is not None and not cell.has_cell_state:
            raise _wrong(f"cell {cell.name} has no cell state", "leave c0 out")
        return c0

    @field_validator("layout")
    @classmethod
    def _layout_of_a_file(cls, layout: str | None, info: ValidationInfo) -> str | None:
        if layout is not None and not isinstance(info.data.get("weights"), str):
            raise _wrong("a layout without a file of weights", "layout beside weights: FILE")
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


def _wrong(found: str, allowed: str, near: str | None = None) -> PydanticCustomError:
    return PydanticCustomError("rnnspect", "{found}", {"found": found, "allowed": allowed, "nearest": near})


def _cell(info: ValidationInfo) -> Cell | None:
    return CELLS.get(info.data.get("cell", ""))


def _up_to(most: int) -> str:
    return f", or 1 to {most}" if most > 1 else ", or 1" if most == 1 else ""


PLAIN = frozenset(
    [
        "cell",
        "input_size",
        "hidden_size",
        "num_layers",
        "nonlinearity",
        "bias",
        "batch_first",
        "dropout",
        "bidirectional",
        "proj_size",
        "dtype",
        "device",
        "seed",
        "weights",
        "layout",
        "head",
        "input",
        "batch",
        "h0",
        "c0",
        "lengths",
    ]
)
"""The keys of a spec that say what every engine knows, or nothing that an engine has to know."""


def form_of(spec: Spec) -> str:
    """What `layouts` call the cell: rnn, lstm, gru, or gru-before where it resets before the product."""
    return "gru-before" if spec.cell == "gru" and getattr(spec, "reset", "after") == "before" else spec.cell
