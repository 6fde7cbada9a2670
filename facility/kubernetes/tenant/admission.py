"""What Pod Security does not look at: ValidatingAdmissionPolicies of a release.

They apply in the users' namespaces of that release, whoever asks. Others apply to the hub's
account alone, wherever it asks: it may make namespaces, RoleBindings and PersistentVolumes, which
Kubernetes' own roles cannot confine to names with a prefix.
"""

import json
from collections.abc import Sequence
from typing import Any

from facility import names
from facility.kubernetes.tenant import (
    cel_confinement,
    cel_objects,
    cel_profiles,
    cel_rules,
    volumes,
)
from facility.kubernetes.tenant.accounts import BOUND, RBAC
from facility.kubernetes.tenant.model import Release

Manifest = dict[str, Any]
GROUP = "admissionregistration.k8s.io"
CHANGED = "request.operation == 'CREATE' || object.spec != oldObject.spec"
"""A change of labels or finalizers alone concerns no rule, so that old objects can be removed."""
POD = "object.spec"
OWN = "request.userInfo.username.startsWith('system:serviceaccount:' + request.namespace + ':')"
"""Who asks is an account of the user's namespace."""
EPHEMERAL = f"{POD}.?ephemeralContainers.orValue([])"
MADE = "object.spec.template"
TEMPLATE = f"{MADE}.spec"
DASK_SCHEDULER = "object.spec.scheduler.spec"
DASK_SERVICE = "object.spec.scheduler.service"
ENFORCE = "pod-security.kubernetes.io/enforce"


def policies(release: Release) -> list[Manifest]:
    """Return the policies of a release, each followed by its binding."""
    found = [
        _pods(release),
        _deployments(release),
        _jobs(release),
        _services(release),
        _dask_clusters(release),
        _objects(release),
        _secrets(release),
        _ends(release),
    ]
    selector = {
        "matchLabels": {names.HUB_LABEL: release.name},
        "matchExpressions": [{"key": names.TENANT_LABEL, "operator": "Exists"}],
    }
    bound: list[tuple[Manifest, Manifest]]
    bound = [(policy, {"namespaceSelector": selector}) for policy in found]
    # It concerns the hub in every namespace, above all in those that are not its users'.
    bound += [(policy, {}) for policy in _hub(release)]
    return [
        manifest
        for policy, where in bound
        for manifest in (policy, _binding(release, policy["metadata"]["name"], where))
    ]


def _pods(release: Release) -> Manifest:
    reserved = [release.notebook_class, release.scheduler_class]
    return _policy(
        release,
        "pods",
        _resources("", ["pods", "pods/ephemeralcontainers"]),
        [
            *cel_rules.variables(release, POD),
            {"name": "reserved", "expression": json.dumps(reserved)},
        ],
        [
            {
                # Of these classes the hub and the operator make pods, counted apart from workers.
                "expression": f"request.operation != 'CREATE' || !{OWN} || "
                "!(variables.class in variables.reserved)",
                "messageExpression": "'pods of PriorityClass ' + variables.class + ' are made by "
                "the hub and the operator alone'",
            },
            *cel_rules.pod_rules(POD),
            cel_confinement.user_namespace_rule(POD),
            cel_profiles.rule("appArmorProfile", "variables.containers", POD),
            *cel_confinement.metadata_rules("object.?metadata", always=False),
            cel_rules.images_of(EPHEMERAL),
            *(cel_profiles.rule(key, EPHEMERAL) for key in cel_profiles.NAMES),
            cel_rules.users_of(POD, EPHEMERAL),
            {
                # Later the scheduler of Kubernetes sets it, as is its task.
                "expression": "request.operation != 'CREATE' || "
                "object.spec.?nodeName.orValue('') == ''",
                "message": "nodeName is not permitted: the node is for Kubernetes to choose",
            },
            {
                "expression": "!has(object.spec.resourceClaims)",
                "message": "resourceClaims are not permitted: no quota counts them",
            },
        ],
    )


def _deployments(release: Release) -> Manifest:
    """Return the rules of what the operator makes; users may make no Deployment at all."""
    return _policy(
        release,
        "deployments",
        _resources("apps", ["deployments"]),
        cel_rules.variables(release, TEMPLATE),
        [
            *cel_rules.pod_rules(TEMPLATE),
            cel_confinement.user_namespace_rule(TEMPLATE),
            cel_profiles.rule("appArmorProfile", "variables.containers", TEMPLATE),
            *cel_confinement.metadata_rules(f"{MADE}.?metadata"),
            *_alone(release.scheduler_class, TEMPLATE),
        ],
    )


