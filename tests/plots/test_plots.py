"""Pictures: what is in them, which there are, and their files."""

from dataclasses import replace

import numpy as np
import pytest
from ptc_output import write_pairs, write_solutions
from ptc_truth import kernel, levels, make_curve

from streamcal.cli.plot import plot_output
from streamcal.errors import ConfigError
from streamcal.export.files import make_file_name
from streamcal.plots.book import list_pictures
from streamcal.plots.covariances import average_kernels, plot_covariances, plot_kernel
from streamcal.plots.style import lay_out
from streamcal.plots.trends import place_detectors, plot_focal_plane, plot_trends
from streamcal.plots.variance import LOOKS, plot_variances
from streamcal.ptc import FitConfig, fit_amplifier
from streamcal.ptc.solutions import solutions


def solve(curve, name="C00"):
    """Return a solution as a row of the table, as far as pictures need it."""
    found = fit_amplifier(curve, FitConfig(side=4))
    return {
        **{
            key: getattr(found, key)
            for key in ("model", "gain", "gain_error", "noise", "noise_error", "a00", "turnoff")
        },
        **{key: getattr(found, key) for key in ("chi2_dof", "flags", "reason", "used", "dropped")},
        "detector": "S00",
        "group": "RUNID=1",
        "amplifier": name,
        "mjd_start": 61000.0,
        "n_used": int(found.used.sum()),
        "mean": curve.mean,
        "variance": curve.variance,
        "variance_error": curve.error[:, 0, 0],
        "model_variance": found.model_covariance[:, 0, 0],
        "a_matrix": found.a,
        "a_matrix_error": found.a_error,
        "b_matrix": found.b,
        "noise_matrix": found.noise_matrix,
    }


@pytest.fixture(scope="module")
def curve():
    """Return a curve with an outlier and three pairs above the turnoff."""
    curve = make_curve(rng=np.random.default_rng(1), mean=levels(25), side=4)
    curve.covariance[[10, 22, 23, 24], 0, 0] *= [1.1, 0.5, 0.2, 0.1]
    return curve.of(curve.mean, curve.covariance[:, 0, 0], curve.error, curve.covariance)


def points(axes, look):
    """Return the means that are drawn in one look."""
    lines = [
        line
        for line in axes.get_lines()
        if line.get_marker() == LOOKS[look]["marker"] and line.get_color() == LOOKS[look]["color"]
    ]
    return sorted(np.concatenate([line.get_xdata() for line in lines]).tolist())


@pytest.mark.parametrize("scale", ["log", "linear"])
def test_every_pair_is_drawn_as_what_became_of_it(curve, scale):
    """Used, dropped and above the turnoff each have their look; all points are in curve and residuals."""
    figure = plot_variances([solve(curve)], scale)
    mean = levels(25)
    for axes in figure.axes:
        assert points(axes, "dropped") == [mean[10]]
        assert points(axes, "above turnoff") == mean[22:].tolist()
        assert len(points(axes, "used")) == 21
    assert figure.axes[0].get_xscale() == scale
    assert figure.axes[0].get_ylabel() == "variance (ADU²)"
    assert figure.axes[1].get_xlabel() == "mean signal (ADU)"


def test_the_turnoff_is_marked_only_where_it_was_reached(curve):
    """A curve that only rises has no dashed line."""
    dashed = [line for line in plot_variances([solve(curve)]).axes[0].get_lines() if line.get_linestyle() == "--"]
    assert [line.get_xdata()[0] for line in dashed] == [levels(25)[21]]
    rising = solve(make_curve(mean=levels(25), side=4))
    assert not [line for line in plot_variances([rising]).axes[0].get_lines() if line.get_linestyle() == "--"]


def test_a_poor_fit_says_so_in_its_panel(curve):
    """Beside chi2; a turnoff that was not reached is told as well."""
    text = plot_variances([solve(replace(curve, error=curve.error / 4))]).axes[0].texts[0].get_text()
    assert "(poor)" in text
    assert "not reached" not in text
    assert "turnoff not reached" in plot_variances([solve(make_curve(side=4))]).axes[0].texts[0].get_text()


def test_an_amplifier_without_solution_says_why():
    """Its panel holds the reason in place of numbers, and drawing it does not fail."""
    dead = solve(make_curve(mean=np.geomspace(0.1, 2, 10), side=4))
    figure = plot_variances([dead, dead])
    assert "dead" in figure.axes[0].texts[0].get_text()
    figure.draw_without_rendering()


