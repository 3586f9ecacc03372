"""The stage crosstalk: where its coefficients come from, and what it leaves."""

import numpy as np
import pytest
import xxhash
from astropy.table import Table
from structlog.testing import capture_logs

from streamcal.calibs.crosstalk import CrosstalkCalib
from streamcal.errors import StageError
from streamcal.flags import MaskBit, RowFlag
from streamcal.testing import RecordingContext

MATRIX = ((0.0, 1e-3), (2e-3, 0.0))  # [target][source]


@pytest.fixture
def exposure(made):
    """Return two amplifiers read toward opposite sides, with the crosstalk of MATRIX between them."""
    true = np.zeros((2, 3, 4))  # outputs at [0, 0]
    true[0, 1, 0], true[1, 2, 3] = 10000, 20000
    seen = true + np.tensordot(MATRIX, true, axes=1)
    left = made.amplifier(seen[0], name="A")
    right = made.amplifier(seen[1][:, ::-1], name="B", corner="LR")
    return made.exposure(left, right)


@pytest.fixture
def subtract(plugins):
    """Run the stage alone."""

    def run(exposure, context=None, **settings):
        stage = plugins.stages["crosstalk"]
        return stage.run(exposure, stage.settings(**settings), context or RecordingContext("crosstalk"))

    return run


def write_calib(path, **attributes):
    """Write a calibration with the coefficients of MATRIX."""
    calib = CrosstalkCalib(n_amp=2)
    calib.coeffs, calib.has_crosstalk = np.array(MATRIX), True
    calib.update_metadata(**attributes)
    calib.write_fits(path) if path.suffix == ".fits" else calib.write_text(path)


def assert_corrected(exposure):
    """Check that only the two sources are left."""
    left, right = exposure.amplifiers["A"].data, exposure.amplifiers["B"].data[:, ::-1]
    assert left[1, 0] == pytest.approx(10000, rel=1e-5)
    assert left[2, 3] == pytest.approx(0, abs=0.01)  # 20 ADU before
    assert right[2, 3] == pytest.approx(20000, rel=1e-5)
    assert right[1, 0] == pytest.approx(0, abs=0.01)  # 20 ADU before


def test_matrix_of_the_configuration(subtract, exposure):
    """Coefficients are [target][source], and pixels read at the same time belong together."""
    assert_corrected(subtract(exposure, matrix=MATRIX, iterations=2))


@pytest.mark.parametrize("name", ["d0.fits", "d0.ecsv", "d0.yaml"])
def test_calibration_file(subtract, exposure, tmp_path, name):
    """Every format of the calibration is read; the pattern may hold the detector."""
    write_calib(tmp_path / name)
    context = RecordingContext("crosstalk", folders=(tmp_path,))
    pattern = "{detector}" + (tmp_path / name).suffix
    assert_corrected(subtract(exposure, context, file=pattern, iterations=2))
    assert context.metadata["crosstalk:file"] == str(tmp_path / name)
    assert len(context.metadata["crosstalk:digest"]) == 32
    assert context.metadata["crosstalk:largest_correction"] == pytest.approx(20, rel=0.01)


def test_row_says_which_file_was_used_and_how_much_was_corrected(made, make_chain, exposure, tmp_path):
    """File and digest once for both exposures, the largest correction by amplifier; the digest is the file's."""
    write_calib(tmp_path / "d0.ecsv")
    exposure.amplifiers["A"].data[1, 0] = 5000
    other = made.exposure(*(made.amplifier(np.zeros((3, 4)), name=name) for name in "AB"))
    context = RecordingContext(folders=(tmp_path,))
    settings = {"isr": {"overscan": "none"}, "crosstalk": {"file": "{detector}.ecsv"}}
    rows = make_chain(settings, ("isr", "crosstalk")).run(made.pair(exposure, other), context)
    assert {row["crosstalk_file"] for row in rows.values()} == {str(tmp_path / "d0.ecsv")}
    digest = xxhash.xxh3_128_hexdigest((tmp_path / "d0.ecsv").read_bytes())
    assert {row["crosstalk_digest"] for row in rows.values()} == {digest}
    assert rows["A"]["crosstalk_max_correction"] == pytest.approx(20, rel=1e-5)
    assert rows["B"]["crosstalk_max_correction"] == pytest.approx(10, rel=1e-5)


