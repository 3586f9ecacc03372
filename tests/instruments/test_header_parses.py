"""Headers are parsed once a file, however many detectors it has."""

import os

import numpy as np
import pytest
from astropy.io import fits

from streamcal.errors import FileChanged
from streamcal.instruments import fits as reader
from streamcal.instruments.read import read_exposure

DETECTORS = ("A", "B", "C")


@pytest.fixture
def camera(make_instrument):
    """Return a camera of three detectors a file."""
    return make_instrument(identify={"detector": ["EXTNAME"]}, geometry={"images": 3, "data": "[*,*]"})


@pytest.fixture
def write(tmp_path):
    """Write a file whose detectors are filled with their numbers, from 1, and more."""

    def run(name="flat.fits", compression=None, more=0, **keys):
        hdus = [fits.PrimaryHDU(header=fits.Header({"IMAGETYP": "flat", "EXPID": 1, **keys}))]
        kind = fits.CompImageHDU if compression else fits.ImageHDU
        options = {"compression_type": compression} if compression else {}
        for number, detector in enumerate(DETECTORS, 1):
            hdus.append(kind(np.full((20, 30), number + more, np.int16), name=detector, **options))
        fits.HDUList(hdus).writeto(tmp_path / name, overwrite=True)
        return tmp_path / name

    return run


@pytest.fixture
def parsed(monkeypatch):
    """Collect the names of the HDUs whose headers are parsed, and what astropy opens."""
    names, opened = [], []
    plain_header, open_file = reader.plain_header, fits.open

    def spy_header(cards):
        header = plain_header(cards)
        names.append(header.get("EXTNAME", ""))
        return header

    def spy_open(*args, **kwargs):
        opened.append(open_file(*args, **kwargs))
        return opened[-1]

    monkeypatch.setattr(reader, "plain_header", spy_header)
    monkeypatch.setattr(fits, "open", spy_open)
    return names, opened


@pytest.mark.parametrize(("compression", "hdus_opened"), [(None, [4]), ("RICE_1", [4]), ("GZIP_1", [4, 2, 2, 2])])
def test_each_header_is_parsed_once(camera, inspect, write, limits, parsed, compression, hdus_opened) -> None:
    """By inspection; then all detectors are read, those that astropy decompresses as files of one HDU each."""
    names, opened = parsed
    infos = inspect(write(compression=compression), camera)
    levels = [read_exposure(info, camera, limits).amplifiers[info.detector].data.mean() for info in infos]
    assert levels == [1, 2, 3]
    assert names == ["", *DETECTORS]
    assert [len(hdus) for hdus in opened] == hdus_opened


def test_a_file_that_has_changed_is_parsed_again(camera, inspect, write, limits, parsed) -> None:
    """Nothing of the old one is taken for the new one; the old one is not read any more."""
    names, _ = parsed
    (old, *_) = inspect(write(EXPID=1), camera)
    (new, *_) = inspect(write(EXPID=2, more=5), camera)
    assert (old.exposure_id, new.exposure_id, len(names)) == ("1", "2", 8)
    assert read_exposure(new, camera, limits).amplifiers["A"].data.mean() == 6
    with pytest.raises(FileChanged):
        read_exposure(old, camera, limits)


def test_what_changes_while_it_is_open_is_not_remembered(write, limits, parsed) -> None:
    """Headers count only when the file was the admitted one to the end."""
    path = write()
    stat = reader.FileStat.of(path.stat())
    with pytest.raises(FileChanged), reader.open_hdus(str(path), stat, limits):
        os.utime(path, ns=(1, 1))
    os.utime(path, ns=(1, stat.mtime_ns))
    with reader.open_hdus(str(path), stat, limits):
        pass
    assert len(parsed[0]) == 8


def test_only_the_last_files_are_remembered(write, limits, parsed) -> None:
    """Memory does not grow with the night."""
    paths = [write(f"{number}.fits") for number in range(reader.MOST_INDICES + 1)]
    for path in [*paths, paths[0]]:
        with reader.open_hdus(str(path), reader.FileStat.of(path.stat()), limits):
            pass
    assert len(parsed[0]) == 4 * (len(paths) + 1)
    with reader.open_hdus(str(paths[-1]), reader.FileStat.of(paths[-1].stat()), limits):
        pass
    assert len(parsed[0]) == 4 * (len(paths) + 1)
