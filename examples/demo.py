"""A camera writes a photon transfer run while the daemon measures it; then measured is set against true.

    python examples/demo.py [FOLDER]

The camera is simulated: four amplifiers of known gain, read noise, crosstalk and brighter-fatter correlation. Where the
package ``msfc-ccd`` (BSD-3) can be downloaded, its flats of a real CCD230-42 are measured as well.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from streamcal import results
from streamcal.cli.tables import format_row, make_table, print_table
from streamcal.plugins import load_plugins
from streamcal.simulate import DEFAULT_CAMERA, Truth, load_truth
from streamcal.template import write_template

MARK = ".streamcal-demo"
N_PAIRS = 20
N_AMPLIFIERS = len(DEFAULT_CAMERA.amplifiers)
CONFIG = Path(__file__).parent.parent / "config"
ESIS_TRUE = {"00": 2.529, "01": 2.508, "10": 2.530, "11": 2.512}  # e-/ADU, the package's own estimator
STAGES = ("isr", "crosstalk", "covariance", "gain")

console = Console(width=None if sys.stdout.isatty() else 110)


def main() -> int:
    """Run the demonstration; return 0 if measured and true values agree."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "demo-run")
    make_folder(folder)
    agree = show_simulated_camera(folder)
    show_real_camera(folder / "esis")
    return 0 if agree else 1


def make_folder(folder: Path) -> None:
    """Make an empty folder; one that an earlier demonstration has made is emptied, any other is left alone."""
    if folder.exists():
        if not (folder / MARK).exists():
            sys.exit(f"{folder} is there and was not made by this demonstration; name another folder")
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    (folder / MARK).touch()


def show_simulated_camera(folder: Path) -> bool:
    """Let a camera write while the daemon runs; show the rows as they land, then the comparison."""
    incoming, output = folder / "incoming", folder / "output"
    incoming.mkdir(parents=True)
    config = write_configuration(folder)
    console.print(f"[bold]daemon[/]  streamcal run {config}")
    with (folder / "daemon.log").open("w") as log:
        daemon = start("run", config, stderr=log)
        camera = start("simulate", incoming, "--pairs", N_PAIRS, "--interval", 0.25, stdout=subprocess.DEVNULL)
    console.print(f"[bold]camera[/]  writes {2 * N_PAIRS} flats into {incoming}\n")
    try:
        show_rows(output)
    finally:
        camera.wait(timeout=60)
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(timeout=60)
    return compare(results.read(output), load_truth(incoming))


def write_configuration(folder: Path) -> Path:
    """Write a run configuration for the simulated camera, with its crosstalk matrix."""
    settings = {name: load_plugins().stages[name].settings for name in STAGES}
    values = {
        "instrument": "simulated",
        "source": {"folders": ["incoming"], "settle_seconds": 0.2},
        "output": {"folder": "output"},
        "pairing": {"group": ["@run"]},
        "stages": {
            "isr": {"model": "MEAN_PER_ROW"},  # medians of whole numbers are biased
            "crosstalk": {"matrix": DEFAULT_CAMERA.crosstalk},
            "gain": {"correction": "UNBIASED"},
        },
    }
    path = folder / "streamcal.toml"
    path.write_text(write_template(values, settings, path.name))
    return path


def start(*arguments: object, **options: object) -> subprocess.Popen[bytes]:
    """Start a streamcal command."""
    command = [sys.executable, "-m", "streamcal", *map(str, arguments)]
    return subprocess.Popen(command, **options)  # type: ignore[call-overload,no-any-return]


def show_rows(output: Path) -> None:
    """Show rows as they land, until all are there."""
    began, seen = time.monotonic(), 0
    for _, batch in results.follow(output, start="begin", timeout=60):
        table = make_table()
        table.show_header = seen == 0
        for row in batch.to_pylist():
            table.add_row(*format_row(row))
        print_table(table)
        seen += batch.num_rows
        if seen >= N_PAIRS * N_AMPLIFIERS:
            break
    console.print(f"\n{seen} rows in {time.monotonic() - began:.1f} s, while the camera was writing\n")


