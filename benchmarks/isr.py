"""Instrument signature removal of one exposure of 16 amplifiers, by overscan model, against one memory pass.

Run: ``python -m benchmarks.isr``
"""

import json
import time
from pathlib import Path

import numpy as np

from benchmarks.common import Finding, make_job, recipe, report, scratch_folder, write_pairs
from streamcal.chain import build_chain
from streamcal.instruments import load_instrument
from streamcal.instruments.read import read_exposure
from streamcal.plugins import load_plugins
from streamcal.records import ExposureInfo
from streamcal.source.whole import Limits
from streamcal.testing import RecordingContext

MODELS = ("MEDIAN", "MEAN_PER_ROW", "MEDIAN_PER_ROW", "POLYNOMIAL")


def time_isr(info, instrument, model, repeats=4):
    """Return the fewest CPU seconds; each run needs an exposure of its own, as it changes it."""
    link = build_chain(["isr"], {"isr": {"model": model}}, load_plugins()).links[0]
    seconds = []
    for _ in range(repeats):
        exposure = read_exposure(info, instrument, Limits())
        start = time.process_time()
        link.stage.run(exposure, link.settings, RecordingContext("isr"))
        seconds.append(time.process_time() - start)
    return min(seconds)


def main():
    """Measure, print."""
    instrument = load_instrument(recipe().instrument, base=Path())
    with scratch_folder() as folder:
        info = ExposureInfo.from_dict(json.loads(make_job(*write_pairs(folder)))["first"])
        image = np.ones((16 * 2002, 512), np.float32)
        passes = []
        for _ in range(5):
            start = time.process_time()
            np.subtract(image, np.float32(1), out=image)
            passes.append(time.process_time() - start)
        findings = [Finding(what="one memory pass (s)", value=min(passes))]
        findings += [Finding(what=f"isr, {model} (s)", value=time_isr(info, instrument, model)) for model in MODELS]
    report(findings)


if __name__ == "__main__":
    main()
