"""`python -m facility.hub.kubernetes`: what the hub's container runs."""

import sys
from pathlib import Path

from facility.hub.bounds import BoundedHub

CONFIG_FILE = Path(__file__).with_name("jupyterhub_config.py")

if __name__ == "__main__":
    sys.argv = [sys.argv[0], "--config", str(CONFIG_FILE), *sys.argv[1:]]
    BoundedHub.launch_instance()
