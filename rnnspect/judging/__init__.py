"""One layer and direction of a run against the equations, teacher-forced, in chunks of steps."""
