"""What targets on one host share: Envoy told by files, the proof at its counters, and the order in which things happen."""
