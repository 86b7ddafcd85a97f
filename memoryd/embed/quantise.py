"""Makes the weights of an ONNX model int8. A script of its own, run once by a Python that has onnx.

    python -I quantise.py SOURCE_FILE TARGET_FILE

Imports nothing of memoryd: the environment that it runs in has none.
"""

from __future__ import annotations

import sys
from pathlib import Path


def main(source: Path, target: Path) -> None:
    """Weights as int8, one scale for each column; what flows between them is scaled as it comes (dynamic)."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    # One scale for a whole matrix costs several times as much likeness: its largest weight decides for all.
    quantize_dynamic(source, target, weight_type=QuantType.QInt8, per_channel=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
