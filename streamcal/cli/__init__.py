"""The command line: a subcommand is a function; stdout is for results, stderr for logs."""

from streamcal.cli.main import main

__all__ = ["main"]
