"""Run in a container of the image: a hub with its proxy answers on loopback."""

import json
import os
import subprocess
import tempfile
import time
import urllib.request
from importlib.metadata import version
from pathlib import Path

import jupyterhub_idle_culler
import kubespawner
import ldapauthenticator
import oauthenticator.generic
import psycopg2

import facility.hub.proxy

assert oauthenticator.generic.GenericOAuthenticator
assert kubespawner.KubeSpawner
assert ldapauthenticator.LDAPAuthenticator
assert psycopg2.extensions
assert jupyterhub_idle_culler.main
assert facility.hub.proxy

SETTINGS = """
c.JupyterHub.bind_url = "http://127.0.0.1:8000"
c.JupyterHub.authenticator_class = "shared-password"
c.SharedPasswordAuthenticator.user_password = "only for this smoke test"
c.Authenticator.allow_all = True
c.JupyterHub.spawner_class = "kubespawner.KubeSpawner"
c.KubeSpawner.events_enabled = False
c.KubeSpawner.cmd = ["jupyterhub-singleuser"]
c.ConfigurableHTTPProxy.command = ["nodejs", "/opt/facility/bin/chp"]

from facility.hub import documentation
documentation.serve(c, "/")
"""


def check_hub() -> None:
    """A hub, its proxy and the documentation answer.

    A spawner of pods wants to see a Kubernetes when it is made, which is when somebody logs in.
    """
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "jupyterhub_config.py")
        config.write_text(SETTINGS)
        with Path(folder, "log").open("w") as log:
            hub = subprocess.Popen(
                ["jupyterhub", "--config", config], cwd=folder, stdout=log, stderr=log
            )
            try:
                deadline = time.monotonic() + 240
                while True:
                    try:
                        page = urllib.request.urlopen("http://127.0.0.1:8000/hub/login", timeout=20)
                        break
                    except OSError as error:
                        said = Path(folder, "log").read_text()
                        assert hub.poll() is None, said
                        assert time.monotonic() < deadline, f"{error}\n{said}"
                        time.sleep(0.5)
                assert page.status == 200
                assert "password" in page.read().decode()
                docs = urllib.request.urlopen("http://127.0.0.1:8000/hub/docs/", timeout=20)
                assert "<title>facility" in docs.read().decode()
            finally:
                hub.terminate()
                hub.wait()


if json.loads(os.environ["EXPECTED"])["programs"]:
    check_hub()
words = ["nodejs", "/opt/facility/bin/chp", "--version"]
proxy = subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
print(f"hub: JupyterHub {version('jupyterhub')} and configurable-http-proxy {proxy}")
