"""A simulated run: which files, with which headers, in which order and how they come into the folder."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.time import Time

from streamcal.simulate import (
    DEFAULT_CAMERA,
    TRUTH_NAME,
    Truth,
    load_truth,
    plan_run,
    ptc_levels,
    simulate_run,
    write_file,
)

CAMERA = replace(DEFAULT_CAMERA, shape=(32, 24), overscan=8)


def run(folder, levels=(1000.0, 2000.0), **options):
    """Simulate a small run and return the names of its files in the order in which they landed."""
    landed = []
    simulate_run(folder, CAMERA, levels, report=landed.append, **options)
    return [path.name for path in landed]


def digests(folder):
    """Return a digest of each file by its name."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_two_files_a_level_and_the_truth(tmp_path):
    """Two levels: four flats in order of their ids, and what they were made from."""
    assert run(tmp_path) == [f"SIM0001_00000{n}_S00.fits" for n in (1, 2, 3, 4)]
    assert len(list(tmp_path.iterdir())) == 5
    assert load_truth(tmp_path) == Truth(camera=CAMERA, seed=1, levels=(1000.0, 2000.0))


def test_truth_is_there_before_the_first_file(tmp_path):
    """Who reacts to a file finds what it was made from."""
    seen = []
    simulate_run(tmp_path, CAMERA, [500.0], report=lambda path: seen.append(load_truth(tmp_path).camera == CAMERA))
    assert seen == [True, True]
    assert TRUTH_NAME == "truth.json"


def test_primary_header_says_what_the_exposure_is(tmp_path):
    """Kind, identity, time and level of the second flat of the second level, and no data."""
    run(tmp_path, run_id="R7")
    with fits.open(tmp_path / "R7_000004_S00.fits") as hdus:
        header = hdus[0].header
        assert hdus[0].data is None
    expected = {
        "INSTRUME": "simulated",
        "DETECTOR": "S00",
        "IMAGETYP": "FLAT",
        "EXPID": 4,
        "RUNID": "R7",
        "FILTER": "r",
        "EXPTIME": 4.0,
        "FLUX": 2000.0,
        "TIMESYS": "UTC",
    }
    assert {key: header[key] for key in expected} == expected
    # 2 + 2 + 4 s of light and three read-outs of 2 s before it
    assert header["MJD-OBS"] == pytest.approx(61000 + 14 / 86400, abs=1e-8)
    assert Time(header["DATE-OBS"], scale="utc").mjd == pytest.approx(header["MJD-OBS"], abs=2e-8)


def test_amplifier_headers_say_where_pixels_lie(tmp_path):
    """Sections count from one, stop included; C01 is read from the right."""
    run(tmp_path)
    with fits.open(tmp_path / "SIM0001_000001_S00.fits") as hdus:
        headers = [hdu.header for hdu in hdus[1:]]
        data = hdus["C01"].data
    assert [header["EXTNAME"] for header in headers] == ["C00", "C01", "C10", "C11"]
    assert [header["CORNER"] for header in headers] == ["LL", "LR", "UL", "UR"]
    assert [headers[0][key] for key in ("DATASEC", "BIASSEC", "PRESEC", "DETSEC")] == [
        "[9:32,1:32]",
        "[33:40,1:32]",
        "[1:8,1:32]",
        "[1:24,1:32]",
    ]
    assert [headers[1][key] for key in ("DATASEC", "BIASSEC", "PRESEC", "DETSEC")] == [
        "[9:32,1:32]",
        "[1:8,1:32]",
        "[33:40,1:32]",
        "[25:48,1:32]",
    ]
    assert headers[1]["SATURATE"] == 56225.0
    assert data.dtype == np.uint16
    assert data[:, :8].mean() == pytest.approx(1100, abs=2)
    assert data[:, 8:32].mean() == pytest.approx(1100 + 1000 / 1.6, rel=0.05)


def test_second_flat_of_a_level_drifts(tmp_path):
    """Lamp drift changes the light, never the nominal level in the header."""
    first, second = plan_run(replace(CAMERA, lamp_drift=0.01), [1000.0])
    assert (first.electrons, second.electrons) == (1000.0, 1010.0)
    assert first.level == second.level == 1000.0


