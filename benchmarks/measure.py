"""One amplifier of 2002 x 512 pixels: `measure_amplifier`, everything included, against textbook covariances alone.

Masks are those of both flats, and alike.

Run: ``python -m benchmarks.measure``
"""

import numpy as np

from benchmarks.common import Finding, at_least, best_of, make_flats, report
from benchmarks.textbook import textbook_covariances
from streamcal.measure import lag_covariances, match_levels, measure_amplifier


def make_masks(clean):
    """Return masks of other shapes than scattered pixels."""
    border, columns, corner = np.ones_like(clean), clean.copy(), clean.copy()
    border[10:-10, 10:-10] = 0
    columns[:, 100:105] = 1
    corner[:1000, :300] = 1
    return {"a border of 10 pixels": border, "5 bad columns": columns, "a dark corner of 29 %": corner}


def main():
    """Measure, print."""
    (first, second), clean, holes = make_flats()
    matched, masks = match_levels(first, second, clean), make_masks(clean)
    difference, weight = matched.difference.astype(float), matched.used.astype(float)
    seconds = best_of(
        {
            "textbook": lambda: textbook_covariances(difference, weight),
            "plain": lambda: measure_amplifier(first, second, (clean, clean), 3.0),
            "holes": lambda: measure_amplifier(first, second, (holes, holes), 3.0),
            "difference": lambda: match_levels(first, second, (clean, clean)),
            "lags": lambda: lag_covariances(matched.difference, matched.used, 10),
        }
        | {name: lambda mask=mask: measure_amplifier(first, second, (mask, mask), 3.0) for name, mask in masks.items()},
        repeats=20,
    )
    textbook = seconds["textbook"]
    ratio = {name: textbook / taken for name, taken in seconds.items()}
    shown = {name: f"{1e3 * textbook:.0f} ms / {1e3 * taken:.1f} ms" for name, taken in seconds.items()}
    report(
        [
            at_least("textbook covariances / measure_amplifier", ratio["plain"], 10, shown["plain"]),
            at_least("the same with 1 % bad pixels", ratio["holes"], 7, shown["holes"]),
            *(Finding(what=f"the same with {name} masked", value=ratio[name], detail=shown[name]) for name in masks),
            Finding(what="of it: clipped level-matched difference (ms)", value=1e3 * seconds["difference"]),
            Finding(what="of it: all lags (ms)", value=1e3 * seconds["lags"]),
        ]
    )


if __name__ == "__main__":
    main()
