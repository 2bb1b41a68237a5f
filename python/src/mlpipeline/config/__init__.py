"""``mlpipeline.yaml``: models, layers, and where each value came from."""
