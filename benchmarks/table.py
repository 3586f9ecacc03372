"""What the benchmarks found, kept by part in results.json, and the tables of README.md that are made of it.

Nobody edits either by hand; a test holds the tables against the file, and the names of their rows against the scripts.
"""

import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).parent
RESULTS, README, PICTURE = HERE / "results.json", HERE / "README.md", HERE / "pair.png"
PARTS = (
    "measure",
    "pair",
    "reading",
    "isr",
    "crosstalk",
    "sink",
    "daemon",
    "growth",
    "focal_plane",
    "engines",
    "ptc_fit",
    "ptc_images",
)
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"
VERDICTS = {None: "", True: "holds", False: "**missed**"}


def load_results():
    """Return what was found, by part: its rows, and under what conditions."""
    return json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}


def save_part(part, findings, conditions):
    """Replace what was found of one part, in the file and in the tables; all other parts stay as they are."""
    results = load_results() | {part: {"conditions": conditions, "findings": findings}}
    results = {name: results[name] for name in PARTS if name in results}
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    README.write_text(insert_tables(README.read_text(encoding="utf-8"), results), encoding="utf-8")


def insert_tables(text, results):
    """Return the text of README.md with its tables renewed."""
    before, _, rest = text.partition(BEGIN)
    return "\n".join([before + BEGIN, make_table(results), "", make_conditions(results), END]) + rest.partition(END)[2]


def make_table(results):
    """Return the table of all rows, as Markdown."""
    rows = [("part", "what", "measured", "target", "", ""), ("---",) * 6]
    for part, result in results.items():
        for finding in result["findings"]:
            value, verdict = f"{finding['value']:.3g}", VERDICTS[finding["holds"]]
            rows.append((part, finding["what"], value, finding["target"], verdict, finding["detail"]))
    return _as_markdown(rows)


def make_conditions(results):
    """Return the table of the conditions under which each part was measured, as Markdown."""
    rows = [("part", "commit", "date (UTC)", "processor", "cores", "load before", "load after"), ("---",) * 7]
    for part in PARTS:
        conditions = results.get(part, {}).get("conditions", {"commit": "not measured"})
        keys = ("commit", "date", "processor", "cores", "load_before", "load_after")
        rows.append((part, *(str(conditions.get(key, "")) for key in keys)))
    return _as_markdown(rows)


def _as_markdown(rows):
    return "\n".join("| " + " | ".join(cells) + " |" for cells in rows)


def describe_conditions():
    """Return commit, date, processor, cores and load of this machine now."""
    outputs = [f":!{path.relative_to(HERE.parent)}" for path in (RESULTS, README, PICTURE)]
    changed = _ask_git("status", "--porcelain", "--untracked-files=no", "--", ".", *outputs)
    return {
        "commit": _ask_git("rev-parse", "--short", "HEAD") + (" and changes" if changed else ""),
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M}",
        "processor": f"{_processor()}, Python {platform.python_version()}",
        "cores": len(os.sched_getaffinity(0)),
        "load_before": round(os.getloadavg()[0], 1),
    }


def _ask_git(*words):
    done = subprocess.run(["git", *words], cwd=HERE.parent, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _processor():
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
