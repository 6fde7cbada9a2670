"""The README's first lines do what they say."""

import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).resolve().parents[2] / "README.md"


def test_first_example(tmp_path: Path) -> None:
    """It runs as a script: nothing in it needs a notebook or a guard around it."""
    example = re.search(r"^```python\n(.*?)^```", README.read_text(), re.MULTILINE | re.DOTALL)
    assert example
    said = re.search(r"# (\d+)$", example[1], re.MULTILINE)
    assert said
    script = tmp_path / "example.py"
    script.write_text(example[1])
    ran = subprocess.run(
        [sys.executable, "-W", "error", script], capture_output=True, text=True, check=False
    )
    assert ran.stdout.split()[-1:] == [said[1]], ran.stderr
    assert ran.returncode == 0, ran.stderr
