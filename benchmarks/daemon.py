"""The daemon on full-size pairs: two workers against one, what it costs itself, how soon the rows of a pair are there.

Run: ``python -m benchmarks.daemon``
"""

import shutil
import signal
import statistics
import time

from benchmarks.common import (
    Finding,
    at_least,
    at_most,
    cpu_seconds,
    report,
    scratch_folder,
    start_daemon,
    write_pairs,
    write_run_config,
)
from streamcal import results

N_PAIRS = 20
RATE = 3.0  # pairs a second
SMALL = (200, 64)  # so small that the machine keeps up with the rate


def time_catch_up(folder, incoming, workers, pairs):
    """Return the seconds from the first to the last row of a run over what is there: start-up left out."""
    config, output = write_run_config(folder, incoming, engine={"workers": workers})
    start_daemon(config, "--once").wait(timeout=600)
    times = sorted(set(results.read(output, columns=["measured_at"])["measured_at"].to_pylist()))
    if len(times) != pairs:
        msg = f"{pairs} pairs expected, {len(times)} measured"
        raise RuntimeError(msg)
    return (times[-1] - times[workers - 1]).total_seconds() / (pairs - workers)


def compare_workers(folder):
    """Return how many times the pairs of one worker two workers do, each in the best of three runs."""
    write_pairs(folder / "incoming", N_PAIRS)
    seconds = {1: [], 2: []}
    for turn in range(3):
        for workers, taken in seconds.items():
            taken.append(time_catch_up(folder / f"{workers}-{turn}", folder / "incoming", workers, N_PAIRS))
    one, two = min(seconds[1]), min(seconds[2])
    return at_least("pairs of two workers / pairs of one", one / two, 1.85, f"{one:.3f} s / {two:.3f} s a pair")


def watch_daemon(folder, pairs=120):
    """Let small pairs land at a fixed rate; return the daemon's own CPU share, and the delay of their rows."""
    staged, incoming = folder / "staged", folder / "incoming"
    files = write_pairs(staged, pairs, shape=SMALL)
    incoming.mkdir()
    config, output = write_run_config(folder, incoming)
    daemon = start_daemon(config)
    try:
        wait_for_rows(incoming, output, write_pairs(folder / "first", shape=SMALL, detectors=["FIRST"]))
        used, begun = cpu_seconds(daemon.pid), time.monotonic()
        for number in range(pairs):
            for path in files[2 * number : 2 * number + 2]:
                shutil.move(path, incoming / path.name)
            time.sleep(max(0.0, begun + (number + 1) / RATE - time.monotonic()))
        seconds = time.monotonic() - begun
        share = (cpu_seconds(daemon.pid) - used) / seconds
        late = [
            wait_for_rows(incoming, output, write_pairs(folder / f"late{n}", shape=SMALL, detectors=[f"LATE{n}"]))
            for n in range(5)
        ]
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(timeout=60)
    return share, pairs / seconds, late


def wait_for_rows(incoming, output, files):
    """Move a pair in; return the seconds until its rows can be read, less those of its measuring."""
    shutil.move(files[0], incoming / files[0].name)
    time.sleep(1.0)
    closed = time.time()
    shutil.move(files[1], incoming / files[1].name)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        rows = (
            results.read(output, columns=["path_2", "timings"]).to_pylist()
            if (output / "measurements" / "CURRENT").exists()
            else []
        )
        found = [row for row in rows if row["path_2"].endswith(files[1].name)]
        if found:
            measuring = sum(seconds for name, seconds in found[0]["timings"] if ":" not in name)
            return time.time() - closed - measuring
        time.sleep(0.005)
    msg = f"no rows of {files[1].name} within a minute"
    raise RuntimeError(msg)


def main():
    """Measure, print."""
    with scratch_folder() as folder:
        workers = compare_workers(folder / "workers")
        share, rate, late = watch_daemon(folder / "watch")
    report(
        [
            workers,
            at_most("the daemon's own share of a core (%)", 100 * share, 3, f"at {rate:.1f} pairs a second"),
            at_most(
                "file closed to rows readable, less measuring, idle (s)",
                statistics.median(late),
                0.1,
                "median of " + ", ".join(f"{seconds:.3f}" for seconds in sorted(late)),
            ),
            Finding(what="pairs a second in that run", value=rate),
        ]
    )


if __name__ == "__main__":
    main()
