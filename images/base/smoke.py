"""Run in a container of the image, and of every image built upon it."""

import ctypes
import json
import os
import re
import shutil
import sqlite3
import ssl
import subprocess
import sys
import tempfile
from pathlib import Path

expected = json.loads(os.environ["EXPECTED"])
image = json.loads(Path("/etc/facility/image.json").read_text())
assert image == expected["image"], image
assert os.uname().machine == expected["machine"], os.uname()
assert os.getuid() == expected["uid"], os.getuid()
assert sys.version_info[:2] == (3, 13), sys.version
assert sys.prefix == "/opt/facility", sys.prefix
assert os.getpid() != 1, "nothing reaps what is left behind"
assert sqlite3.sqlite_version
assert ctypes.CDLL(None)
assert ssl.create_default_context().get_ca_certs(), "no certificate authority is known"

# Its home and /tmp can be written, and nothing else.
(Path.home() / "mine").write_text("mine")
with tempfile.TemporaryFile() as file:
    file.write(b"mine")
for place in ("/etc", "/opt/facility/lib/python3.13/site-packages", "/usr/local"):
    assert not os.access(place, os.W_OK), f"{place} can be written"

# Nothing that builds, and nothing that was only needed to build.
tools = [name for name in ("cc", "gcc", "g++", "make", "ld", "uv") if shutil.which(name)]
assert not tools, tools
for place in ("/var/lib/apt/lists", "/var/cache/apt/archives"):
    left = [path for path in Path(place).glob("*") if path.is_file() and path.name != "lock"]
    assert not left, left
assert not (Path.home() / ".cache").exists()

components = json.loads(Path("/etc/facility/sbom.json").read_text())["components"]
found = {component["name"] for component in components}
assert {"libc6", "python3"} <= found, sorted(found)
names = {re.sub(r"[-_.]+", "-", name).lower() for name in found}
missing = set(expected["packages"]) - names
assert not missing, f"the list of packages lacks {sorted(missing)}"


# Each package is of the version that a lock or Debian names, and the list says so.
def plain(purl: str) -> str:
    """Write the name of a Python package as locks do; versions hold dots of their own."""
    name, at, version = purl.partition("?")[0].rpartition("@")
    return (
        f"{re.sub('[-_.]+', '-', name)}{at}{version}"
        if name.startswith("pkg:pypi/")
        else name + at + version
    )


listed = {plain(each["purl"]) for each in components}
locked = {f"pkg:pypi/{name}@{version}" for name, version in expected["versions"].items()}
assert locked <= listed, f"of another version than locked: {sorted(locked - listed)}"
asked = ["dpkg-query", "--show", "--showformat=${db:Status-Abbrev}${Package}@${Version}\n"]
said = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
installed = {f"pkg:deb/debian/{line[2:].strip()}" for line in said.splitlines() if line[:2] == "ii"}
of_debian = {each for each in listed if each.startswith("pkg:deb/")}
assert installed == of_debian, sorted(installed ^ of_debian)
npm = {f"pkg:npm/{name.replace('@', '%40')}@{version}" for name, version in expected["npm"]}
assert npm <= listed, f"of another version than locked: {sorted(npm - listed)}"
print(f"{image['name']}: {len(components)} packages")
