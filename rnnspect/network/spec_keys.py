"""The keys of a spec. Each is declared here once: type, default and description, and what the command line, the
starter file and the engines need to know of it. A new key is one more entry of `Keys`."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Annotated, Any, Literal, cast, get_args

from pydantic import BaseModel, ConfigDict, Field

from rnnspect.cells import CELLS
from rnnspect.cells.functions import KINDS
from rnnspect.files.sources import GENERATORS

DType = Literal["float16", "bfloat16", "float32", "float64"]
DTYPES: tuple[str, ...] = get_args(DType)
ITEMSIZE = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}
"""Bytes of one number."""
MAX_SIZE = 2**31 - 1
MAX_LAYERS = 1000

PositiveSize = Annotated[int, Field(ge=1, le=MAX_SIZE)]
Source = str | list[Any]
_Kind = Literal["network", "variant", "sequence"]
_SOURCE_FORMS = "a generator such as ramp:3, a file, or the numbers themselves"


@dataclass(frozen=True)
class Key:
    """What is known of a key beside its type, default and description. A key's field has it as `json_schema_extra`."""

    kind: _Kind
    """`network`: every engine knows the key, or need not. `variant`: an engine that does not say that it knows the key
    refuses all values but the default. `sequence`: the key says what the network runs on."""
    help: str
    """The text in --help."""
    comment: str = ""
    """The text in the starter file. Left out: the description."""
    example: str = ""
    """The value in the starter file, in a line that is commented out. Left out: the default, in a line that is not."""
    short: tuple[str, ...] = ()
    """Shorter names of the option."""
    choices: tuple[str, ...] = ()
    """The only values there are, where the type does not list them."""
    completions: tuple[str, ...] = ()
    """What a shell offers for the value."""
    allowed: str = ""
    """What an error message calls the allowed values, where the type alone would say it badly."""
    cell: str = ""
    """The only cell for which the key may differ from its default. If the cell has a constant of the same name, the key
    sets it (`a.constant(name)` in its equations)."""
    equations: str = ""
    """The `variant` of the `Cell` that computes what is asked for by a value other than the default."""
    torch: str = ""
    """Why no module of torch.nn does what is asked for by a value other than the default."""

    def __call__(self, schema: dict[str, Any]) -> None:
        """Adds to the JSON Schema of the key what its type does not say."""
        if self.choices:
            schema["enum"] = list(self.choices)


def _key(kind: _Kind, default: Any, description: str, help: str = "", **more: Any) -> Any:  # noqa: A002
    """A field with its default and description. The description is also the text in --help, but for a `help` that says
    how the option is written where a file has it otherwise."""
    return Field(default, description=description, json_schema_extra=Key(kind, help or description, **more))


_network, _variant, _sequence = (functools.partial(_key, kind) for kind in get_args(_Kind))


