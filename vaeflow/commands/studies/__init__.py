"""Studies: many trainings that differ in some settings and in the seed, run and compared as one."""
