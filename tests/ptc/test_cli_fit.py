"""`streamcal fit`: what it prints, stores and returns."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from ptc_output import write_pairs
from ptc_truth import GAIN, levels, make_curve

from streamcal import requests
from streamcal.cli.export import export_output
from streamcal.cli.fit import fit_output, format_uncertain
from streamcal.cli.plot import plot_output
from streamcal.errors import ConfigError
from streamcal.lock import StateLock
from streamcal.ptc import FitFlag
from streamcal.ptc.solutions import solutions


@pytest.fixture
def output(tmp_path):
    """Measurements of one group, and a configuration that fits 4 x 4 lags."""
    output = write_pairs(tmp_path / "out")
    config = tmp_path / "run.toml"
    config.write_text("[fit]\nside = 4\n")
    paths = {"state": str(output / "state"), "configuration": str(config)}
    (output / "streamcal.json").write_text(json.dumps(paths))
    return output


def test_fit_prints_and_stores(output, capsys):
    """A row an amplifier with value, error and pairs; the same solutions are in the table."""
    assert fit_output(output) == 0
    text = capsys.readouterr().out
    assert "C00" in text
    assert "20/20" in text
    assert solutions(output)["amplifier"].to_pylist() == ["C00", "C01"]


def test_signs_in_the_table_are_explained(tmp_path, capsys):
    """A poor fit and a turnoff that was not reached have a sign each, and a line that says what it means."""
    curve = make_curve(mean=levels(20), side=4, rng=np.random.default_rng(1))
    output = write_pairs(tmp_path / "out", replace(curve, error=curve.error / 4))
    fit_output(output, model="EXPAPPROXIMATION", save=False)
    text = capsys.readouterr().out
    assert " poor " in text
    assert "poor  POOR_FIT: chi2 of the variances" in text
    assert ">  TURNOFF_NOT_REACHED: no pair" in text


def test_fit_prints_json(output, capsys):
    """With --json a line an amplifier, all columns, flags by name."""
    fit_output(output, as_json=True, save=False, model="EXPAPPROXIMATION")
    first, _ = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert first["model"] == "EXPAPPROXIMATION"
    assert first["gain"] == pytest.approx(GAIN, rel=0.01)
    assert "TURNOFF_NOT_REACHED" in first["flag_names"]
    assert (len(first["mean"]), first["b_matrix"], first["parameter_covariance"]) == (20, [[None]], None)
    assert solutions(output).num_rows == 0


def test_while_a_daemon_is_at_work_it_is_asked_to_fit(output, capsys):
    """Only the daemon may write: groups and settings are left for it, and the solutions are shown all the same."""
    with StateLock(output / "state"):
        assert fit_output(output, model="POLYNOMIAL") == 0
    captured = capsys.readouterr()
    assert "is at work: it will fit these groups too" in captured.err
    assert "C00" in captured.out
    assert solutions(output).num_rows == 0
    (request,) = requests.pending(output / "state" / "requests")
    assert request.values["groups"] == [{"instrument": "simulated", "detector": "S00", "group": "RUNID=1"}]
    assert request.values["fit"]["model"] == "POLYNOMIAL"


def test_accepted_solutions_are_stored_as_such(output, capsys):
    """By --accept; without storing them there is nothing to compare with."""
    assert fit_output(output, accept=True) == 0
    assert all(flags & FitFlag.ACCEPTED for flags in solutions(output)["flags"].to_pylist())
    with pytest.raises(ConfigError, match="--accept needs --save"):
        fit_output(output, accept=True, save=False)


def test_without_saving_no_daemon_is_asked(output):
    """--no-save leaves no request."""
    with StateLock(output / "state"):
        fit_output(output, save=False)
    assert requests.pending(output / "state" / "requests") == []


@pytest.mark.parametrize(("limit", "code"), [("max_noise = 9.0", 0), ("max_noise = 5.0", 3), ("min_turnoff = 1e6", 0)])
def test_check_tells_by_its_exit_code(output, tmp_path, capsys, limit, code):
    """With --check a broken limit is exit code 3, and the text says which."""
    (tmp_path / "run.toml").write_text(f"[fit]\nside = 4\n[fit.limits]\n{limit}\n")
    assert fit_output(output, check=True, save=False) == code
    assert ("is above 5 e-" in capsys.readouterr().out) == (code == 3)


def test_groups_that_are_fitted_together_are_compared(tmp_path, capsys):
    """Nothing is stored yet, or ever: the second group is held against the first all the same."""
    curve = make_curve("EXPAPPROXIMATION", mean=levels(20), side=1)
    output = write_pairs(tmp_path / "out", curve)
    write_pairs(output, replace(curve, variance=curve.variance / 1.1), group="RUNID=2")
    assert fit_output(output, model="EXPAPPROXIMATION", check=True, save=False) == 3
    assert "C00: gain 1.65 changed by +10.0" in capsys.readouterr().out


def test_check_counts_amplifiers_without_solution(output, capsys):
    """Too few lags for the model: no solution, exit code 3 with --check, 0 without."""
    config = output.parent / "other.toml"
    config.write_text("[fit]\nside = 8\n")
    assert fit_output(output, config=config, save=False) == 0
    assert fit_output(output, config=config, check=True, save=False) == 3
    assert "FULLCOVARIANCE needs covariances at 8 x 8 lags" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"model": "LINEAR"}, "fit.model: input should be 'EXPAPPROXIMATION'"),
        ({"config": Path("wrong.toml")}, "fit: max_signal must be above min_signal, 10, got 5"),
        ({"detector": "S99"}, "no measurements of this group and detector, there are: S00 RUNID=1"),
    ],
)
def test_wrong_choices_are_one_line(output, monkeypatch, options, text):
    """What there is to choose from is in the message."""
    monkeypatch.chdir(output.parent)
    Path("wrong.toml").write_text("[fit]\nmin_signal = 10\nmax_signal = 5\n")
    with pytest.raises(ConfigError, match=text):
        fit_output(output, **options)


@pytest.mark.parametrize("command", [fit_output, plot_output, partial(export_output, kind="csv")])
def test_a_folder_that_is_no_output_is_one_line(tmp_path, command):
    """Not a traceback."""
    with pytest.raises(ConfigError, match="is no output of streamcal, or none yet"):
        command(tmp_path)


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (1.50034, 0.00062, "1.50034 ± 0.00062"),
        (-3.1004e-6, 3.3e-8, "(-3.100 ± 0.033)e-6"),
        (80000.0, 6649.2, "80000 ± 6649"),
        (float("nan"), float("nan"), "nan"),
    ],
)
def test_values_are_shown_to_two_digits_of_their_error(value, error, text):
    """More digits would be noise."""
    assert format_uncertain(value, error) == text
