"""DECam and Hyper Suprime-Cam: real headers, several detectors in a file, pixels of known truth."""

import numpy as np
import pytest
from astro_metadata_translator import ObservationInfo
from astro_metadata_translator.translators import HscTranslator
from astropy.io import fits

from streamcal.errors import NotWhole
from streamcal.instruments.read import read_exposure

DECAM = "fitsheader-decam-raw_dec050441_25.yaml"
DECAM_SHAPE, HSC_SHAPE = (4146, 2160), (4241, 2144)
DECAM_ROWS = {"rows": (50, 4146)}  # the parallel overscan lies below: these detectors are read from the top
HSC_ROWS = {"rows": (49, 4225)}


@pytest.fixture(scope="session")
def decam_amplifiers(made):
    """Both amplifiers of a southern detector: read to its upper corners, overscan outermost but for the prescan."""
    return made.truth(
        [
            made.amplifier(name="A", columns=(1080, 2104), overscan=(2104, 2154), corner="UR", hdu="S1", **DECAM_ROWS),
            made.amplifier(name="B", columns=(56, 1080), overscan=(6, 56), corner="UL", hdu="S1", **DECAM_ROWS),
        ]
    )


@pytest.fixture
def decam_file(header, made, tmp_path, quietly):
    """Write a file of DECam: primary HDU, then detectors in the order given, pixels by name."""

    def write(name, images, **primary):
        cards = made.cards(header(DECAM))
        cards.update(OBSTYPE="dome flat", **primary)
        own = [
            key for key in cards if key.startswith(("DETPOS", "CCDNUM", "EXTNAME", "BUNIT", "INHERIT")) or "SEC" in key
        ]
        hdus = [fits.PrimaryHDU(header=cards.copy(strip=True))]
        for key in own:
            del hdus[0].header[key]
        for number, (position, image) in enumerate(images.items()):
            hdu = fits.ImageHDU(image.astype(np.uint16), cards.copy(strip=True), name=position)
            hdu.header.update(DETPOS=position, CCDNUM=number + 1)
            hdus.append(hdu)
        fits.HDUList(hdus).writeto(tmp_path / name)
        return tmp_path / name

    return write


def test_full_size_decam_pair(made, measure, inspect, shipped, decam_file, decam_amplifiers) -> None:
    """Both amplifiers of one of two detectors that stand in different order in the two files."""
    rng, instrument = np.random.default_rng(8), shipped({"base": "decam", "geometry": {"images": 2}})
    infos = []
    for number, order in enumerate((("S1", "N31"), ("N31", "S1"))):
        images = made.simulate(rng, {"S1": DECAM_SHAPE}, decam_amplifiers)
        images["N31"] = np.zeros(DECAM_SHAPE, np.uint16)
        path = decam_file(f"{number}.fits", {name: images[name] for name in order}, EXPNUM=177764 + number)
        found = inspect(path, instrument)
        assert [info.detector for info in found] == list(order)
        infos += [info for info in found if info.detector == "S1"]
    assert [info.exposure_id for info in infos] == ["177764", "177765"]
    made.assert_measured(*measure(*infos, instrument, 2), decam_amplifiers)


def test_full_size_hsc_pair(made, measure, inspect, shipped, header, tmp_path, quietly) -> None:
    """Four channels, read in pairs to the left and to the right, of a detector that fills the primary HDU."""
    rng, instrument = np.random.default_rng(9), shipped("hsc")
    bounds = [((8, 520), (520, 536), "LL"), ((552, 1064), (536, 552), "LR")]
    bounds += [((1080, 1592), (1592, 1608), "LL"), ((1624, 2136), (1608, 1624), "LR")]
    amplifiers = made.truth(
        [
            made.amplifier(name=f"ch{number}", columns=columns, overscan=overscan, corner=corner, **HSC_ROWS)
            for number, (columns, overscan, corner) in enumerate(bounds, 1)
        ]
    )
    infos = []
    for number in range(2):
        cards = made.cards(header("fitsheader-hsc.yaml"))
        cards.update({"DATA-TYP": "DOMEFLAT", "EXP-ID": f"HSCA9040{24 + 2 * number}00"})
        image = made.simulate(rng, {"": HSC_SHAPE}, amplifiers)[""].astype(np.uint16)
        fits.PrimaryHDU(image, cards).writeto(tmp_path / f"{number}.fits")
        infos += inspect(tmp_path / f"{number}.fits", instrument)
    assert [(info.exposure_id, info.detector) for info in infos] == [("904024", "1_12"), ("904026", "1_12")]
    made.assert_measured(*measure(*infos, instrument, 4), amplifiers)


