"""Pure decisions: no I/O, no clock, no randomness. Imports nothing of ours but itself."""
