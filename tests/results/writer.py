"""A process that appends numbered batches to the bench's output, going on where an earlier one ended."""

import importlib.util
import sys
from pathlib import Path

spec = importlib.util.spec_from_file_location("sink_bench", Path(__file__).parents[1] / "sink" / "bench.py")
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)

folder, last = Path(sys.argv[1]), int(sys.argv[2])
bench = module.Bench(folder)
sink = bench.open(roll_bytes=6000)
for number in range(last):
    bench.append(sink, number)
bench.close()
