"""Identities of a run with itself, which hold whatever it computes. One that fails is a misreading or a fault, and
shows without a second implementation. `final_states.py` looks at what was observed, `reruns.py` runs an engine
again."""
