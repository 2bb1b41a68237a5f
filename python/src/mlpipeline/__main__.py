"""``python -m mlpipeline``."""

from mlpipeline.cli import program

program()
