"""Real flats of two cameras, through the configurations in config/: gains that others have measured."""

from pathlib import Path

import pytest

from streamcal.chain import StageContext, build_chain, stage_log
from streamcal.config import load_config
from streamcal.flags import decode_flags
from streamcal.instruments import load_instrument, read_frame
from streamcal.records import Pair
from streamcal.source.whole import Limits

CONFIG = Path(__file__).parents[2] / "config"
ESIS = {"00": 2.529, "01": 2.508, "10": 2.530, "11": 2.512}  # e-/ADU
ESIS_READ_NOISE = {"00": 4.03, "01": 3.87, "10": 4.17, "11": 4.24}  # ADU
EFOSC2 = [("26T19:18:58.464", "26T19:21:12.485"), ("30T11:13:22.132", "30T11:16:19.090")]


@pytest.fixture
def measure(plugins, reference):
    """Run a configuration's chain on two files of the reference data, and return the rows."""

    def run(name, detector, files, **covariance):
        folder = reference / name
        config = load_config(CONFIG / f"{name}.toml", inputs=(folder,))
        settings = {**config.stages, "covariance": {**config.stages.get("covariance", {}), **covariance}}
        chain = build_chain(config.pipeline.stages, settings, plugins, config.origin)
        instrument = load_instrument(config.instrument, base=CONFIG)
        limits = Limits.from_config(config.source)

        def read(path):
            return read_frame(path, instrument, detector, limits)

        context = StageContext(log=stage_log(), load_exposure=read, folders=config.source.folders)
        first, second = (read(folder / file) for file in files)
        return chain.run(Pair(pair_id="0" * 32, first=first, second=second), context)

    return run


def test_esis_gives_the_gains_of_its_own_package(measure):
    """Four taps within 1 %, read noise of the dark pair within 0.5 %; the uneven tap says that it is."""
    rows = measure("esis", "ESIS1", ("ESIS1_04803.fit.gz", "ESIS1_04804.fit.gz"))
    assert {name: row["gain"] for name, row in rows.items()} == pytest.approx(ESIS, rel=0.01)
    assert {name: row["read_noise"] for name, row in rows.items()} == pytest.approx(ESIS_READ_NOISE, rel=0.005)
    assert {row["read_noise_source"] for row in rows.values()} == {"frames"}
    assert {name: decode_flags(row["flags"]) for name, row in rows.items()} == {
        "00": ["NO_CROSSTALK"],
        "01": ["NO_CROSSTALK"],
        "10": ["MEAN_MISMATCH", "NO_CROSSTALK"],  # the LED lights this tap so unevenly that its means are clipped
        "11": ["NO_CROSSTALK"],
    }


@pytest.mark.parametrize("times", EFOSC2)
def test_efosc2_by_blocks(measure, times):
    """Lamp pairs give 1.21 e-/ADU within 2 % block by block, and no drift is flagged."""
    files = [f"EFOSC.2022-01-{time}.fits" for time in times]
    row = measure("efosc2", "LORAL", files)["L"]
    assert row["gain"] == pytest.approx(1.21, rel=0.02)
    assert row["read_noise"] == pytest.approx(10.3, rel=0.005)
    assert decode_flags(row["flags"]) == ["NO_CROSSTALK"]


@pytest.mark.parametrize("times", EFOSC2)
def test_efosc2_over_the_whole_frame_is_flagged(measure, times):
    """Over the whole frame the drift of the spectrum biases the gain, and the row says so."""
    files = [f"EFOSC.2022-01-{time}.fits" for time in times]
    row = measure("efosc2", "LORAL", files, blocks=None)["L"]
    assert decode_flags(row["flags"]) == ["SHAPE_DRIFT", "NO_CROSSTALK"]
    assert row["gain"] < 1.17
