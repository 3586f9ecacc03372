"""`streamcal status`: how a run is doing."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import typer

from streamcal.status import Status, list_files, read_status


def show_status(output: Path, *, as_json: bool) -> None:
    """Print how a run is doing."""
    status = read_status(output)
    typer.echo(json.dumps(asdict(status), indent=2) if as_json else "\n".join(_describe(status)))


def show_files(output: Path, *, as_json: bool) -> None:
    """Print each input file and what became of it."""
    for file in list_files(output):
        if as_json:
            typer.echo(json.dumps(file))
        else:
            detail = file["reason"] or file["pair_id"]
            typer.echo(f"{file['disposition']:<9} {file['path']} {file['detector']}  {detail}".rstrip())


def _describe(status: Status) -> Iterator[str]:
    yield f"daemon      {f'up, process {status.pid}' if status.pid else 'down'}{_age(status)}"
    if paused := status.pid and status.heartbeat.get("paused_because"):
        yield f"PAUSED      {paused}"
    yield f"rows        {status.rows}"
    yield f"pairs       {_join(status.pairs) or 'none yet'}; {status.pairs_last_hour} in the last hour"
    yield f"exposures   {_join(status.dispositions) or 'none yet'}; {status.exposures_last_hour} in the last hour"
    if status.oldest_waiting:
        yield f"oldest wait {status.oldest_waiting['seconds']:.0f} s: {status.oldest_waiting['path']}"
    yield from _describe_backlog(status)
    if status.pid:
        yield from _describe_engine(status.heartbeat.get("engine", {}))
        yield from _describe_daemon(status)
    command = f"streamcal retry {shlex.quote(status.output)}"
    if count := status.set_aside["pairs"]:
        yield f"set aside   {count} pairs: {command}"
    if count := status.set_aside["files"]:
        yield f"set aside   {count} files: {command} --rejected"
    for error in status.errors:
        yield f"{error['count']:>10}  {error['kind']}"
    for failure in status.failures:
        blame = " ".join(part for part in (failure["plugin"], failure["stage"]) if part)
        yield f"failed      {failure['pair_id'][:12]} {failure['exposures']} {blame}: {failure['error']}"
    for rejection in status.rejections:
        yield f"rejected    {rejection['path']}: {rejection['reason']}"


def _describe_backlog(status: Status) -> Iterator[str]:
    for step, things in (("read", "files"), ("pair", "exposures"), ("measure", "pairs")):
        if left := status.backlog.get(step):
            oldest = f"the oldest has waited for {left['seconds']:.0f} s: {left['path']}"
            yield f"backlog     {left['count']} {things} to {step}; {oldest}"
    if not status.pid:
        yield "backlog     files that came since the daemon went down are not known yet"


def _describe_daemon(status: Status) -> Iterator[str]:
    beat = status.heartbeat
    yield f"in work     {beat.get('files_in_work', 0)} files, {beat.get('pairs_in_work', 0)} pairs"
    if beat.get("files_not_whole"):
        yield f"not whole   {beat['files_not_whole']} files"
    source = beat.get("source", {})
    if source.get("overflows") or source.get("files_found_without_hint"):
        found, lost = source["files_found_without_hint"], source["overflows"]
        yield f"events      {found} files found by listing only, {lost} times too many events"
    for folder, mode in beat.get("source", {}).get("watch_mode", {}).items():
        yield f"watching    {folder} ({mode})"


def _describe_engine(engine: dict[str, Any]) -> Iterator[str]:
    if engine.get("away_since") is not None:
        since = datetime.fromtimestamp(engine["away_since"], UTC)
        yield f"ENGINE      away since {since:%Y-%m-%d %H:%M:%S} UTC: {engine['reason']}"
    elif engine.get("workers") is not None:
        yield f"engine      {engine['kind']}, {engine['workers']} workers"
    for worker, reason in engine.get("refused", {}).items():
        yield f"refused     {worker}: {reason}"


def _age(status: Status) -> str:
    if not status.heartbeat:
        return ""
    return f", last sign of life {max(time.time() - status.heartbeat['time'], 0):.0f} s ago"


def _join(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
