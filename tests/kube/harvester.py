"""Harvester's part against Kubernetes, call by call, with the `kubernetes` package as it has it.

Of HSF/harvester (August 2026): one Job a worker from the site's template, whose labels it replaces
and of whose containers it keeps the first.
"""

import copy
from pathlib import Path
from typing import Any

import yaml
from kubernetes import client, config

PROXY = "proxy-secret"
STARTER = "pilots-starter"
Object = dict[str, Any]


class Harvester:
    """Asks with a kubeconfig alone.

    Parameters
    ----------
    kubeconfig
        What `facility batch kubeconfig` has written.
    template
        The Job of each worker.
    namespace
        Of batch.
    """

    def __init__(self, kubeconfig: Path, template: Path, namespace: str) -> None:
        self.api = config.new_client_from_config(config_file=str(kubeconfig))
        self.core = client.CoreV1Api(self.api)
        self.batch = client.BatchV1Api(self.api)
        self.template: Object = yaml.safe_load(template.read_text())
        self.namespace = namespace

    def begin(self) -> None:
        """What submitter and manager of credentials do when they start."""
        metadata = {"namespace": self.namespace}
        starter = {"metadata": {**metadata, "name": STARTER}, "data": {"pilots_starter.py": ""}}
        proxy = {"metadata": {**metadata, "name": PROXY}, "stringData": {"x509up": "none"}}
        self.core.create_namespaced_config_map(self.namespace, starter)
        self.core.patch_namespaced_config_map(STARTER, self.namespace, starter)
        self.core.create_namespaced_secret(self.namespace, proxy)
        self.core.patch_namespaced_secret(PROXY, self.namespace, proxy)

    def job(
        self,
        worker: str,
        image: str,
        command: list[str],
        cores: float = 1.0,
        queue: str = "TEST_K8S",
        **spec: Any,
    ) -> Object:
        """The Job of a worker, completed as Harvester does.

        Parameters
        ----------
        spec
            What the site's template would have beside, in its pods' specification.
        """
        job = copy.deepcopy(self.template)
        job["metadata"]["name"] += f"-{worker}"
        template = job["spec"]["template"]
        labels = {"resourceType": "SCORE", "prodSourceLabel": "managed", "pq": queue}
        template.setdefault("metadata", {})["labels"] = labels
        del template["spec"]["containers"][1:]
        (container,) = template["spec"]["containers"]
        container.setdefault("image", image)
        container["command"] = command
        disk = {"ephemeral-storage": "64.0Mi"}
        container["resources"] = {
            "limits": {"cpu": str(cores), **disk},
            "requests": {"cpu": str(cores * 90 / 100.0), "memory": "16.0Mi", **disk},
        }
        variables = {"computingSite": queue, "HOME": "/pilotdir", "TMPDIR": "/pilotdir"}
        container["env"] = [{"name": name, "value": each} for name, each in variables.items()]
        template["spec"]["volumes"].append({"name": STARTER, "configMap": {"name": STARTER}})
        container["volumeMounts"].append({"name": STARTER, "mountPath": "/scratch/executables"})
        template["spec"] |= spec
        return job

    def submit(self, job: Object) -> None:
        self.batch.create_namespaced_job(self.namespace, job)

    def jobs(self) -> list[Any]:
        return list(self.batch.list_namespaced_job(self.namespace).items)

    def pods(self, worker: str = "") -> list[Any]:
        """Pods of a worker, or all."""
        name = f"{self.template['metadata']['name']}-{worker}"
        selector = f"job-name in ({name})" if worker else ""
        found = self.core.list_namespaced_pod(self.namespace, label_selector=selector)
        return list(found.items)

    def log(self, worker: str) -> str:
        (pod,) = self.pods(worker)
        return str(self.core.read_namespaced_pod_log(pod.metadata.name, self.namespace))

    def kill(self, worker: str) -> None:
        """Delete a worker's pod and Job at once, as the sweeper does."""
        options = client.V1DeleteOptions(propagation_policy="Background")
        for pod in self.pods(worker):
            self.core.delete_namespaced_pod(
                pod.metadata.name, self.namespace, body=options, grace_period_seconds=0
            )
        self.batch.delete_namespaced_job(
            f"{self.template['metadata']['name']}-{worker}",
            self.namespace,
            body=options,
            grace_period_seconds=0,
        )
