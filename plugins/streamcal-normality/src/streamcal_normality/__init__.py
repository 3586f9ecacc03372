"""A streamcal stage that tells whether the difference of two flats is Gaussian, and how wide it is."""

__version__ = "0.1.0"
