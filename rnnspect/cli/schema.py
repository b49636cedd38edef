from __future__ import annotations

from typing import Annotated

from rnnspect.cli.options import command, formats
from rnnspect.cli.output import Output


@command("rnnspect schema -o rnnspect.schema.json")
def schema(output: Annotated[Output, formats("json")]) -> None:
    """The JSON Schema of a spec file, for editors."""
    import json

    from rnnspect.network.spec import json_schema

    output.emit(json=lambda: json.dumps(json_schema(), indent=2) + "\n")
