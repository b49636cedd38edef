"""The floating-point types that a network may have."""

from typing import Literal, get_args

DType = Literal["float16", "bfloat16", "float32", "float64"]
DTYPES: tuple[str, ...] = get_args(DType)
ITEMSIZE = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}
