"""Identities of a run with itself, which hold whatever it computes: one that fails is a misreading or a fault, and no
second implementation is needed to see it. `final_states.py` looks at what was observed, `reruns.py` runs an engine
again."""