def test_a_file_is_read_once(subtract, exposure, tmp_path, monkeypatch):
    """However many exposures ask for it, and again when it has changed."""
    write_calib(tmp_path / "d0.yaml")
    reads = []
    from_bytes = CrosstalkCalib.from_bytes
    monkeypatch.setattr(CrosstalkCalib, "from_bytes", lambda *given: reads.append(given) or from_bytes(*given))
    context = RecordingContext("crosstalk", folders=(tmp_path,))
    for _ in range(3):
        subtract(exposure, context, file="{detector}.yaml")
    assert len(reads) == 1
    write_calib(tmp_path / "d0.yaml", CALIB_ID="another one")
    subtract(exposure, context, file="{detector}.yaml")
    assert len(reads) == 2


def test_digest_is_of_the_bytes_that_were_read(subtract, exposure, tmp_path, monkeypatch):
    """Also when the file changes meanwhile: it is read once, and not again for the digest."""
    write_calib(tmp_path / "d0.yaml")
    before, from_bytes = (tmp_path / "d0.yaml").read_bytes(), CrosstalkCalib.from_bytes

    def parse(content, path):
        write_calib(path, CALIB_ID="another one")
        return from_bytes(content, path)

    monkeypatch.setattr(CrosstalkCalib, "from_bytes", parse)
    context = RecordingContext("crosstalk", folders=(tmp_path,))
    subtract(exposure, context, file="{detector}.yaml")
    assert context.metadata["crosstalk:digest"] == xxhash.xxh3_128_hexdigest(before)
    assert before != (tmp_path / "d0.yaml").read_bytes()


def test_bad_amplifiers_of_other_detectors_do_not_matter(subtract, exposure):
    """The list is one for all detectors: names that this one does not have are no error."""
    before = exposure.amplifiers["A"].data.copy()
    after = subtract(exposure, matrix=MATRIX, bad_amplifiers=["B", "C17"])
    np.testing.assert_array_equal(after.amplifiers["A"].data, before)


def test_nothing_configured_passes_through_flagged(subtract, exposure):
    """Without a calibration pixels stay as they are, and each row says so."""
    before = exposure.amplifiers["A"].data.copy()
    after = subtract(exposure)
    np.testing.assert_array_equal(after.amplifiers["A"].data, before)
    assert [entry.metadata["flags"] for entry in after.amplifiers.values()] == [RowFlag.NO_CROSSTALK] * 2
    assert after.amplifiers["A"].metadata["crosstalk_file"] is None
    assert np.isnan(after.amplifiers["A"].metadata["crosstalk_max_correction"])
    assert exposure.amplifiers["A"].metadata == {}


def test_coefficient_that_is_not_finite_is_said(subtract, exposure, tmp_path):
    """It is not used, its target is flagged, and the number is noted; flags from before do not stay."""
    calib = CrosstalkCalib(n_amp=2)
    calib.has_crosstalk, calib.coeffs = True, np.array([[np.nan, np.inf], [2e-3, np.nan]])
    calib.write_fits(tmp_path / "d0.fits")
    exposure.amplifiers["B"].metadata["flags"] = int(RowFlag.NO_CROSSTALK)
    context = RecordingContext("crosstalk", folders=(tmp_path,))
    after = subtract(exposure, context, file="{detector}.fits")
    flags = [entry.metadata["flags"] for entry in after.amplifiers.values()]
    assert flags == [RowFlag.CROSSTALK_INCOMPLETE, 0]
    assert context.metadata["crosstalk:unknown_coefficients"] == 1
    assert after.amplifiers["A"].data[2, 3] == 20


