"""Faults on purpose: breaks a running streamcal in every way we know, and compares what comes out with a quiet run.

``python -m streamcal.faults --help`` says what can be broken; `docs/promises.md` says what must hold. It needs nothing
but streamcal (and strace for some kinds), and works in a folder of its own, so that it can be run for hours on the disk
that a detector laboratory means to use.
"""
