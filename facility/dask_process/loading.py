"""What is told where Dask cannot be loaded, as it reads its settings while it is."""

from collections.abc import Iterator
from contextlib import contextmanager

from facility.errors import FacilityError


@contextmanager
def with_dask(*, importing: bool = False) -> Iterator[None]:
    """Load Dask in this block.

    Parameters
    ----------
    importing
        Whether nothing else is done in it.

    Raises
    ------
    FacilityError
        What is wrong with the user's settings of Dask, where that is why it fails.
    """
    try:
        yield
    except (FacilityError, OSError):
        raise
    except Exception as error:
        if (told := _told(error, importing)) is None:
            raise
        raise told from None


def _told(error: Exception, importing: bool) -> FacilityError | None:
    try:
        from facility.dask_process import dask_settings

        dask_settings.check()
        suspects = dask_settings.suspects()
    except FacilityError as found:
        return found
    except ValueError as malformed:  # of a file, which Dask names
        return FacilityError(f"Dask cannot read its settings: {malformed}")
    except ImportError:  # of a package that is missing
        return None
    if not (importing and suspects):
        return None
    return FacilityError(f"Dask cannot be loaded: {error!r}. {suspects}")
