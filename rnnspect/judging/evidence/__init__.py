"""What the residuals of a run, far below any bound, tell of the engine's parameters."""
