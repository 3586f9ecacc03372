"""Crosstalk from other detectors: their exposures found, waited for, and done without when they do not come."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from streamcal import results
from streamcal.calibs.crosstalk import CrosstalkCalib
from streamcal.cli.measure import measure_files
from streamcal.config import parse_config
from streamcal.daemon import prepare, run_daemon
from streamcal.engine.inline import InlineEngine
from streamcal.errors import RetryLater, StageError
from streamcal.flags import RowFlag, decode_flags
from streamcal.instruments import load_instrument
from streamcal.intake import Intake
from streamcal.journal import Journal
from streamcal.ledger import Ledger
from streamcal.measuring import Measuring
from streamcal.pipeline import Pipeline
from streamcal.run import Run
from streamcal.simulate import DEFAULT_CAMERA, simulate_run
from streamcal.template import write_value
from streamcal.testing import ListSink, ListSource, ManualClock, RecordingContext
from streamcal.wake import Wake

CAMERA = replace(DEFAULT_CAMERA, shape=(128, 96), prescan=4, overscan=16)
FROM_D1 = [[0.0, 2e-3], [0.0, 0.0]]  # [target][source]: A shows B of d1


def write_calib(path, **attributes):
    """Write a calibration with crosstalk between detectors only; returns its path."""
    calib = CrosstalkCalib(n_amp=len(next(iter(attributes["inter_chip"].values()))))
    calib.has_crosstalk = True
    for name, value in attributes.items():
        setattr(calib, name, value)
    calib.write_fits(path)
    return path


@pytest.fixture
def target(made):
    """Return an exposure of d0 that shows 20 ADU of what d1 read in its amplifier B, whose output is at the right."""
    left = np.zeros((3, 4))
    left[1, 3] = 20.0
    return made.exposure(made.amplifier(left, name="A"), made.amplifier(np.zeros((3, 4)), name="B", corner="LR"))


@pytest.fixture
def source(made):
    """Return the exposure of d1 of the same id, with one bright pixel in B."""
    right = np.zeros((3, 4))
    right[1, 0] = 10000.0
    amplifiers = made.amplifier(np.zeros((3, 4)), name="A"), made.amplifier(right, name="B", corner="LR")
    return made.exposure(*amplifiers, detector="d1")


@pytest.fixture
def subtract(plugins, tmp_path):
    """Run the stage on an exposure for which these companions are known."""

    def run(exposure, companions, *, waited_seconds=float("inf"), **settings):
        context = RecordingContext("crosstalk", folders=(tmp_path,))
        context.find_companion = lambda _info, detector, _stage: companions.get(detector)
        context.waited_seconds = waited_seconds
        stage = plugins.stages["crosstalk"]
        return stage.run(exposure, stage.settings(file="{detector}.fits", **settings), context)

    return run


def test_crosstalk_of_another_detector_is_subtracted(subtract, target, source, tmp_path):
    """Pixels read at the same time belong together, whichever detector they are of."""
    write_calib(tmp_path / "d0.fits", inter_chip={"d1": np.array(FROM_D1)})
    after = subtract(target, {"d1": source})
    assert after.amplifiers["A"].data[1, 3] == pytest.approx(0.0, abs=1e-5)
    assert after.amplifiers["A"].metadata["crosstalk_max_correction"] == pytest.approx(20.0)
    assert after.amplifiers["A"].metadata["flags"] == 0


@pytest.mark.parametrize(("bad", "left"), [("d1/B", 20.0), ("B", 20.0), ("d0/B", 0.0), ("d1/A", 0.0)])
def test_bad_amplifier_of_another_detector_is_no_source(subtract, target, source, tmp_path, bad, left):
    """Named with its detector, or without for all detectors; a bad amplifier of the target's detector is another."""
    write_calib(tmp_path / "d0.fits", inter_chip={"d1": np.array(FROM_D1)})
    after = subtract(target, {"d1": source}, bad_amplifiers=[bad])
    assert after.amplifiers["A"].data[1, 3] == pytest.approx(left, abs=1e-5)


@pytest.mark.parametrize(("waited", "wait"), [(0.0, 1.0), (1.0, 1.0), (8.0, 8.0), (50.0, 10.0)])
def test_a_pair_waits_twice_as_long_each_time(subtract, target, tmp_path, waited, wait):
    """1, 2, 4, ... s from the first try on, and the last time at the timeout; the reason names the detector."""
    write_calib(tmp_path / "d0.fits", inter_chip={"d1": np.array(FROM_D1)})
    with pytest.raises(RetryLater, match="exposure 1 of detector d1, a source of crosstalk, has not come") as caught:
        subtract(target, {}, waited_seconds=waited)
    assert caught.value.after_seconds == wait


