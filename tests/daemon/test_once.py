"""``--once``: what is there is measured, in order of exposure id, on every engine; each file has its disposition."""

from __future__ import annotations

import gzip
import os

import numpy as np
import pyarrow as pa
import pytest
from astropy.io import fits

from streamcal import results
from streamcal.daemon import EXIT_DONE, EXIT_REJECTED, run_daemon
from streamcal.sink.columns import CONTRACT_ORDER

LEVELS = [1000.0, 2000.0, 4000.0]


@pytest.fixture(params=["inline", "local"])
def engine(request):
    """Return the engine table of the configuration."""
    return {"kind": request.param, "workers": 2}


def names(exposure_ids):
    """Return file names of exposure ids."""
    return [f"SIM0001_{number:06d}_S00.fits" for number in exposure_ids]


def test_every_pair_is_measured_on_every_engine(site, engine):
    """Three levels are three pairs of four rows, in order of exposure id; all files are paired."""
    site.simulate(LEVELS)
    assert run_daemon(site.config(engine=engine), once=True) == EXIT_DONE
    assert site.pairs() == [("S00", "1", "2"), ("S00", "3", "4"), ("S00", "5", "6")]
    assert site.rows()["amplifier"].to_pylist() == ["C00", "C01", "C10", "C11"] * 3
    assert site.dispositions() == dict.fromkeys(names(range(1, 7)), "paired")


def test_order_of_files_does_not_matter(site, engine):
    """Shuffled arrival gives the rows of an orderly one, apart from times."""
    site.simulate(LEVELS, order="shuffled")
    run_daemon(site.config(engine=engine), once=True)
    assert site.pairs() == [("S00", "1", "2"), ("S00", "3", "4"), ("S00", "5", "6")]
    assert site.rows()["seq"].to_pylist() == [1] * 4 + [2] * 4 + [3] * 4


def test_gain_and_read_noise_are_right(site):
    """From files to rows the truth comes out within five standard errors."""
    site.simulate([2000.0])
    run_daemon(site.config(stages={"gain": {"correction": "UNBIASED"}}), once=True)
    truth = results_truth(site)
    for row in site.rows().to_pylist():
        gain, read_noise = truth[row["amplifier"]]
        assert abs(row["gain"] - gain) < 5 * row["gain_error"] + 0.01 * gain  # 1 %: brighter-fatter at this level
        assert abs(row["read_noise"] - read_noise) < 5 * row["read_noise_error"]


def results_truth(site):
    """Return gain and read noise (ADU) by amplifier."""
    from streamcal.simulate import load_truth

    camera = load_truth(site.incoming).camera
    return {amplifier.name: (amplifier.gain, amplifier.read_noise_adu) for amplifier in camera.amplifiers}


def test_contract_columns_are_all_there_in_order_with_unit_and_description(site):
    """Every contract column is in every row, described in the file itself."""
    site.simulate([1000.0])
    run_daemon(site.config(), once=True)
    schema = site.rows().schema
    assert tuple(schema.names[: len(CONTRACT_ORDER)]) == CONTRACT_ORDER
    for field in schema:
        assert b"unit" in field.metadata
        assert field.metadata[b"description"]
    assert schema.field("covariance").type == pa.list_(pa.list_(pa.float64()))
    assert schema.field("flags").type == pa.uint64()
    assert {b"schema_version", b"streamcal_version", b"stages", b"chain_digest"} <= set(schema.metadata)


def test_two_detectors_interleaved(site):
    """One file per detector: each detector pairs by itself."""
    site.simulate(LEVELS[:2], detectors=("S00", "S01"), order="interleaved")
    run_daemon(site.config(), once=True)
    assert sorted(site.pairs()) == [("S00", "1", "3"), ("S00", "2", "4"), ("S01", "1", "3"), ("S01", "2", "4")]


def test_third_flat_is_extra_and_single_is_orphan(site):
    """More than two at a level are extras; a flat without partner is an orphan at the end of the run."""
    site.simulate(LEVELS[:1], flats_per_level=3)
    site.simulate([4000.0], flats_per_level=1, first_id=4)
    assert run_daemon(site.config(), once=True) == EXIT_DONE
    assert site.dispositions() == dict(zip(names(range(1, 5)), ["paired", "paired", "extra", "orphan"], strict=True))


def test_late_partner_of_an_orphan_is_paired_by_the_next_run(site):
    """An orphan is not lost: when its partner comes after all, they are a pair."""
    site.simulate(LEVELS)
    late = site.incoming / names([6])[0]
    hidden = site.folder / "late"
    late.rename(hidden)
    run_daemon(site.config(), once=True)
    assert site.dispositions()[names([5])[0]] == "orphan"
    hidden.rename(late)
    run_daemon(site.config(), once=True)
    assert site.pairs()[-1] == ("S00", "5", "6")
    assert set(site.dispositions().values()) == {"paired"}


def test_running_again_changes_nothing(site):
    """What was measured is not measured again."""
    site.simulate(LEVELS)
    run_daemon(site.config(), once=True)
    before = repr(site.rows().to_pylist())  # a NaN equals none, its text does
    run_daemon(site.config(), once=True)
    assert repr(site.rows().to_pylist()) == before


