"""``python -m mlpipeline.serving --model FOLDER``: the process of one colour."""

import signal
import sys

# Before our own modules are imported: nothing may be written into the package that this process runs from.
sys.dont_write_bytecode = True
# As the first process of a container Python would ignore the signal until the server takes it over.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))

from mlpipeline.serving.server import main  # noqa: E402
from mlpipeline.serving.settings import parse  # noqa: E402

if __name__ == "__main__":
    sys.exit(main(parse()))
