"""Calibrations: what is known of a detector beforehand, in the files that are deployed."""

from streamcal.calibs.calib import Calib
from streamcal.calibs.crosstalk import CrosstalkCalib
from streamcal.calibs.detector import Detector, DetectorAmplifier
from streamcal.calibs.estimate import estimate_crosstalk

__all__ = ["Calib", "CrosstalkCalib", "Detector", "DetectorAmplifier", "estimate_crosstalk"]
