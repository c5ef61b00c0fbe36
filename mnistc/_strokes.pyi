import numpy as np
from numpy.typing import NDArray

def rasterize(
    points: NDArray[np.float64],
    stroke_offsets: NDArray[np.int64],
    image_offsets: NDArray[np.int64],
    pens: NDArray[np.float64],
    images: NDArray[np.float32],
) -> tuple[int, int]: ...