def test_same_seed_gives_same_bytes(tmp_path):
    """Two runs differ in no byte of any file, truth and compressed files included; another seed in all flats."""
    for suffix in (".fits", ".fits.fz", ".fits.gz"):
        folders = [tmp_path / f"{suffix}{n}" for n in range(3)]
        for folder, seed in zip(folders, (3, 3, 4), strict=True):
            run(folder, levels=(500.0,), seed=seed, suffix=suffix)
        first, again, other = (digests(folder) for folder in folders)
        assert first == again
        assert not set(first.items()) & set(other.items())


def test_no_two_flats_are_the_same(tmp_path):
    """Exposures and detectors have noise of their own."""
    run(tmp_path, levels=(500.0,), detectors=("S00", "S01"))
    pixels = {fits.getdata(path, "C00").tobytes() for path in tmp_path.glob("*.fits")}
    assert len(pixels) == 4


@pytest.mark.parametrize("suffix", [".fits.fz", ".fits.gz"])
def test_compressed_files_hold_the_same_pixels(tmp_path, suffix):
    """Rice and gzip lose nothing."""
    plain, packed = run(tmp_path, levels=(500.0,)), run(tmp_path, levels=(500.0,), run_id="Z", suffix=suffix)
    for one, other in zip(plain, packed, strict=True):
        for name in ("C00", "C11"):
            first, second = fits.getdata(tmp_path / one, name), fits.getdata(tmp_path / other, name)
            assert first.dtype == second.dtype == np.uint16
            np.testing.assert_array_equal(first, second)


def test_biases_come_first(tmp_path):
    """Bias frames are exposures of zero seconds with their own kind."""
    names = run(tmp_path, levels=(500.0,), biases=2)
    headers = [fits.getheader(tmp_path / name) for name in names]
    assert [header["IMAGETYP"] for header in headers] == ["BIAS", "BIAS", "FLAT", "FLAT"]
    assert [header["EXPTIME"] for header in headers] == [0.0, 0.0, 1.0, 1.0]


def test_interleaved_levels_alternate():
    """A B A B, then the odd last level alone."""
    shots = plan_run(CAMERA, [1.0, 2.0, 3.0], order="interleaved")
    assert [shot.level for shot in shots] == [1.0, 2.0, 1.0, 2.0, 3.0, 3.0]
    assert [shot.exposure_id for shot in shots] == [1, 2, 3, 4, 5, 6]


def test_shuffled_files_land_out_of_order(tmp_path):
    """The exposures are those of a paired run, byte for byte; only their landing is not in order."""
    levels = (100.0, 200.0, 400.0)
    paired, shuffled = run(tmp_path / "a", levels), run(tmp_path / "b", levels, order="shuffled")
    assert paired == sorted(paired)
    assert shuffled != paired
    assert sorted(shuffled) == paired
    assert digests(tmp_path / "a") == digests(tmp_path / "b")


def test_flats_per_level_makes_singles_and_extras():
    """One a level finds no partner, three leave one over."""
    assert [shot.level for shot in plan_run(CAMERA, [5.0, 6.0], flats_per_level=1)] == [5.0, 6.0]
    assert [shot.level for shot in plan_run(CAMERA, [5.0], flats_per_level=3)] == [5.0, 5.0, 5.0]


def test_a_run_never_overwrites(tmp_path):
    """The same run again stops before it writes; further ids of the same camera may join."""
    run(tmp_path, levels=(500.0,))
    before = digests(tmp_path)
    with pytest.raises(FileExistsError, match=r"SIM0001_000002_S00\.fits: exists already"):
        run(tmp_path, levels=(700.0,), first_id=2)
    assert digests(tmp_path) == before
    assert run(tmp_path, levels=(700.0,), first_id=3) == ["SIM0001_000003_S00.fits", "SIM0001_000004_S00.fits"]


