"""The fit of photon transfer curves: how fast beside a plain least-squares fit, and whether its errors are honest.

python benchmarks/ptc_fit.py                 speed, and pulls over 2000 seeds
python benchmarks/ptc_fit.py --images        also 40 levels of 1 Mpx images with displaced charge (half an hour)
"""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np
from scipy.optimize import least_squares

from streamcal.measure import measure_amplifier
from streamcal.ptc import MODELS, Curve, FitConfig, fit_amplifier, full_covariance, make_model
from streamcal.simulate import BrighterFatter, collect_light

GAIN, NOISE, N_PIXELS, SIDE = 1.5, 5.5, 1_000_000, 8
A00 = -3.1e-6
LAG_X, LAG_Y = np.mgrid[:SIDE, :SIDE]


def truth() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a, b and n of e2v-like pixels."""
    a = 3.2e-7 / (1 + (1.6 * LAG_X) ** 2 + LAG_Y**2) ** 1.4
    a[0, 0] = A00
    noise = np.zeros((SIDE, SIDE))
    noise[0, 0] = NOISE**2
    return a, 1.2e-6 * np.exp(-np.hypot(LAG_X, LAG_Y) / 2), noise


def make_curve(model: str, n_pairs: int, rng: np.random.Generator) -> Curve:
    """Return a noisy curve of 1 Mpx, up to 120000 e-."""
    a, b, noise = truth()
    mean = np.geomspace(100, 120_000, n_pairs) / GAIN
    covariance = full_covariance(mean, gain=GAIN, a=a, b=b if model == "FULLCOVARIANCE" else None, noise=noise)
    if model == "EXPAPPROXIMATION":
        covariance[:, 0, 0] = np.expm1(2 * A00 * mean * GAIN) / (2 * GAIN**2 * A00) + (NOISE / GAIN) ** 2
    if model == "POLYNOMIAL":
        covariance[:, 0, 0] = mean / GAIN + A00 * mean**2 + 8e-12 * mean**3 + (NOISE / GAIN) ** 2
    pixels = np.full((SIDE, SIDE), float(N_PIXELS))
    pixels[1:, 1:] *= 2
    pixels[0, 0] /= 2
    covariance += covariance[:, :1, :1] / np.sqrt(pixels) * rng.normal(size=covariance.shape)
    error = covariance[:, :1, :1] / np.sqrt(pixels)
    return Curve.of(mean, covariance[:, 0, 0], error, covariance)


def fit_plainly(curve: Curve) -> tuple[np.ndarray, int]:
    """Fit FULLCOVARIANCE to all residuals as one would without derivatives; return parameters and evaluations."""
    model = make_model("FULLCOVARIANCE", SIDE)

    def residuals(parameters: np.ndarray) -> np.ndarray:
        return ((model.evaluate(curve.mean, parameters) - curve.covariance) / curve.error).ravel()

    start = model.start(1.4, -2e-6, 25.0)
    scale = np.concatenate([[1.0], np.full(64, 1e-8), np.full(64, 1.0), np.full(64, 1e-14)])
    found = least_squares(residuals, start, x_scale=scale, method="trf")
    return found.x, found.nfev * (1 + model.n_parameters)


def compare_speed(n_amplifiers: int, n_pairs: int) -> float:
    """Print seconds of ours for all amplifiers, and of the plain fit for one; return ours."""
    rng = np.random.default_rng(1)
    curves = [make_curve("FULLCOVARIANCE", n_pairs, rng) for _ in range(n_amplifiers)]
    fit_amplifier(curves[0])  # imports and caches
    began = time.process_time()
    gains = [fit_amplifier(curve).gain for curve in curves]
    ours = time.process_time() - began
    began = time.process_time()
    plain, evaluations = fit_plainly(curves[0])
    theirs = time.process_time() - began
    print(f"FULLCOVARIANCE 8 x 8, {n_pairs} pairs, processor time")
    print(f"  streamcal            {ours:7.2f} s for {n_amplifiers} amplifiers  {ours / n_amplifiers:7.3f} s each")
    print(f"  scipy, no derivative {theirs:7.2f} s for  1 amplifier  {evaluations:7d} evaluations of the model")
    print(f"  ratio {theirs * n_amplifiers / ours:.0f}; gains of the first amplifier {gains[0]:.5f} and {plain[0]:.5f}")
    return ours


def check_pulls(n_seeds: int) -> bool:
    """Print mean and width of the pulls by model and kind of parameter; return whether all are as they should be."""
    fine = True
    for model in MODELS:
        pulls: dict[str, list[np.ndarray]] = {"gain": [], "noise": [], "a00": [], "a": [], "n": []}
        for seed in range(n_seeds):
            found = fit_amplifier(make_curve(model, 40, np.random.default_rng(seed)), FitConfig(model=model))
            a, _, noise = truth()
            side = len(found.a)
            pulls["gain"].append(np.array([(found.gain - GAIN) / found.gain_error]))
            pulls["noise"].append(np.array([(found.noise - NOISE) / found.noise_error]))
            pulls["a00"].append(np.array([(found.a00 - A00) / found.a00_error]))
            pulls["a"].append(((found.a - a[:side, :side]) / found.a_error).ravel())
            pulls["n"].append(((found.noise_matrix - noise[:side, :side]) / found.noise_matrix_error).ravel())
        for kind, values in pulls.items():
            pooled = np.concatenate(values)
            # a00 is one of a; alone it shows that eq. 20 squares the noise of all lags, see docs/ptc.md
            good = kind == "a00" or abs(pooled.std() - 1) < max(0.1, 4 / np.sqrt(2 * n_seeds))
            good = good and (kind == "a00" or abs(pooled.mean()) < 0.1 + 4 / np.sqrt(n_seeds))
            fine &= bool(good)
            verdict = "" if good else "  NOT AS IT SHOULD BE"
            print(f"  {model:20s} {kind:6s} mean {pooled.mean():+.3f}  width {pooled.std():.3f}{verdict}")
    return fine


def fit_images(n_levels: int = 40, side: int = 1000, steps: int = 16) -> bool:
    """Fit pairs of images of 1 Mpx in which charge was displaced while it came; return whether the truth came out."""
    kernel = BrighterFatter(a10=2e-7, a01=6.4e-7, a11=2.2e-7, steps=steps)
    rng = np.random.default_rng(1)
    measured = []
    for level in np.geomspace(100, 120_000, n_levels):
        light = np.full((side, side), level)
        flats = [collect_light(light, kernel, rng) + rng.normal(0, NOISE, light.shape) for _ in range(2)]
        measured.append(measure_amplifier(*((flat / GAIN).astype(np.float32) for flat in flats)))
    columns = ("mean_used", "variance", "covariance_error", "covariance")
    curve = Curve.of(*(np.array([getattr(item, name) for item in measured]) for name in columns))
    found = fit_amplifier(curve, FitConfig(model="FULLCOVARIANCE_NO_B"))
    checks = {
        "gain": (found.gain / GAIN - 1, 0.002),
        "noise": (found.noise / NOISE - 1, 0.02),
        "a00": (found.a00 - kernel.a00, 4 * found.a00_error),
        "a01": (found.a[0, 1] - kernel.a01, 4 * found.a_error[0, 1]),
        "a10": (found.a[1, 0] - kernel.a10, 4 * found.a_error[1, 0]),
    }
    for name, (off, limit) in checks.items():
        print(f"  {name:6s} off by {off:+.2e}, limit {limit:.2e}")
    print(f"  chi2/dof {found.chi2_dof:.3f}")
    return all(abs(off) < limit for off, limit in checks.values())


def main() -> int:
    """Run the benchmark; return 0 if all numbers are as they should be."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=2000)
    parser.add_argument("--images", action="store_true")
    options = parser.parse_args()
    fine = compare_speed(16, 300) < 2.0
    print(f"pulls over {options.seeds} seeds, 40 levels of 1 Mpx")
    fine &= check_pulls(options.seeds)
    if options.images:
        print("images of 1 Mpx with displaced charge, 40 levels")
        fine &= fit_images()
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
