"""LSST's photon transfer curve files, read back by astropy: columns, shapes, values, partials, dummies."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from astropy.io import fits
from astropy.table import Table
from ptc_output import write_pairs, write_solutions
from ptc_truth import GAIN

from streamcal import results
from streamcal.cli.export import export_output
from streamcal.config import parse_config
from streamcal.daemon import run_daemon
from streamcal.errors import ConfigError
from streamcal.export.lsst import make_solved, order_parameters, write_fits
from streamcal.export.pairs import collect_pairs, number_exposures
from streamcal.ptc import MODELS, FitConfig, full_covariance, make_model
from streamcal.ptc.solutions import solutions
from streamcal.simulate import DEFAULT_CAMERA, simulate_run

COLUMNS = """
    AMPLIFIER_NAME PTC_FIT_TYPE COV_MATRIX_SIDE COV_MATRIX_SIDE_FULL_COV_FIT INPUT_EXP_ID_PAIRS
    INPUT_EXP_PAIR_MJD_START EXP_ID_MASK EXP_ID_ROLLOFF_MASK RAW_EXP_TIMES RAW_MEANS RAW_VARS RAW_DELTAS
    ROW_MEAN_VARIANCE GAIN GAIN_ERR GAIN_UNADJUSTED GAIN_LIST NOISE_LIST NOISE NOISE_ERR OVERSCAN_MEDIAN_LIST
    OVERSCAN_MEDIAN OVERSCAN_MEDIAN_SIGMA HIST_VARS HIST_CHI2_DOFS KS_PVALUES PTC_FIT_PARS PTC_FIT_PARS_ERROR
    PTC_FIT_CHI_SQ PTC_TURNOFF PTC_TURNOFF_SAMPLING_ERROR PTC_ROLLOFF PTC_ROLLOFF_ERROR PTC_ROLLOFF_TAU
    PTC_ROLLOFF_TAU_ERROR A_MATRIX B_MATRIX NOISE_MATRIX BAD_AMPS PHOTO_CHARGE PHOTO_CHARGE_DELTAS AMP_OFFSETS
    NPIXEL_COVARIANCES COVARIANCES COVARIANCES_SQRT_WEIGHTS COVARIANCES_MODEL FINAL_MEANS FINAL_VARS FINAL_MODEL_VARS
