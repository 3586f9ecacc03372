"""`streamcal crosstalk measure` as a user meets it: from exposures of spots to a matrix, a file and an exit code."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from streamcal.calibs import CrosstalkCalib
from streamcal.calibs.coupling import orient
from streamcal.cli.main import main
from streamcal.instruments import load_instrument
from streamcal.records import ReadoutCorner
from streamcal.simulate import Camera, SimulatedAmplifier, read_out, write_exposure
from streamcal.simulate.plan import Shot
from streamcal.template import write_value

CORNERS = tuple(ReadoutCorner)


def make_camera(matrix, gains, *, columns=2, shape=(160, 96)):
    """Return a camera with crosstalk of these coefficients for electrons, read at all four corners."""
    amplifiers = tuple(
        SimulatedAmplifier(
            name=f"C{n:02d}", gain=gain, read_noise=5.0, corner=CORNERS[n % 4], column=n % columns, row=n // columns
        )
        for n, gain in enumerate(gains)
    )
    adu = np.asarray(matrix) * np.asarray(gains) / np.reshape(gains, (-1, 1))
    crosstalk = tuple(map(tuple, adu.tolist()))
    return Camera(amplifiers=amplifiers, shape=shape, prescan=4, overscan=16, crosstalk=crosstalk)


def add_quadratic(light, camera, squares):
    """Add to the light of each amplifier the quadratic crosstalk of all others, in electrons."""
    places = [(camera.place(amplifier), amplifier.corner) for amplifier in camera.amplifiers]
    images = [orient(light[place.y0 : place.y1, place.x0 : place.x1], corner) for place, corner in places]
    for image, extra in zip(images, np.einsum("ts,syx->tyx", squares, np.square(images)), strict=True):
        image[...] += extra


def write_spots(folder, camera, n_exposures, *, n_spots=2, detector="S00", peak=8e4, squares=None):
    """Write exposures of spots at random places, two on each amplifier, over a faint sky; return the files."""
    rng = np.random.default_rng(3)
    rows, columns = camera.grid[0] * camera.shape[0], camera.grid[1] * camera.shape[1]
    y, x = np.mgrid[:rows, :columns]
    paths = [folder / f"spots_{n}_{detector}.fits" for n in range(n_exposures)]
    for n, path in enumerate(paths):
        light = np.full((rows, columns), 100.0)
        for amplifier in camera.amplifiers:
            place = camera.place(amplifier)
            for cy, cx in rng.uniform((place.y0, place.x0), (place.y1, place.x1), (n_spots, 2)):
                light += rng.uniform(0.6, 1.0) * peak * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * 6.0**2))
        if squares is not None:
            add_quadratic(light, camera, squares)
        shot = Shot(exposure_id=n + 1, detector=detector, exposure_time=15.0, image_type="FLAT")
        write_exposure(path, camera, shot, read_out(camera, rng.poisson(light), rng))
    return paths


def measure(*arguments, cwd):
    """Run the command; return its result."""
    command = [sys.executable, "-m", "streamcal", "crosstalk", "measure", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False, cwd=cwd)


@pytest.fixture
def call(monkeypatch, capsys):
    """Run the command in this process; return exit code and stderr."""

    def run(*arguments, cwd):
        monkeypatch.chdir(cwd)
        monkeypatch.setattr(sys, "argv", ["streamcal", "crosstalk", "measure", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, capsys.readouterr().err

    return run


def write_config(path, n_amplifiers, **stages):
    """Write a configuration for a simulated camera of so many amplifiers."""
    table = load_instrument("simulated", base=path.parent).to_dict()
    table["geometry"]["images"] = n_amplifiers
    lines = [f"instrument = {write_value(without_none(table))}"]
    lines += [f"stages.{name} = {write_value(settings)}" for name, settings in stages.items()]
    path.write_text("\n".join(lines))
    return path


def without_none(value):
    """Return a table without what TOML cannot say."""
    if isinstance(value, dict):
        return {key: without_none(item) for key, item in value.items() if item is not None}
    return value


def pulls(calib, truth):
    """Return deviations from the truth in units of the errors, without the diagonal."""
    others = ~np.eye(len(truth), dtype=bool)
    return ((calib.coeffs - truth) / calib.coeff_err)[others]


MATRIX = 1e-4 * np.array([[0.0, 3.0, 1.2, -0.4], [2.5, 0.0, 0.5, 1.0], [1.1, 0.6, 0.0, 2.0], [-0.3, 0.9, 1.8, 0.0]])
GAINS = (1.5, 1.6, 1.7, 1.8)


@pytest.fixture(scope="module")
def spots(tmp_path_factory):
    """Return a folder with three exposures of spots on four amplifiers of the simulated camera."""
    folder = tmp_path_factory.mktemp("spots")
    write_spots(folder, make_camera(MATRIX, GAINS), 3)
    return folder


def test_matrix_of_lsstcam_comes_back_from_files(reference, tmp_path):
    """R22_S11's 240 coefficients for electrons: from FITS files of 16 bits to a FITS file, pulls of width 1 +- 0.15."""
    truth = CrosstalkCalib.read_text(reference / "crosstalk" / "lsstcam" / "r22_s11.ecsv").coeffs
    gains = np.linspace(1.4, 1.8, 16)
    paths = write_spots(tmp_path, make_camera(truth, gains, columns=8, shape=(256, 128)), 3)
    by_amplifier = {f"C{n:02d}": float(gain) for n, gain in enumerate(gains)}
    config = write_config(tmp_path / "run.toml", 16, crosstalk={"gains": by_amplifier})
    done = measure(*paths, "-c", config, "--units", "electron", "--output", "found.fits", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    calib = CrosstalkCalib.read_fits(tmp_path / "found.fits")
    calib.validate()
    pull = pulls(calib, truth)
    assert pull.size == 240
    assert pull.std() == pytest.approx(1, abs=0.15)
    assert abs(pull.mean()) < 0.2
    assert calib.crosstalk_ratios_units == "electron"
    assert calib.fit_gains == pytest.approx(gains)


def test_table_shows_what_the_file_holds(spots):
    """A row per target with value and error of each source; who was measured stands in the metadata."""
    done = measure(*spots.glob("*.fits"), "--instrument", "simulated", "--output", "found.ecsv", cwd=spots)
    assert done.returncode == 0, done.stderr
    calib = CrosstalkCalib.read_text(spots / "found.ecsv")
    title, heading, *rows = done.stdout.splitlines()
    assert title == "linear coefficients, 1e-06, of adu; a row is what an amplifier receives"
    assert heading.split() == ["target", "C00", "C01", "C02", "C03"]
    assert [row.split()[0] for row in rows] == ["C00", "C01", "C02", "C03"]
    assert rows[0].split()[1:5] == ["-", f"{1e6 * calib.coeffs[0, 1]:.2f}", "+-", f"{1e6 * calib.coeff_err[0, 1]:.2f}"]
    assert np.abs(pulls(calib, MATRIX * np.array(GAINS) / np.reshape(GAINS, (-1, 1)))).max() < 4
    metadata = calib.get_metadata()
    assert [metadata[key] for key in ("INSTRUME", "DETECTOR_NAME", "CPP_INPUT_0")] == ["simulated", "S00", "1"]
    assert done.stderr == "wrote found.ecsv\n"


def test_quadratic_term_on_request(spots):
    """It has a table of its own, and stands in the file."""
    paths = spots.glob("*.fits")
    done = measure(*paths, "--instrument", "simulated", "--quadratic", "--output", "found.yaml", cwd=spots)
    assert "quadratic coefficients, 1e-12 per adu" in done.stdout
    calib = CrosstalkCalib.read_text(spots / "found.yaml")
    others = ~np.eye(4, dtype=bool)
    assert (np.abs(calib.coeffs_sqr / calib.coeff_err_sqr)[others] < 4.5).all()  # the truth is zero
    assert (calib.coeff_err_sqr[others] > 0).all()


def test_quadratic_matrix_comes_back_from_files(tmp_path):
    """Coefficients of some 1e-8 per electron, 50 e- under the brightest spots: within the errors, far from zero."""
    squares = 1e-8 * np.array([[0, 1, 2, 1.5], [1.2, 0, 1, 2], [2, 1.5, 0, 1.2], [1, 2, 1.5, 0]])
    paths = write_spots(tmp_path, make_camera(MATRIX, GAINS), 4, squares=squares)
    gains = (f"--gain=C0{n}={gain}" for n, gain in enumerate(GAINS))
    options = ("--instrument", "simulated", "--units", "electron", "--quadratic", "--output", "found.fits")
    done = measure(*paths, *options, *gains, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    calib = CrosstalkCalib.read_fits(tmp_path / "found.fits")
    others = ~np.eye(4, dtype=bool)
    pull = ((calib.coeffs_sqr - squares) / calib.coeff_err_sqr)[others]
    assert np.abs(pull).max() < 4
    assert pull.std() == pytest.approx(1, abs=0.5)
    assert np.abs(pulls(calib, MATRIX)).max() < 4
    assert (calib.coeffs_sqr / calib.coeff_err_sqr)[others].min() > 5


def test_coefficients_of_too_few_pixels_are_counted_and_named(call, spots, tmp_path):
    """A matrix of little else than empty places says so; of nothing else it is refused."""
    files = (*spots.glob("*.fits"), "--instrument", "simulated", "--output")
    code, text = call(*files, "all.yaml", cwd=tmp_path)
    assert (code, text) == (0, "wrote all.yaml\n")
    numbers = CrosstalkCalib.read_text(tmp_path / "all.yaml").coeff_num[~np.eye(4, dtype=bool)]
    code, text = call(*files, "few.yaml", "--min-pixels", str(numbers.max()), cwd=tmp_path)
    few = np.count_nonzero(numbers < numbers.max())
    assert code == 0
    assert f"{few} of 12 coefficients had fewer than {numbers.max()} bright pixels and are empty: C0" in text
    code, text = call(*files, "no.yaml", "--min-pixels", str(numbers.max() + 1), cwd=tmp_path)
    assert (code, text) == (
        3,
        f"streamcal: no coefficient has {numbers.max() + 1} bright pixels, the most are {numbers.max()}\n",
    )
    assert not (tmp_path / "no.yaml").exists()


def test_folder_of_the_output_is_looked_at_before_the_work(call, spots, monkeypatch):
    """Not an exposure is opened when the result could not be written."""
    monkeypatch.setattr("streamcal.cli.crosstalk.inspect_path", lambda *_: pytest.fail("opened an exposure"))
    code, text = call(spots / "spots_0_S00.fits", "--output", "no/x.fits", cwd=spots)
    assert (code, text) == (2, "streamcal: --output: no is no folder that can be written to\n")


def test_bad_amplifiers_are_left_out(spots):
    """Given, or configured for this detector: no numbers, no complaint, and no gain is needed for them."""
    config = write_config(spots / "bad.toml", 4, crosstalk={"bad_amplifiers": ["S00/C02", "S01/C00"]})
    options = ("-c", config, "--bad-amplifier", "C03", "--units", "electron", "--gain", "C00=1.5", "--gain", "C01=1.6")
    done = measure(*spots.glob("*.fits"), *options, "--output", "bad.yaml", cwd=spots)
    assert done.returncode == 0, done.stderr
    assert "nowhere a bright source" not in done.stderr
    calib = CrosstalkCalib.read_text(spots / "bad.yaml")
    assert np.argwhere(np.isfinite(calib.coeff_err)).tolist() == [[0, 1], [1, 0]]


def test_without_output_nothing_is_written(spots):
    """The table is all; gains may be given on the command line."""
    before = sorted(spots.iterdir())
    options = (
        "--instrument",
        "simulated",
        "--units",
        "electron",
        *(f"--gain=C0{n}={gain}" for n, gain in enumerate(GAINS)),
    )
    done = measure(*spots.glob("*.fits"), *options, cwd=spots)
    assert done.returncode == 0, done.stderr
    assert "of electron" in done.stdout
    assert sorted(spots.iterdir()) == before


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--output", "spots_0_S00.fits"], "--output: spots_0_S00.fits is there already"),
        (["--output", "x.txt"], "--output must end in .fits, .ecsv, .yaml, .yml, got x.txt"),
        (["--units", "volt"], "--units must be adu or electron, got 'volt'"),
        (["--units", "electron"], "--units electron needs --gain, or gains in [stages.crosstalk]"),
        (["--gain", "1.5"], "--gain goes with --units electron"),
        (
            ["--units", "electron", "--gain", "C00=x"],
            "--gain must be a number above 0, or AMPLIFIER=NUMBER, got 'C00=x'",
        ),
        (["--units", "electron", "--gain", "2", "--gain", "C00=1"], "--gain is one number for all amplifiers, or "),
        (["--units", "electron", "--gain", "Q7=1"], "--gain: no amplifier 'Q7', there are C00, C01, C02, C03"),
        (["--threshold", "0"], "--threshold must be above 0, got 0.0"),
        (["--min-pixels", "0"], "--min-pixels must be at least 1, got 0"),
        (["--output", "no/such/folder/x.fits"], "--output: no/such/folder is no folder that can be written to"),
        (["--units", "electron", "--gain", "C00=1"], "--gain must be given for all amplifiers, missing: C01, C02, C03"),
        (["--bad-amplifier", "Q7"], "--bad-amplifier: no amplifier 'Q7', there are C00, C01, C02, C03"),
    ],
)
def test_wrong_usage_is_one_line(call, spots, options, reason):
    """Exit code 2, and what to do about it; an exposure is never overwritten."""
    exposure = spots / "spots_0_S00.fits"
    before = exposure.read_bytes()
    code, text = call(exposure, "--instrument", "simulated", *options, cwd=spots)
    assert (code, len(text.splitlines())) == (2, 1), text
    assert reason in text
    assert exposure.read_bytes() == before


