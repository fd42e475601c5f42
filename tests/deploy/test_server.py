"""What a real API server makes of deploy/: it takes it as it is, and gives its account those rights and no more."""

import copy

import pytest
import shipped
from apiserver import ApiServer
from client import ApiError, Client

NAME = "egress-verifier"
USER = f"system:serviceaccount:{NAME}:{NAME}"


@pytest.fixture(scope="module")
def server():
    try:
        shipped.programs.folder()
    except shipped.Unavailable as reason:
        pytest.skip(str(reason))
    with ApiServer() as made:
        made.install_crds()
        yield made


@pytest.fixture(scope="module")
def installed(server, rendered):
    """The one command."""
    answer = server.kubectl("apply", "-k", shipped.DEPLOY)
    assert all(line.endswith(" created") for line in answer.splitlines()), answer
    server.wait_rights(list(rendered.values()))
    return server


@pytest.fixture(scope="module")
def agent(installed):
    return Client(installed.address, installed.port, installed.ca, token=installed.token(NAME, NAME), name="agent")


def pod(rendered, namespace=NAME):
    template = copy.deepcopy(rendered["DaemonSet", NAME]["spec"]["template"])
    meta = {**template["metadata"], "name": "agent", "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": template["spec"]}


def create(server, item):
    """As the controller of DaemonSets would, without doing it."""
    path = server.admin.path(item["apiVersion"], item["kind"], item["metadata"]["namespace"])
    return server.admin.request("POST", f"{path}?dryRun=All&fieldValidation=Strict", item)


def test_applied_twice_changes_nothing(installed):
    answer = installed.kubectl("apply", "-k", shipped.DEPLOY)
    assert answer and all(line.endswith(" unchanged") for line in answer.splitlines()), answer
    assert installed.kubectl("diff", "-k", shipped.DEPLOY) == ""


def test_pod_is_admitted_as_it_is(installed, rendered):
    made = create(installed, pod(rendered))
    security = made["spec"]["containers"][0]["securityContext"]
    assert security == rendered["DaemonSet", NAME]["spec"]["template"]["spec"]["containers"][0]["securityContext"]
    assert made["spec"]["priority"] == 2000001000 and made["spec"]["hostNetwork"] is True


def test_level_of_the_namespace_is_needed(installed, rendered):
    """Pod Security: `baseline` names everything that makes the level `privileged`."""
    installed.admin.namespace("baseline", {"pod-security.kubernetes.io/enforce": "baseline"})
    with pytest.raises(ApiError) as refused:
        create(installed, pod(rendered, "baseline"))
    assert refused.value.status == 403
    message = refused.value.details["message"]
    for word in ("host namespaces", "hostPath volumes", "non-default capabilities", "hostPort", "AppArmor"):
        assert word in message, message


def test_why_capabilities_are_spelt_without_prefix(installed, rendered):
    item = pod(rendered)
    capabilities = item["spec"]["containers"][0]["securityContext"]["capabilities"]
    capabilities["add"] = [f"CAP_{name}" for name in capabilities["add"]]
    with pytest.raises(ApiError) as refused:
        create(installed, item)
    assert refused.value.status == 422 and "CAP_SYS_ADMIN" in refused.value.details["message"]


# Rights


def test_agent_may_what_it_needs(agent):
    egress = "egressgateway.kubernetes.azure.com"
    for group, resource in (("", "pods"), ("", "nodes"), (egress, "staticgatewayconfigurations"),
                            (egress, "gatewayvmconfigurations")):
        assert agent.can_i("list", resource, group) and agent.can_i("watch", resource, group), resource
    for verb in ("create", "patch"):
        assert agent.can_i(verb, "events", "events.k8s.io", namespace="payments")
    assert agent.can_i("get", "daemonsets", "apps", namespace=NAME, name=NAME)
    assert agent.get("v1", "Namespace", None, NAME)["metadata"]["name"] == NAME


def test_agent_may_nothing_else(agent):
    """As `kubectl auth can-i --list` says it, less what every account may."""
    def rules(namespace):
        found = set()
        for rule in agent.rules(namespace)["resourceRules"]:
            if not {"authorization.k8s.io", "authentication.k8s.io"} & set(rule["apiGroups"]):
                found |= {(group, resource, verb, tuple(rule.get("resourceNames", ()))) for group in rule["apiGroups"]
                          for resource in rule["resources"] for verb in rule["verbs"]}
        return found
    egress = "egressgateway.kubernetes.azure.com"
    listed = {(group, resource, verb, ()) for verb in ("list", "watch") for group, resource in
              (("", "pods"), ("", "nodes"), (egress, "staticgatewayconfigurations"), (egress, "gatewayvmconfigurations"))}
    listed |= {("events.k8s.io", "events", verb, ()) for verb in ("create", "patch")}
    own = {("apps", "daemonsets", "get", (NAME,)), ("", "namespaces", "get", (NAME,))}
    assert rules("default") == listed
    assert rules(NAME) == listed | own


@pytest.mark.parametrize("verb, resource, group, namespace, name", [
    ("list", "secrets", "", None, None), ("get", "secrets", "", NAME, None), ("get", "configmaps", "", NAME, None),
    ("get", "namespaces", "", "default", "default"), ("delete", "pods", "", NAME, None), ("create", "pods", "", NAME, None),
    ("patch", "staticgatewayconfigurations", "egressgateway.kubernetes.azure.com", "default", None),
    ("delete", "events", "events.k8s.io", "default", None), ("create", "serviceaccounts", "", NAME, None),
    ("get", "daemonsets", "apps", NAME, "other")])
def test_agent_is_refused(agent, verb, resource, group, namespace, name):
    assert not agent.can_i(verb, resource, group, namespace=namespace, name=name)


# Its end


def test_removed_with_one_command(rendered):
    """Everything that was applied is asked to go. A server of its own: a namespace ends only with its controller."""
    with ApiServer() as other:
        other.kubectl("apply", "-k", shipped.DEPLOY)
        answer = other.kubectl("delete", "-k", shipped.DEPLOY, "--wait=false")
        assert len(answer.splitlines()) == len(rendered), answer
        assert other.admin.get("v1", "Namespace", None, NAME)["status"]["phase"] == "Terminating"
        for api, kind, namespace in (("rbac.authorization.k8s.io/v1", "ClusterRole", None),
                                     ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", None),
                                     ("apps/v1", "DaemonSet", NAME)):
            with pytest.raises(ApiError) as gone:
                other.admin.get(api, kind, namespace, NAME)
            assert gone.value.status == 404, kind
