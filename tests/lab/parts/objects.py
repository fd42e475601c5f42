"""The inventory file: what `kubectl get pods,nodes,staticgatewayconfigurations,… -A -o yaml` prints."""

import json
import os
import re

from . import layout

GROUP = "egressgateway.kubernetes.azure.com/v1alpha1"
ANNOTATION = "kubernetes.azure.com/static-gateway-configuration"


def _plain(text):
    """Whether a text may stand unquoted in YAML and stay a text."""
    if text in ("true", "false", "null", "yes", "no", "on", "off", "y", "n", "~"):
        return False
    return re.fullmatch(r"[A-Za-z/_][\w./+=-]*(:[\w./+=-]+)*", text) is not None


def _scalar(value):
    if isinstance(value, str):
        if re.fullmatch(r"\d+\.\d+\.\d+\.\d+(/\d+)?", value) or _plain(value):
            return value
        return json.dumps(value)
    return json.dumps(value)


def yaml(value, indent=0):
    """As kubectl prints it: block style, sorted keys, lists not indented."""
    pad = "  " * indent
    if isinstance(value, dict):
        lines = []
        for key in sorted(value):
            item = value[key]
            if isinstance(item, (dict, list)) and item:
                deeper = indent + (1 if isinstance(item, dict) else 0)
                lines.append(f"{pad}{_scalar(key)}:\n{yaml(item, deeper)}")
            else:
                lines.append(f"{pad}{_scalar(key)}: {_scalar(item)}\n")
        return "".join(lines)
    lines = []
    for item in value:
        if isinstance(item, dict) and item:
            text = yaml(item, indent + 1)
            lines.append(f"{pad}- {text[len(pad) + 2:]}")
        else:
            lines.append(f"{pad}- {_scalar(item)}\n")
    return "".join(lines)


def _meta(name, namespace, uid, created, **more):
    meta = {"creationTimestamp": created, "name": name, "resourceVersion": "1", "uid": uid, **more}
    if namespace:
        meta["namespace"] = namespace
    return meta


def gateway(sgc):
    meta = _meta(sgc.name, sgc.namespace, sgc.uid, sgc.created, generation=1,
                 finalizers=["static-gateway-configuration-controller.microsoft.com"])
    if sgc.deleted:
        meta["deletionTimestamp"] = layout.timestamp()
    status = {}
    prefix = sgc.laid_prefix if sgc.prefix is None else sgc.prefix
    if prefix:
        status["egressIpPrefix"] = prefix
    secret = {"apiVersion": "v1", "kind": "Secret", "name": f"sgw-{sgc.uid}", "namespace": "aks-static-egress-gateway"}
    status["gatewayServerProfile"] = {
        "ip": layout.BALANCER_IP, "port": sgc.port, "privateKeySecretRef": secret,
        "publicKey": sgc.server_key or sgc.key.public_text,
    }
    return {
        "apiVersion": GROUP, "kind": "StaticGatewayConfiguration", "metadata": meta,
        "spec": {"defaultRoute": sgc.default_route, "excludeCidrs": list(sgc.exclude),
                 "gatewayNodepoolName": "gwpool", "provisionPublicIps": not sgc.private},
        "status": status,
    }


def gateway_vm(sgc):
    profiles = [{"nodeName": node, "primaryIP": ip, "secondaryIP": sgc.secondary(node)}
                for node, ip in layout.GATEWAYS.items()]
    owner = {"apiVersion": GROUP, "blockOwnerDeletion": True, "controller": True,
             "kind": "StaticGatewayConfiguration", "name": sgc.name, "uid": sgc.uid}
    prefix = sgc.laid_prefix if sgc.prefix is None else sgc.prefix
    return {
        "apiVersion": GROUP, "kind": "GatewayVMConfiguration",
        "metadata": _meta(sgc.name, sgc.namespace, layout.new_uid(), sgc.created, ownerReferences=[owner]),
        "spec": {"gatewayNodepoolName": "gwpool", "provisionPublicIps": not sgc.private},
        "status": {"egressIpPrefix": prefix, "gatewayVMProfiles": profiles},
    }


def node(name, address, uid, created, annotations):
    is_gateway = name in layout.GATEWAYS
    labels = {"kubernetes.azure.com/agentpool": "gwpool" if is_gateway else "userpool",
              "kubernetes.azure.com/mode": "gateway" if is_gateway else "user",
              "kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}
    spec = {}
    if is_gateway:
        labels["kubeegressgateway.azure.com/mode"] = "true"
        spec["taints"] = [{"effect": "NoSchedule", "key": "kubeegressgateway.azure.com/mode", "value": "true"}]
    more = {"annotations": annotations} if annotations else {}
    return {
        "apiVersion": "v1", "kind": "Node", "metadata": _meta(name, None, uid, created, labels=labels, **more),
        "spec": spec,
        "status": {
            "addresses": [{"address": address, "type": "InternalIP"}, {"address": name, "type": "Hostname"}],
            "conditions": [{"lastHeartbeatTime": created, "lastTransitionTime": created, "reason": "KubeletReady",
                            "status": "True", "type": "Ready"}],
        },
    }


def pod(p):
    annotations = dict(p.annotations)
    if p.sgc:
        annotations[ANNOTATION] = p.sgc
    if p.annotate:
        annotations["egress-verifier.io/netns"] = p.netns_path
        annotations["egress-verifier.io/cgroup"] = p.cgroup
    spec = {"containers": [{"image": "x", "imagePullPolicy": "Always", "name": "main", "resources": {}}],
            "dnsPolicy": "ClusterFirst", "nodeName": layout.WORKER, "restartPolicy": "Always",
            "serviceAccountName": "default", "terminationGracePeriodSeconds": 30}
    if p.host_network:
        spec["hostNetwork"] = True
    container = f"containerd://{p.uid.replace('-', '') * 2}"
    status = {
        "conditions": [{"lastProbeTime": None, "lastTransitionTime": p.started, "status": "True", "type": "Ready"}],
        "containerStatuses": [{"containerID": container, "image": "x", "imageID": "x", "lastState": {}, "name": "main",
                               "ready": True, "restartCount": 0, "state": {"running": {"startedAt": p.started}}}],
        "hostIP": layout.WORKER_IP, "phase": p.phase, "podIP": p.ip, "podIPs": [{"ip": p.ip}], "qosClass": "Burstable",
        "startTime": p.started,
    }
    meta = _meta(p.name, p.namespace, p.uid, p.created, labels=dict(p.labels))
    if annotations:
        meta["annotations"] = annotations
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec, "status": status}


def listing(items):
    return {"apiVersion": "v1", "items": items, "kind": "List", "metadata": {"resourceVersion": ""}}


def write(path, text):
    """Atomically, as a tool that replaces a watched file should."""
    with open(path + ".new", "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(path + ".new", path)
