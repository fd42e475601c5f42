"""The harness proves itself on the real programs."""

import contextlib
import json
import os
import signal
import socket
import ssl
import subprocess
import sys

import pytest
import yaml

import apiserver
import machine
from apiserver import GROUP, HERE, ApiServer, ServiceAccountVolume, recorded
from client import ApiError
from machine import HarnessError, processes_of, wait_for
from programs import REPOSITORY

SGC = (f"{GROUP}/v1alpha1", "StaticGatewayConfiguration")
READER = """
apiVersion: v1
kind: ServiceAccount
metadata: {name: reader, namespace: rights}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: reader}
rules:
- {apiGroups: [""], resources: [pods], verbs: [get, list, watch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: reader}
subjects:
- {kind: ServiceAccount, name: reader, namespace: rights}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: left-out, namespace: rights}
"""


def sgc(name, namespace="default", **spec):
    return {"apiVersion": SGC[0], "kind": SGC[1], "metadata": {"name": name, "namespace": namespace},
            "spec": {"gatewayNodepoolName": "gwpool", **spec}}


def pod(name, namespace="default", node="w1"):
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace},
            "spec": {"nodeName": node, "containers": [{"name": "main", "image": "x"}]}}


def reader_account(server, tmp_path):
    path = tmp_path / "reader.yaml"
    path.write_text(READER)
    server.apply_files(str(path), kinds=apiserver.RIGHTS)
    return "system:serviceaccount:rights:reader"


def refused(status, call, *args, **kwargs):
    with pytest.raises(ApiError) as caught:
        call(*args, **kwargs)
    assert caught.value.status == status, caught.value
    return caught.value


