"""What all calibrations share: metadata, choice of the class by what a file says, files."""

from __future__ import annotations

import copy
import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from streamcal.calibs import tables, tagged_yaml
from streamcal.calibs.exposures import IDENTITY_KEYS, describe_exposures
from streamcal.calibs.files import TEXT_ENDINGS, ending_fits, replace_file, text_format
from streamcal.calibs.values import KindError, are_same, as_mapping, as_number, as_plain, as_scalar
from streamcal.records import Exposure

if TYPE_CHECKING:
    from astropy.table import Table


class Calib(ABC):
    """A calibration: metadata, and content that subclasses add.

    Parameters
    ----------
    log : logger, optional
        Has ``warning(text)``; default: ``logging.getLogger("streamcal.calibs")``.

    Attributes
    ----------
    required_attributes : frozenset of str
        Attributes that make up the content: what is compared, and must be there.
    implied_metadata : frozenset of str
        Metadata that the content implies, so that FITS headers, which cannot hold lists, may lack them.
    log : logger
        Where warnings go.
    """

    obstype: ClassVar[str]
    schema: ClassVar[str]
    version: ClassVar[float]
    calib_class: ClassVar[str]
    required_attributes: ClassVar[frozenset[str]] = frozenset()
    implied_metadata: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, *, log: Any = None) -> None:
        self.log = log or logging.getLogger("streamcal.calibs")
        self._metadata: dict[str, Any] = {}

    def __eq__(self, other: object) -> bool:
        """Compare content, NaN equal to NaN, and metadata."""
        if not isinstance(other, Calib) or type(self) is not type(other):
            return NotImplemented
        mine, theirs = ([getattr(calib, name) for name in sorted(self.required_attributes)] for calib in (self, other))
        return all(map(are_same, mine, theirs)) and are_same(self._metadata, other._metadata)

    __hash__ = None  # type: ignore[assignment]  # mutable

    @abstractmethod
    def _content_metadata(self) -> dict[str, Any]:
        """Return what the metadata say of the content."""

    @classmethod
    @abstractmethod
    def from_dict(cls, dictionary: Mapping[str, Any]) -> Self:
        """Build from a dict with the peer's keys."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Return a dict of plain values with the peer's keys."""

    @classmethod
    @abstractmethod
    def from_table(cls, table_list: Sequence[Table]) -> Self:
        """Build from the peer's tables."""

    @abstractmethod
    def to_table(self) -> list[Table]:
        """Return the peer's tables."""

    def get_metadata(self) -> dict[str, Any]:
        """Return the metadata themselves: what is changed in them is changed here."""
        return self._metadata

    def set_metadata(self, metadata: Mapping[str, Any]) -> None:
        """Replace the metadata by a copy of these, completed by what this class always says.

        Parameters
        ----------
        metadata : mapping
            Keys become upper case, None becomes "".
        """
        self._metadata = {}
        self.update_metadata(**copy.deepcopy(dict(metadata)))

    def update_metadata(self, set_date: bool = False, **keywords: Any) -> None:
        """Bring the metadata up to date with the content.

        Parameters
        ----------
        set_date : bool
            Also set ``CALIBDATE``, ``CALIB_CREATION_DATE`` and ``CALIB_CREATION_TIME`` to now (UTC).
        **keywords
            Further entries. Keys become upper case, None becomes "".
        """
        if set_date:
            now = datetime.now(UTC).replace(tzinfo=None)
            self._metadata["CALIBDATE"] = now.isoformat()
            self._metadata["CALIB_CREATION_DATE"] = now.date().isoformat()
            self._metadata["CALIB_CREATION_TIME"] = now.time().isoformat()
        entries = {key.upper(): as_plain(value) for key, value in (self._metadata | keywords).items()}
        entries = dict.fromkeys(IDENTITY_KEYS, "") | entries
        entries |= {"DET_NAME": entries["DETECTOR_NAME"], "DET_SER": entries["DETECTOR_SERIAL"]}
        entries |= {"OBSTYPE": self.obstype, "CALIBCLS": self.calib_class}
        entries |= {f"{self.obstype}_SCHEMA": self.schema, f"{self.obstype}_VERSION": self.version}
        self._metadata.clear()  # the same dict: get_metadata is live
        self._metadata.update(sorted((entries | self._content_metadata()).items()))

    def update_metadata_from_exposures(self, exposures: Iterable[Exposure]) -> None:
        """Note of which exposures this calibration is made, and what their headers agree on.

        ``CPP_INPUT_n``, ``CPP_INPUT_DATE_n`` (MJD, TAI) and ``CPP_INPUT_EXPT_n`` (s) name the exposures; instrument
        (as the header calls it, else as the configuration does), detector, ``FILTER``, ``RAFTNAME``, ``SLOTNAME`` and
        the sequencer's ``SEQFILE``, ``SEQNAME``, ``SEQCKSUM`` are taken over. Where exposures differ in one of the
        latter the first counts, with a warning.

        Parameters
        ----------
        exposures : iterable of Exposure
            All of one instrument and detector.

        Raises
        ------
        ValueError
            If they are of different instruments or detectors.
        """
        self.update_metadata(**describe_exposures(exposures, self.log))

    @classmethod
    def require_kind(cls, dictionary: Mapping[str, Any]) -> None:
        """Refuse a dict that says it is another kind of calibration.

        Raises
        ------
        KindError
            Naming the ``OBSTYPE`` found; a dict without one may be of this kind.
        ValueError
            If ``metadata`` is no mapping.
        """
        metadata = as_mapping(dictionary.get("metadata"), "metadata")
        found = metadata.get("OBSTYPE") or dictionary.get("OBSTYPE") or cls.obstype
        if str(found).upper() != cls.obstype:
            msg = f"OBSTYPE must be {cls.obstype!r}, got {found!r}"
            raise KindError(msg)

    def calib_info_from_dict(self, dictionary: Mapping[str, Any]) -> None:
        """Take metadata and identity from a dict, under any of the names they go by.

        Parameters
        ----------
        dictionary : mapping
            ``metadata`` and, in older files, entries such as ``detectorName`` beside it.

        Raises
        ------
        ValueError
            If it holds a calibration of another kind.
        """
        self.require_kind(dictionary)
        metadata = as_mapping(dictionary.get("metadata"), "metadata")
        self._warn_of_version(metadata)
        for key, aliases in IDENTITY_KEYS.items():
            found = [place.get(name) for name in (key, *aliases) for place in (metadata, dictionary)]
            metadata[key] = next((as_scalar(value, key) for value in found if value not in (None, "")), "")
        self.set_metadata(metadata)

    def _warn_of_version(self, metadata: Mapping[str, Any]) -> None:
        """Warn of a schema or version that was not there when this class was written; it is read as far as known."""
        schema = metadata.get(f"{self.obstype}_SCHEMA") or self.schema
        version = as_number(metadata.get(f"{self.obstype}_VERSION") or self.version, f"{self.obstype}_VERSION")
        if schema != self.schema or version > self.version:
            msg = f"{self.obstype}: schema {schema!r}, version {version:g} is read as {self.schema!r}, {self.version:g}"
            self.log.warning(msg)

    @staticmethod
    def determine_calib_class(metadata: Mapping[str, Any], message: str = "the metadata") -> type[Calib]:
        """Return the class that reads a calibration with these metadata.

        Nothing is imported because a file names it: the choice is among the classes there are.

        Parameters
        ----------
        metadata : mapping
            ``OBSTYPE`` and ``CALIBCLS`` are looked at; the first that is there decides.
        message : str
            What the metadata belong to, for the error.

        Raises
        ------
        ValueError
            If no class beyond the base class fits.
        """
        obstype, name = str(metadata.get("OBSTYPE") or ""), str(metadata.get("CALIBCLS") or "")
        for known in Calib.__subclasses__():
            if obstype.upper() == known.obstype or (not obstype and name.endswith(f".{known.__name__}")):
                return known
        choices = ", ".join(known.obstype for known in Calib.__subclasses__())
        msg = f"{message}: OBSTYPE must be one of {choices}, got {obstype!r} (CALIBCLS {name!r})"
        raise KindError(msg)

    @classmethod
    def read_fits(cls, filename: str | os.PathLike[str]) -> Self:
        """Read a FITS file.

        Called on `Calib` it returns the class that the file names, called on a subclass only that one.

        Parameters
        ----------
        filename : path-like
            The file.

        Raises
        ------
        ValueError
            If it holds another kind of calibration, or one that is incomplete; file and fault are named.
        OSError
            If it cannot be read.
        """
        path = Path(filename)
        return cls._parse(path.read_bytes(), "fits", path)

    def write_fits(self, filename: str | os.PathLike[str]) -> None:
        """Write a FITS file, replacing an older one once it is whole.

        Parameters
        ----------
        filename : path-like
            The file.

        Raises
        ------
        ValueError
            If FITS cannot hold one of the metadata or names, which is named.
        """
        self._replace(Path(filename), "fits", tables.dump_fits(self.to_table(), self.implied_metadata))

    @classmethod
    def read_text(cls, filename: str | os.PathLike[str]) -> Self:
        """Read a text file, ECSV or YAML by its ending.

        Parameters
        ----------
        filename : path-like
            Ends in ``.ecsv``, ``.yaml`` or ``.yml``.

        Raises
        ------
        ValueError
            If it ends otherwise, holds another kind of calibration, or one that is incomplete.
        """
        path = Path(filename)
        kind = text_format(path)
        return cls._parse(path.read_bytes(), kind, path)

    @classmethod
    def from_bytes(cls, content: bytes, filename: str | os.PathLike[str]) -> Self:
        """Build from what a file holds: as `read_text` where its name ends so, else as `read_fits`.

        Parameters
        ----------
        content : bytes
            The file.
        filename : path-like
            Its name, which is not opened.

        Raises
        ------
        ValueError
            If it holds another kind of calibration, or one that is incomplete; file and fault are named.
        """
        path = Path(filename)
        return cls._parse(content, text_format(path) if path.suffix.lower() in TEXT_ENDINGS else "fits", path)

    @classmethod
    def _parse(cls, content: bytes, kind: str, path: Path) -> Self:
        try:
            if kind == "yaml":
                dictionary = tagged_yaml.load_mapping(content.decode("utf-8"))
                metadata = as_mapping(dictionary.get("metadata"), "metadata") or dictionary
                return cls._choose(metadata).from_dict(dictionary)
            found = tables.load_fits(content) if kind == "fits" else [tables.load_ecsv(content.decode("utf-8"))]
            return cls._choose(found[0].meta).from_table(found)
        except ValueError as exc:
            msg = f"{path}: {exc}"
            raise (KindError if isinstance(exc, KindError) else ValueError)(msg) from exc

    def write_text(self, filename: str | os.PathLike[str], format: Literal["auto", "ecsv", "yaml"] = "auto") -> str:  # noqa: A002 - the peer's name
        """Write a text file, replacing an older one once it is whole.

        Parameters
        ----------
        filename : path-like
            The file.
        format : {"auto", "ecsv", "yaml"}
            ``auto`` goes by the ending; otherwise the ending is set to the format.

        Returns
        -------
        str
            The name used.

        Raises
        ------
        ValueError
            If ending or format are others, or the format cannot hold the content.
        """
        path = Path(filename)
        if format not in {"auto", "ecsv", "yaml"}:
            msg = f"format must be 'auto', 'ecsv' or 'yaml', got {format!r}"
            raise ValueError(msg)
        if format != "auto" and not (path.suffix and ending_fits(path, format)):
            path = path.with_suffix(f".{format}")
        if text_format(path) == "yaml":
            self._replace(path, "yaml", tagged_yaml.dump_mapping(self.to_dict()).encode())
            return str(path)
        table, *others = self.to_table()
        if others:
            msg = f"{path}: ECSV holds one table and cannot hold inter-chip coefficients; write FITS or YAML"
            raise ValueError(msg)
        self._replace(path, "ecsv", tables.dump_ecsv(table).encode())
        return str(path)

    def _replace(self, path: Path, kind: str, content: bytes) -> None:
        """Write a file if its metadata come back from it as they are: formats drop and change some without a word."""
        mine, theirs = self._metadata, self._parse(content, kind, path).get_metadata()
        lost = [key for key, value in mine.items() if key not in theirs or not are_same(value, theirs[key])]
        if lost:
            msg = f"{path}: metadata {', '.join(lost)} cannot be kept in {kind.upper()}: {mine[lost[0]]!r}"
            raise ValueError(msg)
        replace_file(path, content)

    @classmethod
    def _choose(cls, metadata: Mapping[str, Any]) -> type[Self]:
        if cls is not Calib:
            return cls
        return Calib.determine_calib_class(metadata)  # type: ignore[return-value]  # a subclass of Calib is one
