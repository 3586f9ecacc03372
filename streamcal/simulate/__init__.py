"""Flats of known truth, written the way a camera writes them."""

from streamcal.simulate.camera import DEFAULT_CAMERA, BrighterFatter, Camera, SimulatedAmplifier
from streamcal.simulate.files import encode_exposure, write_exposure, write_file
from streamcal.simulate.light import collect_light, displace_charge, read_out, simulate_flat
from streamcal.simulate.lsstcam import LSSTCAM, simulate_quickly
from streamcal.simulate.plan import Shot, plan_run, ptc_levels
from streamcal.simulate.run import TRUTH_NAME, Truth, load_truth, simulate_run

__all__ = [
    "DEFAULT_CAMERA",
    "LSSTCAM",
    "TRUTH_NAME",
    "BrighterFatter",
    "Camera",
    "Shot",
    "SimulatedAmplifier",
    "Truth",
    "collect_light",
    "displace_charge",
    "encode_exposure",
    "load_truth",
    "plan_run",
    "ptc_levels",
    "read_out",
    "simulate_flat",
    "simulate_quickly",
    "simulate_run",
    "write_exposure",
    "write_file",
]
