"""The truth and the outputs of the fits' tests serve here too."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "ptc"))
