"""`facility submit` on a real Kubernetes: Jobs with a Dask cluster of their own, and their ends."""

import json
import textwrap
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from facility import names
from tests.kube.conftest import until
from tests.kube.notebooks import Notebook, facility_of, server

pytestmark = [pytest.mark.kube, pytest.mark.timeout(420)]
FACILITY = ("--", "python", "-m", "facility")


@pytest.fixture(scope="module")
def notebook(state: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notebook]:
    """A user's server whose home is a claim of its own."""
    with facility_of(state, tmp_path_factory.mktemp("space")) as found:
        admin = found.admin
        admin.apply(
            {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": {"name": "home"},
                "spec": {
                    "accessModes": ["ReadWriteOnce"],
                    "resources": {"requests": {"storage": "1Gi"}},
                },
            }
        )
        pod = server(found.space, "lasting")
        (container,) = pod["spec"]["containers"]
        for mount in container["volumeMounts"]:
            if mount["mountPath"] == "/home/jovyan":
                mount.pop("subPath")
                mount["name"] = "home"
        claim = {"name": "home", "persistentVolumeClaim": {"claimName": "home"}}
        pod["spec"]["volumes"].append(claim)
        container["env"] = [{"name": "HOME", "value": "/home/jovyan"}]
        admin.apply(pod)
        admin.run("wait", "--for=condition=Ready", "pod/lasting", "--timeout=180s")
        yield Notebook(found.space, "lasting")


def facility(notebook: Notebook, *words: str, fail: bool = False) -> str:
    """What the command prints in the notebook."""
    return notebook.admin.run("exec", notebook.name, *FACILITY, *words, fail=fail)


def write(notebook: Notebook, path: str, text: str) -> None:
    script = f"import pathlib; pathlib.Path({path!r}).write_text({textwrap.dedent(text)!r})"
    notebook.python(script)


def dask_clusters(notebook: Notebook) -> str:
    return notebook.admin.run("get", "daskclusters", "-o", "name").strip()


SENT = """
import os, sys
from facility import cluster
print("of the job", os.environ["FACILITY_JOB"], os.environ["HOSTNAME"], flush=True)
with cluster(1) as c, c.get_client() as client:
    client.wait_for_workers(2)
    print(client.submit(sum, [40, 2]).result(), sys.argv[1:], flush=True)
    with open("result.txt", "w") as result:
        print("42", file=result)
    def proxy(_):
        return open(os.environ["X509_USER_PROXY"]).read()
    print("proxy", client.submit(proxy, 1).result(), flush=True)
"""


def test_a_script_is_sent_with_its_credentials_and_has_a_dask_cluster_of_its_own(
    notebook: Notebook,
) -> None:
    write(notebook, "/tmp/mine.py", SENT)
    notebook.python("import os; open(f'/tmp/x509up_u{os.getuid()}', 'w').write('the proxy')")
    said = facility(
        notebook,
        *("submit", "/tmp/mine.py", "--pool", "cpu=2", "--name", "mine", "--follow"),
        *("--", "--more", "x y"),
    )
    assert "of the job mine mine-" in said
    assert "pool cpu: 2 workers, as FACILITY_POOLS says, instead of 1 worker" in said
    assert "42 ['--more', 'x y']" in said
    assert said.endswith("proxy the proxy\n"), said
    # What it wrote is in the user's home.
    assert notebook.python("print(open('/home/jovyan/result.txt').read())").strip() == "42"
    row = facility(notebook, "jobs").splitlines()[1].split()
    assert row[:2] == ["mine", "done"]
    assert row[-1] == "/tmp/mine.py"
    assert "42 [" in facility(notebook, "jobs", "log", "mine")
    until(lambda: not dask_clusters(notebook))
    refused = facility(notebook, "submit", "/tmp/mine.py", "--name", "mine", fail=True)
    assert "there is a job 'mine'" in refused
    secret = ("get", "secret", "mine-job", "--ignore-not-found", "-o", "name")
    assert notebook.admin.run(*secret).strip() == "secret/mine-job"
    facility(notebook, "jobs", "remove", "mine")
    until(lambda: not notebook.admin.run(*secret).strip())
    assert "no job 'mine'" in facility(notebook, "jobs", "log", "mine", fail=True)


RESUMED = """
import glob, json, os, signal, threading, time
import facility
from facility.analysis.samples.physlite_files import bring_examples, example_files
import cuts_beside

def slow(events):
    import time
    time.sleep(0.5)
    return cuts_beside.number(events)

def doom():
    while len(glob.glob("kept/*.chunk")) < 3:
        time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    if not os.path.exists("kept"):
        threading.Thread(target=doom).start()
    files = example_files(1, 4_000)
    with facility.cluster(1) as c, c.get_client() as client:
        bring_examples(client, files)
        results, report = facility.run(slow, [str(path) for path in files], c, chunksize=200,
                                       checkpoint="kept")
    restored = sum(record.restored for record in report.records)
    with open("results.json", "w") as output:
        json.dump([results, restored, report.complete], output)
"""


def test_a_try_that_is_killed_is_followed_by_one_that_goes_on(notebook: Notebook) -> None:
    notebook.python("import os; os.makedirs('/home/jovyan/mine', exist_ok=True)")
    write(notebook, "/home/jovyan/mine/cuts_beside.py", "def number(events): return len(events)\n")
    write(notebook, "/home/jovyan/mine/resumed.py", RESUMED)
    script = "cd /home/jovyan/mine && python -m facility submit resumed.py --name again --follow"
    said = notebook.admin.run("exec", notebook.name, "--", "sh", "-c", script)
    assert "facility: try 2 of 3" in said
    found = json.loads(notebook.python("print(open('/home/jovyan/mine/results.json').read())"))
    assert found[0] == 4_000
    assert found[1] >= 3
    assert found[2] is True
    assert facility(notebook, "jobs").splitlines()[1].split()[:2] == ["again", "done"]
    # It ran where it stands; what was sent are the credentials.
    secret = json.loads(notebook.admin.run("get", "secret", "again-job", "-o", "json"))
    assert list(secret["data"]) == ["x509up"]
    facility(notebook, "jobs", "remove", "again")


