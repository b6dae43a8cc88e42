"""A model in training: read run_loop, trainer, step_loop and replica_step, in that order."""
