"""Somebody else's implementations, one a file. A file here that defines `ENGINE` is an engine."""
