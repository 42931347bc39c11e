"""Write the synthetic voice-activity detector: ``python tools/make_vad.py vad.onnx``."""

import sys

from rnnengine.bench.voice import main

if __name__ == "__main__":
    sys.exit(main())
