"""One amplifier of 2002 x 512 pixels: `measure_amplifier`, everything included, against textbook covariances alone.

Run: ``python -m benchmarks.measure``
"""

from benchmarks.common import Finding, at_least, best_of, make_flats, report
from benchmarks.textbook import textbook_covariances
from streamcal.measure import lag_covariances, match_levels, measure_amplifier


def main():
    """Measure, print."""
    (first, second), clean, holes = make_flats()
    matched = match_levels(first, second, clean)
    difference, weight = matched.difference.astype(float), matched.used.astype(float)
    seconds = best_of(
        {
            "textbook": lambda: textbook_covariances(difference, weight),
            "plain": lambda: measure_amplifier(first, second, (clean, clean), 3.0),
            "holes": lambda: measure_amplifier(first, second, (holes, clean), 3.0),
            "difference": lambda: match_levels(first, second, (clean, clean)),
            "lags": lambda: lag_covariances(matched.difference, matched.used, 10),
        },
        repeats=20,
    )
    textbook = seconds["textbook"]
    shown = f"{1e3 * textbook:.0f} ms / {{:.1f}} ms"
    report(
        [
            at_least(
                "textbook covariances / measure_amplifier",
                textbook / seconds["plain"],
                10,
                shown.format(1e3 * seconds["plain"]),
            ),
            at_least(
                "the same with 1 % bad pixels", textbook / seconds["holes"], 7, shown.format(1e3 * seconds["holes"])
            ),
            Finding(what="of it: clipped level-matched difference (ms)", value=1e3 * seconds["difference"]),
            Finding(what="of it: all lags (ms)", value=1e3 * seconds["lags"]),
        ]
    )


if __name__ == "__main__":
    main()
