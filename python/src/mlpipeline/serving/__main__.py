"""``python -m mlpipeline.serving --model FOLDER``: the process of one colour."""

import sys

# Before our own modules are imported: nothing may be written into the package that this process runs from.
sys.dont_write_bytecode = True

from mlpipeline.serving.server import main  # noqa: E402
from mlpipeline.serving.settings import parse  # noqa: E402

if __name__ == "__main__":
    sys.exit(main(parse()))
