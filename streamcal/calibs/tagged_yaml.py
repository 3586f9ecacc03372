"""YAML as the batch world writes it: read by a safe loader that knows two more tags, written without any tag."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def load_mapping(text: str) -> dict[str, Any]:
    """Read a YAML document that is a mapping.

    Beyond plain YAML two tags are understood, as deployed DECam files carry them: ``!<lsst.daf.base.PropertyList>``
    (a list of ``[name, type, value, comment]``, read as a dict of the values) and ``!!python/tuple`` (read as a list).
    No other tag is: nothing is imported or called because a file says so.

    Parameters
    ----------
    text : str
        The document.

    Returns
    -------
    dict
        Plain values.

    Raises
    ------
    ValueError
        If it is not YAML, holds another tag, or is no mapping.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        """A safe loader of its own, so that the tags are not known to others in this process."""

    def construct_property_list(loader: yaml.SafeLoader, node: yaml.SequenceNode) -> dict[str, Any]:
        entries = loader.construct_sequence(node, deep=True)
        if not all(isinstance(entry, list) and len(entry) == 4 for entry in entries):
            msg = "a PropertyList must hold [name, type, value, comment] throughout"
            raise ValueError(msg)
        return {str(name): value for name, _, value, _ in entries}

    def construct_tuple(loader: yaml.SafeLoader, node: yaml.SequenceNode) -> list[Any]:
        return loader.construct_sequence(node, deep=True)

    Loader.add_constructor("lsst.daf.base.PropertyList", construct_property_list)
    Loader.add_constructor("tag:yaml.org,2002:python/tuple", construct_tuple)
    try:
        document = yaml.load(text, Loader=Loader)  # noqa: S506 - derived from SafeLoader
    except yaml.YAMLError as exc:
        msg = f"not the YAML of a calibration: {exc}"
        raise ValueError(msg) from exc
    if not isinstance(document, dict):
        msg = f"a calibration in YAML must be a mapping, got {type(document).__name__}"
        raise ValueError(msg)  # noqa: TRY004 - the content is wrong, not the caller
    return document


def dump_mapping(values: Mapping[str, Any]) -> str:
    """Return a mapping of plain values as YAML; floats are written so that they are read back exactly."""
    import yaml

    return str(yaml.safe_dump(dict(values), sort_keys=False, default_flow_style=None, width=120))
