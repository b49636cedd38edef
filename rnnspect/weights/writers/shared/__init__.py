"""Shared by several targets; not a target itself."""
