"""How many bytes a number takes in a file, by the name of its dtype."""

SIZES = {"bool": 1, "float8_e4m3fn": 1, "float8_e5m2": 1, "float8_e4m3fnuz": 1, "float8_e5m2fnuz": 1, "bfloat16": 2}
SIZES |= {f"{kind}int{8 * size}": size for kind in ("", "u") for size in (1, 2, 4, 8)}
SIZES |= {f"float{8 * size}": size for size in (2, 4, 8)} | {f"complex{8 * size}": size for size in (4, 8, 16)}
"""By torch's name of the dtype."""
