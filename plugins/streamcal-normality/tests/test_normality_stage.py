"""The stage on simulated, digitised flats: alone, in a chain, and as an installed plugin."""

import json
import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import streamcal_normality
from pydantic import ValidationError
from scipy.stats import kstest
from streamcal_normality.stage import COLUMNS, NormalitySettings, measure_normality

from streamcal import MaskBit
from streamcal.chain import build_chain
from streamcal.plugins import load_plugins
from streamcal.testing import SMALL_CAMERA, RecordingContext, make_pair

EVEN_CAMERA = replace(SMALL_CAMERA, gradient=1.0)
DARK_CAMERA = replace(  # 0.5 e-/ADU and hardly any noise: single electrons show
    EVEN_CAMERA, amplifiers=tuple(replace(item, gain=0.5, read_noise=0.1) for item in EVEN_CAMERA.amplifiers)
)


def measure(pair, **settings):
    """Run the stage alone."""
    return measure_normality(pair, NormalitySettings(**settings), RecordingContext("normality"))


@pytest.fixture(scope="module")
def many():
    """Rows of 100 pairs of four amplifiers, digitised, with their pairs' variances."""
    camera = replace(EVEN_CAMERA, shape=(64, 64))
    pairs = [make_pair(electrons=20000, camera=camera, seed=seed) for seed in range(100)]
    return [(pair.difference(name).variance, row) for pair in pairs for name, row in measure(pair).items()]


def test_p_is_uniform_on_digitised_light(many):
    """Gaussian noise of the light and of the amplifier, rounded to whole ADU."""
    assert kstest([row["normality_ks_p"] for _, row in many], "uniform").pvalue > 0.01


def test_chi2_is_one_on_digitised_light(many):
    """Its mean over 400 amplifiers is 1 within four errors."""
    chi2 = np.array([row["normality_chi2_dof"] for _, row in many])
    assert chi2.mean() == pytest.approx(1.0, abs=4 * chi2.std() / 20)


def test_variance_is_that_of_the_covariance_stage(many):
    """The two agree within a third of the error, for the pixels are the same, and without bias."""
    pulls = np.array([(row["normality_variance"] - wanted) / row["normality_variance_error"] for wanted, row in many])
    assert abs(pulls.mean()) < 4 * pulls.std() / 20
    assert pulls.std() < 1 / 3


def test_error_of_the_variance(many):
    """It is sqrt(2 / n) of the variance, but for what lies beyond four sigma and for the dither."""
    for _, row in many:
        assert row["normality_variance_error"] == pytest.approx(
            row["normality_variance"] * math.sqrt(2 / 64**2), rel=0.03
        )


@pytest.mark.parametrize("quantum", [1.0, 4.0])
def test_coarse_steps_do_not_look_like_structure(quantum):
    """Noise of 6 ADU in steps of 1 or 4 ADU: Gaussian to the test that knows the step."""
    rng = np.random.default_rng(8)
    p_values = []
    for seed in range(100):
        pair = make_pair(electrons=20000, camera=replace(EVEN_CAMERA, shape=(64, 64)), seed=seed)
        for exposure in (pair.first, pair.second):
            noise = rng.normal(5000.0, 6.0, (64, 64))
            exposure.amplifiers["C00"].data[:] = quantum * np.rint(noise / quantum)
        p_values.append(measure(pair, quantum=quantum)["C00"]["normality_ks_p"])
    assert kstest(p_values, "uniform").pvalue > 0.01


def test_coarse_steps_need_their_quantum():
    """Steps of 16 ADU taken for steps of 1 are what is not Gaussian about the values."""
    pair = make_pair(electrons=20000, camera=EVEN_CAMERA)
    for exposure in (pair.first, pair.second):
        data = exposure.amplifiers["C00"].data
        data[:] = 16 * np.rint(data / 16)
    assert measure(pair)["C00"]["normality_ks_p"] < 1e-6
    assert measure(pair)["C00"]["normality_chi2_dof"] > 5


def test_levels_are_matched():
    """A lamp that drifts by 5 % does not make the difference look other than Gaussian."""
    pair = make_pair(electrons=20000, camera=replace(EVEN_CAMERA, lamp_drift=0.05))
    rows = measure(pair)
    assert abs(pair.difference("C00").mean_2 / pair.difference("C00").mean_1 - 1) > 0.04
    assert min(row["normality_ks_p"] for row in rows.values()) > 0.001
    assert max(row["normality_chi2_dof"] for row in rows.values()) < 1.6


def test_uneven_light_is_no_mixture():
    """Light that falls to a fifth leaves p uniform, and the variance where it was; taken as it is, it does not."""
    camera = replace(SMALL_CAMERA, gradient=5.0, crosstalk=(), amplifiers=SMALL_CAMERA.amplifiers[:1])
    pairs = [make_pair(electrons=20000, camera=camera, seed=seed) for seed in range(60)]
    rows = [measure(pair)["C00"] for pair in pairs]
    plain = [measure(pair, even_out=False)["C00"] for pair in pairs]
    assert kstest([row["normality_ks_p"] for row in rows], "uniform").pvalue > 0.01
    assert np.median([row["normality_ks_p"] for row in plain]) < 1e-4
    for pair, row in zip(pairs, rows, strict=True):
        assert row["normality_variance"] == pytest.approx(
            pair.difference("C00").variance, abs=row["normality_variance_error"]
        )


def test_single_electrons_are_detected_without_evening_out_too():
    """Poisson light of one electron has an excess kurtosis of one half."""
    rows = measure(make_pair(electrons=1, camera=DARK_CAMERA), even_out=False)
    assert max(row["normality_ks_p"] for row in rows.values()) < 1e-6


