"""deploy/ as kubectl renders it: rights, and that each is explained."""

import os
import re
import subprocess

import pytest
import shipped
import yaml
from shipped import DEPLOY, REPOSITORY

NAME = "egress-verifier"
BASE = f"{DEPLOY}/base"
READ = {"get", "list", "watch"}
SPOOL = "/var/lib/egress-verifier"
MODULE = r"[a-z_]+(?:/[a-z_]+)?"


def pod_of(rendered):
    return rendered["DaemonSet", NAME]["spec"]["template"]["spec"]


def container_of(rendered):
    (container,) = pod_of(rendered)["containers"]
    return container


def config_of(rendered):
    ((name, item),) = ((name, item) for (kind, name), item in rendered.items() if kind == "ConfigMap")
    return name, item["data"]["config.yaml"]


def rules_of(item):
    """{(group, resource): (verbs, names)}"""
    return {(group, resource): (set(rule["verbs"]), rule.get("resourceNames"))
            for rule in item["rules"] for group in rule["apiGroups"] for resource in rule["resources"]}


# Rights


def test_rights_of_the_cluster(rendered):
    egress = "egressgateway.kubernetes.azure.com"
    rules = rules_of(rendered["ClusterRole", NAME])
    assert set(rules) == {("", "pods"), ("", "nodes"), (egress, "staticgatewayconfigurations"),
                          (egress, "gatewayvmconfigurations"), ("events.k8s.io", "events")}
    assert rules.pop(("events.k8s.io", "events"))[0] == {"create", "patch"}
    assert all(verbs <= READ for verbs, _ in rules.values()), rules


def test_rights_over_its_own_objects(rendered):
    """By name, and kustomize must not have taken that name for another object's."""
    rules = rules_of(rendered["Role", NAME])
    assert rules == {("apps", "daemonsets"): ({"get"}, [NAME]), ("", "namespaces"): ({"get"}, [NAME])}
    assert ("Namespace", NAME) in rendered and ("DaemonSet", NAME) in rendered


def test_rights_are_those_that_are_used(rendered):
    """Each list that the agent follows may be listed and watched, and no other."""
    with open(f"{REPOSITORY}/agent/inventory/source_kube.c", encoding="utf-8") as file:
        used = set(re.findall(r'\.plural = "([a-z]+)"', file.read()))
    given = {resource: verbs for (_, resource), (verbs, _) in rules_of(rendered["ClusterRole", NAME]).items()
             if resource != "events"}
    assert given == dict.fromkeys(used, {"list", "watch"})


