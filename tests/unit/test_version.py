"""Which release and which commit this is."""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from facility import __version__, version
from facility.cli import main
from tools.house import ROOT


def test_a_checkout_knows_its_commit(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    head = ["git", "-C", str(ROOT), "rev-parse", "--short=12", "HEAD"]
    done = subprocess.run(head, capture_output=True, text=True, check=False)
    commit = done.stdout.strip() if (ROOT / ".git").exists() else "unknown"
    assert re.fullmatch(rf"facility {re.escape(__version__)} \(commit {commit}(-dirty)?\)\n", said)


def test_elsewhere_nobody_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(version, "CHECKOUT", tmp_path)
    assert version.commit() is None
    assert version.described(__version__) == f"{__version__} (commit unknown)"
    (tmp_path / ".git").write_text("broken")
    assert version.commit() is None
    monkeypatch.setenv("PATH", "")
    assert version.commit() is None


@pytest.mark.parametrize("commit", ["0123456789ab", ""])
def test_a_released_package_holds_its_commit(tmp_path: Path, commit: str) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    environ = {**os.environ, "FACILITY_COMMIT": commit}
    subprocess.run(command, cwd=ROOT, env=environ, check=True, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        held = "facility/commit.txt" in packed.namelist()
        assert held == bool(commit)
        assert not commit or packed.read("facility/commit.txt") == f"{commit}\n".encode()
        assert "facility/py.typed" in packed.namelist()
        assert "facility/notebooks/01_first_cluster.ipynb" in packed.namelist()
