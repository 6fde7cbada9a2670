"""Stop idle notebook servers: jupyterhub-idle-culler, ending with the hub.

The hub starts it and ends it, but a hub that is killed cannot, and the next
one starts its own.
"""

import os
import signal
import threading
import time

LOOK_INTERVAL = 1.0
"""Seconds between looks at whether the hub still runs."""


def main() -> None:
    """Start the culler with the arguments of the command line."""
    # The hub asks with SIGINT, which as an exception can get lost in a finalizer;
    # there is nothing here to be tidied up.
    signal.signal(signal.SIGINT, lambda number, frame: os._exit(0))
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    from jupyterhub_idle_culler import main as culler

    culler()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK_INTERVAL)
    os._exit(0)


if __name__ == "__main__":
    main()
