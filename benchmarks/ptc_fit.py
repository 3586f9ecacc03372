"""The fit of photon transfer curves: how fast beside a plain least-squares fit, and whether its errors are honest.

python -m benchmarks.ptc_fit                 pulls over 2000 seeds: three minutes
python -m benchmarks.ptc_fit --seeds 100
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from scipy.optimize import least_squares

from benchmarks.common import Finding, at_most, report
from streamcal.ptc import MODELS, Curve, FitConfig, fit_amplifier, make_model

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "ptc"))  # the truth that the tests know
from ptc_truth import A00, CUBIC, GAIN, NOISE, kernel, levels, make_curve, noise_matrix, slope


def draw_curve(model: str, n_pairs: int, rng: np.random.Generator, n_pixels: int = 1_000_000) -> Curve:
    """Return a noisy curve at 8 x 8 lags, up to 120000 e-."""
    return make_curve(model, rng=rng, mean=levels(n_pairs), n_pixels=n_pixels)


def fit_plainly(curve: Curve) -> tuple[np.ndarray, int]:
    """Fit FULLCOVARIANCE to all residuals as one would without derivatives; return parameters and evaluations."""
    model = make_model("FULLCOVARIANCE", 8)

    def residuals(parameters: np.ndarray) -> np.ndarray:
        return ((model.evaluate(curve.mean, parameters) - curve.covariance) / curve.error).ravel()

    start = model.start(1.4, -2e-6, 25.0)
    scale = np.concatenate([[1.0], np.full(64, 1e-8), np.full(64, 1.0), np.full(64, 1e-14)])
    found = least_squares(residuals, start, x_scale=scale, method="trf")
    return found.x, found.nfev * (1 + model.n_parameters)


def compare_speed(n_amplifiers: int, n_pairs: int) -> list[Finding]:
    """Time ours for all amplifiers, and the plain fit for one."""
    rng = np.random.default_rng(1)
    curves = [draw_curve("FULLCOVARIANCE", n_pairs, rng) for _ in range(n_amplifiers)]
    fit_amplifier(curves[0])  # imports and caches
    began = time.process_time()
    gains = [fit_amplifier(curve).gain for curve in curves]
    ours = time.process_time() - began
    began = time.process_time()
    plain, evaluations = fit_plainly(curves[0])
    theirs = time.process_time() - began
    same = f"gain {gains[0]:.5f} and {plain[0]:.5f}"
    what = f"{n_amplifiers} amplifiers x {n_pairs} pairs, FULLCOVARIANCE 8 x 8"
    return [
        at_most(f"fit of {what} (s)", ours, 2.0),
        Finding(
            what="plain least squares without derivatives / that, one amplifier",
            value=theirs * n_amplifiers / ours,
            detail=f"{theirs:.2f} s, {evaluations} evaluations of the model; {same}",
        ),
    ]


def time_poor_ramps(n_amplifiers: int, n_pairs: int, n_pixels: int) -> list[Finding]:
    """Time curves that hardly determine most of the 193 parameters, which is where a search takes long."""
    rng = np.random.default_rng(1)
    curves = [draw_curve("FULLCOVARIANCE", n_pairs, rng, n_pixels) for _ in range(n_amplifiers)]
    began = time.process_time()
    solved = [fit_amplifier(curve).good for curve in curves]
    seconds = time.process_time() - began
    what = f"fit of {n_amplifiers} amplifiers x {n_pairs} pairs of {n_pixels} pixels, FULLCOVARIANCE 8 x 8 (s)"
    return [Finding(what=what, value=seconds, detail=f"{sum(solved)} of {n_amplifiers} converge")]


def find_pulls(model: str, seed: int) -> dict[str, np.ndarray]:
    """Return what is found less the truth, over the error, by kind of parameter.

    The data determine the products ab; b = ab / a is one of the pulls where a is known to 5 %, elsewhere it is no
    number with a Gaussian error.
    """
    found = fit_amplifier(draw_curve(model, 40, np.random.default_rng(seed)), FitConfig(model=model))
    side = len(found.a)
    a, b, noise = kernel(side), slope(side), noise_matrix(side)
    pulls = {
        "gain": (found.gain - GAIN) / found.gain_error,
        "noise": (found.noise - NOISE) / found.noise_error,
        "a": (found.a - a) / found.a_error,
        "n": (found.noise_matrix - noise) / found.noise_matrix_error,
        "a00": (found.a00 - A00) / found.a00_error,  # also by itself: its bias is the largest
    }
    errors = np.sqrt(np.diag(found.parameter_covariance))
    if model == "FULLCOVARIANCE":
        known = found.a_error < 0.05 * np.abs(found.a)
        pulls["ab"] = (found.parameters[-a.size :] - (a * b).ravel()) / errors[-a.size :]
        pulls["b"] = ((found.b - b) / found.b_error)[known]
    if model == "POLYNOMIAL":
        pulls["k"] = (found.parameters[3] - CUBIC) / errors[3]
    return {kind: np.ravel(values) for kind, values in pulls.items()}


def check_pulls(model: str, n_seeds: int) -> list[Finding]:
    """Print mean and width of the pulls by kind of parameter, and return the worst of each."""
    by_seed = [find_pulls(model, seed) for seed in range(n_seeds)]
    pooled = {kind: np.concatenate([pulls[kind] for pulls in by_seed]) for kind in by_seed[0]}
    for kind, pulls in pooled.items():
        print(f"  {model:20s} {kind:6s} mean {pulls.mean():+.3f}  width {pulls.std():.3f}")
    means = {kind: abs(pulls.mean()) for kind, pulls in pooled.items()}
    widths = {kind: abs(pulls.std() - 1) for kind, pulls in pooled.items()}
    return [
        _judge_worst(f"{model}: worst mean of pulls", means, 0.1 + 4 / np.sqrt(n_seeds), n_seeds),
        _judge_worst(f"{model}: worst width of pulls, off 1 by", widths, max(0.1, 4 / np.sqrt(2 * n_seeds)), n_seeds),
    ]


def _judge_worst(what: str, values: dict[str, float], limit: float, n_seeds: int) -> Finding:
    worst = max(values, key=lambda kind: values[kind])
    detail = f"{worst}, the worst of {', '.join(values)}; {n_seeds} seeds"
    return at_most(what, float(values[worst]), round(float(limit), 3), detail)


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=2000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    findings = compare_speed(16, 300) + time_poor_ramps(16, 12, 16384)
    print(f"pulls over {options.seeds} seeds, 40 levels of 1 Mpx")
    for model in MODELS:
        findings += check_pulls(model, options.seeds)
    report(findings)


if __name__ == "__main__":
    main()