def test_exposures_that_cannot_be_used_are_refused(call, spots, tmp_path):
    """Exit code 3, no file: rubbish, one given twice, other detectors, nothing bright."""
    good, rubbish = spots / "spots_0_S00.fits", tmp_path / "rubbish.fits"
    rubbish.write_bytes(b"no FITS at all\n" * 300)
    (other,) = write_spots(tmp_path, make_camera(MATRIX, GAINS), 1, detector="S01")
    (dark,) = write_spots(tmp_path, make_camera(MATRIX, GAINS), 1, detector="S02", peak=100.0)
    for files, reason in (
        ([good, rubbish], "FITS"),
        ([good, tmp_path / "missing.fits"], "missing.fits: No such file"),
        ([good, good], "was given twice, or another file has the same content"),
        ([good, other], "is of detector S01"),
        ([dark], "no pixel is 30000 adu above the median of its amplifier"),
        ([good, "--detector", "S09"], "has no detector 'S09', only S00"),
        ([good, "--instrument", "esis"], f"{good}: has 4 image HDUs, the instrument writes 1"),
    ):
        code, text = call("--instrument", "simulated", *files, "--output", "x.fits", cwd=tmp_path)
        assert code == 3, (files, text)
        assert reason in text
        assert not (tmp_path / "x.fits").exists()


def test_an_amplifier_without_sources_is_named(tmp_path):
    """Its column is empty, without a number or an error; the others are measured."""
    camera = make_camera(MATRIX, GAINS)
    faint = replace(camera.amplifiers[2], full_well=20000.0)
    camera = replace(camera, amplifiers=(*camera.amplifiers[:2], faint, camera.amplifiers[3]))
    paths = write_spots(tmp_path, camera, 3)
    done = measure(*paths, "--instrument", "simulated", "--output", "x.yaml", cwd=tmp_path)
    assert done.returncode == 0
    assert "streamcal: amplifier C02 was nowhere a bright source: its column is empty\n" in done.stderr
    calib = CrosstalkCalib.read_text(tmp_path / "x.yaml")
    empty = np.eye(4, dtype=bool)
    empty[:, 2] = True
    assert np.isnan(calib.coeff_err).tolist() == empty.tolist()
    assert not calib.coeffs[empty].any()