def image_header(name, shape, **cards):
    """Return what the header of an image HDU says beside its own cards."""
    return {"EXTNAME": name, "XTENSION": "IMAGE", "NAXIS": 2, "NAXIS1": shape[1], "NAXIS2": shape[0], **cards}


@pytest.mark.parametrize("name", ["fitsheader-decam-0160496.yaml", DECAM, "fitsheader-decam.yaml"])
def test_decam_as_the_translator_has_it(header, shipped, identities, name) -> None:
    """Exposure id, detector, start in both scales, exposure time, run and filter."""
    real = header(name)
    expected = ObservationInfo(real, pedantic=False)
    image = {**real, **image_header(real["EXTNAME"], DECAM_SHAPE)}
    instrument = shipped({"base": "decam", "geometry": {"images": 1}})
    (info,) = identities(instrument, [real | {"NAXIS": 0}, image], auxiliary_keys=["@run", "@filter"])
    assert int(info.exposure_id) == expected.exposure_id
    assert info.detector == expected.detector_unique_name
    assert_same_times(info, expected)
    assert info.auxiliary == {"@run": expected.science_program, "@filter": expected.physical_filter}


@pytest.mark.parametrize("name", ["fitsheader-hsc.yaml", "fitsheader-hsc-HSCA04090107.yaml"])
def test_hsc_as_the_translator_has_it(header, shipped, identities, name) -> None:
    """Exposure id, name of the detector, start in both scales, exposure time, run and filter."""
    real = header(name)
    expected = ObservationInfo(real, pedantic=False)
    (info,) = identities(shipped("hsc"), [real], auxiliary_keys=["@run", "@filter"])
    assert int(info.exposure_id) == expected.exposure_id
    assert info.detector == expected.detector_unique_name
    assert_same_times(info, expected)
    assert info.auxiliary["@run"] == expected.science_program
    assert info.auxiliary["@filter"].upper() == expected.physical_filter  # the translator writes all in capitals


def assert_same_times(info, expected):
    """Compare to the accuracy of a double MJD."""
    assert info.mjd_start == pytest.approx(expected.datetime_begin.tai.mjd, abs=1e-9)
    assert info.mjd_start_utc == pytest.approx(expected.datetime_begin.utc.mjd, abs=1e-9)
    assert info.exposure_time == expected.exposure_time.to_value("s")


def test_every_detector_of_hsc(header, shipped, identities) -> None:
    """All 112 are called what the translator calls them."""
    real, hsc = header("fitsheader-hsc.yaml"), shipped("hsc")
    for number in range(112):
        real["DET-ID"] = number
        (info,) = identities(hsc, [real])
        assert info.detector == HscTranslator(real).to_detector_unique_name()


@pytest.mark.parametrize(
    ("exposure_id", "number"), [("HSCE00012345", 12345), ("HSCB00012300", 1000123), ("HSCC90402400", 2904024)]
)
def test_numbers_of_hsc(header, shipped, identities, exposure_id, number) -> None:
    """The letter counts millions, but for E; the translator agrees."""
    real = header("fitsheader-hsc.yaml") | {"EXP-ID": exposure_id}
    (info,) = identities(shipped("hsc"), [real])
    assert int(info.exposure_id) == number == ObservationInfo(real, pedantic=False).exposure_id


