"""How results look: each view is a function of frozen data that returns text."""

import random

# rich draws a number as it is loaded, perhaps within a test or a training loop: what that draws is to stay the same.
_drawn = random.getstate()
import rich.style  # noqa: E402, F401

random.setstate(_drawn)
