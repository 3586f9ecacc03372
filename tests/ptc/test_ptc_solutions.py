"""Solutions as rows: from measurements on disk, versions, limits."""

import json
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
from ptc_output import AMPLIFIERS, write_pairs, write_solutions
from ptc_truth import GAIN, NOISE, kernel, levels, make_curve

from streamcal.ptc import FitConfig, FitFlag, LimitsConfig, decode_fit_flags
from streamcal.ptc.columns import SOLUTION_COLUMNS, solution_schema
from streamcal.ptc.limits import check_limits, find_accepted
from streamcal.ptc.observations import GroupKey, find_groups
from streamcal.ptc.solutions import find_stale, fit_group, fit_job, solutions

KEY = GroupKey(instrument="simulated", detector="S00", group="RUNID=1")
CONTRACT = (
    *("group", "detector", "amplifier", "model", "gain", "gain_error", "noise", "noise_error", "a00", "a00_error"),
    *("turnoff", "turnoff_error", "chi2_dof", "n_pairs", "n_used", "flags", "reason", "solved_at"),
)


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    """Twenty pairs of two amplifiers, fitted."""
    return write_solutions(write_pairs(tmp_path_factory.mktemp("ptc") / "out"))


def fit(output, **settings):
    """Run the job and return its rows."""
    with pa.ipc.open_stream(fit_group(fit_job(output, KEY, FitConfig(side=4, **settings)))) as reader:
        batch = reader.read_next_batch()
    assert batch.schema.equals(solution_schema(), check_metadata=True)
    return batch.to_pylist()


def test_each_amplifier_gets_its_row(output):
    """Gain, noise and a_ij are the truth within four errors; every pair has its verdict."""
    table = solutions(output)
    assert table["amplifier"].to_pylist() == list(AMPLIFIERS)
    row = table.to_pylist()[0]
    assert row["gain"] == pytest.approx(GAIN, abs=4 * row["gain_error"])
    assert row["noise"] == pytest.approx(NOISE, abs=4 * row["noise_error"])
    pulls = (np.array(row["a_matrix"]) - kernel(4)) / np.array(row["a_matrix_error"])
    assert np.abs(pulls).max() < 4
    assert (row["n_pairs"], row["n_used"], row["used"]) == (20, 20, [True] * 20)
    assert row["pair_seq"] == list(range(1, 21))
    assert (row["first_seq"], row["last_seq"], row["mjd_start"]) == (1, 20, 61000.0)


def test_contract_columns_are_there_with_units():
    """Names of the contract, each with a unit where it is a number, and a description."""
    schema = solution_schema()
    assert set(CONTRACT) <= set(schema.names)
    for column in SOLUTION_COLUMNS:
        metadata = schema.field(column.name).metadata
        assert metadata[b"description"]
        assert metadata[b"unit"] or column.type in {"string", "list<bool>", "list<string>"}, column.name


def test_the_latest_version_counts(output, tmp_path):
    """A second fit is a second version; the history has both."""
    write_solutions(write_pairs(tmp_path / "out"))
    write_solutions(tmp_path / "out", FitConfig(model="EXPAPPROXIMATION"))
    assert solutions(tmp_path / "out")["model"].to_pylist() == ["EXPAPPROXIMATION"] * 2
    assert solutions(tmp_path / "out")["seq"].to_pylist() == [2, 2]
    assert solutions(tmp_path / "out", ["seq"], history=True)["seq"].to_pylist() == [1, 1, 2, 2]
    assert solutions([output, tmp_path / "out"]).num_rows == 4


def test_before_the_first_fit_there_are_no_solutions(tmp_path):
    """An output with measurements only gives a table without rows, but with all columns."""
    table = solutions(write_pairs(tmp_path / "out", places=[0]))
    assert table.num_rows == 0
    assert table.column_names == solution_schema().names


def test_per_row_overscan_covariance_is_taken_off(tmp_path):
    """What it added to the variance and to C_i0 does not appear in the noise matrix."""
    curve, added = make_curve(mean=levels(20), side=4), 0.7

    def raise_covariances(rows):
        for row in rows:
            row["row_overscan_covariance"] = added
            row["covariance"] = row["covariance"] + added * (np.arange(4) == 0)
            row["variance"] = row["variance"] + added
        return rows

    write_pairs(tmp_path / "out", curve, change=raise_covariances)
    row = fit(tmp_path / "out")[0]
    assert row["noise"] == pytest.approx(NOISE, rel=1e-6)
    np.testing.assert_allclose(np.array(row["noise_matrix"])[1:, 0], [0.4, 0, 0], atol=1e-6)


def test_unmeasured_pairs_are_kept_with_their_verdict(tmp_path):
    """A row of NaN is no point of the fit, and says so."""

    def lose(rows):
        if rows[0]["exposure_id_1"] == "138":
            nothing = {"mean_used": float("nan"), "variance": float("nan")}
            matrices = {name: np.full((4, 4), np.nan) for name in ("covariance", "covariance_error")}
            rows = [{**row, **nothing, **matrices} for row in rows]
        return rows

    row = fit(write_pairs(tmp_path / "out", change=lose))[0]
    assert row["dropped"] == [""] * 19 + ["not measured"]
    assert "TURNOFF_NOT_REACHED" not in decode_fit_flags(row["flags"])  # that pair had the most light


def test_the_covariance_of_the_parameters_comes_on_request(output):
    """It is (3 r^2 + 1) wide, and its first element is the gain's error squared; without asking it is null."""
    row = fit(output, keep_covariance=True)[0]
    assert len(row["parameter_covariance"]) == 49
    assert row["parameter_covariance"][0][0] == pytest.approx(row["gain_error"] ** 2)
    assert fit(output)[0]["parameter_covariance"] is None


