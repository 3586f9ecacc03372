"""``python -m streamcal.faults``: break things for as long as you like."""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from streamcal.errors import StateError
from streamcal.faults.calls import EFFECTS, has_strace, list_faults, thin
from streamcal.faults.fuzz import Fuzz
from streamcal.faults.kills import Hunt
from streamcal.faults.limits import Limits
from streamcal.faults.sweep import Mode, prepare_sweep
from streamcal.faults.workers import Culling


def main() -> int:
    """Run what the command line asks for; return 0 if everything held, else 1."""
    options = _parse()
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(dir=options.folder, prefix="streamcal-faults-"))
    failures: int = options.run(options, folder)
    _say(f"{failures} failures in {time.monotonic() - began:.0f} s")
    if failures:
        _say(f"what is left of them: {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m streamcal.faults", description=__doc__)
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder by default")
    parser.add_argument("--seed", type=int, default=1, help="of all that is random")
    kinds = parser.add_subparsers(required=True, metavar="KIND")
    kills = kinds.add_parser("kills", help="SIGKILL at random instants of a run, compared with a quiet one")
    kills.add_argument("--runs", type=int, default=1)
    kills.add_argument("--kills", type=int, default=200, help="in each run")
    kills.add_argument("--pairs", type=int, default=100)
    kills.set_defaults(run=_kills)
    calls = kinds.add_parser("calls", help="every writing system call of a twelve-pair run, killed or failing")
    calls.add_argument("--effect", choices=EFFECTS, action="append", help="may be repeated; all by default")
    calls.add_argument("--call", action="append", help="only this system call; may be repeated")
    calls.add_argument("--stride", type=int, default=1, help="only one in so many calls of each kind")
    calls.add_argument("--offset", type=int, default=0, help="which of them")
    calls.add_argument("--watch", action="store_true", help="break the daemon that watches, in place of --once")
    calls.add_argument("--engine", choices=("inline", "local"), default="inline")
    calls.add_argument("--parallel", type=int, default=2, help="daemons at a time; where calls fail most of them wait")
    calls.set_defaults(run=_calls)
    fuzz = kinds.add_parser("inputs", help="mutants of valid files among whole pairs")
    fuzz.add_argument("--runs", type=int, default=1)
    fuzz.add_argument("--mutants", type=int, default=20_000, help="in each run")
    fuzz.add_argument("--workers", type=int, default=2)
    fuzz.set_defaults(run=_inputs)
    output = kinds.add_parser("output", help="files that may not grow: writes of a part, pauses and restarts")
    output.add_argument("--runs", type=int, default=1)
    output.add_argument("--pairs", type=int, default=50, help="in each run, each under a limit of its own")
    output.set_defaults(run=_output)
    workers = kinds.add_parser("workers", help="SIGKILL for workers at random instants of a run")
    workers.add_argument("--runs", type=int, default=1)
    workers.add_argument("--kills", type=int, default=200, help="in each run")
    workers.add_argument("--pairs", type=int, default=100)
    workers.set_defaults(run=_workers)
    power = kinds.add_parser("power", help="power lost at any moment, on a simulated disk; needs hypothesis")
    power.add_argument("--runs", type=int, default=1)
    power.add_argument("--histories", type=int, default=10_000, help="in each run")
    power.set_defaults(run=_power)
    return parser.parse_args()


def _each_run(options: argparse.Namespace, folder: Path) -> Iterator[tuple[int, Path, random.Random]]:
    """Yield number, an empty folder and dice of each run."""
    for number in range(options.runs):
        home = folder / str(number)
        home.mkdir()
        yield number + 1, home, random.Random(f"{options.seed} {number}")  # noqa: S311 - to be repeated


def _kills(options: argparse.Namespace, folder: Path) -> int:
    failures = 0
    for number, home, dice in _each_run(options, folder):
        hunt = Hunt(folder=home, pairs=options.pairs, kills=options.kills, dice=dice, report=_progress)
        verdict = hunt.run()
        _say(f"run {number}: {options.pairs} pairs, {hunt.lives}: {verdict}")
        failures += (not verdict) + _tell([hunt.lives.problem] if hunt.lives.problem else [])
    return failures


def _output(options: argparse.Namespace, folder: Path) -> int:
    failures = 0
    for number, home, dice in _each_run(options, folder):
        limits = Limits(folder=home, pairs=options.pairs, dice=dice, report=_progress)
        verdict = limits.run()
        _say(f"run {number}: {options.pairs} pairs, {limits.met} limits met: {verdict}")
        failures += (not verdict) + _tell([] if limits.met else ["no limit was met"])
    return failures


def _workers(options: argparse.Namespace, folder: Path) -> int:
    failures = 0
    for number, home, dice in _each_run(options, folder):
        verdict = Culling(folder=home, pairs=options.pairs, kills=options.kills, dice=dice, report=_progress).run()
        _say(f"run {number}: {options.pairs} pairs, {options.kills} workers killed: {verdict}")
        failures += not verdict
    return failures


def _calls(options: argparse.Namespace, folder: Path) -> int:
    if not has_strace():
        _say("strace is not installed: nothing done")
        return 1
    failures = 0
    with prepare_sweep(folder, options.parallel, Mode(watch=options.watch, engine=options.engine)) as sweep:
        for effect in options.effect or EFFECTS:
            faults = [
                fault for fault in list_faults(sweep.calls, effect) if fault.call in (options.call or [fault.call])
            ]
            chosen = thin(faults, options.stride, options.offset)
            found = [sweep.run(chosen, options.seed, _progress)]
            if options.stride == 1:
                found.append(sweep.run_beyond(effect, options.seed, options.call or ()))
            for name, findings in zip((f"{len(chosen)} of {len(faults)} counted calls", "beyond"), found, strict=False):
                _say(f"{effect}, {name}: {findings}")
                failures += _tell(findings.failures)
    return failures


def _inputs(options: argparse.Namespace, folder: Path) -> int:
    failures = 0
    for _, home, dice in _each_run(options, folder):
        seed = dice.getrandbits(32)
        fuzz = Fuzz(folder=home, mutants=options.mutants, seed=seed, workers=options.workers, report=_say)
        failures += _tell(fuzz.run())
    return failures


def _power(options: argparse.Namespace, _: Path) -> int:
    try:
        from streamcal.faults.power import RowsDiffer, lose_power_often
    except ModuleNotFoundError as exc:
        _say(f"{exc.name} is not installed: nothing done")
        return 1
    failures = 0
    for number in range(options.runs):
        try:
            lose_power_often(options.histories, 1000 * options.seed + number)
        except (RowsDiffer, StateError) as exc:
            failures += _tell(["\n".join((str(exc), *getattr(exc, "__notes__", [])))])
        _say(f"run {number + 1}: {options.histories} histories, {failures} failures")
    return failures


def _tell(failures: Sequence[str]) -> int:
    for failure in failures:
        _say(failure)
    return len(failures)


def _progress(text: object) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{text}\033[K")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
