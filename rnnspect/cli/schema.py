from __future__ import annotations

import json
from typing import TYPE_CHECKING

from rnnspect.cli.options import formats, with_groups
from rnnspect.cli.output import Output

if TYPE_CHECKING:
    import typer


def register(app: typer.Typer) -> None:
    app.command("schema", epilog="Example:  rnnspect schema -o rnnspect.schema.json")(schema)


@with_groups(output=formats("json"))
def schema(output: Output) -> None:
    """The JSON Schema behind a spec file."""
    from rnnspect.network.spec import json_schema

    shown = {"json": lambda _screen: json.dumps(json_schema(), indent=2) + "\n"}
    output.emit(shown)
