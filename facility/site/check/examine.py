"""From an API server and values to a report."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from facility import __version__
from facility.backend import runs_in_pod
from facility.config.strict_yaml import MalformedYamlError, read_yaml
from facility.errors import ConfigError
from facility.hub.kubernetes.release import read_values
from facility.hub.kubernetes.values.model import Values
from facility.kubernetes.client.account import Account, pod_account
from facility.kubernetes.client.api import Api
from facility.kubernetes.client.kubeconfig import kubeconfig_account
from facility.site.check import cluster, images, network, nodes, storage
from facility.site.check.finding import Finding, Report
from facility.site.check.probe import Probe
from facility.site.check.reading import needed_rights, read
from facility.site.check.snapshot import Snapshot


def account() -> Account:
    """Return the account of this pod, or that of the kubeconfig.

    Raises
    ------
    FacilityError
        Where there is neither.
    """
    return pod_account() if runs_in_pod() else kubeconfig_account()


def values_of(paths: Sequence[Path]) -> Values | None:
    """Read files of the chart's values, of which a later one counts more, as with Helm.

    Returns
    -------
    Values, optional
        None without any file.

    Raises
    ------
    ConfigError
        With every mistake found.
    """
    if not paths:
        return None
    merged: dict[str, Any] = {}
    for path in paths:
        try:
            content, problems = read_yaml(path.read_text())
        except MalformedYamlError as error:
            raise ConfigError(f"{path} cannot be read", [str(error)]) from None
        if not isinstance(content, dict | None):
            problems = [*problems, "it holds no mapping"]
        if problems:
            raise ConfigError(f"{path} cannot be used", problems)
        merged = _merged(merged, content or {})
    return read_values(merged)


def _merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Lay values over others as Helm does: nothing (null) takes the default back."""
    found = dict(under)
    for key, value in over.items():
        if value is None:
            found.pop(key, None)
        elif isinstance(value, dict):
            below = found.get(key)
            found[key] = _merged(below if isinstance(below, dict) else {}, value)
        else:
            found[key] = value
    return found


def judge(snapshot: Snapshot, values: Values | None) -> list[Finding]:
    """Judge all that was read."""
    return [
        *cluster.judge(snapshot, values),
        *network.judge(snapshot, values),
        *storage.judge(snapshot, values),
        *nodes.judge(snapshot, values),
        *images.judge(snapshot, values, __version__),
    ]


def examine(
    values: Values | None,
    namespace: str,
    tell: Callable[[str], None],
    *,
    probe: bool = False,
    image: str | None = None,
) -> Report:
    """Look at the Kubernetes cluster of this pod or of the kubeconfig.

    Parameters
    ----------
    values
        The chart's values.
    namespace
        In which the release is, or is to be.
    tell
        Called with what is done next.
    probe
        Whether to try what nothing tells.
    image
        Image with Python for the try; by default the values' hub.

    Raises
    ------
    FacilityError
        Where Kubernetes does not answer, or a try has no image.
    """
    tried = {"--probe-image": images.NamedImage(image)} if image else {}
    if values is not None:
        tried |= images.named(values, __version__)
    if probe and not tried:
        raise ConfigError(
            "Nothing can be tried without an image",
            ["give the chart's values with --values, or an image that has Python: --probe-image"],
        )
    api = Api(account())
    cilium = values is not None and values.network_policy.flavor == "cilium"
    rights = needed_rights(ingress=values is not None and values.ingress.enabled, cilium=cilium)
    findings = judge(read(api, namespace, rights, tell), values)
    if probe:
        secrets = values.images.pull_secrets if values is not None else ()
        found = Probe(api, tried, namespace, secrets, tell).run()
        if cilium:
            # Policies of that flavor name the API server, and not its addresses.
            found = [each for each in found if each.name != network.ADDRESSES]
        findings = replaced(findings, found)
    return Report(findings)


def replaced(read: Sequence[Finding], tried: Sequence[Finding]) -> list[Finding]:
    """Put what was tried in the place of what was only read."""
    of_images = {each.asked for each in tried}
    names = {each.name for each in tried if each.name != "Registry"}
    kept = [
        each
        for each in read
        if each.name not in names and not (each.name == "Registry" and each.asked in of_images)
    ]
    return [*kept, *tried]
