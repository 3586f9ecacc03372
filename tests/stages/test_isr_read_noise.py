"""Sources of the read noise, and their order."""

import json
import math

import numpy as np
import pytest

from streamcal.errors import StageError
from streamcal.flags import RowFlag
from streamcal.testing import RecordingContext

HEADER_KEY = "LSST ISR OVERSCAN RESIDUAL SERIAL STDEV A"


def flat_amplifier(made, sigma=3.0, seed=1, **values):
    """Return an amplifier of constant light whose overscan has this scatter."""
    rng = np.random.default_rng(seed)
    return made.amplifier(np.full((200, 4), 500), rng.normal(100, sigma, (200, 50)), **values)


@pytest.fixture
def noise_of(isr):
    """Run isr and return the metadata of the amplifier A."""

    def run(exposure, context=None, **settings):
        return isr(exposure, context, **settings).amplifiers["A"].metadata

    return run


@pytest.fixture
def folder_with_darks(tmp_path, made):
    """Return a context whose folder holds two darks of 5 ADU read noise, and how often each was read."""
    rng = np.random.default_rng(4)
    frames, reads = {}, []
    for name in ("dark1.fits", "dark2.fits"):
        (tmp_path / name).write_bytes(b"stands for a file")
        data, overscan = (rng.normal(100, 5, (400, n)) for n in (200, 50))
        frames[tmp_path / name] = made.exposure(made.amplifier(data, overscan))

    class Context(RecordingContext):
        def _load(self, path):
            reads.append(path.name)
            return super()._load(path)

    return Context("isr", folders=(tmp_path,), exposures=frames), reads


def test_overscan_gives_the_read_noise(noise_of, made):
    """The residual of the overscan is the read noise, its error the pair's share of it."""
    found = noise_of(made.exposure(flat_amplifier(made)))
    assert found["read_noise_source"] == "overscan"
    assert abs(found["read_noise"] - 3) < 4 * math.sqrt(2) * found["read_noise_error"]
    assert found["read_noise_error"] == pytest.approx(3 / math.sqrt(2 * 200 * 49) / math.sqrt(2), rel=0.05)
    assert found["flags"] == 0


def test_named_frames_come_first(noise_of, made, folder_with_darks):
    """The clipped scatter of the difference of two named frames counts before the overscan, per amplifier."""
    context, _ = folder_with_darks
    found = noise_of(made.exposure(flat_amplifier(made)), context, noise_frames=("dark1.fits", "dark2.fits"))
    assert found["read_noise_source"] == "frames"
    assert found["read_noise_error"] == pytest.approx(5 / math.sqrt(2 * 80000), rel=0.05)
    assert abs(found["read_noise"] - 5) < 4 * found["read_noise_error"]


def test_frames_are_read_once_until_they_change(noise_of, made, folder_with_darks):
    """A worker reads the named frames for its first exposure, and again when a file has changed."""
    context, reads = folder_with_darks
    for _ in range(2):
        noise_of(made.exposure(flat_amplifier(made)), context, noise_frames=("dark1.fits", "dark2.fits"), model="MEAN")
    assert reads == ["dark1.fits", "dark2.fits"]
    (context.folders[0] / "dark1.fits").write_bytes(b"another content")
    noise_of(made.exposure(flat_amplifier(made)), context, noise_frames=("dark1.fits", "dark2.fits"), model="MEAN")
    assert len(reads) == 4


def test_a_missing_frame_is_an_error_that_names_the_folders(noise_of, made, tmp_path):
    """What the settings name must be there."""
    context = RecordingContext("isr", folders=(tmp_path,))
    with pytest.raises(StageError, match=rf"no file 'a.fits' \(relative names are looked for in: {tmp_path}\)"):
        noise_of(made.exposure(flat_amplifier(made)), context, noise_frames=("a.fits", "b.fits"))


@pytest.mark.parametrize("place", ["exposure", "amplifier"])
def test_header_of_a_corrected_exposure(noise_of, made, place):
    """Without overscan the value that LSST's pipelines leave in the header counts, wherever it stands."""
    cards = {HEADER_KEY: 4.5}
    amplifier = made.amplifier(np.ones((4, 2)), metadata={"header": cards if place == "amplifier" else {}})
    exposure = made.exposure(amplifier, header=cards if place == "exposure" else {})
    found = noise_of(exposure, overscan="none")
    assert (found["read_noise"], found["read_noise_source"]) == (4.5, "header")
    assert math.isnan(found["read_noise_error"])


def test_header_keys_are_found_in_upper_case(isr, made):
    """FITS headers write keys in upper case, whatever the amplifier is called."""
    amplifier = made.amplifier(np.ones((4, 2)), name="Segment00")
    exposure = made.exposure(amplifier, header={"LSST ISR OVERSCAN RESIDUAL SERIAL STDEV SEGMENT00": 4.5})
    assert isr(exposure, overscan="none").amplifiers["Segment00"].read_noise == 4.5


