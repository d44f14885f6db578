"""The arrays that decisions are computed with."""

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]
Cents = NDArray[np.int64]
Floats = NDArray[np.float64]
Positions = NDArray[np.intp]
"""Where something stands in the catalogue."""
StageNumbers = NDArray[np.uint8]