def test_a_gain_far_from_one_is_measured():
    """The histogram follows the noise that is there: 50 ADU to the electron."""
    camera = replace(
        EVEN_CAMERA, amplifiers=tuple(replace(item, gain=0.02, read_noise=1.0) for item in EVEN_CAMERA.amplifiers)
    )
    row = measure(make_pair(electrons=900, camera=camera))["C00"]
    assert row["normality_variance"] == pytest.approx((900 + 1) / 0.02**2, abs=5 * row["normality_variance_error"])
    assert row["normality_chi2_dof"] < 1.6


def test_single_electrons_are_detected():
    """Poisson light of half an electron is no Gaussian."""
    rows = measure(make_pair(electrons=0.5, camera=DARK_CAMERA))
    assert max(row["normality_ks_p"] for row in rows.values()) < 1e-6
    assert min(row["normality_chi2_dof"] for row in rows.values()) > 5


def test_a_mixture_is_detected_and_its_core_measured():
    """Every tenth column three times as noisy: variance rises by some 60 %, that of the core by much less."""
    pair = make_pair(electrons=20000, camera=EVEN_CAMERA)
    clean = measure(make_pair(electrons=20000, camera=EVEN_CAMERA))["C00"]
    data = pair.first.amplifiers["C00"].data
    sigma = math.sqrt(2 * clean["normality_variance"])
    data[:, ::10] += np.random.default_rng(9).normal(0, math.sqrt(8) * sigma, data[:, ::10].shape)
    row = measure(pair, range_sigmas=2.0)["C00"]
    assert row["normality_ks_p"] < 1e-6
    assert pair.difference("C00").variance > 1.5 * clean["normality_variance"]
    assert row["normality_variance"] < 1.25 * clean["normality_variance"]


def test_bad_pixels_are_left_out():
    """NaN in one flat and masked pixels in the other change nothing but the number of pixels."""
    pair = make_pair(electrons=20000, camera=EVEN_CAMERA)
    pair.first.amplifiers["C00"].data[10] = np.nan
    pair.second.amplifiers["C00"].mask[20] = MaskBit.BAD
    pair.second.amplifiers["C00"].data[20] = 1e9
    row = measure(pair)["C00"]
    assert row["normality_variance"] == pytest.approx(pair.difference("C00").variance, rel=0.01)
    assert row["normality_ks_p"] > 0.001


def test_too_few_pixels_are_not_measured():
    """NaN in all columns and a warning that names the amplifier; the others are measured."""
    pair = make_pair(electrons=20000)
    pair.first.amplifiers["C01"].mask[:, 4:] = MaskBit.SAT
    context = RecordingContext("normality")
    rows = measure_normality(pair, NormalitySettings(), context)
    assert rows["C01"].keys() == {column.name for column in COLUMNS}
    assert all(math.isnan(value) for value in rows["C01"].values())
    assert math.isfinite(rows["C00"]["normality_ks_p"])
    assert [(event["amplifier"], event["pixels"]) for event in context.events] == [("C01", 512)]


def test_a_dead_amplifier_is_nan_not_an_error():
    """Without a level above zero no pixel is used."""
    pair = make_pair(electrons=20000)
    pair.first.amplifiers["C11"].data[:] = 0
    assert all(math.isnan(value) for value in measure(pair)["C11"].values())


def test_a_pair_measured_again_gives_the_same_numbers():
    """The dither depends on pair and amplifier, on nothing else."""
    assert measure(make_pair(seed=3)) == measure(make_pair(seed=3))


def test_amplifiers_have_dithers_of_their_own():
    """Equal pixels in two amplifiers give nearly equal, not identical, numbers."""
    pair = make_pair(seed=3)
    for exposure in (pair.first, pair.second):
        exposure.amplifiers["C01"].data[:] = exposure.amplifiers["C00"].data
    rows = measure(pair)
    assert rows["C00"]["normality_variance"] == pytest.approx(rows["C01"]["normality_variance"], rel=0.01)
    assert rows["C00"] != rows["C01"]


def test_time_is_told():
    """The four steps go to the timings."""
    context = RecordingContext("normality")
    measure_normality(make_pair(), NormalitySettings(), context)
    assert context.timings.keys() == {f"normality:{step}" for step in ("dither", "even out", "fit", "ks")}


@pytest.mark.parametrize(
    "setting", [{"n_bins": 9}, {"range_sigmas": 7.0}, {"min_pixels": 10}, {"quantum": -1.0}, {"bins": 100}]
)
def test_settings_are_checked(setting):
    """Values out of range and unknown keys are refused."""
    with pytest.raises(ValidationError):
        NormalitySettings(**setting)


def test_it_is_found_and_runs_behind_the_built_in_stages():
    """Through its entry point, sharing the difference of the stage covariance."""
    plugins = load_plugins()
    chain = build_chain(["isr", "covariance", "gain", "normality"], {"normality": {"n_bins": 50}}, plugins)
    context = RecordingContext()
    rows = chain.run(make_pair(electrons=20000, corrected=False), context)
    assert plugins.plugin_of("normality") == "normality"
    for row in rows.values():
        assert row["normality_variance"] == pytest.approx(row["variance"], rel=0.01)
        assert row["gain"] > 0
    assert "normality:fit" in context.timings


def test_the_command_line_lists_it():
    """`streamcal plugins` shows name, version, hook and stage."""
    command = [sys.executable, "-m", "streamcal", "plugins", "--json"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    info = next(item for item in json.loads(result.stdout) if item["name"] == "normality")
    assert info["version"] == streamcal_normality.__version__
    assert (info["hooks"], info["stages"]) == (["streamcal_stages"], ["normality"])
    assert info["path"].endswith("streamcal_normality/stage.py")
