"""A night in a minute: the daemon on N detectors x M pairs of full size; how many detectors a minute it holds.

Run: ``python -m benchmarks.focal_plane [--detectors 6] [--pairs 2] [--workers 2]``
"""

import argparse
import os

from benchmarks.common import Finding, at_least, report, scratch_folder, start_daemon, write_pairs, write_run_config
from streamcal import results

FOCAL_PLANE = 189  # science detectors of LSSTCam; it takes a pair of flats about once a minute


def main():
    """Write, measure, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--detectors", type=int, default=6)
    parser.add_argument("--pairs", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    n = options.detectors * options.pairs
    with scratch_folder() as folder:
        names = [f"R{number // 9:02d}_S{number % 9 // 3}{number % 3}" for number in range(options.detectors)]
        write_pairs(folder / "incoming", options.pairs, detectors=names)
        config, output = write_run_config(folder, folder / "incoming", engine={"workers": options.workers})
        before = os.times()
        start_daemon(config, "--once").wait(timeout=3600)
        after = os.times()
        times = sorted(set(results.read(output, columns=["measured_at"])["measured_at"].to_pylist()))
    seconds = (times[-1] - times[options.workers - 1]).total_seconds() / (n - options.workers)
    cpu = (after.children_user + after.children_system - before.children_user - before.children_system) / n
    report(
        [
            at_least(
                f"detectors a minute, {options.workers} workers, by the clock",
                60 / seconds,
                FOCAL_PLANE,
                f"{len(times)} of {n} pairs measured",
            ),
            Finding(what="CPU seconds a pair, start-up and inspection included", value=cpu),
        ]
    )


if __name__ == "__main__":
    main()
