"""What README and the documentation give to type does what they say."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BLOCK = r"^```python\n(.*?)^```"
MARKED = re.compile(rf"^<!-- run: (\w+) -->\n{BLOCK}", re.MULTILINE | re.DOTALL)
SAID = re.compile(r"^ *print\(.*\) +# (.+)$", re.MULTILINE)
"""What the comment behind a `print` says that it prints."""

README = re.findall(BLOCK, (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
PAGES = {
    name: code
    for page in sorted((ROOT / "docs").rglob("*.md"))
    for name, code in MARKED.findall(page.read_text())
}
"""Code of the documentation that is complete in itself, under its name."""


def run(script: Path, code: str, *options: str) -> str:
    """Run it as a script: nothing in it needs a notebook or a guard around it."""
    script.write_text(code)
    ran = subprocess.run(
        [sys.executable, *options, script],
        cwd=script.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def test_first_example(tmp_path: Path) -> None:
    said = SAID.findall(README[0])
    assert said
    assert run(tmp_path / "example.py", README[0], "-W", "error") == said[-1]


@pytest.mark.parametrize("name", PAGES)
def test_examples_of_the_documentation(name: str, tmp_path: Path) -> None:
    printed = run(tmp_path / "example.py", PAGES[name])
    for said in SAID.findall(PAGES[name])[-1:]:
        assert printed.endswith(said)


def test_there_are_some() -> None:
    assert {"start", "peak", "function"} <= set(PAGES)
