"""`python -m rnnspect`."""

from rnnspect.cli import entry_point

entry_point()
