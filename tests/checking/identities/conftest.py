from tests.cli.conftest import rnnspect as rnnspect
