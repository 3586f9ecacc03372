"""A night through a cluster whose workers and scheduler are killed: every pair is committed once, and bit for bit.

    python examples/cluster_demo.py [FOLDER]

A scheduler and three workers run on this machine, over TLS with certificates of a temporary authority. Twenty
detectors take thirty pairs each, the daemon measures them by ``[engine] kind = "dask"``, and meanwhile its workers are
killed and started again, then the scheduler. The rows are compared with those of the inline engine.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
from rich.console import Console

from streamcal import results
from streamcal.faults.clusters import LocalCluster, kill
from streamcal.simulate import DEFAULT_CAMERA, simulate_run
from streamcal.status import read_status
from streamcal.template import write_template

N_DETECTORS, N_PAIRS, N_WORKERS = 20, 30, 3
CAMERA = replace(DEFAULT_CAMERA, shape=(128, 96), prescan=4, overscan=16)
OF_THE_RUN = ["seq", "measured_at", "timings"]  # when and how fast, not what
DEADLINE = 600.0  # s

console = Console(width=None if sys.stdout.isatty() else 110)


def main() -> int:
    """Run the demonstration; return 0 if every pair was committed once, with the inline engine's rows."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "cluster-run").absolute()
    if folder.exists():
        shutil.rmtree(folder)
    incoming = folder / "incoming"
    detectors = [f"R{number:02d}" for number in range(N_DETECTORS)]
    levels = [500.0 * (number + 1) for number in range(N_PAIRS)]
    simulate_run(incoming, CAMERA, levels, detectors=detectors)
    console.print(f"[bold]night[/]      {N_DETECTORS} detectors x {N_PAIRS} pairs in {incoming}")
    began = time.monotonic()
    with LocalCluster(folder / "cluster") as cluster:
        cluster.start_scheduler()
        for _ in range(N_WORKERS):
            cluster.start_worker()
        console.print(f"[bold]cluster[/]    scheduler at {cluster.address}, {N_WORKERS} workers")
        run_disturbed(cluster, write_configuration(folder, "dask", cluster.settings), folder / "dask")
    console.print(f"[bold]cluster[/]    done after {time.monotonic() - began:.0f} s")
    run_inline(write_configuration(folder, "inline", {"kind": "inline"}))
    return 0 if compare(results.read(folder / "dask"), results.read(folder / "inline")) else 1


def write_configuration(folder: Path, name: str, engine: dict[str, Any]) -> Path:
    """Write a run configuration whose results lie in a folder of that name."""
    values = {
        "instrument": "simulated",
        "source": {"folders": ["incoming"], "settle_seconds": 0.1},
        "output": {"folder": name},
        "engine": {"queue_size": 12, **engine},
        "pairing": {"group": ["@run"]},
    }
    path = folder / f"{name}.toml"
    path.write_text(write_template(values, {}, path.name))
    return path


def run_disturbed(cluster: LocalCluster, config: Path, output: Path) -> None:
    """Run the daemon on a cluster, with accidents at a tenth, three tenths and six tenths of the pairs."""
    with config.with_suffix(".log").open("w") as log:
        daemon = start("run", config, stderr=log)
    try:
        wait_for_pairs(output, daemon, 0.1)
        disturb("one worker is killed, and another one started", replace_worker, cluster)
        wait_for_pairs(output, daemon, 0.3)
        disturb("all workers are killed", kill_workers, cluster)
        show_away(output)
        disturb("three workers are started", start_workers, cluster)
        wait_for_pairs(output, daemon, 0.6)
        disturb("the scheduler is killed: its workers end", kill_scheduler, cluster)
        show_away(output)
        disturb("a scheduler and three workers are started", restart, cluster)
        wait_for_pairs(output, daemon, 1.0)
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(60)


def replace_worker(cluster: LocalCluster) -> None:
    """Kill a worker and start another one."""
    kill(cluster.alive()[0])
    cluster.start_worker()


def kill_workers(cluster: LocalCluster) -> None:
    """Kill all workers."""
    for worker in cluster.alive():
        kill(worker)


