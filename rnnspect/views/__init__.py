"""How results look: each view is a function of frozen data that returns text."""
