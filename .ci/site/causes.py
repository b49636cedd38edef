"""The catalogue of causes: each row of the tables in docs/causes.md as an entry, with the mistake made here."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

from mistakes import Example, example_of, whose
from pictures import compared

from rnnspect.network.parameters import module_repr

ROW = re.compile(r"^\| `([^`]+)` \| (.+) \| (.+) \| (.+) \|$", re.MULTILINE)
HEAD = re.compile(r"^\| id \|.*\n\|---.*\n", re.MULTILINE)
LEGEND = """
Each mistake below was made in a small network when this page was built, and checked. The pictures are heat maps, a
column a step and a row a unit: what is expected and what comes out (blue −1, white 0, red 1), and the difference, from
white for what float32 rounds away (1e-7) to dark for 1.
"""


def catalogue(page: str, add: Callable[[str, str], None]) -> str:
    """The page with an entry for each row of a table. `add` takes the name and the text of a picture."""
    lead, heading, rest = page.partition("\n## ")
    return lead + LEGEND + heading + ROW.sub(partial(_entry, add=add), HEAD.sub("", rest))


def _entry(row: re.Match[str], add: Callable[[str, str], None]) -> str:
    name, did, comes, mend = row.groups()
    made = example_of(name)
    network = module_repr(made.verdict.spec.with_changes(head=None))
    add(f"causes/{name}.svg", compared(made.right, made.wrong, f"{name} in {network}"))
    where = f"{network}, {made.variant}" if made.variant else network
    return "\n".join(
        [
            f"\n### {name} {{ #{name} }}\n",
            f"{did}\n",
            f"**How it happens.** {comes}\n",
            *([f"**Usual order in.** {whose(name)}\n"] if whose(name) else []),
            f"**Fix.** {mend}\n",
            f"![Heat maps of h, right and with {name}](causes/{name}.svg){{ loading=lazy width=560 }}\n",
            f'??? example "What a check says: {where}"\n',
            *(f"    {line}\n" for line in _said(name, made)),
        ]
    )


def _said(name: str, made: Example) -> list[str]:
    verdict = made.verdict
    said, first = [f"`{verdict.verdict}`"], verdict.first
    if first is not None:
        place = f"{first.quantity} of layer {first.layer} {first.direction}"
        where = f"step {first.step}, sequence {first.batch}, unit {first.unit}"
        far = f"{abs(first.engine - first.manual):.1e} apart, allowed {first.bound:.1e}"
        said.append(
            f"First wrong value: {place}, {where}: expected {first.manual:.6g}, got {first.engine:.6g} ({far})."
        )
    if verdict.pattern:
        said.append(f"Wrong: {verdict.pattern}.")
    cause = next(cause for cause in verdict.causes if cause.name == name)
    said += [f"Cause: `{name}`: {cause.explanation}.", f"Fix: {cause.fix}"]
    if others := [other.name for other in verdict.causes if other.name != name]:
        said.append(f"These numbers do not tell it from {', '.join(f'`{other}`' for other in others)}.")
    return said
