"""The job of a worker that looks into a file which has come to rest: JSON in, JSON out."""

from __future__ import annotations

import json

from streamcal.instruments.fits import open_hdus
from streamcal.instruments.identify import identify
from streamcal.instruments.model import Instrument
from streamcal.records import FileStat
from streamcal.source.whole import Limits, inspect_structure


def inspect_file(job: bytes) -> bytes:
    """Look into an admitted file, in a worker process, whether it is whole and what it is.

    Parameters
    ----------
    job : bytes
        JSON: ``path``, ``stat`` (`FileStat` as a dictionary), ``instrument`` (`Instrument.to_dict`), ``limits``
        (`Limits` as a dictionary), ``group_keys``, ``auxiliary_keys``. Bytes of a path that are not UTF-8 are
        surrogates, which JSON escapes and restores.

    Returns
    -------
    bytes
        JSON: ``exposures`` (`ExposureInfo.to_dict` of each detector) and ``digest`` of the file.

    Raises
    ------
    NotWhole
        If bytes or HDUs are missing (yet).
    FileChanged
        If the file is not, or does not stay, the admitted one.
    ExposureError
        If it never will be usable.
    """
    values = json.loads(job)
    path, stat, limits = values["path"], FileStat(**values["stat"]), Limits(**values["limits"])
    structure = inspect_structure(path, stat, limits)
    with open_hdus(path, stat, limits) as file:
        headers = file.headers
    exposures = identify(
        Instrument.from_dict(values["instrument"]),
        headers,
        path,
        stat,
        structure.digest,
        group_keys=values["group_keys"],
        auxiliary_keys=values["auxiliary_keys"],
    )
    return json.dumps(
        {"exposures": [exposure.to_dict() for exposure in exposures], "digest": structure.digest}
    ).encode()