class Head(BaseModel):
    """A Linear on the last layer's final hidden state (both directions side by side)."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, defer_build=True)

    out_features: PositiveSize = Field(description="Number of outputs per sequence.")


class Keys(BaseModel):
    """The keys with their types and defaults, in the order of --help. `Spec` adds what must hold between them."""

    # Built when the first spec is made: --help makes none.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, validate_default=True, defer_build=True)

    cell: str = _network(
        "rnn",
        "The recurrent cell.",
        help="Recurrent cell, or mine.py:NAME",
        comment=" | ".join(CELLS),
        choices=tuple(CELLS),
    )
    input_size: PositiveSize = _network(
        5, "Features of x at each step; not inferred from the input.", help="Features of x at each step"
    )
    hidden_size: PositiveSize = _network(2, "Hidden units per layer and direction.")
    num_layers: Annotated[int, Field(ge=1, le=MAX_LAYERS)] = _network(1, "Number of stacked layers.")
    nonlinearity: Literal["tanh", "relu"] | None = _network(
        None, "For cell rnn: tanh (the default) or relu.", help="For cell rnn; default tanh", example="tanh"
    )
    bias: bool = _network(True, "Use the biases b_ih and b_hh.", help="Biases b_ih and b_hh; default: with them")
    batch_first: bool = _network(
        True,
        "Batched x and output are (batch, step, feature); false: (step, batch, feature).",
        help="Batched x is (B, T, I), the default, or (T, B, I)",
    )
    dropout: Annotated[float, Field(ge=0, le=1)] = _network(
        0.0,
        "Dropout between layers; no effect here, since everything runs in eval mode.",
        help="Dropout between layers; no effect, as all runs in eval mode",
    )
    bidirectional: bool = _network(
        False,
        "Each layer also runs in reverse, from the last step to the first.",
        help="Also run each layer in reverse, last step first",
    )
    proj_size: Annotated[int, Field(ge=0, le=MAX_SIZE)] = _network(
        0,
        "For cell lstm: project h to this many units (0: no projection).",
        help="For cell lstm: project h to this many units",
    )
    reverse: bool = _variant(
        False,
        "The only direction is reverse, from the last step to the first.",
        help="Run in reverse only, last step first",
        example="true",
        torch="cannot run in reverse only",
    )
    reset: Literal["after", "before"] = _variant(
        "after",
        "For cell gru: reset gate applied after the matrix product, as in torch.nn.GRU, or before it.",
        help="For cell gru: reset gate applied after the matrix product with h (default, as in torch) or before",
        example="after",
        torch="applies the reset gate after the matrix product",
        cell="gru",
        equations="reset before",
    )
    input_forget: bool = _variant(
        False,
        "For cell lstm: forget gate f = 1 − i, without parameters of its own (ONNX input_forget).",
        help="For cell lstm: f = 1 − i, as in ONNX",
        example="true",
        torch="has a separate forget gate",
        cell="lstm",
        equations="coupled",
    )
    peepholes: bool = _variant(
        False,
        "For cell lstm: gates i, f and o also see the cell state, through weight_ch.",
        help="For cell lstm: i, f and o also see c",
        example="true",
        torch="has no peepholes",
        cell="lstm",
        equations="peepholes",
    )
    activations: list[str] | None = _variant(
        None,
        "Activation functions other than the usual ones, in the order of the equations: [φ] for rnn, [σ, tanh of n] "
        "for gru, [σ, tanh of g, tanh of c] for lstm; those of a reverse direction may follow. One of "
        f"{', '.join(KINDS)}; numbers in parentheses: leaky_relu(0.1).",
        help="Functions in the order of the equations: hard_sigmoid(0.2,0.5),tanh,tanh",
        example="[sigmoid, tanh, tanh]",
        comment="or others: hard_sigmoid(0.2, 0.5), softsign …",
        completions=tuple(KINDS),
        torch="cannot use other activations",
    )
    clip: Annotated[float, Field(gt=0, le=1e38)] | None = _variant(
        None,
        "Clip the input of each activation function to the range from -clip to clip.",
        help="Limit what goes into each function to -X … X",
        example="3.0",
        torch="does not clip",
    )
    dtype: DType = _network(
        "float32",
        "Dtype of parameters, states and input.",
        help="float32 (default), float16, bfloat16 or float64",
        comment=" | ".join(DTYPES),
    )
    device: str = _network(
        "cpu",
        "Device: auto, or a torch device such as cpu, cuda, cuda:1 or mps.",
        help="cpu, cuda, cuda:1, mps, … or auto",
    )
    seed: Annotated[int, Field(ge=0, le=2**64 - 1)] = _network(
        1,
        "Random seed for parameters, head, and random x, h0 and c0.",
        help="Random seed",
    )
    weights: str | dict[str, Any] | None = _network(
        None,
        "A file with the parameters (.pt, .npz, .safetensors), or the numbers by parameter name.",
        help="File with the parameters, or FILE:MODULE",
        example="model.pt",
        comment="a file with the parameters, or the numbers by name: {weight_ih_l0: [[…], […]], …}",
        allowed="a file, or a mapping from parameter name to numbers",
    )
    layout: str | None = _network(
        None,
        "How the weights file is packed, as `rnnspect layouts` names it (default: PyTorch).",
        help="How --weights is packed: a name of rnnspect layouts",
        example="keras",
    )
    head: Head | None = _network(
        None,
        "A linear layer on the last layer's final hidden state.",
        help="Add a Linear with N outputs on the final h",
        example="\n  out_features: 1",
    )
    input: Source | None = _sequence(
        "ramp:3",
        f"x: {_SOURCE_FORMS}.",
        help=f"x: a file, - for stdin, [[…], …] or a generator: {' '.join(f'{one}:N' for one in GENERATORS)} "
        "randint:N:BELOW (default ramp:3; check: random)",
        comment=f"{' '.join(f'{name}:N' for name in GENERATORS)}, a file (x.npy, x.npz:name, x.csv …),\n"
        "or the numbers: [[1, 1, 1, 1, 1], [2, 2, 2, 2, 2]]",
        short=("-i",),
        completions=tuple(f"{name}:" for name in GENERATORS),
        allowed=_SOURCE_FORMS,
    )
    batch: PositiveSize | None = _sequence(
        None,
        "Number of sequences that a generator makes (default: one, unbatched).",
        help="Number of sequences that a generator makes",
        example="4",
    )
    h0: Source | None = _sequence(
        None,
        "Initial hidden state, given like the input (default: zeros).",
        help="Initial hidden state, as --input; default zeros",
        example="randn",
        allowed=_SOURCE_FORMS,
    )
    c0: Source | None = _sequence(
        None,
        "For cell lstm: initial cell state, given like the input (default: zeros).",
        help="Initial cell state of an lstm; default zeros",
        example="zeros",
        allowed=_SOURCE_FORMS,
    )
    lengths: list[PositiveSize] | None = _sequence(
        None,
        "Length of each sequence, for a packed batch.",
        help="Length of each sequence of the batch: 5,3,2",
        example="[3, 3, 2, 1]",
    )


KEYS: dict[str, Key] = {name: cast("Key", field.json_schema_extra) for name, field in Keys.model_fields.items()}
DEFAULTS: dict[str, Any] = {name: field.default for name, field in Keys.model_fields.items()}
PLAIN = frozenset(name for name, key in KEYS.items() if key.kind != "variant")
"""The keys that no engine has to be taught: all but the variants."""
