"""Seconds to subtract crosstalk from a 4k x 4k image of 16 amplifiers, against a plain loop and one memory pass.

Run: ``python benchmarks/crosstalk.py [rows] [columns]`` (of one amplifier; default 2048 x 512).
"""

from __future__ import annotations

import sys
import time

import numpy as np

from streamcal.calibs import CrosstalkCalib, Detector, DetectorAmplifier
from streamcal.calibs.coefficients import Coefficients
from streamcal.calibs.coupling import orient, subtract_coupled
from streamcal.records import ReadoutCorner, Section

N_AMP = 16
CORNERS = list(ReadoutCorner)


def best_of(function, repeats=5):
    """Return the shortest of some runs, in seconds."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def make_image(ny, nx):
    """Return a detector, a flat of 30 000 ADU and a calibration like LSSTCam's."""
    rng = np.random.default_rng(1)
    image = rng.normal(30000, 170, (2 * ny, N_AMP // 2 * nx)).astype(np.float32)
    amplifiers = [
        DetectorAmplifier(
            name=f"C{row}{column}",
            readout_corner=CORNERS[2 * row + column % 2],
            trimmed=Section(x0=column * nx, x1=(column + 1) * nx, y0=row * ny, y1=(row + 1) * ny),
        )
        for row in range(2)
        for column in range(N_AMP // 2)
    ]
    detector = Detector(amplifiers=tuple(amplifiers))
    coeffs = rng.normal(0, 1e-4, (N_AMP, N_AMP))
    np.fill_diagonal(coeffs, 0)
    return detector, image, CrosstalkCalib.from_detector(detector, coeffs)


def subtract_in_a_loop(pixels, coeffs):
    """Subtract pair by pair: as many image passes as there are coefficients."""
    result = [array.copy() for array in pixels]
    for t, s in np.argwhere(coeffs):
        result[t] -= np.float32(coeffs[t, s]) * pixels[s]
    return result


def main() -> None:
    """Print seconds and ratios."""
    ny, nx = (int(word) for word in sys.argv[1:3]) if len(sys.argv) > 2 else (2048, 512)
    detector, image, calib = make_image(ny, nx)
    exposure = detector.split(image)
    pixels = [orient(entry.data, entry.readout_corner) for entry in exposure.amplifiers.values()]
    ones = np.ones(N_AMP)
    coupling = Coefficients.choose(calib.coeffs, None, None, np.eye(N_AMP, dtype=bool), (ones, ones)).coupling()
    work = [array.copy() for array in pixels]
    other = image.copy()
    seconds = {
        "one memory pass (x -= 1)": best_of(lambda: np.subtract(other, np.float32(1), out=other)),
        "matrix product, in place": best_of(lambda: subtract_coupled(work, coupling)),
        "matrix product, 3 iterations": best_of(lambda: subtract_coupled(work, coupling, iterations=3)),
        "subtract_crosstalk, whole call": best_of(lambda: calib.subtract_crosstalk(exposure)),
        "plain loop over 240 pairs": best_of(lambda: subtract_in_a_loop(pixels, calib.coeffs), repeats=2),
    }
    memory_pass = seconds["one memory pass (x -= 1)"]
    print(f"{image.shape[1]} x {image.shape[0]} pixels, {N_AMP} amplifiers")
    for name, value in seconds.items():
        print(f"{name:32s} {value:8.4f} s  {value / memory_pass:8.1f} memory passes")


if __name__ == "__main__":
    main()