""".split()  # noqa: SIM905 - the list of the schema, as it is written down
N, S, R = 20, 4, 3


def lose_one_pair(rows):
    """Make one pair of the second amplifier an outlier, and let pixel counts differ."""
    place = int(rows[0]["exposure_id_1"])
    rows = [{**row, "n_selected": 1_000_000 + place} for row in rows]
    if place == 116:
        rows[1]["variance"] *= 1.3
        rows[1]["covariance"] = rows[1]["covariance"] * 1.3
    return rows


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    """Twenty pairs of two amplifiers at 4 x 4 lags, of which 3 x 3 are fitted."""
    output = write_pairs(tmp_path_factory.mktemp("lsst") / "out", change=lose_one_pair, group="RUNID=1;FILTER=r")
    return write_solutions(output, FitConfig(side=R))


@pytest.fixture(scope="module")
def solved(output):
    """Return the solved curve as astropy reads it."""
    export_output(output, kind="lsst-ptc", to=output / "lsst")
    return Table.read(output / "lsst" / "ptc_S00_RUNID-1-FILTER-r.fits", mask_invalid=False)


def test_columns_are_those_of_the_schema(solved):
    """All of them and no other, one row an amplifier."""
    assert set(solved.colnames) == set(COLUMNS)
    assert solved["AMPLIFIER_NAME"].tolist() == ["C00", "C01"]
    assert set(solved["PTC_FIT_TYPE"]) == {"FULLCOVARIANCE"}


def test_metadata_name_schema_and_version(solved):
    """What their reader looks for, FILTER included."""
    expected = {"OBSTYPE": "PTC", "PTC_SCHEMA": "Gen3 Photon Transfer Curve", "PTC_VERSION": 2.6, "FILTER": "r"}
    assert {name: solved.meta[name] for name in expected} == expected
    assert solved.meta["PTC_FIT_TYPE"] == "FULLCOVARIANCE"
    assert solved.meta["DET_NAME"] == "S00"


@pytest.mark.parametrize(
    ("column", "shape"),
    [
        ("INPUT_EXP_ID_PAIRS", (2, N, 2)),
        ("EXP_ID_MASK", (2, N)),
        ("RAW_MEANS", (2, N)),
        ("COVARIANCES", (2, N * S * S)),
        ("COVARIANCES_SQRT_WEIGHTS", (2, N * S * S)),
        ("COVARIANCES_MODEL", (2, N * R * R)),
        ("A_MATRIX", (2, R * R)),
        ("PTC_FIT_PARS", (2, 3 * R * R + 1)),
        ("FINAL_MODEL_VARS", (2, N)),
        ("GAIN", (2,)),
    ],
)
def test_shapes_are_flat_as_theirs(solved, column, shape):
    """N pairs, s x s measured and r x r fitted lags, flattened."""
    assert solved[column].shape == shape


def test_measurements_are_those_of_the_table(output, solved):
    """Means, variances, covariances and weights by pair, in order of commit."""
    rows = [row for row in results.read(output).to_pylist() if row["amplifier"] == "C01"]
    second = solved[1]
    np.testing.assert_array_equal(second["RAW_MEANS"], [row["mean"] for row in rows])
    np.testing.assert_array_equal(second["RAW_VARS"], [row["variance"] for row in rows])
    np.testing.assert_array_equal(second["COVARIANCES"], np.ravel([row["covariance"] for row in rows]))
    np.testing.assert_allclose(
        1 / second["COVARIANCES_SQRT_WEIGHTS"], np.ravel([row["covariance_error"] for row in rows])
    )
    assert second["INPUT_EXP_ID_PAIRS"].tolist() == [[100 + 2 * n, 101 + 2 * n] for n in range(N)]
    assert (second["OVERSCAN_MEDIAN"], second["NPIXEL_COVARIANCES"]) == (1000.25, 1_000_119)
    assert np.isnan(second["HIST_VARS"]).all()


def test_solutions_are_those_of_the_table(output, solved):
    """Gain, matrices, mask and model, which is that of these parameters; dropped pairs are NaN in the FINAL columns."""
    row = solutions(output).to_pylist()[1]
    second = solved[1]
    assert second["EXP_ID_MASK"].tolist() == [n != 8 for n in range(N)]
    assert (second["GAIN"], second["GAIN_ERR"], second["NOISE"]) == (row["gain"], row["gain_error"], row["noise"])
    np.testing.assert_array_equal(second["B_MATRIX"], np.ravel(row["b_matrix"]))
    assert np.flatnonzero(np.isnan(second["FINAL_MEANS"])).tolist() == [8]
    model = second["COVARIANCES_MODEL"].reshape(N, R, R)
    np.testing.assert_allclose(
        model[:, 0, 0], row["model_variance"], rtol=1e-3
    )  # the curve before its bias was taken off
    np.testing.assert_array_equal(second["FINAL_MODEL_VARS"][:8], model[:8, 0, 0])
    np.testing.assert_allclose(second["PTC_FIT_PARS"][[0, -1]], [row["a00"], row["gain"]])


def test_partials_hold_one_pair_each(output, tmp_path):
    """A file a pair, named by its first exposure; the same amplifiers and pixel count in all."""
    export_output(output, kind="lsst-ptc", to=tmp_path, partial=True)
    paths = sorted(tmp_path.iterdir())
    assert [path.name for path in paths][:2] == [f"ptc-partial_S00_RUNID-1-FILTER-r_{n}.fits" for n in (100, 102)]
    tables = [Table.read(path, mask_invalid=False) for path in paths]
    assert len(tables) == N
    assert {tuple(table["AMPLIFIER_NAME"]) for table in tables} == {("C00", "C01")}
    assert {int(count) for table in tables for count in table["NPIXEL_COVARIANCES"]} == {1_000_119}
    first = tables[0]
    assert set(first.colnames) == set(COLUMNS)
    assert (first.meta["PTC_FIT_TYPE"], first.meta["FILTER"]) == ("PARTIAL", "r")
    assert first["INPUT_EXP_ID_PAIRS"].reshape(2, 2).tolist() == [[100, 101]] * 2
    assert first["COVARIANCES"].shape == (2, S * S)
    assert first["GAIN"].tolist() == [GAIN, GAIN]
    assert first["NOISE"].tolist() == [3.7, 3.7]  # ADU, as theirs
    assert first["EXP_ID_MASK"].ravel().tolist() == [True, True]
    assert np.isnan(first["A_MATRIX"]).all()


def test_dummies_make_outputs_match_inputs(output, tmp_path):
    """With them there is a file for each exposure: the second of a pair has a DUMMY of its shape."""
    export_output(output, kind="lsst-ptc", to=tmp_path, partial=True, dummies=True)
    assert len(list(tmp_path.iterdir())) == 2 * N
    dummy = Table.read(tmp_path / "ptc-partial_S00_RUNID-1-FILTER-r_101.fits", mask_invalid=False)
    assert set(dummy.colnames) == set(COLUMNS)
    assert set(dummy["PTC_FIT_TYPE"]) == {"DUMMY"}
    assert dummy["INPUT_EXP_ID_PAIRS"].ravel().tolist() == [-1] * 4
    assert not dummy["EXP_ID_MASK"].any()
    assert np.isnan(dummy["COVARIANCES"]).all()
    assert dummy["COVARIANCES"].shape == (2, S * S)


FAILING = """
from streamcal import Stage, hookimpl
from streamcal.errors import StageError

