"""`streamcal verify`: whether journal, segments and schemas agree."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import typer

from streamcal.verify import Finding, repair_output, verify_output

EXIT_DONE, EXIT_FAILURE = 0, 1


def show_findings(output: Path, *, repair: bool, as_json: bool) -> int:
    """Print what does not agree, then repair it if asked to; return the exit code: 1 while anything is left.

    Parameters
    ----------
    output : Path
        Output folder of a run.
    repair : bool
        Do what the findings say; refused while a daemon runs, which has done it when it started.
    as_json : bool
        One finding a line, as JSON.
    """
    findings = _show(output, as_json=as_json)
    if repair and any(finding.repair for finding in findings):
        repair_output(output)
        typer.echo("repaired; what is left:", err=True)
        findings = _show(output, as_json=as_json)
    return EXIT_FAILURE if findings else EXIT_DONE


def _show(output: Path, *, as_json: bool) -> list[Finding]:
    findings = verify_output(output)
    for finding in findings:
        typer.echo(json.dumps(asdict(finding)) if as_json else str(finding))
    if not findings:
        typer.echo(f"{output}: journal, segments and schemas agree", err=as_json)
    return findings
