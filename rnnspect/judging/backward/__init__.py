"""An engine's gradients against the equations: each step from the engine's own gradients of the step after it."""