def refuse_first_pair(pair, settings, context):
    if pair.first.info.exposure_id == "1":
        raise StageError("refused")
    return {}

@hookimpl
def streamcal_stages():
    return [Stage(name="refuse", kind="pair", run=refuse_first_pair)]
"""


def test_every_flat_has_its_file(tmp_path):
    """A pair that failed, one that was measured, and a third flat of its level: as many files as flats."""
    camera = replace(DEFAULT_CAMERA, shape=(32, 32), overscan=16)
    simulate_run(tmp_path / "in", camera, [2000.0, 8000.0], flats_per_level=3)
    (tmp_path / "plugins").mkdir(mode=0o700)
    (tmp_path / "plugins" / "refuse.py").write_text(FAILING)
    values = {
        "instrument": "simulated",
        "source": {"folders": [str(tmp_path / "in")], "settle_seconds": 0.0},
        "pipeline": {
            "stages": ["isr", "covariance", "gain", "refuse"],
            "plugin_folders": [str(tmp_path / "plugins")],
        },
        "stages": {"covariance": {"max_lag": 2}},
        "engine": {"kind": "inline"},
        "output": {"folder": str(tmp_path / "out")},
    }
    run_daemon(parse_config(values), once=True)
    export_output(tmp_path / "out", kind="lsst-ptc", to=tmp_path / "lsst", partial=True, dummies=True)
    kinds = [Table.read(path)["PTC_FIT_TYPE"][0] for path in sorted((tmp_path / "lsst").iterdir())]
    assert kinds == ["DUMMY"] * 3 + ["PARTIAL", "DUMMY", "DUMMY"]


@pytest.mark.parametrize("model", ["EXPAPPROXIMATION", "FULLCOVARIANCE_NO_B", "POLYNOMIAL"])
def test_every_model_can_be_written(tmp_path, model):
    """With an amplifier that has no solution: it is bad in every row, and NaN."""

    def kill(rows):
        return [rows[0], {**rows[1], "mean_used": 1.0}]

    output = write_solutions(write_pairs(tmp_path / "out", change=kill), FitConfig(side=R, model=model))
    export_output(output, kind="lsst-ptc", to=tmp_path)
    table = Table.read(tmp_path / "ptc_S00_RUNID-1.fits", mask_invalid=False)
    assert set(table["PTC_FIT_TYPE"]) == {model}
    assert table["BAD_AMPS"].ravel().tolist() == ["C01", "C01"]
    assert table["GAIN"][0] == pytest.approx(GAIN, rel=0.01)
    assert np.isnan([table["GAIN"][1], *table["PTC_FIT_PARS"][1]]).all()
    assert not table["EXP_ID_MASK"][1].any()


def test_files_need_no_hierarch_warnings_and_one_table(output, solved):
    """An empty primary HDU and one table; long keys are HIERARCH cards."""
    with fits.open(output / "lsst" / "ptc_S00_RUNID-1-FILTER-r.fits") as hdus:
        assert [type(hdu) for hdu in hdus] == [fits.PrimaryHDU, fits.BinTableHDU]
        assert "HIERARCH PTC_FIT_TYPE" in str(hdus[1].header)


def test_without_solution_there_is_a_hint(tmp_path):
    """The command that makes one is in the message."""
    output = write_pairs(tmp_path / "out", places=range(3))
    with pytest.raises(ConfigError, match="run: streamcal fit"):
        export_output(output, kind="lsst-ptc", to=tmp_path)


def evaluate(name, values, mean):
    """Return the variances that a reader in their order computes."""
    if name == "POLYNOMIAL":
        return np.polynomial.polynomial.polyval(mean, values)
    if name == "EXPAPPROXIMATION":
        a00, gain, noise = values
        return np.expm1(2 * a00 * mean * gain) / (2 * a00 * gain**2) + noise / gain**2
    matrices = [part.reshape(R, R) for part in np.split(values[:-1], len(values) // R**2)]
    a, noise, b = matrices[0], matrices[-1], matrices[1] / matrices[0] if len(matrices) == 3 else None
    return full_covariance(mean, gain=values[-1], a=a, b=b, noise=noise)[:, 0, 0]


@pytest.mark.parametrize("name", MODELS)
def test_parameters_give_the_exported_curve(tmp_path, name):
    """Evaluated as the peer does, they are FINAL_MODEL_VARS; the third error is that of a00."""
    output = write_solutions(write_pairs(tmp_path / "out"), FitConfig(side=R, model=name))
    export_output(output, kind="lsst-ptc", to=tmp_path)
    row = Table.read(tmp_path / "ptc_S00_RUNID-1.fits", mask_invalid=False)[0]
    variances = evaluate(name, np.array(row["PTC_FIT_PARS"]), np.array(row["FINAL_MEANS"]))
    np.testing.assert_allclose(variances, row["FINAL_MODEL_VARS"], rtol=1e-10)
    place = {"POLYNOMIAL": 2}.get(name, 0)
    assert row["PTC_FIT_PARS_ERROR"][place] == solutions(output).to_pylist()[0]["a00_error"]


def test_parameters_follow_their_order():
    """a00, gain, noise variance; a, ab, n, gain; for the polynomial n / g^2 and 1 / g with their errors."""
    values, errors = order_parameters(make_model("EXPAPPROXIMATION"), "EXPAPPROXIMATION", [1.5, -3, 30], [1, 2, 3])
    assert (values.tolist(), errors.tolist()) == ([-3, 1.5, 30], [2, 1, 3])
    values, _ = order_parameters(make_model("FULLCOVARIANCE", 1), "FULLCOVARIANCE", [1.5, 2, 3, 4], [1, 1, 1, 1])
    assert values.tolist() == [2, 4, 3, 1.5]
    values, errors = order_parameters(make_model("POLYNOMIAL", degree=2), "POLYNOMIAL", [2, -3, 8], [0.1, 0.2, 4])
    assert (values.tolist(), errors[1:].tolist()) == ([2, 0.5, -3], [pytest.approx(0.025), 0.2])
    assert errors[0] == pytest.approx(np.hypot(4 / 4, 2 * 8 / 8 * 0.1))
    values, _ = order_parameters(make_model("FULLCOVARIANCE", 2), "FULLCOVARIANCE", [], [])
    assert np.isnan(values).tolist() == [True] * 13


def test_ids_that_are_no_numbers_are_numbered():
    """One id that is none makes all of them numbers in order of appearance."""
    assert number_exposures([["7", "9"], ["8", "10"]]).tolist() == [[7, 8], [9, 10]]
    assert number_exposures([["a7", "9"], ["8", "a7"]]).tolist() == [[1, 2], [3, 1]]


def test_auxiliary_values_come_back_as_they_were(output, tmp_path):
    """Numbers as numbers, texts as texts, in columns PTCAUX_<key>, one value a pair."""
    rows = results.read(output)
    lamp = [f"lamp {name}" for name in rows["exposure_id_1"].to_pylist()]
    rows = rows.append_column("aux_lamp", pa.array(lamp)).append_column("aux_temp", pa.array(["-5.5"] * len(lamp)))
    write_fits(make_solved(collect_pairs(rows), solutions(output).to_pylist()), tmp_path / "a.fits", {})
    table = Table.read(tmp_path / "a.fits", hdu=1)
    table.convert_bytestring_to_unicode()
    row = table[1]
    assert row["PTCAUX_LAMP"].tolist() == [f"lamp {100 + 2 * n}" for n in range(N)]
    assert row["PTCAUX_TEMP"].tolist() == [-5.5] * N


def test_amplifiers_that_lack_a_pair_have_nan_there():
    """Amplifiers of one group may have been measured in different pairs."""
    table = pa.table(
        {
            "seq": [1, 1, 2],
            "amplifier": ["A", "B", "A"],
            "exposure_id_1": ["1", "1", "3"],
            "exposure_id_2": ["2", "2", "4"],
            "gain": [1.0, 2.0, 3.0],
            "aux_temp": ["-5.5", "-5.5", None],
            "aux_lamp": ["red", "red", "blue"],
        }
    )
    pairs = collect_pairs(table)
    np.testing.assert_array_equal(pairs.numbers("A", "gain"), [1, 3])
    np.testing.assert_array_equal(pairs.numbers("B", "gain"), [2, np.nan])
    np.testing.assert_array_equal(pairs.auxiliary()["temp"], [-5.5, np.nan])
    assert pairs.auxiliary()["lamp"].tolist() == ["red", "blue"]
