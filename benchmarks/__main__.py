"""`python -m benchmarks`: every table.  `python -m benchmarks start-up trace`: these.

`memory`, of a run of 10⁷ steps, takes minutes and 3 GB of disk; `explain-long`, of 10⁵ steps, `causes`, of more
than a thousand checks, and `report`, whose pages a browser loads if there is one, minutes: they are made only when they
are named. `causes` counts and prints a table of its own; the others print numbers beside what they may be.
"""

from __future__ import annotations

import sys

from benchmarks import (
    backward,
    causes,
    check,
    engines,
    explain,
    forms,
    layouts,
    memory,
    recovery,
    report,
    stack,
    start_up,
    trace,
)

SUITES = {
    "start-up": start_up.rows,
    "trace": trace.rows,
    "check": check.rows,
    "stack": stack.rows,
    "recovery": recovery.rows,
    "backward": backward.rows,
    "forms": forms.rows,
    "layouts": layouts.rows,
    "engines": engines.rows,
    "explain": explain.rows,
    "explain-long": explain.long_rows,
    "memory": memory.rows,
    "report": report.rows,
}
COUNTS = {"causes": causes.lines}
LONG = {"explain-long", "memory", "report"}


def main(names: list[str]) -> int:
    known = [*SUITES, *COUNTS]
    unknown = [name for name in names if name not in known]
    if unknown:
        print(f"no benchmark is called {unknown[0]!r}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    chosen = names or [name for name in SUITES if name not in LONG]
    ratios = [name for name in chosen if name in SUITES]
    if ratios:
        print("| what | ratio to | at most | measured |")
        print("|---|---|---|---|")
    for name in ratios:
        for row in SUITES[name]():
            print(row, flush=True)
    for name in chosen:
        if name in COUNTS:
            for line in COUNTS[name]():
                print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
