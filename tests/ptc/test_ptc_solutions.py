"""Solutions as rows: from measurements on disk, versions, limits."""

import json

import numpy as np
import pyarrow as pa
import pytest
from ptc_output import AMPLIFIERS, write_pairs, write_solutions
from ptc_truth import GAIN, NOISE, kernel, levels, make_curve

from streamcal.ptc import FitConfig, FitFlag, LimitsConfig, decode_fit_flags
from streamcal.ptc.columns import SOLUTION_COLUMNS, solution_schema
from streamcal.ptc.limits import check_changes, check_specifications, find_accepted
from streamcal.ptc.observations import GroupKey, find_groups
from streamcal.ptc.solutions import find_stale, fit_group, fit_job, solutions
from streamcal.ptc.step import find_step

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
    "seq": 5,
    "first_seq": 30,
    "flags": 0,
    "gain": 1.5,
    "gain_error": 0.001,
    "noise": 5.5,
    "noise_error": 0.03,
    "turnoff": 70000.0,
}
EARLIER = {**ROW, "group": "RUNID=1", "first_seq": 10, "seq": 1}


def changes(values, earlier=(EARLIER,), limits=None):
    """Return what is said of a solution of other values."""
    return list(check_changes({**ROW, **values}, list(earlier), limits or LimitsConfig()))


@pytest.mark.parametrize(
    ("values", "flag", "text"),
    [
        ({"gain": 1.6}, FitFlag.GAIN_CHANGED, "gain 1.6 changed by +6.7 ± 0.1 %, limit 5 %"),
        ({"noise": 5.0}, FitFlag.NOISE_CHANGED, "noise 5 changed by -9.1 ± 0.8 %, limit 5 %"),
    ],
)
def test_changes_beyond_the_limit_are_told(values, flag, text):
    """Against the accepted solution, in per cent, with their error."""
    assert changes(values) == [(flag, text)]


@pytest.mark.parametrize(
    "values",
    [{}, {"gain": 1.56}, {"gain": 1.7, "gain_error": 0.07}, {"gain": float("nan"), "noise": float("nan")}],
    ids=["same", "within", "uncertain", "no_solution"],
)
def test_changes_within_limit_or_errors_are_not_told(values):
    """A gain of few levels may be off by 13 %, if its error is 5 %: nothing has changed."""
    assert changes(values) == []


def test_specifications_are_told():
    """Noise and turnoff have limits of their own, in electrons."""
    limits = LimitsConfig(max_noise=5.0, min_turnoff=110_000)
    assert list(check_specifications(ROW, limits)) == [
        (FitFlag.NOISE_HIGH, "noise 5.5 e- is above 5 e-"),
        (FitFlag.TURNOFF_LOW, "turnoff 105000 e- is below 110000 e-"),
    ]


@pytest.mark.parametrize(
    "values",
    [{}, {"noise": float("nan"), "turnoff": float("nan")}, {"turnoff": 50_000, "flags": FitFlag.TURNOFF_NOT_REACHED}],
    ids=["within", "no_solution", "turnoff_not_reached"],
)
def test_specifications_that_are_met_are_not_told(values):
    """A turnoff that was not reached is at least the number given, and that may be anything."""
    assert list(check_specifications({**ROW, **values}, LimitsConfig(max_noise=6, min_turnoff=90_000))) == []


@pytest.mark.parametrize(
    ("values", "accepted"),
    [
        ({}, True),
        ({"flags": int(FitFlag.POOR_FIT)}, True),
        ({"first_seq": 40}, False),
        ({"first_seq": 30, "group": "RUNID=2"}, False),
        ({"amplifier": "C01"}, False),
        ({"model": "POLYNOMIAL"}, False),
        ({"flags": int(FitFlag.GAIN_CHANGED)}, False),
        ({"flags": int(FitFlag.DEAD)}, False),
        ({"gain_error": 0.024}, True),
        ({"gain_error": 0.026}, False),
        ({"flags": int(FitFlag.GAIN_CHANGED | FitFlag.ACCEPTED)}, True),
        ({"first_seq": 30, "group": "RUNID=2", "flags": int(FitFlag.ACCEPTED)}, True),
    ],
)
def test_what_is_compared_with(values, accepted):
    """Good solutions of earlier groups, whose 3 errors are within the 5 %; and what somebody accepted."""
    assert (find_accepted(ROW, [{**EARLIER, **values}], "gain", 5.0, 3.0) is not None) == accepted


def test_the_newest_accepted_solution_is_compared_with():
    """Of several earlier groups the one that began last counts."""
    earlier = [{**EARLIER, "group": f"RUNID={n}", "first_seq": n} for n in (3, 9, 5)]
    assert find_accepted(ROW, earlier, "gain", 5.0, 3.0)["first_seq"] == 9