PLAIN = {"isr": {"RESIDUAL STDEV A": 6.25}}
NESTED = {"scalars": {}, "metadata": {"isr": {"scalars": {"RESIDUAL STDEV A": 6.25}, "arrays": {}, "metadata": {}}}}


@pytest.mark.parametrize("task", [PLAIN, NESTED], ids=["plain", "nested"])
@pytest.mark.parametrize("ending", ["json", "yaml"])
def test_sidecar_with_task_metadata(noise_of, made, tmp_path, task, ending):
    """A task-metadata file beside the exposure tells the read noise, in both forms of such files."""
    (tmp_path / f"flat_1_meta.{ending}").write_text(json.dumps(task))
    exposure = made.exposure(made.amplifier(np.ones((4, 2))), path=str(tmp_path / "flat_1.fits.gz"))
    found = noise_of(exposure, overscan="none", noise_sidecar=f"{{folder}}/{{stem}}_meta.{ending}")
    assert (found["read_noise"], found["read_noise_source"]) == (6.25, "sidecar")


def test_an_exposure_without_sidecar_asks_the_next_source(noise_of, made, tmp_path):
    """A missing sidecar is no error; the next source counts."""
    exposure = made.exposure(made.amplifier(np.ones((4, 2))), path=str(tmp_path / "flat.fits"))
    found = noise_of(exposure, overscan="none", noise_sidecar="{path}.json", noise_adu=2.0)
    assert found["read_noise_source"] == "config"


@pytest.mark.parametrize(("text", "reason"), [("{", "cannot be read as JSON"), ("[1]", "must hold a table, got list")])
def test_a_sidecar_that_cannot_be_understood_is_an_error(noise_of, made, tmp_path, text, reason):
    """The message names the file."""
    (tmp_path / "flat.json").write_text(text)
    exposure = made.exposure(made.amplifier(np.ones((4, 2))), path=str(tmp_path / "flat.fits"))
    with pytest.raises(StageError, match=rf"flat\.json: {reason}"):
        noise_of(exposure, overscan="none", noise_sidecar="{folder}/{stem}.json")


@pytest.mark.parametrize("numbers", [7.5, {"A": 7.5, "B": 1.0}])
def test_configured_number_is_flagged(noise_of, made, numbers):
    """A configured number is no measurement, and the row says so."""
    exposure = made.exposure(*(made.amplifier(np.ones((4, 2)), name=name) for name in "AB"))
    found = noise_of(exposure, overscan="none", noise_adu=numbers)
    assert (found["read_noise"], found["read_noise_source"]) == (7.5, "config")
    assert found["flags"] == RowFlag.READ_NOISE_CONFIGURED | RowFlag.NO_OVERSCAN | RowFlag.NO_BIAS_LEVEL


def test_the_order_is_that_of_the_settings(noise_of, made):
    """The first source in the configured order that knows a value counts."""
    cards = {HEADER_KEY: 4.5}
    for order, expected in ((("header", "overscan"), 4.5), (("overscan", "header"), 3.0), (("config", "header"), 9.0)):
        settings = {"noise_adu": 9.0} if "config" in order else {}
        found = noise_of(made.exposure(flat_amplifier(made), header=cards), read_noise=order, **settings)
        assert found["read_noise"] == pytest.approx(expected, rel=0.05)
        assert found["read_noise_source"] == order[0]


def test_nothing_found_is_nan_without_a_source(noise_of, made):
    """No source knows it: NaN and no source, never a guess."""
    found = noise_of(made.exposure(made.amplifier(np.ones((4, 2)))), overscan="none")
    assert math.isnan(found["read_noise"])
    assert found["read_noise_source"] is None
    assert math.isnan(found["read_noise_error"])


def test_pair_has_the_median_and_an_honest_error(make_chain, made):
    """Over the two exposures the median is taken; the error column is that of their mean: pulls have width 1."""
    chain = make_chain(stages=("isr",))
    pulls = []
    for seed in range(300):
        exposures = (made.exposure(flat_amplifier(made, seed=(seed, k))) for k in range(2))
        row = chain.run(made.pair(*exposures), RecordingContext())["A"]
        pulls.append((row["read_noise"] - 3) / row["read_noise_error"])
    assert np.std(pulls) == pytest.approx(1, abs=0.15)
    assert abs(np.mean(pulls)) < 4 / math.sqrt(300)


def test_two_sources_of_a_pair_are_both_named(make_chain, made):
    """When the exposures take their read noise from different sources the row names both."""
    exposures = made.exposure(flat_amplifier(made), header={HEADER_KEY: 5.0}), made.exposure(flat_amplifier(made))
    chain = make_chain({"isr": {"read_noise": ["header", "overscan"]}}, stages=("isr",))
    row = chain.run(made.pair(*exposures), RecordingContext())["A"]
    assert row["read_noise_source"] == "header+overscan"
    assert row["read_noise"] == pytest.approx(4.0, rel=0.05)