def test_covariances_of_three_neighbours_are_drawn_with_their_fit(curve):
    """Six lines: points and model of C_01, C_10 and C_11, this a smooth curve from 0 to the highest pair used."""
    figure = plot_covariances([solve(curve)], {"C00": curve})
    (axes,) = figure.axes
    smooth = [line for line in axes.get_lines() if line.get_linestyle() == "-"]
    assert len(smooth) == 3
    assert (smooth[0].get_xdata()[0], smooth[0].get_xdata()[-1]) == (0, curve.mean[21])
    assert smooth[0].get_ydata()[-1] == pytest.approx(curve.covariance[21, 0, 1], abs=4 * curve.error[21, 0, 1])
    assert axes.get_ylabel() == "covariance (ADU²)"


def test_kernels_are_averaged_by_their_errors():
    """Two amplifiers, the second with errors of a half: it counts four times; one without numbers does not count."""
    one, half, none = kernel(2), 2 * kernel(2), np.full((2, 2), np.nan)
    rows = [
        {"a_matrix": one, "a_matrix_error": np.ones((2, 2))},
        {"a_matrix": half, "a_matrix_error": np.full((2, 2), 0.5)},
        {"a_matrix": none, "a_matrix_error": none},
    ]
    a, error, count = average_kernels(rows)
    np.testing.assert_allclose(a, 9 / 5 * kernel(2))
    np.testing.assert_allclose(error, 5**-0.5)
    assert count == 2


def test_the_kernel_is_mapped_with_x_to_the_right(curve):
    """The picture's rows are lags along y: its element [1, 0] is a_01, and so is the number at x = 0, y = 1."""
    row = solve(curve)
    axes = plot_kernel([row]).axes[0]
    assert axes.images[0].get_array()[1, 0] == pytest.approx(1e6 * row["a_matrix"][0, 1])
    (number,) = (float(text.get_text()) for text in axes.texts if text.get_position() == (0, 1))
    assert number == pytest.approx(1e8 * row["a_matrix"][0, 1], abs=0.05)


def test_trends_are_relative_to_the_median_of_the_fits():
    """Gains of 1.5, 1.5 and 1.515 lie at 0, 0 and 1 per cent; a pair that no curve knows has its own, noise in e-."""
    base = {"detector": "S00", "amplifier": "C00", "gain_error": 0.01, "noise": 5.0, "noise_error": 0.1}
    base |= {name: [] for name in ("pair_seq", "used", "variance", "model_variance")}
    solved = [{**base, "mjd_start": 61000.0 + day, "gain": gain} for day, gain in enumerate((1.5, 1.5, 1.515))]
    measured = [{"seq": 1, "amplifier": "C00", "mjd_start": 61000.5, "gain": 1.53, "read_noise": 3.0}]
    upper, lower = plot_trends(solved, measured).axes
    gains = [line.get_ydata() for line in upper.get_lines() if line.get_marker() == "o"]
    np.testing.assert_allclose(gains[0], [0, 0, 1])
    gain, noise = (_dots(axes) for axes in (upper, lower))
    np.testing.assert_allclose(gain, [2])
    np.testing.assert_allclose(noise, [3 * 1.53])  # ADU times its gain


def test_noise_of_a_pair_is_in_electrons_of_its_own_group():
    """The gain changed from 1.5 to 3 between the groups: 4 ADU are 6 e-, then 12 e-; the amplifier is named."""
    base = {"detector": "S00", "amplifier": "C00", "gain_error": 0.01, "noise": 5.0, "noise_error": 0.1}
    solved = [
        {**base, "mjd_start": 61000.0 + seq, "gain": gain, "pair_seq": [seq], "used": [True]}
        | {"variance": [1.0], "model_variance": [1.0]}
        for seq, gain in ((1, 1.5), (2, 3.0))
    ]
    pair = {"amplifier": "C00", "mjd_start": 61000.5, "gain": 1.8, "read_noise": 4.0}
    _, lower = plot_trends(solved, [{**pair, "seq": 1}, {**pair, "seq": 2}]).axes
    np.testing.assert_allclose(_dots(lower), [6, 12])
    assert [text.get_text() for text in lower.texts] == ["C00"]


def _dots(axes):
    (dots,) = (line.get_ydata() for line in axes.get_lines() if line.get_marker() == ".")
    return dots


def test_pairs_of_a_curve_are_drawn_against_it():
    """A variance 1 % below the curve is a gain 1 % above it, whatever the level; a dropped pair is not drawn."""
    solved = {"detector": "S00", "amplifier": "C00", "mjd_start": 61000.0, "gain": 1.5, "gain_error": 0.01}
    solved |= {"noise": 5.0, "noise_error": 0.1, "pair_seq": [4, 9], "used": [True, False]}
    solved |= {"variance": [100.0, 1.0], "model_variance": [101.0, 700.0]}
    pair = {"amplifier": "C00", "mjd_start": 61000.5, "gain": 1.8, "read_noise": 3.0}
    upper, _ = plot_trends([solved], [{**pair, "seq": 4}, {**pair, "seq": 9}]).axes
    np.testing.assert_allclose(_dots(upper), [1, np.nan])


