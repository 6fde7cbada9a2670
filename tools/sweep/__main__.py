"""Compare what `facility.run` reads with what coffea's Runner reads.

`python -m tools.sweep FOLDER ...` reads every tree of the ROOT files in folders, all branches, in
chunks of three sizes. `python -m tools.sweep --fuzz` does so with files that are made at random,
one for each seed. What differs is told as it is found, and the last line says what was compared.
The program ends with 1 if anything differs, or if nothing was compared.
"""

import argparse
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import count, takewhile
from pathlib import Path

from facility.analysis.run_progress import track
from tools.sweep.compare import Account, compare_file
from tools.sweep.processes import side_by_side
from tools.sweep.random_trees import compare_random

SHOWN = 10
"""Differences of a file that are shown."""
SECONDS = 20.0
"""How long random files are made, if nothing else is asked."""
EVERY = 10.0
"""Seconds between two words on how many there were."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; return the code to exit with."""
    parser = argparse.ArgumentParser("sweep", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("places", nargs="*", type=Path, help="folders of ROOT files, or files")
    parser.add_argument("--fuzz", action="store_true", help="compare random files instead")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of making random files")
    parser.add_argument("--cases", type=int, help="random files, however long they take")
    parser.add_argument("--seed", type=int, help="of the first random file; they count up")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    given = parser.parse_args(arguments)
    paths = root_files(given.places)
    if bool(paths) == given.fuzz:
        parser.error("name folders with files *.root, or ask for --fuzz")
    with tempfile.TemporaryDirectory(prefix="facility-sweep-") as scratch:
        # What is known of files from other runs is not to be relied on.
        os.environ["XDG_CACHE_HOME"] = scratch
        if paths:
            accounts = side_by_side(compare_file, paths, given.processes, died)
            accounts = track(accounts, len(paths), "Comparing", unit="files")
        else:
            first = given.seed if given.seed is not None else random.SystemRandom().getrandbits(31)
            print(f"Random files from seed {first} on", flush=True)
            ends = time.monotonic() + given.seconds
            seeds: Iterable[int] = takewhile(lambda _: time.monotonic() < ends, count(first))
            if given.cases is not None:
                seeds = range(first, first + given.cases)
            accounts = counted(side_by_side(compare_random, seeds, given.processes, died))
        return tell(accounts)


def died(names: str) -> Account:
    """Tell of files that were being compared when a process died."""
    return Account(different=[f"{names}: a process died of one of these"])


def counted(accounts: Iterable[Account]) -> Iterator[Account]:
    """Pass accounts on, and tell every now and then how many there were."""
    told = time.monotonic()
    for number, account in enumerate(accounts, start=1):
        yield account
        if time.monotonic() > told + EVERY:
            print(f"{number:,} random files so far", file=sys.stderr, flush=True)
            told = time.monotonic()


def tell(accounts: Iterable[Account]) -> int:
    """Say what differs, and what was compared; return the code to exit with."""
    total = Account()
    for account in accounts:
        total.add(account)
        for line in account.different[:SHOWN]:
            print(f"DIFFERENT {line}", flush=True)
        if len(account.different) > SHOWN:
            print(f"  ... and {len(account.different) - SHOWN:,} more of this file", flush=True)
    print(total)
    return int(bool(total.different) or not total.equal)


def root_files(places: Iterable[Path]) -> list[Path]:
    """Every ROOT file that is named, or in a folder that is."""
    found = [sorted(place.rglob("*.root*")) if place.is_dir() else [place] for place in places]
    return [path for paths in found for path in paths if path.is_file()]


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