def test_after_the_timeout_it_is_done_without(subtract, target, source, tmp_path):
    """What is there is subtracted, and all amplifiers are flagged."""
    write_calib(tmp_path / "d0.fits", inter_chip={"d1": np.array(FROM_D1), "d2": np.array(FROM_D1)})
    after = subtract(target, {"d1": source}, waited_seconds=5.0, inter_chip_timeout=5.0)
    assert after.amplifiers["A"].data[1, 3] == pytest.approx(0.0, abs=1e-5)
    assert [entry.metadata["flags"] for entry in after.amplifiers.values()] == [RowFlag.CROSSTALK_INCOMPLETE] * 2


def test_gains_of_the_other_detector_come_from_its_own_file(subtract, target, source, tmp_path):
    """In electrons 2e-3 at gain 3 onto gain 1.5 are 4e-3 in ADU; without its gains it cannot be done."""
    units = {"crosstalk_ratios_units": "electron"}
    write_calib(tmp_path / "d0.fits", inter_chip={"d1": np.array(FROM_D1)}, fit_gains=np.full(2, 1.5), **units)
    with pytest.raises(StageError, match=r"gains of cam/d1/1 must be given"):
        subtract(target, {"d1": source}, missing="skip")
    write_calib(tmp_path / "d1.fits", inter_chip={"d0": np.array(FROM_D1)}, fit_gains=np.full(2, 3.0), **units)
    after = subtract(target, {"d1": source})
    assert after.amplifiers["A"].data[1, 3] == pytest.approx(20.0 - 40.0)
    after = subtract(target, {"d1": source}, gains=2.0)
    assert after.amplifiers["A"].data[1, 3] == pytest.approx(0.0, abs=1e-5)


def make_config(folder, instrument="simulated", **engine):
    """Return a run configuration in which S00 shows 1 % of S01."""
    write_calib(folder / "S00.fits", inter_chip={"S01": 0.01 * np.eye(4)})
    return parse_config(
        {
            "instrument": instrument,
            "source": {"folders": [str(folder / "incoming")], "settle_seconds": 0.05},
            "output": {"folder": str(folder / "output")},
            "engine": {"kind": "inline"} | engine,
            "pipeline": {"stages": ["isr", "crosstalk", "covariance"]},
            "stages": {"crosstalk": {"file": f"{folder}/{{detector}}.fits", "missing": "skip"}},
        }
    )


class Bench:
    """A pipeline that reads real files, turned by hand, on a clock that tests move."""

    def __init__(self, folder, *, instrument="simulated"):
        self.incoming, config = folder / "incoming", make_config(folder, instrument)
        workshop = prepare(config)
        self.clock, self.wake, self.journal = ManualClock(1000.0), Wake(), Journal(folder / "journal.db")
        run = Run(
            config=config, recipe=workshop.recipe, engine=InlineEngine(), journal=self.journal, wake=self.wake,
            clock=self.clock,
        )  # fmt: skip
        self._source, self.sink = ListSource([]), ListSink(self.journal)
        intake, self.measuring = Intake(self._source, run), Measuring(self.sink, workshop.schema, run)
        ledger = Ledger(ListSink(self.journal), run)
        self._pipeline = Pipeline(self._source, intake, self.measuring, ledger, run)

    def put(self, *paths):
        """Let files come."""
        self._source._items += paths

    def turn(self, seconds=0.0):
        """Let time pass and turn the loop; return the detectors of which there are rows."""
        self.clock.advance(seconds)
        for _ in range(4):
            self._pipeline._turn(self._pipeline._watch)
        return [batch["detector"][0].as_py() for _, batch in self.sink.batches]

    def column(self, detector, name):
        """Return a column of the rows of a detector."""
        (batch,) = [batch for _, batch in self.sink.batches if batch["detector"][0].as_py() == detector]
        return np.array(batch[name].to_pylist())

    def close(self):
        """Release journal and pipe."""
        self.journal.close()
        self.wake.close()


@pytest.fixture
def make_bench(tmp_path):
    """Make a bench, with a pair of flats of each of two detectors lying ready."""
    benches = []

    def make(**options):
        benches.append(Bench(tmp_path, **options))
        simulate_run(benches[-1].incoming, CAMERA, [2000.0], detectors=("S00", "S01"))
        return benches[-1]

    yield make
    for bench in benches:
        bench.close()


def files(bench, detector):
    """Return the files of a detector."""
    return sorted(bench.incoming.glob(f"*_{detector}.fits"))


def check_corrected(bench):
    """Check that 1 % of what S01 shows was taken off S00, bias not included, and that nothing is flagged."""
    taken = 0.01 * bench.column("S01", "mean")
    assert bench.column("S00", "crosstalk_max_correction") == pytest.approx(taken, rel=0.15)  # of the brightest pixel
    expected = bench.column("S01", "mean") - taken  # two detectors under the same light
    assert bench.column("S00", "mean") == pytest.approx(expected, rel=1e-3)
    assert not (bench.column("S00", "flags") & RowFlag.CROSSTALK_INCOMPLETE).any()


