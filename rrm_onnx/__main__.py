"""`python -m rrm_onnx` is the command `rrm-onnx`."""

import sys

from rrm_onnx.cli import main

sys.exit(main())
