"""Good-run lists: which luminosity blocks of data are fit for analysis."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from facility.errors import RequestError


class GoodRuns:
    """A good-run list, called with the run and the luminosity block of each event.

    Attributes
    ----------
    ranges
        First and last luminosity block of each range, by run.
    """

    def __init__(self, ranges: dict[int, list[tuple[int, int]]]) -> None:
        self.ranges = ranges

    def __call__(self, run: Any, lumi_block: Any) -> Any:
        """Say which events are good.

        Parameters
        ----------
        run, lumi_block
            Flat arrays of one length, such as `events.EventInfo.runNumber`.

        Returns
        -------
        numpy.ndarray
            Of bool.
        """
        runs, blocks = np.asarray(run), np.asarray(lumi_block)
        good = np.zeros(runs.shape, bool)
        for number in np.unique(runs):
            of_it = runs == number
            for first, last in self.ranges.get(int(number), ()):
                good |= of_it & (blocks >= first) & (blocks <= last)
        return good


def good_runs(path: str | Path) -> GoodRuns:
    """Read a good-run list: ATLAS' XML, or JSON such as ``{"358031": [[10, 90], [92, 120]]}``.

    Both ends of a range are good.

    Raises
    ------
    RequestError
        The file is missing or neither of the two.

    Examples
    --------
    >>> good = good_runs("data18_13TeV.xml")  # doctest: +SKIP
    >>> events = events[good(events.EventInfo.runNumber, events.EventInfo.lumiBlock)]
    """
    file = Path(path).expanduser()
    try:
        text = file.read_text()
        ranges = _xml(text) if text.lstrip().startswith("<") else _json(text)
    except OSError as error:
        problem = f"{file} cannot be read ({error.strerror})"
    except (ValueError, TypeError, AttributeError, ElementTree.ParseError) as error:
        problem = f"{file} is neither ATLAS' XML nor JSON of run: [[first, last], ...] ({error})"
    else:
        if ranges:
            return GoodRuns(ranges)
        problem = f"{file} has no run"
    raise RequestError("The good-run list cannot be used", [problem])


def _xml(text: str) -> dict[int, list[tuple[int, int]]]:
    found: dict[int, list[tuple[int, int]]] = {}
    # The user's own file; Python's parser fetches nothing that it names.
    for run in ElementTree.fromstring(text).iter("LumiBlockCollection"):
        ranges = [_range((part.get("Start"), part.get("End"))) for part in run.iter("LBRange")]
        found.setdefault(int(run.findtext("Run") or ""), []).extend(ranges)
    return found


def _json(text: str) -> dict[int, list[tuple[int, int]]]:
    return {int(run): [_range(part) for part in parts] for run, parts in json.loads(text).items()}


def _range(part: Any) -> tuple[int, int]:
    first, last = (int(end) for end in part)
    if first > last:
        raise ValueError(f"the range {first} to {last} ends before it begins")
    return first, last