def _jobs(release: Release) -> Manifest:
    """Return the rules of Jobs, whose pods are made by Kubernetes and not by the user's account."""
    return _policy(
        release,
        "jobs",
        _resources("batch", ["jobs"]),
        cel_rules.variables(release, TEMPLATE),
        [
            *cel_rules.pod_rules(TEMPLATE),
            cel_confinement.user_namespace_rule(TEMPLATE),
            cel_profiles.rule("appArmorProfile", "variables.containers", TEMPLATE),
            *cel_confinement.metadata_rules(f"{MADE}.?metadata"),
            *_alone(release.job_class, TEMPLATE),
        ],
    )


def _dask_clusters(release: Release) -> Manifest:
    return _policy(
        release,
        "daskclusters",
        _resources("kubernetes.dask.org", ["daskclusters"]),
        cel_rules.variables(release, DASK_SCHEDULER),
        [
            *cel_rules.pod_rules(DASK_SCHEDULER),
            *cel_confinement.metadata_rules("object.spec.scheduler.?metadata"),
            *_alone(release.scheduler_class, DASK_SCHEDULER),
            *_service_rules(DASK_SERVICE),
            {
                "expression": "object.spec.?idleTimeout.orValue(0) == 0",
                "message": "idleTimeout is not permitted, since for it the operator would speak "
                "to the scheduler; a scheduler that the library starts ends by itself",
            },
            {
                "expression": "object.spec.worker.?replicas.orValue(1) == 0",
                "message": "worker.replicas must be 0: workers are pods that the library makes",
            },
        ],
    )


def _alone(priority_class: str, spec: str) -> list[Manifest]:
    return [
        {
            "expression": f"variables.class == '{priority_class}'",
            "message": f"the PriorityClass must be {priority_class}",
        },
        {
            "expression": f"{spec}.?nodeName.orValue('') == ''",
            "message": "nodeName is not permitted: the node is for Kubernetes to choose",
        },
    ]


def _objects(release: Release) -> Manifest:
    """Return the rules of whatever a user may write: changes of metadata count here."""
    written = (
        ("", ["pods", "secrets"]),
        ("batch", ["jobs"]),
        ("coordination.k8s.io", ["leases"]),
        ("kubernetes.dask.org", ["daskclusters"]),
    )
    return _policy(
        release,
        "objects",
        [each for group, kinds in written for each in _resources(group, kinds)],
        cel_objects.variables(release),
        [*cel_objects.finalizer_rules(), cel_objects.size_rule(OWN)],
        (),
    )


def _secrets(release: Release) -> Manifest:
    resources = _resources("", ["secrets"])
    return _policy(release, "secrets", resources, [], cel_objects.secret_rules(), ())


def _ends(release: Release) -> Manifest:
    """Return the rule of how long a pod's end may be put off by who deletes it."""
    longest = cel_confinement.longest_grace(release)
    [resources] = _resources("", ["pods"])
    return _policy(
        release,
        "ends",
        [resources | {"operations": ["DELETE"]}],
        [{"name": "longestGrace", "expression": json.dumps(longest)}],
        [
            {
                "expression": "request.options.?gracePeriodSeconds.orValue(0) <= "
                "variables.longestGrace",
                "messageExpression": "'gracePeriodSeconds must be at most ' + "
                "string(variables.longestGrace)",
            }
        ],
        (),
    )


def _services(release: Release) -> Manifest:
    return _policy(
        release, "services", _resources("", ["services"]), [], _service_rules("object.spec")
    )


def _service_rules(spec: str) -> list[Manifest]:
    return [
        {
            "expression": f"{spec}.?type.orValue('ClusterIP') == 'ClusterIP'",
            "message": "a Service must be of type ClusterIP",
        },
        {
            "expression": f"size({spec}.?externalIPs.orValue([])) == 0",
            "message": "a Service with externalIPs is not permitted",
        },
    ]