def test_it_knows_its_own_objects(rendered):
    """What it asks for when it is stopped is what it may ask for."""
    env = {item["name"]: item for item in container_of(rendered)["env"]}
    assert env["DAEMONSET_NAME"]["value"] == NAME
    assert env["POD_NAMESPACE"]["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.namespace"
    assert env["POD_UID"]["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.uid"
    assert env["NODE_NAME"]["valueFrom"]["fieldRef"]["fieldPath"] == "spec.nodeName"


def test_nothing_else_grants(rendered):
    kinds = sorted(kind for kind, _ in rendered)
    assert kinds == ["ClusterRole", "ClusterRoleBinding", "ConfigMap", "DaemonSet", "Namespace", "NetworkPolicy", "Role",
                     "RoleBinding", "ServiceAccount"]
    for kind in ("ClusterRoleBinding", "RoleBinding"):
        binding = rendered[kind, NAME]
        assert binding["subjects"] == [{"kind": "ServiceAccount", "name": NAME, "namespace": NAME}]
        assert (binding["roleRef"]["kind"], binding["roleRef"]["name"]) == (kind.removesuffix("Binding"), NAME)


# The pod


def test_container_is_confined(rendered):
    pod, security = pod_of(rendered), container_of(rendered)["securityContext"]
    assert sorted(security["capabilities"]["add"]) == ["BPF", "NET_ADMIN", "PERFMON", "SETGID", "SETUID", "SYS_ADMIN"]
    assert security["capabilities"]["drop"] == ["ALL"]
    assert security["readOnlyRootFilesystem"] is True and security["allowPrivilegeEscalation"] is False
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not security.get("privileged") and not {"hostPID", "hostIPC", "securityContext"} & set(pod)


def test_two_places_can_be_written(rendered):
    pod, mounts = pod_of(rendered), container_of(rendered)["volumeMounts"]
    assert [mount["mountPath"] for mount in mounts if not mount.get("readOnly")] == ["/sys/fs/bpf", SPOOL]
    paths = {volume["name"]: volume["hostPath"] for volume in pod["volumes"] if "hostPath" in volume}
    assert {name: mount["mountPath"] for mount in mounts if (name := mount["name"]) in paths} == \
        {name: path["path"] for name, path in paths.items()}, "each at its own place"
    made = [path["path"] for path in paths.values() if path["type"] != "Directory"]
    assert made == ["/run/netns", SPOOL], "what kubelet makes stays on the node"
    assert yaml.safe_load(config_of(rendered)[1])["collector"]["spool"]["directory"] == SPOOL


@pytest.mark.parametrize("key, effect", [
    ("kubeegressgateway.azure.com/mode", "NoSchedule"), ("egressgateway.kubernetes.azure.com/cni-not-ready", "NoSchedule"),
    ("a.pool/of-its-own", "NoExecute")])
def test_taint_is_tolerated(rendered, key, effect):
    def tolerates(toleration):
        return toleration.get("effect") in (None, effect) and toleration.get("operator") == "Exists" and \
            toleration.get("key") in (None, key)
    assert any(map(tolerates, pod_of(rendered)["tolerations"])), (key, effect)


def test_probes_ask_what_is_served(rendered):
    container = container_of(rendered)
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert f"0.0.0.0:{ports['metrics']}" in yaml.safe_load(config_of(rendered)[1])["http"]["metrics"]
    asked = {kind: container[kind]["httpGet"] for kind in ("livenessProbe", "readinessProbe")}
    assert asked == {"livenessProbe": {"path": "/healthz", "port": "metrics"},
                     "readinessProbe": {"path": "/readyz", "port": "metrics"}}
    (rule,) = rendered["NetworkPolicy", NAME]["spec"]["ingress"]
    assert [port["port"] for port in rule["ports"]] == [ports["metrics"]]


def test_image_is_of_this_version(rendered):
    container = container_of(rendered)
    assert container["image"] == f"localhost/{NAME}:{shipped.makefile('VERSION')}"
    assert container["imagePullPolicy"] == "IfNotPresent"


def test_update_ends_the_old_one_first(rendered):
    strategy = rendered["DaemonSet", NAME]["spec"]["updateStrategy"]
    assert strategy["type"] == "RollingUpdate" and strategy["rollingUpdate"]["maxSurge"] == 0


# The configuration


def test_configuration_is_valid(rendered, tmp_path):
    name, text = config_of(rendered)
    (volume,) = (volume for volume in pod_of(rendered)["volumes"] if "configMap" in volume)
    assert volume["configMap"]["name"] == name and re.fullmatch(rf"{NAME}-config-[a-z0-9]+", name)
    program = f"{REPOSITORY}/{os.environ.get('BUILD', 'build')}/egress-verifier"

    def validate(content):
        path = tmp_path / "config.yaml"
        path.write_text(content)
        return subprocess.run([program, "validate", path], capture_output=True, text=True, timeout=60)
    done = validate(text)
    assert done.returncode == 0, done.stderr
    assert validate(text + "unknown: 1\n").returncode == 2


# Each right has its reason


def comment_above(lines, index):
    found = []
    while index and lines[index - 1].lstrip().startswith("#"):
        index -= 1
        found.insert(0, lines[index].strip(" #"))
    return " ".join(found)


def modules_in(comment):
    """Names at the beginning of a sentence, before a colon: `io/netns, flow/pins: …`."""
    leads = re.findall(rf"(?:^|[.:] )({MODULE}(?:, {MODULE})*): ", comment)
    return [name for lead in leads for name in lead.split(", ")]


def exists(module):
    return any(os.path.exists(f"{REPOSITORY}/agent/{module}.{kind}") for kind in "ch")


def needing_a_reason():
    """(file, line number, what) of each line that grants something."""
    wanted = {
        "daemonset.yaml": r"\s+- (?P<what>[A-Z_]{3,})$|\s+(?P<host>hostNetwork|dnsPolicy|automountServiceAccountToken|"
                          r"appArmorProfile|maxSurge):|\s+- name: (?P<mount>\w+)\n\s+mountPath:",
        "rbac.yaml": r"\s+- apiGroups: (?P<what>.*)",
        "networkpolicy.yaml": r"\s+- (?P<what>ports):",
    }
    for name, pattern in wanted.items():
        with open(f"{BASE}/{name}", encoding="utf-8") as file:
            lines = file.read().splitlines()
        for index, line in enumerate(lines):
            match = re.match(pattern, "\n".join(lines[index:index + 2])) or re.match(pattern, line)
            if match:
                yield name, lines, index, next(filter(None, match.groupdict().values()))


def test_each_right_names_who_needs_it(rendered):
    seen = set()
    for name, lines, index, what in needing_a_reason():
        comment = comment_above(lines, index)
        modules = modules_in(comment)
        assert modules, f"{name}:{index + 1}: {what}: no comment names a module: {comment!r}"
        assert all(map(exists, modules)), f"{name}:{index + 1}: {what}: {modules} is not all in agent/"
        seen.add((name, index, what))
    named = {what for _, _, what in seen}
    container = container_of(rendered)
    assert {*container["securityContext"]["capabilities"]["add"], "hostNetwork", "appArmorProfile"} <= named
    assert {mount["name"] for mount in container["volumeMounts"]} <= named
    rules = sum(len(item["rules"]) for (kind, _), item in rendered.items() if kind in ("ClusterRole", "Role"))
    assert sum(name == "rbac.yaml" for name, _, _ in seen) == rules
