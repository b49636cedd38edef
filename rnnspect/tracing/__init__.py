"""A run and every quantity of it: from a spec or a live module to what runs, the engine's numbers, the equations'."""