EXP = FitConfig(model="EXPAPPROXIMATION")
CURVE = make_curve("EXPAPPROXIMATION", mean=levels(20), side=1)


def lower(rows):
    """Make variances those of a gain 10 % higher."""
    names = ("variance", "covariance", "covariance_error")
    return [{**row, **{name: row[name] / 1.1 for name in names}} for row in rows]


def latest(output, group):
    """Return flags by name, and the reason, of the first amplifier's latest solution of a group."""
    row = next(row for row in solutions(output).to_pylist() if row["group"] == group)
    return decode_fit_flags(row["flags"]), row["reason"]


def test_another_model_in_between_hides_nothing(tmp_path):
    """The gain is held against the last solution of its own model, though the group was fitted with another since."""
    output = write_solutions(write_pairs(tmp_path / "out", CURVE), EXP)
    write_solutions(output, FitConfig(model="POLYNOMIAL"))
    write_pairs(output, CURVE, group="RUNID=2", change=lower)
    write_solutions(output, EXP, group="RUNID=2")
    assert "GAIN_CHANGED" in latest(output, "RUNID=2")[0]
    assert solutions(output)["model"].to_pylist() == ["POLYNOMIAL"] * 2 + ["EXPAPPROXIMATION"] * 2
    assert (
        solutions(output, ["group"], model="EXPAPPROXIMATION")["group"].to_pylist() == ["RUNID=1"] * 2 + ["RUNID=2"] * 2
    )


def test_what_somebody_accepted_is_the_new_reference(tmp_path):
    """After a change that is known: neither the group itself nor the next one of that gain is flagged any more."""
    output = write_solutions(write_pairs(tmp_path / "out", CURVE), EXP)
    for group in ("RUNID=2", "RUNID=3"):
        write_pairs(output, CURVE, group=group, change=lower)
    write_solutions(output, EXP)
    assert "GAIN_CHANGED" in latest(output, "RUNID=3")[0]
    write_solutions(output, EXP, group="RUNID=2", accept=True)
    assert latest(output, "RUNID=2") == (["TURNOFF_NOT_REACHED", "ACCEPTED"], "")
    write_solutions(output, EXP)
    assert [latest(output, f"RUNID={n}")[0] for n in (1, 2, 3)] == [["TURNOFF_NOT_REACHED"]] * 3


def test_a_gain_that_changes_within_a_group_is_flagged(tmp_path):
    """All runs in one group: the second is 10 % higher, and half of the pairs lie off the curve of the other half."""
    twice = make_curve("EXPAPPROXIMATION", mean=np.tile(levels(20), 2), side=1)
    change = lambda rows: lower(rows) if int(rows[0]["exposure_id_1"]) >= 140 else rows  # noqa: E731
    output = write_solutions(write_pairs(tmp_path / "out", twice, group="", change=change), EXP)
    flags, reason = latest(output, "")
    assert "GAIN_STEP" in flags
    assert reason == "gain of the pairs changed by +10.1 % within the group, limit 5 %"


@pytest.mark.parametrize("late", [5, 20, 35])
def test_a_step_is_found_wherever_it_is(late):
    """Early, in the middle, late; a single pair that is far off is none."""
    gain = 1 + 0.002 * np.random.default_rng(1).normal(size=40)
    gain[40 - late :] *= 1.07
    gain[12] = 3.0
    assert find_step(gain, 3.0) == pytest.approx(0.07, abs=0.004)


def test_noise_and_a_few_odd_pairs_are_no_step():
    """Nor are ten pairs too few to tell."""
    rng = np.random.default_rng(2)
    series = 1 + 0.05 * rng.normal(size=(200, 40))
    series[:, 7:9] = 0.2
    assert sum(find_step(gain, 3.0) != 0 for gain in series) <= 2
    assert find_step(np.r_[np.ones(5), np.full(4, 2.0)], 3.0) == 0


def test_a_changed_gain_is_flagged_in_the_table(tmp_path):
    """A second run with a gain 10 % higher has the flag and the reason; the third is compared with the first."""
    output = write_solutions(write_pairs(tmp_path / "out", CURVE), EXP)
    write_pairs(output, CURVE, group="RUNID=2", change=lower)
    write_pairs(output, CURVE, group="RUNID=3")
    write_solutions(output, EXP)
    first, second, third = solutions(output).to_pylist()[::2]
    assert "GAIN_CHANGED" in decode_fit_flags(second["flags"])
    assert second["reason"].startswith("gain 1.65 changed by +10.0 ± ")
    assert (first["reason"], third["reason"]) == ("", "")
