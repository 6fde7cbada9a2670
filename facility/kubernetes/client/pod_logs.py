"""The end of what a pod has printed, of which a node keeps some 10 MB."""

from facility.kubernetes.client.api import Api
from facility.kubernetes.client.kinds import POD
from facility.wording import counted

LINES = 1000
FEWER = 4
"""By how much fewer lines are asked for where these were too long: of what it is limited to, the
API gives the beginning."""


def end(api: Api, pod: str, most: int, lines: int = LINES, **params: str | int) -> str:
    """Return the last lines, after one that says so where others are left out.

    Parameters
    ----------
    most
        Bytes at most, which a single line may be cut off at.
    lines
        Lines at most.
    params
        What else is asked for.

    Raises
    ------
    KubernetesError
        Where there is no log to be had.
    """
    while True:
        asked = {**params, "tailLines": lines, "limitBytes": most + 1}
        text = str(api.now(api.reading(POD, pod, "log", **asked)))
        whole = len(text.encode()) <= most
        if whole or lines == 1:
            break
        lines = max(1, lines // FEWER)
    if whole and text.count("\n") < lines:
        return text
    cut = "" if whole else f", cut off after {counted(most, 'byte')}"
    told = f"the last {lines:,} lines are" if lines > 1 else "the last line is"
    return f"facility: {told} shown here{cut}\n{text}"