def test_a_group_without_rows_gives_none(output):
    """The job of a group that does not exist is an empty batch."""
    job = fit_job(output, GroupKey(instrument="simulated", detector="S01", group=""), FitConfig())
    with pa.ipc.open_stream(fit_group(job)) as reader:
        assert reader.read_next_batch().num_rows == 0


def test_groups_and_stale_groups_are_found(tmp_path):
    """A group is stale while it has pairs that no solution knows."""
    output = write_pairs(tmp_path / "out", places=range(10))
    write_solutions(output)
    assert json.loads(find_stale(str(output).encode())) == []
    write_pairs(output, places=range(10, 12))
    write_pairs(output, places=[0], group="RUNID=2")
    assert [key.group for key in find_groups(output)] == ["RUNID=1", "RUNID=2"]
    assert [item["group"] for item in json.loads(find_stale(str(output).encode()))] == ["RUNID=1", "RUNID=2"]


# limits

ROW = {
    "instrument": "simulated",
    "detector": "S00",
    "amplifier": "C00",
    "model": "FULLCOVARIANCE",
    "group": "RUNID=2",
    "first_seq": 30,
    "flags": 0,
    "gain": 1.5,
    "noise": 5.5,
    "turnoff": 70000.0,
}


@pytest.mark.parametrize(
    ("values", "flag", "text"),
    [
        ({"gain": 1.6}, FitFlag.GAIN_CHANGED, "gain 1.6 changed by +6.7 %, limit 5 %"),
        ({"noise": 5.0}, FitFlag.NOISE_CHANGED, "noise 5 changed by -9.1 %, limit 5 %"),
    ],
)
def test_changes_beyond_the_limit_are_told(values, flag, text):
    """Against the accepted solution, in per cent."""
    assert check_limits({**ROW, **values}, ROW, LimitsConfig()) == [(flag, text)]


def test_specifications_are_told():
    """Noise and turnoff have limits of their own, in electrons."""
    limits = LimitsConfig(max_noise=5.0, min_turnoff=110_000)
    assert check_limits(ROW, None, limits) == [
        (FitFlag.NOISE_HIGH, "noise 5.5 e- is above 5 e-"),
        (FitFlag.TURNOFF_LOW, "turnoff 105000 e- is below 110000 e-"),
    ]


@pytest.mark.parametrize(
    "values",
    [{}, {"gain": 1.56}, {"gain": float("nan"), "noise": float("nan"), "turnoff": float("nan")}],
    ids=["same", "within", "no_solution"],
)
def test_what_is_within_limits_is_not_told(values):
    """Nor is an amplifier without a solution, which is flagged already."""
    assert check_limits({**ROW, **values}, ROW, LimitsConfig(max_noise=6, min_turnoff=90_000)) == []


def test_a_turnoff_that_was_not_reached_is_not_below_its_limit():
    """It is at least the number given, and that may be anything."""
    row = {**ROW, "flags": int(FitFlag.TURNOFF_NOT_REACHED)}
    assert check_limits(row, None, LimitsConfig(min_turnoff=110_000)) == []


@pytest.mark.parametrize(
    ("values", "accepted"),
    [
        ({"first_seq": 10}, True),
        ({"first_seq": 10, "flags": int(FitFlag.POOR_FIT)}, True),
        ({"first_seq": 40}, False),
        ({"first_seq": 10, "group": "RUNID=2"}, False),
        ({"first_seq": 10, "amplifier": "C01"}, False),
        ({"first_seq": 10, "model": "POLYNOMIAL"}, False),
        ({"first_seq": 10, "flags": int(FitFlag.GAIN_CHANGED)}, False),
        ({"first_seq": 10, "flags": int(FitFlag.DEAD)}, False),
    ],
)
def test_only_good_solutions_of_earlier_groups_are_compared_with(values, accepted):
    """Same amplifier and model, another group that began earlier, and neither bad nor out of limits."""
    other = {**ROW, "group": "RUNID=1", **values}
    assert (find_accepted(ROW, [other]) is not None) == accepted


def test_the_newest_accepted_solution_is_compared_with():
    """Of several earlier groups the one that began last counts."""
    earlier = [{**ROW, "group": f"RUNID={n}", "first_seq": n} for n in (3, 9, 5)]
    assert find_accepted(ROW, earlier)["first_seq"] == 9


def test_a_changed_gain_is_flagged_in_the_table(tmp_path):
    """A second run with a gain 10 % higher has the flag and the reason; the third is compared with the first."""
    curve = make_curve("EXPAPPROXIMATION", mean=levels(20), side=1)
    config = FitConfig(model="EXPAPPROXIMATION")
    output = write_solutions(write_pairs(tmp_path / "out", curve), config)

    def lower(rows):
        return [
            {**row, **{name: row[name] / 1.1 for name in ("variance", "covariance", "covariance_error")}}
            for row in rows
        ]

    write_pairs(output, curve, group="RUNID=2", change=lower, measured_at=datetime(2026, 1, 2, tzinfo=UTC))
    write_pairs(output, curve, group="RUNID=3", measured_at=datetime(2026, 1, 3, tzinfo=UTC))
    write_solutions(output, config)
    first, second, third = solutions(output).to_pylist()[::2]
    assert "GAIN_CHANGED" in decode_fit_flags(second["flags"])
    assert second["reason"].startswith("gain 1.65 changed by +10.0 %, limit 5 %")
    assert (first["reason"], third["reason"]) == ("", "")
