"""JSON, YAML and rows of numbers: values of other types, nests, repeated keys, tags and anchors."""

from __future__ import annotations

import json
from random import Random
from typing import Any

from tests.fuzz.mutations.numbers import CANARY, damaged, number

_DEEP = 100_000
VALUES: tuple[Any, ...] = (
    *(None, True, False, -1, 0, 1, 2**31, 2**63, 2**64, -(2**63), 10**400, 1.5, 1e308, -0.0, "3", "", "4, 5", [], {}),
    *(float("nan"), float("inf"), [3], [[3]], {"a": 1}, "\x1b[31mred", "a\nb", "\u202e\u2028", "\ud800", "x" * 20_000),
    *(
        ["lstm"] * 300,
        "../../etc/passwd",
        "/dev/null",
        "F32",
        "BF16",
        "float128",
        "LSTM",
        "GRU",
        "tanh",
        [0, 0],
        [-1, 4],
    ),
)
KEYS = ("", "a" * 5000, "\x1b[2J", "a\nb", "\0", "\u202e", "__metadata__", "weight_ih_l0", "weight_ih_l0_reverse", "3")
YAML = (
    f"!!python/object/apply:os.system ['touch {CANARY}']",
    "!!python/name:os.system",
    f"!!python/object/new:subprocess.Popen [['touch', '{CANARY}']]",
    *("&a [*a]", "&a 3", "*a", "!!binary aGk=", "!!set {a}", "!!timestamp 2020-01-01", "!x 3", "? a", "<<: {a: 1}"),
    *("1e400", "-1e400", "9" * 5000, "0x" + "f" * 300, "010", "1:30", ".nan", "-.inf", "~", "yes", "2020-01-01", "1_0"),
    *("[" * 500, "[" * _DEEP, "{a: " * 200, "{a: " * 20_000, "- " * 20_000, "\x00", "\x1b[31m", "\u2028", "\ud7ff"),
    *(
        "|\n  a\n   b",
        ">-\n a",
        "'a",
        '"\\x1b[31m"',
        '"\\u202e"',
        "@a",
        "`a`",
        "%a",
        "lstm",
        "gru",
        "rnn",
        "lstmm",
        "[3, 4",
    ),
)
CELLS = (
    "",
    "nan",
    "inf",
    "-inf",
    "1e999",
    "1_0",
    "0x10",
    "a",
    "\x1b[31m",
    "1;2",
    "9" * 5000,
    "٣",
    "1 2",
    "=1+1",
    "#",
    "\0",
)


def values(data: bytes, rng: Random) -> bytes:
    """JSON, of which one value somewhere becomes another, goes, or comes twice under the same key."""
    try:
        held = json.loads(data)
    except (ValueError, RecursionError):
        return damaged(data, rng)
    twice = [""]
    for _ in range(rng.choice((1, 1, 2))):
        held = _changed(held, rng, twice)
    text = json.dumps(held, indent=rng.choice((None, None, 1)))
    if twice[0]:
        text = text.replace(f'"{twice[0]}#2"', f'"{twice[0]}"')
    if rng.random() < 0.05:
        deep = rng.choice((500, _DEEP))
        text = text.replace(rng.choice((": ", "[")), ": " + "[" * deep + "]" * deep, 1)
    return text.encode("utf-8", "surrogatepass")


def _changed(held: Any, rng: Random, twice: list[str]) -> Any:
    if isinstance(held, dict | list) and held and rng.random() < 0.85:
        key = rng.choice(list(held) if isinstance(held, dict) else range(len(held)))
        kind = rng.randrange(10)
        if isinstance(held, list):
            if kind == 0:
                return held[:key] + held[key + 1 :]
            if kind == 1:
                return held[:key] + [held[key]] * rng.choice((2, 2, 100)) + held[key + 1 :]
            return [*held[:key], _changed(held[key], rng, twice), *held[key + 1 :]]
        if kind == 0:
            return {name: value for name, value in held.items() if name != key}
        if kind == 1:
            twice[0] = key
            return held | {f"{key}#2": _changed(held[key], rng, twice)}
        if kind == 2:
            return {rng.choice((*KEYS, key[:-1])) if name == key else name: value for name, value in held.items()}
        if kind == 3:
            other = rng.choice(list(held))
            return held | {key: held[other], other: held[key]}
        return held | {key: _changed(held[key], rng, twice)}
    if type(held) is int and rng.random() < 0.5:
        return rng.choice((number(rng, held), -held, float(max(-(10**300), min(held, 10**300))), str(held)))
    return rng.choice(VALUES)


def lines(data: bytes, rng: Random) -> bytes:
    """Lines of YAML, of which one gets another value or key, goes, comes twice, or moves to the right."""
    rows = data.decode("utf-8", "replace").split("\n")
    for _ in range(rng.choice((1, 1, 2, 3))):
        at = rng.randrange(len(rows))
        key, colon, value = rows[at].partition(":")
        rows[at] = rng.choice(
            (
                f"{key}: {rng.choice(YAML)}",
                f"{key}: {rng.choice(YAML)}",
                f"{key}{colon} {value} {rng.choice(YAML)}",
                f"{rng.choice((key[:-1], key + 's', key.upper(), *KEYS))}:{value}",
                f"{key}: {number(rng)}",
                rows[at] + "\n" + rows[at],
                "  " + rows[at],
                "\t" + rows[at],
                "",
                rng.choice(YAML),
                "---\n" + rows[at],
            )
        )
    return "\n".join(rows).encode("utf-8", "surrogatepass")


def cells(data: bytes, rng: Random) -> bytes:
    """Rows of numbers, of which a cell is none, or one is missing or too many."""
    rows = data.decode("utf-8", "replace").split("\n")
    for _ in range(rng.choice((1, 1, 2))):
        at = rng.randrange(len(rows))
        between = "\t" if "\t" in rows[at] else ","
        row = rows[at].split(between)
        row[rng.randrange(len(row))] = rng.choice(CELLS)
        extra = rng.choice(([], [], ["1"], ["1"] * 3000))
        rows[at] = rng.choice((between, between, between, ";", " ")).join(row + extra)
    return "\n".join(rows).encode("utf-8", "surrogatepass")
