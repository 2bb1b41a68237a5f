"""The scoring server that goes into every package. It imports nothing else of ours, so a package carries it alone."""
