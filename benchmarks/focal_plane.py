"""A night in a minute: the daemon on N detectors x M pairs of full size; how many detectors a minute it holds.

The files are there before the daemon starts, or, with --feed, the simulator writes them while it runs, on the same
processors. Counted is the time from the first rows of each worker to the last: start-up is left out.

Run: ``python -m benchmarks.focal_plane [--detectors 63] [--pairs 2] [--workers 2] [--feed]``; by itself both ways.
"""

import argparse
import os
import signal
import time

from benchmarks.common import Finding, at_least, report, scratch_folder, start_daemon, write_pairs, write_run_config
from streamcal import results

FOCAL_PLANE = 189  # science detectors of LSSTCam; it takes a pair of flats about once a minute
LONGEST = 3600  # s


def read_times(output):
    """Return when the pairs there are were measured, in order."""
    if not (output / "measurements" / "CURRENT").exists():
        return []
    return sorted(set(results.read(output, columns=["measured_at"])["measured_at"].to_pylist()))


def catch_up(config, incoming, options):
    """Write all files, then run the daemon on them; return the CPU seconds that it took, its workers included."""
    write_pairs(incoming, options.pairs, detectors=name_detectors(options))
    before = os.times()
    code = start_daemon(config, "--once").wait(timeout=LONGEST)
    after = os.times()
    if code:
        msg = f"the daemon ended with exit code {code}"
        raise RuntimeError(msg)
    return after.children_user + after.children_system - before.children_user - before.children_system


def feed(config, incoming, options):
    """Write files into the folder of a daemon that runs; return the seconds that the simulator took for it."""
    incoming.mkdir(parents=True)
    output, n_pairs = config.parent / "output", options.detectors * options.pairs
    daemon = start_daemon(config)
    try:
        begun = time.monotonic()
        write_pairs(incoming, options.pairs, detectors=name_detectors(options))
        seconds = time.monotonic() - begun
        while len(read_times(output)) < n_pairs and daemon.poll() is None and time.monotonic() < begun + LONGEST:
            time.sleep(0.5)
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(timeout=60)
    return seconds


def name_detectors(options):
    """Return names like those of rafts and sensors."""
    return [f"R{number // 9:02d}_S{number % 9 // 3}{number % 3}" for number in range(options.detectors)]


def run(way, options):
    """Run the daemon this way; return detectors a minute, and the seconds that the way itself tells of."""
    n_pairs = options.detectors * options.pairs
    with scratch_folder() as folder:
        config, output = write_run_config(folder, folder / "incoming", engine={"workers": options.workers})
        told = way(config, folder / "incoming", options)
        times = read_times(output)
    if len(times) != n_pairs:
        msg = f"{n_pairs} pairs expected, {len(times)} measured"
        raise RuntimeError(msg)
    seconds = (times[-1] - times[options.workers - 1]).total_seconds() / (n_pairs - options.workers)
    return 60 / seconds, told


def read_options():
    """Return the options of the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--detectors", type=int, default=63)
    parser.add_argument("--pairs", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--feed", action="store_true", help="only while the simulator writes")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.detectors * options.pairs <= options.workers:
        parser.error(f"detectors x pairs must be more than the {options.workers} workers")
    return options


def main():
    """Write, measure, print."""
    options = read_options()
    n_pairs, findings = options.detectors * options.pairs, []
    detail = f"{n_pairs} pairs, {options.workers} workers"
    if not options.feed:
        rate, cpu = run(catch_up, options)
        findings += [
            at_least("detectors a minute, by the clock", rate, FOCAL_PLANE, detail),
            Finding(what="CPU seconds a pair, start-up and inspection included", value=cpu / n_pairs),
        ]
    rate, seconds = run(feed, options)
    written = 60 * n_pairs / seconds
    findings += [
        Finding(what="detectors a minute while the simulator writes them beside it", value=rate, detail=detail),
        at_least("detectors a minute that the simulator writes meanwhile", written, FOCAL_PLANE),
    ]
    report(findings)


if __name__ == "__main__":
    main()