def start_workers(cluster: LocalCluster) -> None:
    """Start as many workers as there were."""
    for _ in range(N_WORKERS):
        cluster.start_worker()


def kill_scheduler(cluster: LocalCluster) -> None:
    """Kill the scheduler and wait until its workers have noticed."""
    assert cluster.scheduler is not None
    kill(cluster.scheduler)
    for worker in cluster.workers:
        worker.wait(60)


def restart(cluster: LocalCluster) -> None:
    """Start all again, as systemd or a batch system would."""
    cluster.start_scheduler()
    start_workers(cluster)


def disturb(text: str, accident: Callable[[LocalCluster], None], cluster: LocalCluster) -> None:
    """Have an accident and tell of it."""
    accident(cluster)
    console.print(f"[bold red]accident[/]   {text}")


def start(*arguments: object, **options: Any) -> subprocess.Popen[bytes]:
    """Start a streamcal command."""
    return subprocess.Popen([sys.executable, "-m", "streamcal", *map(str, arguments)], **options)


def run_inline(config: Path) -> None:
    """Measure the same files in one process."""
    with config.with_suffix(".log").open("w") as log:
        start("run", config, "--once", stderr=log).wait(DEADLINE)


def wait_for_pairs(output: Path, daemon: subprocess.Popen[bytes], part: float) -> None:
    """Wait until so much of the night is committed."""
    wanted = round(part * N_DETECTORS * N_PAIRS)
    done = wait_for(lambda: count_pairs(output) if count_pairs(output) >= wanted else 0, daemon)
    console.print(f"[bold]committed[/]  {done} of {N_DETECTORS * N_PAIRS} pairs")


def count_pairs(output: Path) -> int:
    """Return the number of committed pairs."""
    return read_status(output).pairs.get("done", 0) if (output / "streamcal.json").exists() else 0


def show_away(output: Path) -> None:
    """Wait until ``streamcal status`` says that the engine is away, and show the line."""
    wait_for(lambda: read_status(output).heartbeat.get("engine", {}).get("away_since"))
    text = subprocess.run(
        [sys.executable, "-m", "streamcal", "status", str(output)], check=True, capture_output=True, text=True
    ).stdout
    console.print(f"[bold]status[/]     {next(line for line in text.splitlines() if line.startswith('ENGINE'))}")


def wait_for(condition: Callable[[], Any], daemon: subprocess.Popen[bytes] | None = None) -> Any:
    """Wait until something is true, and return it; the daemon must stay up."""
    deadline = time.monotonic() + DEADLINE
    while not (value := condition()):
        if time.monotonic() > deadline or (daemon is not None and daemon.poll() is not None):
            msg = "the daemon has ended" if daemon is not None and daemon.poll() is not None else "waited in vain"
            raise RuntimeError(msg)
        time.sleep(0.1)
    return value


def compare(disturbed: pa.Table, quiet: pa.Table) -> bool:
    """Compare rows, apart from when and how fast they were measured; tell what was found."""
    counts = disturbed.group_by(["pair_id", "amplifier"]).aggregate([([], "count_all")])["count_all"].to_pylist()
    wanted = N_DETECTORS * N_PAIRS * len(CAMERA.amplifiers)
    once = len(counts) == disturbed.num_rows == wanted
    same = to_texts(disturbed) == to_texts(quiet)
    console.print(f"[bold]rows[/]       {disturbed.num_rows} of {wanted}, {'each once' if once else 'NOT each once'}")
    console.print(f"[bold]values[/]     {'equal to' if same else 'NOT equal to'} the inline engine's, bit for bit")
    return once and same


def to_texts(rows: pa.Table) -> list[str]:
    """Return rows as texts that tell every bit of each value, in an order that does not depend on the run."""
    return sorted(json.dumps(row, sort_keys=True, default=str) for row in rows.drop_columns(OF_THE_RUN).to_pylist())


if __name__ == "__main__":
    sys.exit(main())
