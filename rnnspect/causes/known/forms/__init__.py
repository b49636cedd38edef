"""Mistakes of implementations that compute many steps at once, and of what a chunk of steps, or a call, hands on to the
next: its state, the decays of it, the inputs that a convolution keeps, padding. Families as in `known`.

`_chunk_edges` finds where chunks begin, and `_chunk_states` with which states. `_parted_cell` makes a cell whose state
is in two parts, what was handed on to a chunk and what its steps added; `_parted_values` computes with such a state.
"""
