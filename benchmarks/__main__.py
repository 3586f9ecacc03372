"""Run benchmarks, each in a process of its own; write the tables of README.md and draw where a pair's time goes.

Run: ``python -m benchmarks [part]...``; without a part: all of them. Each part that ends well replaces its own rows at
once; one that fails keeps those it had, and the exit code is 1.
"""

import json
import os
import subprocess
import sys

from benchmarks.table import HERE, PARTS, PICTURE, describe_conditions, save_part


def run_part(part):
    """Run one script and keep what it finds; return whether it ended well."""
    conditions = describe_conditions()
    command = [sys.executable, "-m", f"benchmarks.{part}", "--json"]
    if part == "pair":
        command += ["--plot", str(PICTURE)]
    print(f"--- {part}", flush=True)
    done = subprocess.run(command, cwd=HERE.parent, stdout=subprocess.PIPE, text=True, check=False)
    *lines, found = done.stdout.splitlines() or [""]
    if done.returncode:
        print(done.stdout, f"failed with exit code {done.returncode}", sep="\n", flush=True)
        return False
    print(*lines, sep="\n", flush=True)
    save_part(part, json.loads(found), conditions | {"load_after": round(os.getloadavg()[0], 1)})
    return True


def main():
    """Run; return the exit code."""
    unknown = [part for part in sys.argv[1:] if part not in PARTS]
    if unknown:
        print(f"no part {', '.join(unknown)}, only {', '.join(PARTS)}")
        return 2
    ended_well = [run_part(part) for part in sys.argv[1:] or PARTS]
    return 0 if all(ended_well) else 1


if __name__ == "__main__":
    sys.exit(main())