def processor_seconds(program):
    with open(f"/proc/{program.popen.pid}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_it_starts_in_less_than_ten_seconds():
    """Of a processor's time: how much of it a machine has left for it is nothing that it could help."""
    with ApiServer() as server:
        assert sum(map(processor_seconds, (server.etcd, server.api))) < 10
        assert server.admin.request("GET", "/version")["gitVersion"] == "v1.34.4"
        assert refused(404, server.admin.list, *SGC).status == 404  # before the CRDs are there
    assert not os.path.exists(server.dir)
    assert not processes_of(server.folder.number)


def test_crds_are_established_and_strict_where_the_real_ones_are(server):
    served = {r["name"] for r in server.admin.request("GET", f"/apis/{GROUP}/v1alpha1")["resources"]}
    for plural in ("staticgatewayconfigurations", "gatewayvmconfigurations", "gatewaylbconfigurations",
                   "podendpoints", "gatewaystatuses"):
        assert {plural, f"{plural}/status"} <= served
    made = server.admin.create(sgc("defaults"))
    assert made["spec"]["defaultRoute"] == "staticEgressGateway" and made["spec"]["provisionPublicIps"] is True
    refused(422, server.admin.create, sgc("enum", defaultRoute="gateway"))
    refused(422, server.admin.create, sgc("type", excludeCidrs="10.0.0.0/8"))
    profile = {"vmssName": "x", "publicIpPrefixSize": 32}
    refused(422, server.admin.create, sgc("size", gatewayVmssProfile=profile))
    # Nobody checks these.
    made = server.admin.create(sgc("loose", excludeCidrs=["nonsense"], gatewayVmssProfile={"vmssName": "both"}))
    assert made["spec"]["excludeCidrs"] == ["nonsense"] and made["spec"]["gatewayNodepoolName"] == "gwpool"
    # The status is a resource of its own.
    made = server.admin.create({**sgc("status"), "status": {"egressIpPrefix": "203.0.113.4/31"}})
    assert "status" not in made
    made = server.admin.patch_status(made, {"egressIpPrefix": "203.0.113.4/31"})
    assert made["status"] == {"egressIpPrefix": "203.0.113.4/31"}


def test_recorded_objects_are_accepted_and_read_back_unchanged(server):
    wanted = {(item["kind"], item["metadata"]["name"]): item for item in recorded()}
    assert len(wanted) == 16
    server.admin.apply_all(recorded())
    names = "pods,nodes,staticgatewayconfigurations,gatewayvmconfigurations,gatewaylbconfigurations,podendpoints,gatewaystatuses"
    got = {(item["kind"], item["metadata"]["name"]): item
           for item in yaml.load(server.kubectl("get", names, "-A", "-o", "yaml"), apiserver._Plain)["items"]}
    for key, item in wanted.items():
        for part in ("spec", "status"):
            assert got[key].get(part) == item.get(part), (key, part)
        for field in ("labels", "annotations", "finalizers", "ownerReferences", "namespace"):
            assert got[key]["metadata"].get(field) == item["metadata"].get(field), (key, field)


def test_the_products_decoders_take_what_the_server_says(server, tmp_path):
    server.admin.apply_all(recorded())
    names = "pods,nodes,staticgatewayconfigurations,gatewayvmconfigurations"
    inventory = tmp_path / "inventory.yaml"
    inventory.write_text(server.kubectl("get", names, "-n", "payments", "-o", "yaml"))
    (tmp_path / "netns").mkdir()
    config = tmp_path / "config.json"
    config.write_text(json.dumps({
        "node": "w1", "inventory": {"source": "file", "file": str(inventory), "netnsDir": str(tmp_path / "netns")},
        "probe": {"echoes": [{"name": "nobody", "url": "http://127.0.0.1:9/"}], "interval": "1s", "timeout": "500ms"},
        "policy": {"pendingGrace": "1s"}, "collector": {"spool": {"directory": str(tmp_path / "spool")}},
        "http": {"listen": [f"unix:{tmp_path}/agent.sock"]}}))
    binary = os.path.join(REPOSITORY, os.environ.get("BUILD", "build"), "egress-verifier")
    # Namespaces of its own: its programs and pins are nobody else's.
    os.chmod(tmp_path, 0o755)
    shell = "mount -t bpf bpf /sys/fs/bpf && ip link set lo up && exec \"$@\""
    done = subprocess.run(["unshare", "--mount", "--net", "sh", "-c", shell, "sh", binary, "check", "--config", str(config),
                           "--wait", "1s", "--output", "json"], capture_output=True, text=True, timeout=120)
    assert done.stdout, done.stderr
    told = json.loads(done.stdout)
    assert told["status"]["conditions"]["inventory"]["ok"] and told["status"]["lost"]["objects"] == 0
    seen = {s["pod"]: (s["gateway"]["name"], s["ip"], s["expected"]["addresses"]) for s in told["subjects"]}
    assert seen == {"pa": ("blue", "10.60.1.2", ["203.0.113.68/31"]), "pb": ("red", "10.60.1.3", ["203.0.113.100/31"])}
    uids = {p["metadata"]["name"]: p["metadata"]["uid"] for p in server.admin.list("v1", "Pod", "payments")["items"]}
    assert {s["pod"]: s["uid"] for s in told["subjects"]}.items() <= uids.items()


def test_rbac_refuses_who_is_not_bound(server, tmp_path):
    refused(401, server.client(token="nobody's").list, "v1", "Pod")
    unbound = server.client(token="unbound-token")
    assert "unbound" in str(refused(403, unbound.list, "v1", "Pod"))
    reader_account(server, tmp_path)
    reader = server.client(token=server.token("rights", "reader"))
    assert reader.list("v1", "Pod")["kind"] == "PodList"
    refused(403, reader.create, pod("intruder"))
    refused(403, reader.list, "v1", "Node")
    assert reader.can_i("watch", "pods") and not reader.can_i("create", "pods")
    assert not reader.can_i("list", "staticgatewayconfigurations", group=GROUP)
    rules = [rule for rule in reader.rules()["resourceRules"] if "pods" in rule["resources"]]
    assert rules == [{"verbs": ["get", "list", "watch"], "apiGroups": [""], "resources": ["pods"]}]
    # What was not among the kinds was not applied.
    refused(404, server.admin.get, "v1", "ConfigMap", "rights", "left-out")


def test_kubectl_takes_every_kind_of_kubeconfig(server, tmp_path):
    account = reader_account(server, tmp_path)
    token, certificate = server.token("rights", "reader"), server.certificate("someone")
    (tmp_path / "token").write_text(token)
    for who, how in ((account, {"token": token}), (account, {"token_file": str(tmp_path / "token")}),
                     ("someone", {"certificate": certificate})):
        for inline in (True, False):
            path = server.kubeconfig(str(tmp_path / "kubeconfig"), inline=inline, **how)
            told = json.loads(server.kubectl("auth", "whoami", "-o", "json", kubeconfig=path))
            assert told["status"]["userInfo"]["username"] == who


def test_a_token_dies_with_its_pod(server, tmp_path):
    reader_account(server, tmp_path)
    item = pod("holder", "rights")
    item["spec"]["serviceAccountName"] = "reader"
    holder = server.admin.create(item)
    reader = server.client(token=server.token("rights", "reader", pod=holder))
    reader.list("v1", "Pod")
    server.admin.delete(holder)

    def is_refused():
        try:
            reader.list("v1", "Pod")
        except ApiError as error:
            return error.status == 401
        return False
    wait_for(is_refused, "the token is refused", 60, 0.2)  # the server remembers good ones for 10 s


def test_data_and_rights_outlive_a_restart(server, tmp_path):
    reader_account(server, tmp_path)
    made, token = server.admin.apply(sgc("lasting")), server.token("rights", "reader")
    for kill in (False, True):
        before = server.api.popen.pid, server.url
        server.restart(kill)
        assert server.api.popen.pid != before[0] and server.url == before[1]
        assert server.admin.get(*SGC, "default", "lasting")["metadata"]["uid"] == made["metadata"]["uid"]
        server.client(token=token).list("v1", "Pod")
    server.api.kill()
    server.etcd.kill()
    server.start()
    assert server.admin.get(*SGC, "default", "lasting")["metadata"]["uid"] == made["metadata"]["uid"]


def test_a_server_without_etcd_says_so_and_recovers(server):
    server.etcd.kill()
    # Reads of what it watches still come from its cache; the truth does not.
    with pytest.raises((ApiError, OSError)):
        server.admin.create(pod("unwritten"))
    server.start()
    server.admin.delete(server.admin.create(pod("written")))


def test_a_paused_server_takes_connections_and_says_nothing(server):
    server.api.pause()
    try:
        with socket.create_connection((server.address, server.port), 30) as plain:
            plain.settimeout(0.3)
            plain.sendall(b"\x16\x03\x01")
            with pytest.raises(TimeoutError):
                plain.recv(1)
    finally:
        server.api.resume()
    server.admin.list("v1", "Pod")


def watch_error(server, version):
    """Code of the first thing that a watch of SGCs from this version says, None when that is an event."""
    events = server.admin.watch(server.admin.path(*SGC), resourceVersion=version, timeoutSeconds="60")
    try:
        kind, item = next(events)
        return item["code"] if kind == "ERROR" else None
    except ApiError as error:
        return error.status
    finally:
        events.close()


def test_lost_history_ends_an_old_watch_with_410(server):
    old = server.admin.apply(sgc("history"))["metadata"]["resourceVersion"]
    server.admin.annotate(sgc("history"), turn="1")
    assert watch_error(server, old) is None
    server.compact()
    assert watch_error(server, old) is None  # its cache still has it
    server.lose_history()
    assert watch_error(server, old) == 410


def test_a_list_is_streamed_by_a_watch(server):
    server.admin.apply(sgc("streamed"))
    seen = []
    query = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": "true"}
    for kind, item in server.admin.watch(server.admin.path(*SGC), **query):
        if kind == "BOOKMARK":
            assert item["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
            break
        seen.append(item["metadata"]["name"])
    assert "streamed" in seen


def test_every_request_is_counted(server, tmp_path):
    account = reader_account(server, tmp_path)
    reader = server.client(token=server.token("rights", "reader"))
    reader.list("v1", "Pod")  # it asks once how things are called, and until the server's cache is filled
    mark = server.audit_mark()
    assert server.requests(mark) == []
    reader.list("v1", "Pod", fieldSelector="spec.nodeName=w1")
    refused(403, reader.list, "v1", "Node")
    version = reader.list("v1", "Pod")["metadata"]["resourceVersion"]
    events = reader.watch("/api/v1/pods", resourceVersion=version)
    made = server.admin.create(pod("counted"))
    assert next(events)[0] == "ADDED"

    def answered():
        """An answer may have come before the log's line of it."""
        found = server.requests(mark, user=account)
        return found if all(r.code for r in found) else None
    told = wait_for(answered, "the codes of all")
    assert [(r.verb, r.resource, r.code) for r in told] == [
        ("list", "pods", 200), ("list", "nodes", 403), ("list", "pods", 200), ("watch", "pods", 200)]
    assert "fieldSelector=spec.nodeName%3Dw1" in told[0].uri
    assert told[0].completed and told[2].completed and told[3].started and not told[3].completed
    events.close()
    wait_for(lambda: server.requests(mark, user=account, verb="watch")[0].completed, "the watch's end is told")
    assert [(r.verb, r.resource) for r in server.requests(mark, user="admin")] == [("create", "pods")]
    server.admin.delete(made)


def test_certificate_and_authority_rotate_without_a_restart(server, tmp_path):
    first, pid = server.presented(), server.api.popen.pid
    with open(server.ca, "rb") as file:
        old = tmp_path / "old.crt"
        old.write_bytes(file.read())
    server.rotate_certificate()
    second = server.presented()
    assert second != first
    server.admin.list("v1", "Pod")
    server.new_authority(keep_old=True)
    assert old.read_bytes() in open(server.ca, "rb").read()
    server.admin.forget_connections()
    server.admin.list("v1", "Pod")  # still the old authority's
    server.rotate_certificate()
    assert server.presented() not in (first, second) and server.api.popen.pid == pid
    server.admin.list("v1", "Pod")
    behind = server.client("behind", groups=["system:masters"])
    behind.ca = str(old)
    with pytest.raises(ssl.SSLCertVerificationError):
        behind.list("v1", "Pod")


def test_a_volume_is_swapped_as_a_whole(tmp_path):
    volume = ServiceAccountVolume(str(tmp_path / "volume")).write(token="one", ca=b"first", namespace="ns")
    held = os.open(f"{volume.folder}/token", os.O_RDONLY)
    volume.write(token="two")
    try:
        assert os.read(held, 10) == b"one"
    finally:
        os.close(held)
    text = {name: (tmp_path / "volume" / name).read_text() for name in ("token", "ca.crt", "namespace")}
    assert text == {"token": "two", "ca.crt": "first", "namespace": "ns"}
    assert sorted(os.listdir(volume.folder)) == ["..2", "..data", "ca.crt", "namespace", "token"]


@pytest.fixture
def namespace():
    """A network namespace with nothing but loopback and 10.50.0.4."""
    name = f"evk-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        lines = "link set lo up\naddress add 10.50.0.4/32 dev lo\n"
        subprocess.run(["ip", "-n", name, "-batch", "-"], input=lines, text=True, check=True)
        yield f"/run/netns/{name}"
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


def test_it_runs_in_a_network_namespace(namespace, tmp_path):
    with ApiServer(net=namespace, address="10.50.0.4") as server:
        assert server.url.startswith("https://10.50.0.4:")
        assert "default" in server.kubectl("get", "namespaces", "-o", "name")
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", server.port), 5).close()
        server.restart(kill=True)
        assert server.admin.list("v1", "Pod")["items"] == []


OWNER = """
import sys, time
sys.path.insert(0, sys.argv[1])
from apiserver import ApiServer
server = ApiServer().start()
print(server.folder.number, server.dir, flush=True)
sys.stdin.read()
"""


def test_nothing_is_left_after_its_owner_was_killed():
    owner = subprocess.Popen([sys.executable, "-c", OWNER, HERE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        number, folder = owner.stdout.readline().split()
        witness = f"{folder}/witness"
        with open(witness, "x", encoding="ascii"):
            pass
        programs = set(processes_of(int(number)))
        assert len(programs) == 2
    finally:
        owner.send_signal(signal.SIGKILL)
        owner.communicate()

    wait_for(lambda: not programs & set(processes_of(int(number))), "the programs end with their owner")

    def is_removed():
        """Who starts a server at this moment does it as well, and may have the number then."""
        machine.remove_dead()
        return not os.path.exists(witness)
    wait_for(is_removed, "the folder is removed")


def test_errors_of_programs_are_told():
    with pytest.raises(HarnessError, match="unknown flag: --no-such-flag"):
        with ApiServer(flags=["--no-such-flag"]):
            pass


def test_ports_of_others_are_left_alone():
    server = ApiServer()
    with contextlib.ExitStack() as stack:
        stack.callback(server.close)
        first = server._free_ports(3)
        for port in first[:2]:
            stack.enter_context(socket.create_server(("127.0.0.1", port)))
        second = server._free_ports(3)
        assert not set(first) & set(second)
