"""``python -m streamcal`` is the command line."""

from streamcal.cli import main

main()