def _hub(release: Release) -> list[Manifest]:
    """Return what confines the hub to the namespaces that it has made itself."""
    hub = f"system:serviceaccount:{release.namespace}:{release.hub_account}"
    operator = f"{release.operator_namespace or release.namespace}/{release.operator_account}"
    data = {
        "release": release.name,
        "prefix": release.prefix,
        "roles": [release.role(part) for part in BOUND],
        "accounts": [f"{release.namespace}/{release.hub_account}", operator],
    }
    variables = [{"name": name, "expression": json.dumps(value)} for name, value in data.items()]
    conditions = [{"name": "the-hub", "expression": f"request.userInfo.username == '{hub}'"}]
    labels = "metadata.?labels.orValue({})"
    ours = f"{labels}[?'{names.HUB_LABEL}'].orValue('') == variables.release"
    only = (
        f"the hub of release {release.name} makes and changes only namespaces of its own users, "
        f"whose names begin with {release.prefix}"
    )
    namespaces = [
        {
            "expression": "request.name.startsWith(variables.prefix) && "
            f"(request.operation == 'CREATE' || oldObject.{ours})",
            "message": only,
        },
        {
            "expression": f"request.operation == 'DELETE' || (object.{ours} && "
            f"'{names.TENANT_LABEL}' in object.{labels} && "
            f"object.{labels}[?'{ENFORCE}'].orValue('') == 'restricted')",
            "message": f"a user's namespace has the labels {names.HUB_LABEL}, "
            f"{names.TENANT_LABEL} and {ENFORCE}: restricted",
        },
    ]
    bindings = [
        {
            "expression": "request.namespace.startsWith(variables.prefix) && "
            f"namespaceObject.{ours}",
            "message": f"{only}; elsewhere it makes no RoleBinding",
        },
        {
            "expression": "request.operation == 'DELETE' || (object.roleRef.kind == 'ClusterRole' "
            "&& object.roleRef.name in variables.roles && object.?subjects.orValue([]).all(s, "
            "s.kind == 'ServiceAccount' && (s.namespace == request.namespace || "
            "(s.namespace + '/' + s.name) in variables.accounts)))",
            "message": "a RoleBinding of the hub binds one of the release's own roles to an "
            "account of the user's namespace, the hub's or the operator's",
        },
    ]
    parts = [
        ("", "namespaces", variables, namespaces),
        (RBAC, "rolebindings", variables, bindings),
    ]
    pods = [
        {
            # In users' namespaces it ends what it likes; beside itself the proxy alone.
            "expression": "request.operation != 'DELETE' || request.namespace != variables.own || "
            "oldObject.metadata.?labels.orValue({})"
            f"[?'{names.APP_COMPONENT_LABEL}'].orValue('') == '{names.PROXY_COMPONENT}'",
            "message": f"in the namespace {release.namespace} the hub ends the proxy's pods alone",
        }
    ]
    of_pods = [{"name": "own", "expression": json.dumps(release.namespace)}]
    parts.append(("", "pods", of_pods, pods))
    if release.makes_volumes:
        more = [*variables, *volumes.variables(release)]
        parts.append(("", "persistentvolumes", more, volumes.rules(release, ours)))
    return [
        _policy(
            release,
            f"hub-{resource}",
            _resources(group, [resource], "DELETE"),
            spoken_of,
            validations,
            conditions,
        )
        for group, resource, spoken_of, validations in parts
    ]


def _policy(
    release: Release,
    part: str,
    resources: list[Manifest],
    variables: list[Manifest],
    validations: list[Manifest],
    conditions: Sequence[Manifest] = ({"name": "changed", "expression": CHANGED},),
) -> Manifest:
    return {
        "apiVersion": f"{GROUP}/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": release.role(part), "labels": release.labels},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": resources},
            **({"matchConditions": list(conditions)} if conditions else {}),
            **({"variables": variables} if variables else {}),
            "validations": [each | {"reason": "Forbidden"} for each in validations],
        },
    }


def _binding(release: Release, name: str, where: Manifest) -> Manifest:
    return {
        "apiVersion": f"{GROUP}/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name, "labels": release.labels},
        "spec": {
            "policyName": name,
            "validationActions": ["Deny"],
            **({"matchResources": where} if where else {}),
        },
    }


def _resources(group: str, resources: list[str], *operations: str) -> list[Manifest]:
    return [
        {
            "apiGroups": [group],
            "apiVersions": ["v1"],
            "operations": ["CREATE", "UPDATE", *operations],
            "resources": resources,
        }
    ]
