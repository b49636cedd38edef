"""`python -m benchmarks`: every table.  `python -m benchmarks start-up trace`: these.

`memory`, of a run of 10⁷ steps, takes minutes and 3 GB of disk, and is made only when it is named.
"""

from __future__ import annotations

import sys

from benchmarks import check, engines, layouts, memory, start_up, trace

SUITES = {
    "start-up": start_up.rows,
    "trace": trace.rows,
    "check": check.rows,
    "engines": engines.rows,
    "layouts": layouts.rows,
    "memory": memory.rows,
}
LONG = {"memory"}


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in SUITES]
    if unknown:
        print(f"no benchmark is called {unknown[0]!r}; there are {', '.join(SUITES)}", file=sys.stderr)
        return 2
    print("| what | ratio to | at most | measured |")
    print("|---|---|---|---|")
    for name in names or [name for name in SUITES if name not in LONG]:
        for row in SUITES[name]():
            print(row, flush=True)
    return 0


sys.exit(main(sys.argv[1:]))
