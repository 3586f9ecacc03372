"""From measured pairs to gain, noise and a_ij of each amplifier: models, fit, turnoff, limits.

Pure functions on arrays::

    from streamcal.ptc import Curve, fit_amplifier

    solution = fit_amplifier(Curve.of(mean, variance, error, covariance))
    solution.gain, solution.gain_error, solution.a

Names are imported when first used: the configuration needs the settings alone, and no array library.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streamcal.ptc.curve import Curve
    from streamcal.ptc.fit import fit_amplifier
    from streamcal.ptc.flags import FitFlag, decode_fit_flags
    from streamcal.ptc.models import MODELS, full_covariance, make_model
    from streamcal.ptc.settings import FitConfig, LimitsConfig
    from streamcal.ptc.solution import Solution

__all__ = [
    "MODELS",
    "Curve",
    "FitConfig",
    "FitFlag",
    "LimitsConfig",
    "Solution",
    "decode_fit_flags",
    "fit_amplifier",
    "full_covariance",
    "make_model",
]

_HOMES = {
    "Curve": "curve",
    "FitConfig": "settings",
    "FitFlag": "flags",
    "LimitsConfig": "settings",
    "MODELS": "models",
    "Solution": "solution",
    "decode_fit_flags": "flags",
    "fit_amplifier": "fit",
    "full_covariance": "models",
    "make_model": "models",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