STOPPED = """
import facility, os
from facility.analysis.samples.physlite_files import bring_examples, example_files

def slow(events):
    import time
    time.sleep(1)
    return len(events)

if __name__ == "__main__":
    files = example_files(1, 20_000)
    with facility.cluster(1) as c, c.get_client() as client:
        bring_examples(client, files)
        try:
            facility.run(slow, [str(path) for path in files], c, chunksize=200)
        except facility.RunInterrupted as stopped:
            with open("/home/jovyan/so-far.txt", "w") as output:
                print(stopped.report.processed, stopped.results, file=output)
"""


def test_a_job_that_is_stopped_hands_over_what_it_has(notebook: Notebook) -> None:
    write(notebook, "/tmp/slow.py", STOPPED)
    facility(notebook, "submit", "/tmp/slow.py", "--name", "slow")
    until(lambda: "events/s" in facility(notebook, "jobs", "log", "slow"), 180)
    assert "runs; stop it first" in facility(notebook, "jobs", "remove", "slow", fail=True)
    assert facility(notebook, "jobs").splitlines()[1].split()[:2] == ["slow", "runs"]
    facility(notebook, "jobs", "stop", "slow")
    pods = ("get", "pods", "-l", f"{names.JOB_LABEL}=slow", "-o", "name")
    until(lambda: not notebook.admin.run(*pods).strip())
    done, results = notebook.python("print(open('/home/jovyan/so-far.txt').read())").split()
    assert done == results
    assert int(done) > 0
    assert facility(notebook, "jobs").splitlines()[1].split()[:2] == ["slow", "stopped"]
    until(lambda: not dask_clusters(notebook))
    facility(notebook, "jobs", "remove", "slow")


def test_a_script_that_fails_and_one_that_has_no_room(notebook: Notebook) -> None:
    write(notebook, "/tmp/bad.py", "print('so far'); raise SystemExit(3)")
    words = ("submit", "/tmp/bad.py", "--name", "bad", "--retries", "0", "--follow")
    assert "exit code 1" in facility(notebook, *words, fail=True)
    assert "failed (ended with exit code 3)" in facility(notebook, "jobs")
    assert facility(notebook, "jobs", "log", "bad") == "so far\n"
    admin = notebook.admin
    classes = [notebook.space.release.job_class]
    scope = {"scopeName": "PriorityClass", "operator": "In", "values": classes}
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "none"},
        "spec": {"hard": {"pods": "0"}, "scopeSelector": {"matchExpressions": [scope]}},
    }
    admin.apply(quota)
    try:
        until(lambda: "used" in admin.run("get", "quota", "none", "-o", "jsonpath={.status}"))
        facility(notebook, "submit", "/tmp/bad.py", "--name", "full")
        until(lambda: "waits: the quota none is used up" in facility(notebook, "jobs"))
        facility(notebook, "jobs", "stop", "full")
        assert "stopped" in facility(notebook, "jobs")
    finally:
        admin.run("delete", "quota", "none")
        admin.run("delete", "jobs", "--all")


# What a Job may be.


def test_a_job_gets_round_no_rule_of_pods(notebook: Notebook) -> None:
    write(notebook, "/tmp/good.py", "print()")
    facility(notebook, "submit", "/tmp/good.py", "--name", "good")
    admin = notebook.admin
    good = json.loads(admin.run("get", "job", "good", "-o", "json"))
    template = good["spec"]["template"]
    labels = {"facility/job": "other"}
    body: dict[str, Any] = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "other"},
        "spec": {"template": {"metadata": {"labels": labels}, "spec": template["spec"]}},
    }
    user = notebook.space.notebook
    words = ["create", "--dry-run=server", "--validate=false", "-o", "name", "-f", "-"]

    def attempt(fail: bool = True, **changes: Any) -> str:
        spec = {**template["spec"], **changes}
        spec = {key: value for key, value in spec.items() if value is not None}
        changed = {**body, "spec": {"template": {**body["spec"]["template"], "spec": spec}}}
        return user.run(*words, text=yaml.safe_dump(changed), fail=fail)

    assert attempt(fail=False).strip() == "job.batch/other"
    release = notebook.space.release
    job_class = f"the PriorityClass must be {release.job_class}"
    assert job_class in attempt(priorityClassName=release.notebook_class)
    cpu = {"facility.test/pool": "cpu"}
    assert job_class in attempt(priorityClassName=f"{release.name}-pool-cpu", nodeSelector=cpu)
    assert "is not one of this facility" in attempt(priorityClassName=None)
    assert "nodeName is not permitted" in attempt(nodeName="arm64")
    assert "ServiceAccount other is not" in attempt(serviceAccountName="other")
    (container,) = template["spec"]["containers"]
    evil = [{**container, "image": "evil.example/image:1"}]
    assert "an image is not permitted" in attempt(containers=evil)
    limits = {"limits": {"nvidia.com/gpu": "1"}}
    assert "have no other resources than" in attempt(
        containers=[{**container, "resources": limits}]
    )
    assert "forbidden" in user.run("get", "cronjobs", fail=True)
    facility(notebook, "jobs", "stop", "good")
    admin.run("delete", "jobs", "--all")
