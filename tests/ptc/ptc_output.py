"""Outputs with measured curves of known truth, written by the real sink."""

from contextlib import contextmanager
from datetime import UTC, datetime

import numpy as np
from ptc_truth import GAIN, levels, make_curve

from streamcal.config import parse_config
from streamcal.daemon import prepare
from streamcal.journal import Journal
from streamcal.ptc.columns import solution_schema
from streamcal.ptc.observations import find_groups
from streamcal.ptc.settings import FitConfig
from streamcal.ptc.solutions import fit_rows
from streamcal.sink.arrow import ArrowSink
from streamcal.sink.schema import build_batch

AMPLIFIERS = ("C00", "C01")


@contextmanager
def open_sink(output, name):
    """Open a table of an output, journal in ``output/state``."""
    (output / "state").mkdir(parents=True, exist_ok=True)
    (output / "streamcal.json").write_text('{"state": "%s"}' % (output / "state"))
    journal = Journal(output / "state" / "journal.db")
    sink = ArrowSink(output / name, name, journal, roll_bytes=1 << 30, roll_seconds=1e9)
    try:
        sink.recover()
        yield sink
    finally:
        sink.close()
        journal.close()


def make_rows(curve, place, **values):
    """Return the rows of one pair, an amplifier each."""
    numbers = {"mean": curve.mean[place], "mean_used": curve.mean[place], "variance": curve.variance[place]}
    matrices = {"covariance": curve.covariance[place], "covariance_error": curve.error[place]}
    common = {
        "instrument": "simulated",
        "detector": "S00",
        "group": "RUNID=1",
        "exposure_id_1": str(100 + 2 * place),
        "exposure_id_2": str(101 + 2 * place),
        "path_1": f"a{place}.fits",
        "path_2": f"b{place}.fits",
        "exposure_time": float(curve.mean[place]) / 100,
        "flux": float("nan"),
        "mjd_start": 61000 + place / 1000,
        "mjd_start_utc": 61000 + place / 1000,
        "measured_at": datetime(2026, 1, 1, tzinfo=UTC),
        "gain": GAIN,
        "gain_error": 0.002,
        "read_noise": 3.7,
        "read_noise_error": 0.01,
        "delta": 1.5,
        "row_mean_variance": 2.0,
        "overscan_level": 1000.25,
        "amp_offset": 0.5,
        "n_selected": 1_000_000,
        "flags": 0,
        "timings": {"read": 0.1},
        **numbers,
        **matrices,
        "n_pixels": np.full(curve.covariance[place].shape, 1_000_000, dtype=np.int64),
        **values,
    }
    return [{**common, "amplifier": name} for name in AMPLIFIERS]


def write_pairs(output, curve=None, *, places=None, change=lambda rows: rows, **values):
    """Append pairs to the measurements of an output, one commit each."""
    curve = make_curve(rng=np.random.default_rng(1), mean=levels(20), side=4) if curve is None else curve
    schema = prepare(parse_config({"instrument": "simulated"})).schema
    with open_sink(output, "measurements") as sink:
        for place in range(len(curve)) if places is None else places:
            key = f"{values.get('group', '')}{values.get('detector', '')}{place}"
            rows = change(make_rows(curve, place, pair_id=key, seq=sink.next_seq, **values))
            sink.append(build_batch(schema, rows), key=key, record=lambda _db, _seq: None)
    return output


def write_solutions(output, config=None, *, group=None, accept=False):
    """Fit all groups of an output, or one, and append the solutions, as the daemon does."""
    config = config or FitConfig(side=4)
    for key in find_groups(output):
        if group not in {None, key.group}:
            continue
        with open_sink(output, "ptc") as sink:
            rows = [{**row, "seq": sink.next_seq} for row in fit_rows(output, key, config, accept=accept)]
            batch = build_batch(solution_schema(), rows)
            sink.append(batch, key=f"{key}{sink.next_seq}", record=lambda _db, _seq: None)
    return output
