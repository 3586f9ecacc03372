"""What does not agree."""

from __future__ import annotations

from dataclasses import dataclass

SHOWN = 5  # examples of one kind


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """Something that does not agree.

    Attributes
    ----------
    where : str
        File, or part of the journal.
    problem : str
        What is wrong, in words.
    repair : str
        What `repair_output` would do about it, and any start of the daemon; empty if only a person can decide.
    """

    where: str
    problem: str
    repair: str = ""

    def __str__(self) -> str:
        """Say it in one line."""
        return f"{self.where}: {self.problem}" + (f"; to be repaired: {self.repair}" if self.repair else "")
