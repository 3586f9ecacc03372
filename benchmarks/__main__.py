"""Run all benchmarks, each in a process of its own; write the table of README.md and draw where a pair's time goes.

Run: ``python -m benchmarks [part]...``; without a part: all of `PARTS`.
"""

import json
import platform
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
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


def run_part(part):
    """Return the findings of one script."""
    command = [sys.executable, "-m", f"benchmarks.{part}", "--json"]
    if part == "pair":
        command += ["--plot", str(HERE / "pair.png")]
    done = subprocess.run(command, cwd=HERE.parent, stdout=subprocess.PIPE, text=True, check=True)
    lines = done.stdout.splitlines()
    print(f"--- {part}", *lines[:-1], sep="\n", flush=True)
    return json.loads(lines[-1])


def make_table(found):
    """Return the table as Markdown."""
    rows = ["| part | what | measured | target | | |", "|---|---|---|---|---|---|"]
    for part, findings in found.items():
        for finding in findings:
            verdict = {None: "", True: "holds", False: "**missed**"}[finding["holds"]]
            cells = (part, finding["what"], f"{finding['value']:.3g}", finding["target"], verdict, finding["detail"])
            rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def main():
    """Run, print, write."""
    found = {part: run_part(part) for part in sys.argv[1:] or PARTS}
    if sys.argv[1:]:
        return
    readme = HERE / "README.md"
    before, _, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    machine = f"{platform.machine()}, Python {platform.python_version()}"
    table = f"{BEGIN}\n{make_table(found)}\n\nMeasured on: {machine}.\n{END}"
    readme.write_text(f"{before}{table}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
