"""The commands: what each does, from top to bottom, and how a shell calls it (`entry`, `programs`)."""
