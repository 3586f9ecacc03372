"""Seconds to subtract crosstalk from a 4k x 4k image of 16 amplifiers, against a plain loop and one memory pass.

And seconds to measure it on one such image with spots.

Run: ``python -m benchmarks.crosstalk [rows columns]`` (of one amplifier; default 2048 x 512)
"""

import os
import sys
import time

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy, as streamcal's commands do

import numpy as np

from benchmarks.common import Finding, at_least, best_of, report
from streamcal.calibs import CrosstalkCalib, Detector, DetectorAmplifier, estimate_crosstalk
from streamcal.calibs.coefficients import Coefficients
from streamcal.calibs.coupling import orient, subtract_coupled
from streamcal.records import ReadoutCorner, Section

N_AMP = 16
CORNERS = list(ReadoutCorner)


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


def time_parts(ny, nx):
    """Return the CPU seconds of each way to do it, and of one pass through the memory of the image."""
    detector, image, calib = make_image(ny, nx)
    exposure = detector.split(image)
    pixels = [orient(entry.data, entry.readout_corner) for entry in exposure.amplifiers.values()]
    ones = np.ones(N_AMP)
    coupling = Coefficients.choose(calib.coeffs, None, None, np.eye(N_AMP, dtype=bool), (ones, ones)).coupling()
    work, other = [array.copy() for array in pixels], image.copy()
    return best_of(
        {
            "pass": lambda: np.subtract(other, np.float32(1), out=other),
            "product": lambda: subtract_coupled(work, coupling),
            "iterated": lambda: subtract_coupled(work, coupling, iterations=3),
            "call": lambda: calib.subtract_crosstalk(exposure),
            "loop": lambda: subtract_in_a_loop(pixels, calib.coeffs),
        },
        repeats=4,
    )


def time_measurement(ny, nx):
    """Return the CPU seconds and the coefficients measured of one image with 20 spots on each amplifier."""
    detector, image, calib = make_image(ny, nx)
    rng, axis = np.random.default_rng(2), np.arange(-30, 31)
    spot = 6e4 * np.exp(-(axis[:, None] ** 2 + axis**2) / (2 * 6.0**2))
    image -= 29000
    for entry in detector.split(image).amplifiers.values():  # views
        for y, x in rng.integers(0, np.array([ny, nx]) - 61, (20, 2)):
            entry.data[y : y + 61, x : x + 61] += spot
    exposure = calib.subtract_crosstalk(detector.split(image), crosstalk_coeffs=-calib.coeffs)
    start = time.process_time()
    found = estimate_crosstalk([exposure])
    return time.process_time() - start, int(np.isfinite(found.coeff_err).sum())


def main():
    """Time and report."""
    sizes = [int(word) for word in sys.argv[1:] if word.isdigit()] or [2048, 512]
    seconds = time_parts(*sizes)
    measured, n_measured = time_measurement(*sizes)
    loop, product, memory_pass = (seconds[name] for name in ("loop", "product", "pass"))
    report(
        [
            at_least(
                "plain loop over 240 pairs / matrix product", loop / product, 4, f"{loop:.3f} s / {product:.3f} s"
            ),
            Finding(
                what="matrix product / one memory pass", value=product / memory_pass, detail=f"{memory_pass:.4f} s"
            ),
            Finding(what="matrix product, 16 x 16, one image (s)", value=product),
            Finding(what="matrix product, three iterations (s)", value=seconds["iterated"]),
            Finding(what="subtract_crosstalk: copies, medians and masks too (s)", value=seconds["call"]),
            Finding(what="estimate_crosstalk, one image of spots (s)", value=measured, detail=f"{n_measured} of 240"),
        ]
    )


if __name__ == "__main__":
    main()