def test_rafts_lie_where_their_names_say():
    """R21_S02 is raft row 2, column 1, sensor row 0, column 2; others lie row by row from the top."""
    assert place_detectors(["R21_S02", "R22_S00"]) == {"R21_S02": (0, 0), "R22_S00": (0, 1)}
    assert place_detectors(["A", "B", "C"]) == {"A": (1, 0), "B": (1, 1), "C": (0, 0)}


def test_the_focal_plane_holds_every_amplifier_and_crosses_out_what_is_missing():
    """Each detector is a tile of its amplifiers; NaN has a cross."""
    rows = [{"detector": name, "gain": gain} for name in "AB" for gain in (1.5, 1.6, 1.4, np.nan)]
    axes = plot_focal_plane(rows).axes[0]
    assert [image.get_array().shape for image in axes.images] == [(2, 2), (2, 2)]
    assert sum(line.get_marker() == "x" for line in axes.get_lines()) == 2


@pytest.mark.parametrize(("count", "grid"), [(1, (1, 1)), (2, (1, 2)), (4, (2, 2)), (7, (2, 4)), (16, (4, 4))])
def test_sixteen_amplifiers_fit_on_a_page(count, grid):
    """At most four panels in a row."""
    assert lay_out(count) == grid


def test_file_names_hold_no_separators():
    """Groups hold "=", ";" and whatever headers hold; file names do not."""
    assert make_file_name("curves_S00_RUN=a/b;FILTER=r") == "curves_S00_RUN-a-b-FILTER-r"


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    """Two detectors, fitted."""
    output = tmp_path_factory.mktemp("plots") / "out"
    for detector in ("S00", "S01"):
        write_pairs(output, detector=detector)
    return write_solutions(output)


def test_the_command_writes_what_was_asked_for(output, tmp_path, capsys):
    """Files of the chosen kind and form, their paths on stdout."""
    assert plot_output(output, folder=tmp_path, kinds=["kernel"], suffix="pdf", detector="S01") == 0
    (path,) = tmp_path.iterdir()
    assert path.name == "kernel_S01_RUNID-1.pdf"
    assert path.read_bytes().startswith(b"%PDF")
    assert capsys.readouterr().out.split() == [str(path)]


def test_a_folder_that_is_a_file_is_told(output, tmp_path):
    """In one line."""
    (tmp_path / "taken").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        plot_output(output, folder=tmp_path / "taken", kinds=["kernel"])


def test_all_pictures_of_an_output_can_be_drawn(output):
    """Curves in two scales, covariances and kernel of each detector, trends, and three maps; none fails."""
    pictures = dict(list_pictures(output, solutions(output).to_pylist()))
    assert len(pictures) == 2 * 4 + 2 + 3
    assert {"curves_S00_RUNID=1_log", "covariances_S01_RUNID=1", "trends_S00", "focal_plane_noise"} <= set(pictures)
    for name, draw in pictures.items():
        if "S01" not in name:  # as those of S00
            draw().draw_without_rendering()


def test_more_than_sixteen_amplifiers_take_two_pages(curve, tmp_path):
    """Seventeen: the second page holds one; the pages are numbered."""
    rows = [{**solve(curve, f"A{n:02d}"), "instrument": "x", "last_seq": 1} for n in range(17)]
    pictures = dict(list_pictures(tmp_path, rows, ["curves"]))
    assert list(pictures) == [f"curves_S00_RUNID=1_{page}_{scale}" for page in (1, 2) for scale in ("log", "linear")]
    assert len(pictures["curves_S00_RUNID=1_2_log"]().axes) == 2


def test_png_is_written_beside_the_output_by_default(output, capsys):
    """OUTPUT/plots holds the pictures."""
    plot_output(output, kinds=["trends"], detector="S00")
    path = output / "plots" / "trends_S00.png"
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"kinds": ["pie"]}, "--kind must be one of curves, covariances, kernel, trends, focal-plane, got 'pie'"),
        ({"suffix": "gif"}, "--format must be one of png, pdf, svg, got 'gif'"),
        ({"model": "POLYNOMIAL"}, "no solutions to draw; run: streamcal fit"),
        ({"detector": "S99"}, "no solutions to draw; run: streamcal fit"),
    ],
)
def test_wrong_choices_are_told(output, tmp_path, options, text):
    """In one line, with what there is."""
    with pytest.raises(ConfigError, match=text):
        plot_output(output, folder=tmp_path, **options)
