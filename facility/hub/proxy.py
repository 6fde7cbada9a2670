"""Run the pure-Python configurable-http-proxy, its clock in UTC.

That proxy reports when a route was last used in local time without a zone, and
JupyterHub reads it as UTC: east of Greenwich an idle server would look busy
for hours.
"""

import os
import time


def main() -> None:
    """Start the proxy with the arguments of the command line."""
    os.environ["TZ"] = "UTC"
    time.tzset()
    from configurable_http_proxy.cli import main as proxy

    proxy()


if __name__ == "__main__":
    main()
