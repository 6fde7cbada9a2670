"""A registry, as people name one."""

import re
from typing import NamedTuple, Self

from tools.building import BuildError

NAME = re.compile(
    r"((?P<scheme>https?)://)?"
    r"(?P<place>([\w.-]+|\[[0-9a-fA-F:]+\])(:\d+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*)/*"
)


class Registry(NamedTuple):
    """Where images are put.

    Parameters
    ----------
    place
        Host, maybe with a port and a folder, as it stands in the names of images.
    plain
        Whether it speaks no TLS.
    """

    place: str
    plain: bool

    @classmethod
    def read(cls, text: str, given_in: str) -> Self:
        """Take a name, with `http://` before it if the registry speaks no TLS.

        Parameters
        ----------
        given_in
            The argument or variable that holds it, for the message.

        Raises
        ------
        BuildError
            It is no such name.
        """
        found = NAME.fullmatch(text.strip())
        if found is None:
            raise BuildError(
                f"{given_in} is {text!r}, which names no registry: write its host, maybe with a "
                "port and folders in lower case, such as registry.example/facility, and http:// "
                "before it if it speaks no TLS."
            )
        return cls(found["place"], plain=found["scheme"] == "http")
