"""Mistakes of implementations that compute many steps at once, and of what a chunk of steps, or a call, hands on to the
next: its state, the decays of it, the inputs that a convolution keeps, padding. Families as in `known`.

`_handed_on` and `_chunk_edges` know where chunks begin and with what; `_carried` and `_two_parts` take a state apart
into what was handed on to a chunk and what its steps added.
"""
