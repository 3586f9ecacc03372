"""A place to break things in: simulated exposures, a run configuration, and the results of any number of runs."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from streamcal.simulate import DEFAULT_CAMERA, simulate_run
from streamcal.template import write_template

CAMERA = replace(DEFAULT_CAMERA, shape=(48, 40), prescan=4, overscan=16)
ROWS_PER_PAIR = len(CAMERA.amplifiers)
LOWEST = 300.0  # e-
LEVELS = 400  # then they begin anew


@dataclass(frozen=True, kw_only=True, slots=True)
class Site:
    """Exposures that come, and one folder per run for what becomes of them.

    Attributes
    ----------
    incoming : Path
        Exposures; all runs read them, none may change them.
    home : Path
        Folder of one run: its configuration, log and ``output``.
    """

    incoming: Path
    home: Path

    @property
    def output(self) -> Path:
        """Folder of the results."""
        return self.home / "output"

    @property
    def state(self) -> Path:
        """Folder of journal and lock."""
        return self.output / "state"

    @property
    def config(self) -> Path:
        """File of the run configuration."""
        return self.home / "streamcal.toml"

    @property
    def log(self) -> Path:
        """File that the daemon logs to."""
        return self.home / "log"

    def sibling(self, name: str, **tables: dict[str, Any]) -> Site:
        """Return a site of the same exposures with an empty home and a configuration of its own."""
        home = self.home.parent / name
        shutil.rmtree(home, ignore_errors=True)
        return make_site(self.incoming, home, **tables)


def make_site(incoming: Path, home: Path, **tables: dict[str, Any]) -> Site:
    """Make the folder of one run and write its configuration.

    Parameters
    ----------
    incoming, home : Path
        See `Site`; made if they are not there.
    **tables
        Tables of the configuration, merged into one for small exposures, quick rolling and no waiting.
    """
    incoming.mkdir(parents=True, exist_ok=True)
    home.mkdir(parents=True)
    site = Site(incoming=incoming, home=home)
    site.config.write_text(write_configuration(site, tables))
    return site


def write_configuration(site: Site, tables: dict[str, dict[str, Any]]) -> str:
    """Return the text of a run configuration."""
    values: dict[str, Any] = {
        "instrument": "simulated",
        "source": {"folders": [str(site.incoming)], "settle_seconds": 0.02, "rescan_seconds": 0.2},
        "pairing": {"group": ["@run"]},
        "engine": {"kind": "inline"},
        # some three pairs a segment
        "output": {"folder": str(site.output), "roll_megabytes": 0.06, "snapshot": True},
        "fit": {"live": False},  # solutions follow from the rows that are compared
        "log": {"format": "json"},
    }
    for name, table in tables.items():
        values[name] = {**values.get(name, {}), **table}
    # the small amplifiers of `CAMERA` have fewer pixels than are trusted by default
    stages = values.pop("stages", {})
    stages = {**stages, "covariance": {"min_good_pixels": 500, **stages.get("covariance", {})}}
    parts = [write_template(values, {}, site.config.name)]
    parts += [f"[stages.{name}]\n" + _write_values(table) for name, table in stages.items()]
    return "\n".join(parts)


def _write_values(table: dict[str, Any]) -> str:
    from streamcal.template import write_value

    return "".join(f"{key} = {write_value(value)}\n" for key, value in table.items())


def add_pairs(folder: Path, count: int, *, first_id: int = 1, seed: int = 1, **options: Any) -> None:
    """Write flats of ``count`` levels, two at each, so that rows do not depend on the order of arrival."""
    levels = [LOWEST + 100.0 * (((first_id - 1) // 2 + number) % LEVELS) for number in range(count)]
    simulate_run(folder, CAMERA, levels, seed=seed, first_id=first_id, **options)


def digest_folder(folder: Path) -> dict[str, tuple[str, int, int]]:
    """Return digest of the content, time of change (ns) and inode of each file below a folder, by relative path."""
    return {
        str(path.relative_to(folder)): (
            hashlib.sha256(path.read_bytes()).hexdigest(),
            path.lstat().st_mtime_ns,
            path.lstat().st_ino,
        )
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def move_in(paths: Sequence[Path], folder: Path) -> None:
    """Rename files into a folder, as a camera that writes under a temporary name does."""
    for path in paths:
        path.replace(folder / path.name)