def test_deployed_file_with_entries_that_are_not_finite(subtract, made, reference, tmp_path):
    """One coefficient and one gain of LSSTCam's R22_S11 made NaN, as in 3 of 205 files: the rest is used, rows tell."""
    table = Table.read(reference / "crosstalk" / "lsstcam" / "r22_s11.ecsv", format="ascii.ecsv")
    whole = CrosstalkCalib.from_table([table])
    table["CT_COEFFS"][0, 16 * 7 + 3] = table["CT_FIT_GAINS"][0, 5] = np.nan  # onto 3 from 7; of 5
    table.write(tmp_path / "R22_S11.ecsv", format="ascii.ecsv")
    light = np.random.default_rng(1).uniform(0, 1e5, (16, 3, 4))
    amplifiers = [made.amplifier(pixels, name=f"C{n:02d}") for n, pixels in enumerate(light)]
    exposure = made.exposure(*amplifiers, detector="R22_S11", header={"INSTRUME": "lsstCam"})
    context = RecordingContext("crosstalk", folders=(tmp_path,))
    after = subtract(exposure, context, file="{detector}.ecsv")
    whole.coeffs[3, 7], whole.fit_gains[5] = 0, np.median(np.delete(whole.fit_gains, 5))
    expected = whole.subtract_crosstalk(exposure)
    for n, (name, amplifier) in enumerate(after.amplifiers.items()):
        np.testing.assert_array_equal(amplifier.data, expected.amplifiers[name].data)
        incomplete = RowFlag.CROSSTALK_INCOMPLETE if n == 3 else 0
        assert amplifier.metadata["flags"] == RowFlag.CROSSTALK_GAIN_REPLACED | incomplete
    assert context.metadata["crosstalk:unknown_coefficients"] == 1
    assert context.metadata["crosstalk:replaced_gains"] == "R22_S11/C05"


@pytest.mark.parametrize(("quadratic", "n_unknown"), [(False, 0), (True, 1)])
def test_quadratic_coefficient_that_is_not_finite_is_said_where_it_is_used(
    subtract, exposure, tmp_path, quadratic, n_unknown
):
    """The target's row is flagged as for a linear one."""
    calib = CrosstalkCalib(n_amp=2)
    calib.has_crosstalk, calib.coeffs, calib.coeffs_sqr[0, 1] = True, np.array(MATRIX), np.nan
    calib.write_fits(tmp_path / "d0.fits")
    context = RecordingContext("crosstalk", folders=(tmp_path,))
    after = subtract(exposure, context, file="{detector}.fits", quadratic=quadratic)
    flags = [entry.metadata["flags"] for entry in after.amplifiers.values()]
    assert flags == [RowFlag.CROSSTALK_INCOMPLETE if quadratic else 0, 0]
    assert context.metadata["crosstalk:unknown_coefficients"] == n_unknown


def test_quadratic_term_of_the_file_is_subtracted_on_request(subtract, exposure, tmp_path):
    """1e-7 of B's 20 000 ADU squared are 40 ADU in A; the linear term is left out here."""
    calib = CrosstalkCalib(n_amp=2)
    calib.has_crosstalk, calib.coeffs_sqr[0, 1] = True, 1e-7
    calib.write_fits(tmp_path / "d0.fits")
    context, before = RecordingContext("crosstalk", folders=(tmp_path,)), exposure.amplifiers["A"].data[2, 3]
    for quadratic, subtracted in ((False, 0), (True, 40)):
        after = subtract(exposure, context, file="{detector}.fits", quadratic=quadratic)
        assert before - after.amplifiers["A"].data[2, 3] == pytest.approx(subtracted, rel=1e-3)


def test_replaced_gain_is_said(subtract, exposure, tmp_path):
    """Rows are flagged, the amplifier is noted, and the file is warned of once, however many exposures use it."""
    calib = CrosstalkCalib(n_amp=2)
    calib.has_crosstalk, calib.coeffs, calib.fit_gains = True, np.array(MATRIX), np.array([1.5, np.nan])
    calib.crosstalk_ratios_units = "electron"
    calib.write_fits(tmp_path / "d0.fits")
    context = RecordingContext("crosstalk", folders=(tmp_path,))
    with capture_logs() as logs:
        for _ in range(2):
            after = subtract(exposure, context, file="{detector}.fits", iterations=2)
    assert_corrected(after)  # with 1.5 for both
    flags = [entry.metadata["flags"] for entry in after.amplifiers.values()]
    assert flags == [RowFlag.CROSSTALK_GAIN_REPLACED] * 2
    assert context.metadata["crosstalk:replaced_gains"] == "d0/B"
    assert [(entry["event"], entry["n_amplifiers"]) for entry in logs] == [("crosstalk gains unknown", 1)]


