"""What runs in the pod of a job: the script, once; the Job controller starts the next try."""

import json
import os
import sys
from pathlib import Path

from facility import names
from facility.jobs.script import Running


def main() -> int:
    """Run the script that the container's variables name; its exit code."""
    settings = json.loads(os.environ[names.JOB_SETTINGS_VARIABLE])
    folder = Path(settings["folder"])
    script = Running(Path(settings["script"]), settings["arguments"], folder, {})
    script.listen()
    code = script.run()
    # As shells tell of signals.
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
