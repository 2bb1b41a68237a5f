"""The parts of ``mlpipeline.yaml``, one module each."""