def test_calibration_that_says_there_is_no_crosstalk_passes_through_flagged(subtract, exposure, tmp_path):
    """Whatever coefficients it holds: they are not used, and the row says so."""
    calib = CrosstalkCalib(n_amp=2)
    calib.coeffs = np.array(MATRIX)
    calib.write_fits(tmp_path / "d0.fits")
    after = subtract(exposure, RecordingContext("crosstalk", folders=(tmp_path,)), file="{detector}.fits")
    assert after.amplifiers["A"].data[2, 3] == exposure.amplifiers["A"].data[2, 3]
    assert [entry.metadata["flags"] for entry in after.amplifiers.values()] == [RowFlag.NO_CROSSTALK] * 2


@pytest.mark.parametrize(
    "text",
    ["metadata: [1, 2]\ncoeffs: [0, 1, 1, 0]", "coeffs: {a: 1}", "coeffs: [0, 1, 1, 0]\ninterChip: [1]", "\xff\xfe"],
)
def test_a_malformed_file_is_an_error_of_the_stage(subtract, exposure, tmp_path, text):
    """Whatever is wrong with it: the pair fails, with the file's name."""
    (tmp_path / "x.yaml").write_bytes(text.encode("latin-1"))
    with pytest.raises(StageError, match=r"x\.yaml: "):
        subtract(exposure, RecordingContext("crosstalk", folders=(tmp_path,)), file="x.yaml")


def test_missing_file_is_an_error_or_skipped(subtract, exposure, tmp_path):
    """A detector without a file fails its pair, unless missing = "skip"."""
    context = RecordingContext("crosstalk", folders=(tmp_path,))
    with pytest.raises(StageError, match=r"no file 'd0\.fits'"):
        subtract(exposure, context, file="{detector}.fits")
    after = subtract(exposure, context, file="{detector}.fits", missing="skip")
    assert after.amplifiers["A"].metadata["flags"] == RowFlag.NO_CROSSTALK


def test_calibration_of_another_detector_is_an_error(subtract, exposure, tmp_path):
    """Where both say who they are, they must agree."""
    write_calib(tmp_path / "x.fits", DETECTOR_NAME="d7")
    context = RecordingContext("crosstalk", folders=(tmp_path,))
    with pytest.raises(StageError, match=r"x\.fits: detector must be that of the calibration, 'd7', got 'd0'"):
        subtract(exposure, context, file="x.fits")


def test_matrix_of_another_size_is_an_error(subtract, exposure):
    """One row and column for each amplifier."""
    with pytest.raises(StageError, match="crosstalk calibration configuration: n_amp must be"):
        subtract(exposure, matrix=((0.0,),))


def test_a_file_that_is_no_calibration_is_an_error(subtract, exposure, tmp_path):
    """The message names the file."""
    (tmp_path / "x.yaml").write_text("metadata: {OBSTYPE: flat}\n")
    with pytest.raises(StageError, match=r"x\.yaml: "):
        subtract(exposure, RecordingContext("crosstalk", folders=(tmp_path,)), file="x.yaml")


def test_pixels_under_bright_sources_are_marked(subtract, exposure):
    """The threshold sets the bit CROSSTALK on what a source above it touches."""
    after = subtract(exposure, matrix=MATRIX, threshold=15000.0)
    marked = np.argwhere(after.amplifiers["A"].mask & np.uint32(MaskBit.CROSSTALK))
    assert marked.tolist() == [[2, 3]]


def test_coefficients_in_electrons_need_gains(subtract, exposure):
    """With one gain for all amplifiers they are those in ADU; without gains they cannot be used."""
    assert_corrected(subtract(exposure, matrix=MATRIX, units="electron", gains=1.5, iterations=2))
    with pytest.raises(StageError, match="gains: 'Z' is no amplifier, known: "):
        subtract(exposure, matrix=MATRIX, units="electron", gains={"Z": 1.5})
    with pytest.raises(StageError, match="gains"):
        subtract(exposure, matrix=MATRIX, units="electron")


def test_parallel_overscan_is_corrected_when_asked_for(subtract, exposure):
    """full_amplifier corrects the overscan that isr left for parallel_overscan."""
    for amplifier in exposure.amplifiers.values():
        amplifier.overscan = {"parallel": np.zeros((3, 4), np.float32)}
    exposure.amplifiers["A"].overscan["parallel"][0, 0] = 1000
    after = subtract(exposure, matrix=MATRIX, full_amplifier=True)
    assert after.amplifiers["B"].overscan["parallel"][0, 3] == pytest.approx(-2)
    assert subtract(exposure, matrix=MATRIX).amplifiers["B"].overscan["parallel"][0, 3] == 0