def test_biases_are_ignored(site):
    """What is no flat is ignored, with the header value that says so."""
    site.simulate([1000.0], biases=1)
    assert run_daemon(site.config(), once=True) == EXIT_DONE
    rows = results.exposures(site.output).to_pylist()
    assert [row["reason"] for row in rows if row["disposition"] == "ignored"] == ["not a flat: IMAGETYP = 'BIAS'"]


def test_compressed_files_give_the_same_rows(site):
    """Gzip under a plain name and Rice-compressed files hold the same pixels."""
    site.simulate([1000.0])
    run_daemon(site.config(), once=True)
    plain = site.rows().select(["mean", "variance", "gain"])
    for suffix in (".fits.gz", ".fits.fz"):
        other = type(site)(make_folder(site.folder / suffix))
        other.simulate([1000.0], suffix=suffix)
        if suffix == ".fits.gz":
            for path in list(other.incoming.glob("*.gz")):
                path.rename(path.with_suffix(""))
        run_daemon(other.config(), once=True)
        assert other.rows().select(["mean", "variance", "gain"]).equals(plain)


def make_folder(path):
    """Return a new folder."""
    path.mkdir()
    return path


def break_files(site):
    """Put rubbish of all kinds among the exposures; return the reason expected of each, in part."""
    first = site.incoming / names([1])[0]
    whole = first.read_bytes()
    folder = site.incoming
    (folder / "empty.fits").write_bytes(b"")
    (folder / "cut.fits").write_bytes(whole[: len(whole) // 2])
    (folder / "words.fits").write_bytes(b"this is no FITS file\n" * 500)
    (folder / "bomb.fits.gz").write_bytes(gzip.compress(b"SIMPLE  =                    T" + bytes(30_000_000)))
    (folder / "copy.fits").write_bytes(whole)
    with fits.open(first) as hdus:
        hdus[0].header["SEEING"] = 1.0
        hdus.writeto(folder / "other.fits")
        hdus[0].header["EXPID"] = 77
        del hdus[0].header["EXPTIME"]
        hdus.writeto(folder / "timeless.fits")
    (folder / "link.fits").symlink_to(first)
    return {
        "empty.fits": ("rejected", "incomplete"),
        "cut.fits": ("rejected", "incomplete"),
        "words.fits": ("rejected", "FITS"),
        "bomb.fits.gz": ("rejected", ""),
        "copy.fits": ("duplicate", "same id and content"),
        "other.fits": ("rejected", "came before with other content"),
        "timeless.fits": ("rejected", "without a finite exposure time"),
    }


def test_rubbish_is_refused_with_reasons_and_the_rest_is_measured(site, engine):
    """Bad input of many kinds: a recorded reason each, exit code 3, and every good pair is measured."""
    site.simulate(LEVELS)
    expected = break_files(site)
    limits = {"max_expanded_megabytes": 20.0}
    assert run_daemon(site.config(engine=engine, source=limits), once=True) == EXIT_REJECTED
    assert site.pairs() == [("S00", "1", "2"), ("S00", "3", "4"), ("S00", "5", "6")]
    found = {os.path.basename(row["path"]): row for row in results.exposures(site.output).to_pylist()}  # noqa: PTH119
    for name, (disposition, reason) in expected.items():
        assert found[name]["disposition"] == disposition, found[name]
        assert reason in found[name]["reason"]
    assert set(found) == {*names(range(1, 7)), *expected}


def test_strange_names_are_taken_and_shown_safely(site):
    """Names with newline, quotes, colon and bytes that are no UTF-8 are measured; rows show every byte."""
    site.simulate([1000.0])
    strange = b"a\n'\":\xff[1].fits"
    os.rename(site.incoming / names([1])[0], os.fsencode(site.incoming) + b"/" + strange)  # noqa: PTH104
    run_daemon(site.config(), once=True)
    assert os.path.basename(site.rows()["path_1"][0].as_py()) == "a\\x0a'\":\\xff[1].fits"  # noqa: PTH119


def test_wrong_shapes_within_a_pair_cost_that_pair_only(site):
    """Two flats of different shape cannot be measured; the reason says so, and others go on."""
    site.simulate(LEVELS[:2])
    path = site.incoming / names([2])[0]
    with fits.open(path) as hdus:
        hdus[1].data = np.ascontiguousarray(hdus[1].data[:-8])
        for key in ("DATASEC", "BIASSEC", "PRESEC"):
            hdus[1].header[key] = hdus[1].header[key].replace(":128]", ":120]")
        hdus.writeto(path, overwrite=True)
    assert run_daemon(site.config(), once=True) == EXIT_REJECTED
    assert site.pairs() == [("S00", "3", "4")]
    assert site.dispositions()[names([2])[0]] == "paired"


def test_auxiliary_keys_become_columns(site):
    """Header values asked for stand in the rows as text."""
    site.simulate([1000.0])
    run_daemon(site.config(pipeline={"auxiliary_keys": ["FILTER", "NOTHERE"]}), once=True)
    assert set(site.rows()["aux_filter"].to_pylist()) == {"r"}
    assert site.rows()["aux_nothere"].null_count == 4


def test_input_is_never_touched(site):
    """Read-only folders work, and no file is changed."""
    site.simulate([1000.0])
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in site.incoming.iterdir()}
    for path in before:
        path.chmod(0o444)
    site.incoming.chmod(0o555)
    run_daemon(site.config(), once=True)
    site.incoming.chmod(0o755)
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in site.incoming.iterdir()} == before
    assert len(site.pairs()) == 1
