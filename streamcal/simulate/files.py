"""Simulated exposures as FITS files, put into a folder the way cameras do it."""

from __future__ import annotations

import gzip
import io
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from streamcal.records import Section
from streamcal.simulate.camera import Camera, SimulatedAmplifier
from streamcal.simulate.plan import Shot

if TYPE_CHECKING:
    from numpy.typing import NDArray

Style = Literal["rename", "direct", "slow"]
SUFFIXES = (".fits", ".fits.fz", ".fits.gz")

_MJD_EPOCH = datetime(1858, 11, 17, tzinfo=UTC)
_SLOW_CHUNKS = 8
_BLOCK = 2880  # bytes


def write_exposure(
    path: Path, camera: Camera, shot: Shot, images: Mapping[str, NDArray[Any]], style: Style = "rename"
) -> None:
    """Write one exposure as a FITS file.

    Parameters
    ----------
    path : Path
        Its ending chooses the form, see `encode_exposure`.
    camera : Camera
        Gives the geometry of the headers.
    shot : Shot
        Gives identity, time and level of the headers.
    images : mapping of str to (ny, nx) ndarray
        Stored images by amplifier, as `simulate_flat` gives them.
    style : {"rename", "direct", "slow"}
        See `write_file`.
    """
    write_file(path, encode_exposure(camera, shot, images, path.name), style)


def encode_exposure(camera: Camera, shot: Shot, images: Mapping[str, NDArray[Any]], name: str = ".fits") -> bytes:
    """Return the bytes of an exposure's FITS file: a primary header without data, one extension an amplifier.

    Parameters
    ----------
    camera, shot, images
        See `write_exposure`.
    name : str
        File name or its ending: ``.fits``; ``.fits.fz`` (each extension Rice-compressed); ``.fits.gz``.

    Raises
    ------
    ValueError
        If the name ends otherwise.
    """
    from astropy.io import fits

    check_suffix(name)
    hdus = fits.HDUList([fits.PrimaryHDU(header=fits.Header(primary_cards(camera, shot)))])
    for amplifier in camera.amplifiers:
        header = fits.Header(amplifier_cards(camera, amplifier))
        if name.endswith(".fz"):
            hdus.append(fits.CompImageHDU(images[amplifier.name], header, compression_type="RICE_1"))
        else:
            hdus.append(fits.ImageHDU(images[amplifier.name], header))
    buffer = io.BytesIO()
    hdus.writeto(buffer)
    content = buffer.getvalue()
    # mtime: gzip would write the wall clock into its header
    return gzip.compress(content, compresslevel=1, mtime=0) if name.endswith(".gz") else content


def encode_primary(camera: Camera, shot: Shot) -> bytes:
    """Return the bytes of the primary header of an exposure's plain file."""
    from astropy.io import fits

    hdus = fits.HDUList([fits.PrimaryHDU(header=fits.Header(primary_cards(camera, shot))), fits.ImageHDU()])
    buffer = io.BytesIO()
    hdus.writeto(buffer)
    return buffer.getvalue()[:-_BLOCK]  # the extension is there because it adds a card, and without data one block


def find_pixels(content: bytes) -> list[int]:
    """Return where the pixels of each extension begin in the bytes of a plain file."""
    from astropy.io import fits

    with fits.open(io.BytesIO(content)) as hdus:
        return [hdu.fileinfo()["datLoc"] for hdu in hdus[1:]]


def write_file(path: Path, content: bytes, style: Style = "rename", slow_seconds: float = 1.0) -> None:
    """Put a file into its folder as cameras do; a file of that name is replaced.

    Parameters
    ----------
    path : Path
        The file.
    content : bytes
        Its bytes.
    style : {"rename", "direct", "slow"}
        Under a hidden temporary name first and then renamed; in place at once; or in place bit by bit, so that a
        reader sees an unfinished file for a while.
    slow_seconds : float
        How long the slow style takes, in seconds.
    """
    check_style(style)
    if style == "rename":
        hidden = path.with_name(f".{path.name}.part")
        hidden.write_bytes(content)
        hidden.replace(path)
    elif style == "direct":
        path.write_bytes(content)
    else:
        _write_slowly(path, content, slow_seconds / _SLOW_CHUNKS)


def check_suffix(name: str) -> None:
    """Raise ValueError unless a file name has one of the endings that `encode_exposure` can write."""
    if not name.endswith(SUFFIXES):
        msg = f"name must end in one of {', '.join(SUFFIXES)}, got {name!r}"
        raise ValueError(msg)


def check_style(style: str) -> None:
    """Raise ValueError unless `write_file` knows this style."""
    if style not in get_args(Style):
        msg = f"style must be one of {', '.join(get_args(Style))}, got {style!r}"
        raise ValueError(msg)


def _write_slowly(path: Path, content: bytes, pause_seconds: float) -> None:
    step = -(-len(content) // _SLOW_CHUNKS)
    with path.open("wb", buffering=0) as file:
        for start in range(0, len(content), step):
            file.write(content[start : start + step])
            time.sleep(pause_seconds)


def primary_cards(camera: Camera, shot: Shot) -> list[tuple[str, Any, str]]:
    """Return keyword, value and comment of each card of the primary header."""
    start = _MJD_EPOCH + timedelta(days=shot.mjd_start)
    return [
        ("INSTRUME", camera.name, "camera"),
        ("DETECTOR", shot.detector, "detector"),
        ("IMAGETYP", shot.image_type, "kind of exposure"),
        ("EXPID", shot.exposure_id, "exposure id"),
        ("RUNID", shot.run_id, "run"),
        ("FILTER", shot.filter_name, "filter"),
        ("EXPTIME", shot.exposure_time, "[s] exposure time"),
        ("FLUX", shot.level, "[electron] nominal light per pixel"),
        ("TIMESYS", "UTC", "scale of the times below"),
        ("DATE-OBS", start.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3], "start of the exposure"),
        ("MJD-OBS", round(shot.mjd_start, 8), "[d] start of the exposure"),
    ]


def amplifier_cards(camera: Camera, amplifier: SimulatedAmplifier) -> list[tuple[str, Any, str]]:
    """Return keyword, value and comment of each card of an amplifier's extension."""
    keys = {"data": "DATASEC", "serial": "BIASSEC", "prescan": "PRESEC"}
    sections = camera.sections(amplifier).items()
    return [
        ("EXTNAME", amplifier.name, "amplifier"),
        *((keys[name], _format_section(section), f"{name} pixels") for name, section in sections),
        ("DETSEC", _format_section(camera.place(amplifier)), "place of the data pixels on the detector"),
        ("CORNER", amplifier.corner.value, "corner of this image where the output sits"),
        ("SATURATE", round(amplifier.saturation, 1), "[adu] saturation level"),
    ]


def _format_section(section: Section) -> str:
    # FITS counts from one and includes the last pixel
    return f"[{section.x0 + 1}:{section.x1},{section.y0 + 1}:{section.y1}]"