@pytest.mark.parametrize("frame", ["HSCA00123412", "HSCA00123500", "HSCA00000100", "HSCA00009903"])
def test_numbers_of_early_hsc(header, shipped, identities, frame) -> None:
    """Where the exposure has the number 0, that of the frame tells, to the next even one below."""
    real = header("fitsheader-hsc.yaml") | {"EXP-ID": "HSCA00000000", "FRAMEID": frame}
    (info,) = identities(shipped("hsc"), [real])
    assert int(info.exposure_id) == ObservationInfo(real, pedantic=False).exposure_id


@pytest.mark.parametrize("mjd", [56317.9, 56318.0, 56331.9, 56332.0])
@pytest.mark.parametrize("number", [106, 107, 108, 112, 113, 114, 115])
def test_misnumbered_focus_detectors(header, shipped, identities, mjd, number) -> None:
    """In the second commissioning run they have the names of the right numbers, as in the translator."""
    real = header("fitsheader-hsc.yaml") | {"MJD": mjd, "DET-ID": number}
    (info,) = identities(shipped("hsc"), [real])
    right = HscTranslator(real).to_detector_num()
    known = HscTranslator._DETECTOR_NUM_TO_UNIQUE_NAME
    assert info.detector == (known[right] if right < len(known) else str(right))


@pytest.mark.slow
def test_whole_decam_file(header, made, inspect, shipped, tmp_path, limits, quietly) -> None:
    """Seventy compressed images of full size in one file, in any order: 62 detectors, and the one asked for is read."""
    cards = made.cards(header(DECAM) | {"OBSTYPE": "dome flat"})
    names = [f"{half}{number}" for half in "NS" for number in range(1, 32)]
    names += [f"F{half}{number}" for half in "NS" for number in range(1, 5)]
    np.random.default_rng(4).shuffle(names)
    hdus = [fits.PrimaryHDU(header=cards.copy(strip=True))]
    for name in names:
        image = np.full(DECAM_SHAPE, 7 if name == "N17" else 0, np.uint16)
        hdus.append(fits.CompImageHDU(image, cards.copy(strip=True), name=name))
        hdus[-1].header["DETPOS"] = name
    fits.HDUList(hdus).writeto(tmp_path / "x.fits.fz")
    infos = {info.detector: info for info in inspect(tmp_path / "x.fits.fz", shipped("decam"))}
    assert list(infos) == [name for name in names if not name.startswith("F")]
    amplifiers = read_exposure(infos["N17"], shipped("decam"), limits).amplifiers
    assert [(name, float(amplifier.data.mean())) for name, amplifier in amplifiers.items()] == [("A", 7.0), ("B", 7.0)]


@pytest.fixture
def decam_headers(header):
    """Headers of a whole DECam file, its detectors and focus detectors in an order that a seed shuffles."""

    def make(seed, shape=DECAM_SHAPE):
        real = header(DECAM) | {"OBSTYPE": "dome flat"}
        names = [f"{half}{number}" for half in "NS" for number in range(1, 32)]
        names += [f"F{half}{number}" for half in "NS" for number in range(1, 5)]
        np.random.default_rng(seed).shuffle(names)
        images = [{**real, **image_header(name, shape), "DETPOS": name} for name in names]
        return [real | {"NAXIS": 0}, *images]

    return make


def test_sixty_two_detectors_in_any_order(shipped, identities, decam_headers) -> None:
    """The same detectors come out of two files with other orders; focus detectors are none of them."""
    first, second = (identities(shipped("decam"), decam_headers(seed)) for seed in (1, 2))
    names = [[info.detector for info in infos] for infos in (first, second)]
    assert names[0] != names[1]
    assert set(names[0]) == set(names[1])
    assert len(names[0]) == 62
    assert all(info.is_flat and info.exposure_id == "177764" for info in first)


def test_a_decam_file_cut_between_detectors(shipped, identities, decam_headers) -> None:
    """It is not whole yet, though every HDU in it is."""
    headers = [header for header in decam_headers(1) if header.get("DETPOS") != "N7"]
    with pytest.raises(NotWhole, match="has 61 of 62 image HDUs"):
        identities(shipped("decam"), headers)
