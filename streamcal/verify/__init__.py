"""Do journal, segments and schemas of an output agree? What a start would repair is told apart from what it cannot."""

from streamcal.verify.finding import Finding
from streamcal.verify.output import repair_output, verify_output

__all__ = ["Finding", "repair_output", "verify_output"]