def test_a_folder_has_one_camera(tmp_path):
    """A truth that would be wrong for the files already there is refused."""
    run(tmp_path, levels=(500.0,))
    with pytest.raises(FileExistsError, match="holds a run of another camera"):
        simulate_run(tmp_path, replace(CAMERA, gradient=2.0), [700.0], first_id=3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"style": "fast"}, "style must be one of rename, direct, slow, got 'fast'"),
        ({"suffix": ".zip"}, r"name must end in one of \.fits, \.fits\.fz, \.fits\.gz, got '\.zip'"),
        ({"order": "random"}, "order must be one of paired, interleaved, shuffled, got 'random'"),
        ({"levels": (100.0, 0.0)}, r"levels must be some numbers above zero, got \[100\.0, 0\.0\]"),
        ({"levels": ()}, r"levels must be some numbers above zero, got \[\]"),
        ({"levels": (float("nan"),)}, r"levels must be some numbers above zero, got \[nan\]"),
        ({"flats_per_level": 0}, "flats_per_level must be at least 1, got 0"),
    ],
)
def test_wrong_arguments_write_nothing(tmp_path, options, message):
    """They are found before the folder is made."""
    with pytest.raises(ValueError, match=message):
        run(tmp_path / "new", **options)
    assert not (tmp_path / "new").exists()


def test_levels_are_log_spaced():
    """From the lowest to the fraction of full well, in equal ratios."""
    assert ptc_levels(4, 100000.0, lowest=80.0) == (80.0, 800.0, 8000.0, 80000.0)
    assert len(set(ptc_levels(300))) == 300


@pytest.mark.parametrize("arguments", [{"count": 0}, {"count": 3, "lowest": 0.0}, {"count": 3, "lowest": 1e6}])
def test_impossible_levels_are_refused(arguments):
    """No level, a level of zero, levels beyond the last one."""
    with pytest.raises(ValueError, match=r"(count|lowest) must .* got"):
        ptc_levels(**arguments)


def test_levels_differ_by_more_than_the_pairing_tolerance():
    """Exposure times of different levels are told apart by TIME pairing (0.005 s), for 100 levels too."""
    times = [shot.exposure_time for shot in plan_run(CAMERA, ptc_levels(100), flats_per_level=1)]
    assert np.diff(times).min() > 0.01


def test_rename_uses_a_hidden_name(tmp_path, monkeypatch):
    """All bytes are there, under a name that no source takes, before the file appears."""
    seen = []

    def look(path, target):
        seen.append((path.name, path.read_bytes(), target.exists()))
        path.rename(target)

    monkeypatch.setattr(Path, "replace", look)
    write_file(tmp_path / "a.fits", b"content", "rename")
    assert seen == [(".a.fits.part", b"content", False)]
    assert [path.name for path in tmp_path.iterdir()] == ["a.fits"]


def test_direct_writes_in_place(tmp_path, monkeypatch):
    """Nothing is renamed."""
    monkeypatch.delattr(Path, "replace")
    write_file(tmp_path / "a.fits", b"content", "direct")
    assert (tmp_path / "a.fits").read_bytes() == b"content"


def test_slow_grows_in_place(tmp_path, monkeypatch):
    """A reader sees eight parts, one after each pause, that add up to the file."""
    sizes, pauses = [], []

    def look(seconds):
        pauses.append(seconds)
        sizes.append((tmp_path / "a.fits").stat().st_size)

    monkeypatch.setattr("streamcal.simulate.files.time.sleep", look)
    write_file(tmp_path / "a.fits", bytes(range(80)), "slow", slow_seconds=4.0)
    assert sizes == [10, 20, 30, 40, 50, 60, 70, 80]
    assert pauses == [0.5] * 8
    assert (tmp_path / "a.fits").read_bytes() == bytes(range(80))


def test_interval_pauses_between_files(tmp_path, monkeypatch):
    """The camera waits as long as it was told, after each file."""
    pauses = []
    monkeypatch.setattr("streamcal.simulate.run.time.sleep", pauses.append)
    run(tmp_path, levels=(500.0,), interval_seconds=7.0)
    assert pauses == [7.0, 7.0]