def test_a_pair_waits_for_the_files_of_the_other_detector(make_bench):
    """It is measured when they have come; the others are not held up."""
    bench = make_bench()
    bench.put(*files(bench, "S00"))
    assert bench.turn() == []
    assert bench.turn(3.0) == []
    bench.put(*files(bench, "S01"))
    assert bench.turn() == ["S01"]
    assert bench.turn(4.0) == ["S01", "S00"]
    check_corrected(bench)


def test_files_that_never_come_cost_the_timeout_only(make_bench):
    """Then the rows are there, flagged."""
    bench = make_bench()
    bench.put(*files(bench, "S00"), files(bench, "S01")[0])
    assert [bench.turn(seconds) for seconds in (0.0, 5.0, 54.0)] == [[]] * 3
    assert bench.turn(1.0) == ["S00"]
    assert (bench.column("S00", "flags") & RowFlag.CROSSTALK_INCOMPLETE).all()


def test_a_file_that_cannot_be_read_any_more_counts_as_missing(make_bench):
    """The pair is measured all the same."""
    bench = make_bench()
    bench.put(*files(bench, "S01"))
    bench.turn()
    files(bench, "S01")[0].unlink()
    bench.put(*files(bench, "S00"))
    bench.turn()
    assert bench.turn(61.0) == ["S01", "S00"]
    assert (bench.column("S00", "flags") & RowFlag.CROSSTALK_INCOMPLETE).all()


def test_detectors_in_one_file(make_bench):
    """All that is needed is there at once."""
    table = load_instrument("simulated", base=Path()).to_dict()
    table["geometry"]["images"] = 8
    bench = make_bench(instrument=table)
    for first, second in zip(files(bench, "S00"), files(bench, "S01"), strict=True):
        both = bench.incoming / first.name.replace("_S00", "")
        write_both(first, second, both)
        bench.put(both)
    assert sorted(bench.turn()) == ["S00", "S01"]
    check_corrected(bench)


def write_both(first, second, path):
    """Write the amplifiers of two detectors into one file, each extension with the name of its detector."""
    with fits.open(first) as one, fits.open(second) as other:
        for hdu in (*one[1:], *other[1:]):
            hdu.header["DETECTOR"] = "S00" if hdu in one else "S01"
        fits.HDUList([one[0], *one[1:], *other[1:]]).writeto(path)


@pytest.mark.parametrize("kind", ["inline", "local"])
def test_nobody_waits_with_once(tmp_path, kind):
    """All files are looked into first: what is there is used, what is missing is missing; in worker processes too."""
    simulate_run(tmp_path / "incoming", CAMERA, [2000.0], detectors=("S00", "S01"))
    simulate_run(tmp_path / "incoming", CAMERA, [4000.0], detectors=("S00",), first_id=3)
    assert run_daemon(make_config(tmp_path, kind=kind, workers=1), once=True) == 0
    rows = results.read(tmp_path / "output").to_pylist()
    flagged = {
        (row["detector"], row["exposure_id_1"]): "CROSSTALK_INCOMPLETE" in decode_flags(row["flags"]) for row in rows
    }
    assert flagged == {("S00", "1"): False, ("S01", "1"): False, ("S00", "3"): True}
    assert {row["crosstalk_file"] for row in rows} == {str(tmp_path / "S00.fits"), None}


def test_measuring_a_pair_by_hand_knows_the_detectors_of_its_files(tmp_path, capsys):
    """`streamcal measure` subtracts what another detector in the same two files left."""
    table = load_instrument("simulated", base=Path()).to_dict()
    table["geometry"]["images"] = 8
    workshop_config = make_config(tmp_path, table)
    simulate_run(tmp_path / "incoming", CAMERA, [2000.0], detectors=("S00", "S01"))
    names = [sorted((tmp_path / "incoming").glob(f"*_{detector}.fits")) for detector in ("S00", "S01")]
    both = [tmp_path / f"{n}.fits" for n in range(2)]
    for path, first, second in zip(both, *names, strict=True):
        write_both(first, second, path)
    config = tmp_path / "run.toml"
    tables = {"instrument": table, "pipeline": workshop_config.pipeline, "stages": workshop_config.stages}
    config.write_text("\n".join(f"{key} = {write_value(without_none(value))}" for key, value in tables.items()))
    assert measure_files(*both, config, "simulated", as_json=True) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    corrected = [row["crosstalk_max_correction"] for row in rows if row["detector"] == "S00"]
    assert all(correction > 0.005 * rows[-1]["mean"] for correction in corrected)
    assert not any("CROSSTALK_INCOMPLETE" in row["flag_names"] for row in rows)


def without_none(value):
    """Return a table without what TOML cannot say."""
    if isinstance(value, dict):
        return {key: without_none(item) for key, item in value.items() if item is not None}
    return value