def compare(rows: pa.Table, truth: Truth) -> bool:
    """Print measured against true gain and read noise; tell whether all agree."""
    table = Table("amplifier", "gain e-/ADU", "true", "off by", "read noise ADU", "true, digitised", "off by", box=None)
    worst = 0.0
    for amplifier in truth.camera.amplifiers:
        own = rows.filter(pa.compute.equal(rows["amplifier"], amplifier.name))
        gain, gain_error = extrapolate_gain(own)
        noise, noise_error = average(own, "read_noise")
        true_noise = (amplifier.read_noise_adu**2 + 1 / 12) ** 0.5  # digitisation adds its own
        pulls = (gain - amplifier.gain) / gain_error, (noise - true_noise) / noise_error
        worst = max(worst, *map(abs, pulls))
        table.add_row(
            amplifier.name,
            f"{gain:.4f} ± {gain_error:.4f}",
            f"{amplifier.gain:.4f}",
            f"{pulls[0]:+.1f} σ",
            f"{noise:.4f} ± {noise_error:.4f}",
            f"{true_noise:.4f}",
            f"{pulls[1]:+.1f} σ",
        )
    console.print(
        "[bold]measured against true[/] (gain at zero light: the brighter-fatter effect raises it with level)"
    )
    console.print(table)
    agree = worst < 4
    console.print("[green]all agree[/]\n" if agree else "[red]off by more than four standard errors[/]\n")
    return agree


def extrapolate_gain(rows: pa.Table) -> tuple[float, float]:
    """Fit a parabola to gain over level; return its value at zero light and the error of that."""
    level, gain, error = (rows[name].to_numpy() for name in ("mean_used", "gain", "gain_error"))
    coefficients, covariance = np.polyfit(level / level.max(), gain, 2, w=1 / error, cov="unscaled")
    return float(coefficients[2]), float(covariance[2, 2] ** 0.5)


def average(rows: pa.Table, name: str) -> tuple[float, float]:
    """Return the mean of a column over all pairs and its error."""
    values, errors = rows[name].to_numpy(), rows[f"{name}_error"].to_numpy()
    return float(values.mean()), float(np.sqrt((errors**2).sum()) / len(errors))


def show_real_camera(folder: Path) -> None:
    """Measure the real flats of ESIS, where their package can be had."""
    folder.mkdir(parents=True)
    if not fetch_esis(folder):
        console.print("[yellow]the package msfc-ccd cannot be had here: no real exposures are measured[/]")
        return
    command = ("run", CONFIG / "esis.toml", "--input", folder, "--output", folder / "output", "--once")
    with (folder / "daemon.log").open("w") as log:
        start(*command, stderr=log).wait(timeout=120)
    table = Table("tap", "gain e-/ADU", "of the package", "read noise ADU", box=None)
    for row in results.read(folder / "output").to_pylist():
        tap = row["amplifier"]
        gain = f"{row['gain']:.4f} ± {row['gain_error']:.4f}"
        table.add_row(tap, gain, f"{ESIS_TRUE[tap]:.3f}", f"{row['read_noise']:.2f}")
    console.print("[bold]real light[/]: a flat pair of ESIS (MSFC, CCD230-42; package msfc-ccd, BSD-3)")
    console.print(table)


def fetch_esis(folder: Path) -> bool:
    """Download the package and unpack its exposures; tell whether that worked."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    with tempfile.TemporaryDirectory() as scratch:
        done = subprocess.run([*command, "msfc-ccd", "--dest", scratch], capture_output=True, check=False)
        wheels = list(Path(scratch).glob("*.whl"))
        if done.returncode or not wheels:
            return False
        with zipfile.ZipFile(wheels[0]) as wheel:
            names = [name for name in wheel.namelist() if "/led/" in name and name.endswith(".fit.gz")]
            for name in names:
                (folder / Path(name).name).write_bytes(wheel.read(name))
    return bool(names)


if __name__ == "__main__":
    sys.exit(main())
