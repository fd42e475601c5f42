"""A real API server for tests: real etcd, real kube-apiserver, RBAC on.

    with ApiServer() as server:                 # 127.0.0.1, or ApiServer(net="/run/netns/x", address="10.50.0.4")
        server.install_crds()
        server.admin.apply_all(recorded())
        server.apply_files("deploy/base/rbac.yaml", kinds=RIGHTS)
        token = server.token("egress-verifier", "egress-verifier")
        server.kubeconfig("/tmp/kubeconfig", token=token)
        mark = server.audit_mark()
        server.api.kill(); server.start()       # stop, kill, pause, resume; also server.etcd
        server.lose_history()                   # restarted, and every older resourceVersion is 410
        server.requests(mark, user="system:serviceaccount:egress-verifier:egress-verifier")

Ports are kept over a restart, data too. Everything ends with the process that made it, however that ended: the programs by
their parent's death, and the folder /run/evkube/N by the next start.
"""

import base64
import glob
import hashlib
import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys

import pki
import programs
import yaml
from audit import merge_audit
from client import ApiError, Client, inside
from machine import FOLDERS, Folder, HarnessError, Program, remove_dead, wait_for

HERE = os.path.dirname(os.path.abspath(__file__))
SERVICES = "10.0.0.0/16"
RIGHTS = ("Namespace", "ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")
GROUP = "egressgateway.kubernetes.azure.com"
# Below what connections take for themselves (ip_local_port_range), so that a port is still free after a restart.
# Another program may have some of them; there are as many sets for each folder.
FIRST_PORT, PORTS_EACH, PORT_SETS = 21000, 4, 10


def documents(*paths):
    """The objects of YAML files, Lists unfolded."""
    for path in paths:
        with open(path, encoding="utf-8") as file:
            for item in yaml.load_all(file, _Plain):
                if item:
                    yield from item["items"] if item["kind"] == "List" else [item]


def recorded():
    """Objects of a real cluster with kube-egress-gateway at work."""
    return list(documents(f"{HERE}/recorded/objects.yaml"))


class _Plain(yaml.SafeLoader):
    """Times as text, as JSON has them."""


_Plain.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()}


class ServiceAccountVolume:
    """token, ca.crt and namespace as the kubelet lays them: behind ..data, swapped as a whole."""

    def __init__(self, folder):
        self.folder, self.files, self.turn = folder, {}, 0
        os.makedirs(folder, exist_ok=True)

    def write(self, **files):
        """token="…", ca=bytes of the file or its text, namespace="…"; what is not named stays."""
        names = {"ca": "ca.crt"}
        self.files.update({names.get(key, key): value for key, value in files.items()})
        self.turn += 1
        target, before = f"..{self.turn}", f"{self.folder}/..{self.turn - 1}"
        os.mkdir(f"{self.folder}/{target}")
        for name, value in self.files.items():
            with open(f"{self.folder}/{target}/{name}", "wb") as file:
                file.write(value if isinstance(value, bytes) else value.encode())
        os.symlink(target, f"{self.folder}/..data_tmp")
        os.replace(f"{self.folder}/..data_tmp", f"{self.folder}/..data")
        for name in self.files:
            if not os.path.islink(f"{self.folder}/{name}"):
                os.symlink(f"..data/{name}", f"{self.folder}/{name}")
        shutil.rmtree(before, ignore_errors=True)
        return self


def is_free(port):
    """In the namespace of the caller."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except OSError:
            return False
        return True


class ApiServer:
    """etcd and kube-apiserver. `flags` are added to the API server's; `tokens`: {token: (user, groups)}."""

    def __init__(self, *, net=None, address="127.0.0.1", flags=(), tokens=None, names=()):
        self.net, self.address, self.flags = net, address, list(flags)
        self.tokens = {"unbound-token": ("unbound", ["nobody"]), **(tokens or {})}
        self.names = [address, "127.0.0.1", "10.0.0.1", "localhost", "kubernetes.default.svc", *names]
        self.folder = Folder()
        self.dir = self.folder.path
        try:
            self._prepare()
        except BaseException:
            self.close()
            raise

    def _prepare(self):
        self.port, self.etcd_port, self.peer_port = self._free_ports(3)
        self.clients = pki.Authority(self.dir, "clients")
        self.serving = pki.Authority(self.dir, "serving")
        self.ca = f"{self.dir}/ca.crt"  # what clients are to trust
        shutil.copyfile(self.serving.crt, self.ca)
        self.generation, self.compacted = 1, None
        self.serving.issue("apiserver", "kube-apiserver", names=self.names)
        self.sa_key, self.sa_public = pki.signing_key(self.dir, "service-account")
        with open(f"{self.dir}/tokens.csv", "w", encoding="ascii") as file:
            for number, (token, (user, groups)) in enumerate(self.tokens.items()):
                file.write(f'{token},{user},uid-{number},"{",".join(groups)}"\n')
        # Every stage of every request but the server's own and those of _ready().
        policy = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [
            {"level": "None", "users": ["system:apiserver", "system:anonymous"]},
            {"level": "None", "users": ["admin"], "nonResourceURLs": ["/readyz"]}, {"level": "Metadata"}]}
        with open(f"{self.dir}/audit-policy.json", "w", encoding="ascii") as file:
            json.dump(policy, file)
        self.audit_path = f"{self.dir}/audit.log"
        self.etcd = Program("etcd", self._etcd_arguments, self.dir, self.net)
        self.api = Program("kube-apiserver", self._api_arguments, self.dir, self.net)
        self.admin = self.client("admin", groups=["system:masters"])

    def _free_ports(self, count):
        first = FIRST_PORT + self.folder.number * PORTS_EACH
        with inside(self.net):
            for start in range(first, first + PORT_SETS * FOLDERS * PORTS_EACH, FOLDERS * PORTS_EACH):
                ports = [port for port in range(start, start + PORTS_EACH) if is_free(port)]
                if len(ports) >= count:
                    return ports[:count]
        raise HarnessError(f"of {PORT_SETS} sets of {PORTS_EACH} ports from {first} none has {count} free")

    def _etcd_arguments(self):
        url = f"http://127.0.0.1:{self.etcd_port}"
        return [f"--data-dir={self.dir}/etcd", "--unsafe-no-fsync", "--log-level=warn", f"--listen-client-urls={url}",
                f"--advertise-client-urls={url}", f"--listen-peer-urls=http://127.0.0.1:{self.peer_port}"]

    def _api_arguments(self):
        return [
            f"--etcd-servers=http://127.0.0.1:{self.etcd_port}", "--etcd-compaction-interval=0",
            f"--bind-address={self.address}", f"--secure-port={self.port}",
            # Nobody needs the endpoints of `kubernetes`; a loopback address would be refused there.
            "--advertise-address=192.0.2.1", "--endpoint-reconciler-type=none",
            f"--service-cluster-ip-range={SERVICES}", f"--cert-dir={self.dir}", f"--client-ca-file={self.clients.crt}",
            f"--tls-cert-file={self.dir}/apiserver.crt", f"--tls-private-key-file={self.dir}/apiserver.key",
            f"--service-account-key-file={self.sa_public}", f"--service-account-signing-key-file={self.sa_key}",
            "--service-account-issuer=https://kubernetes.default.svc", f"--token-auth-file={self.dir}/tokens.csv",
            "--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
            # There is no controller that would make each namespace's default account.
            "--disable-admission-plugins=ServiceAccount",
            f"--audit-policy-file={self.dir}/audit-policy.json", f"--audit-log-path={self.audit_path}",
            "--audit-log-mode=blocking", *self.flags]

    # Life

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_):
        self.close()

    def start(self, timeout=120):
        """Starts what does not run; returns when the API server is ready."""
        self.etcd.start()
        wait_for(self._etcd_healthy, "etcd", timeout)
        self.api.start()
        wait_for(self._ready, "the API server is ready", timeout)
        return self

    def restart(self, kill=False):
        """The API server alone."""
        (self.api.kill if kill else self.api.stop)()
        return self.start()

    def close(self):
        for program in (getattr(self, "api", None), getattr(self, "etcd", None)):
            if program:
                program.kill()
        self.folder.close()

    def _etcd_healthy(self):
        self.etcd.need_alive()
        try:
            return self._etcd_request("GET", "/health").get("health") == "true"
        except (OSError, http.client.HTTPException):
            return False

    def _ready(self):
        self.api.need_alive()
        self.admin.forget_connections()
        try:
            return self.admin.raw("GET", "/readyz", timeout=20)[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    # etcd, by its own gateway from JSON

    def _etcd_request(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.etcd_port, timeout=30)
        with inside(self.net):
            connection.connect()
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            answer = connection.getresponse()
            data = answer.read()
        finally:
            connection.close()
        if answer.status != 200:
            raise HarnessError(f"etcd {path}: {answer.status} {data[:300]!r}")
        return json.loads(data)

    def compact(self):
        """etcd forgets every revision but the last, which is returned. What the API server has in its cache it still has."""
        key = base64.b64encode(b"/").decode()
        revision = int(self._etcd_request("POST", "/v3/kv/range", {"key": key})["header"]["revision"])
        if revision != self.compacted:
            self._etcd_request("POST", "/v3/kv/compaction", {"revision": str(revision), "physical": True})
            self.compacted = revision
        return revision

    def lose_history(self, kill=False):
        """Restarted with a compacted etcd and an empty cache: a watch from any older version is 410."""
        (self.api.kill if kill else self.api.stop)()
        self.compact()
        return self.start()

    # Identities

    def client(self, user=None, groups=(), token=None):
        """A Client with a certificate for `user`, or with a token."""
        certificate = None if token else self.certificate(user, groups)
        return Client(self.address, self.port, self.ca, certificate=certificate, token=token, net=self.net,
                      name=user or "test")

    def certificate(self, user, groups=()):
        """(certificate, key): files of a client that the API server knows as `user`."""
        name = "client-" + hashlib.sha256(repr((user, groups)).encode()).hexdigest()[:12]
        return self.clients.issue(name, user, groups)

    def token(self, namespace, name, seconds=3600, pod=None):
        """A token of a service account (600 s at least, says the server). With `pod`, an object, it dies with that pod."""
        spec = {"expirationSeconds": seconds, "audiences": ["https://kubernetes.default.svc"]}
        if pod:
            meta = pod["metadata"]
            spec["boundObjectRef"] = {"apiVersion": "v1", "kind": "Pod", "name": meta["name"], "uid": meta["uid"]}
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        return self.admin.request("POST", path, body)["status"]["token"]

    @property
    def url(self):
        return f"https://{self.address}:{self.port}"

    def kubeconfig(self, path, *, token=None, token_file=None, certificate=None, inline=True, server=None):
        """Writes one, with CA and certificate as data, or with inline=False as names of files. Returns its path."""
        def put(where, key, source):
            if inline:
                with open(source, "rb") as file:
                    where[key + "-data"] = base64.b64encode(file.read()).decode()
            else:
                where[key] = source
        cluster, user = {"server": server or self.url}, {}
        put(cluster, "certificate-authority", self.ca)
        if token:
            user["token"] = token
        if token_file:
            user["tokenFile"] = token_file
        if certificate:
            put(user, "client-certificate", certificate[0])
            put(user, "client-key", certificate[1])
        config = {"apiVersion": "v1", "kind": "Config", "current-context": "test", "preferences": {},
                  "clusters": [{"name": "test", "cluster": cluster}], "users": [{"name": "test", "user": user}],
                  "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}]}
        with open(path + ".new", "w", encoding="ascii") as file:
            yaml.safe_dump(config, file)
        os.chmod(path + ".new", 0o600)
        os.replace(path + ".new", path)
        return path

    def kubectl(self, *args, kubeconfig=None, check=True, stdin=None):
        """Standard output of the real kubectl, as administrator by default."""
        if not kubeconfig:
            kubeconfig = self.kubeconfig(f"{self.dir}/admin.kubeconfig", certificate=self.admin.certificate)
        enter = ["nsenter", f"--net={self.net}", "--"] if self.net else []
        done = subprocess.run([*enter, programs.path("kubectl"), f"--kubeconfig={kubeconfig}",
                               f"--cache-dir={self.dir}/kubectl", *args], capture_output=True, text=True, input=stdin, timeout=180)
        if check and done.returncode:
            raise HarnessError(f"kubectl {' '.join(args)}: {done.stderr.strip()}")
        return done.stdout

    # Rotation, without a restart

    def presented(self):
        """SHA-256 of the certificate that the server shows now."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with inside(self.net):
            plain = socket.create_connection((self.address, self.port), 30)
        with context.wrap_socket(plain) as tls:
            return hashlib.sha256(tls.getpeercert(binary_form=True)).hexdigest()

    def rotate_certificate(self, timeout=150):
        """A new serving certificate of the same authority; returns when the server shows it."""
        crt, _ = self.serving.issue("apiserver", "kube-apiserver", names=self.names)
        with open(crt, encoding="ascii") as file:
            wanted = hashlib.sha256(ssl.PEM_cert_to_DER_cert(file.read())).hexdigest()
        # The server looks at its files each minute at the latest, and mostly at once.
        wait_for(lambda: self.presented() == wanted, "the server shows its new certificate", timeout, 0.05)
        self.admin.forget_connections()

    def new_authority(self, keep_old=True):
        """A new authority that clients are to trust (`ca`), beside the old one or alone; rotate_certificate() uses it."""
        self.generation += 1
        old, self.serving = self.serving, pki.Authority(self.dir, f"serving-{self.generation}")
        with open(self.ca + ".new", "wb") as bundle:
            for crt in ([old.crt] if keep_old else []) + [self.serving.crt]:
                with open(crt, "rb") as file:
                    bundle.write(file.read())
        os.replace(self.ca + ".new", self.ca)

    # Objects

    def install_crds(self, names=None):
        """Those of kube-egress-gateway, or only these plurals; returns when they are served.

        For 2 s the server delays each POST of such an object by 2 s (customresource_handler.go); apply() is not delayed.
        """
        paths = sorted(glob.glob(f"{HERE}/crds/*.yaml"))
        if names is not None:
            paths = [f"{HERE}/crds/{name}.yaml" for name in names]
        crds = [self.admin.apply(item) for item in documents(*paths)]
        for crd in crds:
            plural = crd["spec"]["names"]["plural"]
            wait_for(lambda: self._served(crd, plural), f"{plural} are served")
        return crds

    def _served(self, crd, plural):
        conditions = self.admin.request("GET", self.admin.path_of(crd))["status"].get("conditions") or []
        if not any(c["type"] == "Established" and c["status"] == "True" for c in conditions):
            return False
        try:
            resources = self.admin.request("GET", f"/apis/{GROUP}/v1alpha1")["resources"]
            self.admin.request("GET", f"/apis/{GROUP}/v1alpha1/{plural}", limit="1")
        except ApiError as error:
            if error.status != 404:
                raise
            return False
        return any(resource["name"] == plural for resource in resources)

    def remove_crds(self):
        """And with them all their objects."""
        for item in documents(*glob.glob(f"{HERE}/crds/*.yaml")):
            self.admin.delete(item)

    def apply_files(self, *paths, kinds=None, namespace=None):
        """Objects of YAML files, e.g. those of deploy/: only these kinds; `namespace` for what names none."""
        return self._apply(documents(*paths), kinds, namespace)

    def apply_kustomize(self, folder, kinds=None):
        """What `kubectl apply -k FOLDER` would, of these kinds."""
        text = self.kubectl("kustomize", folder)
        return self._apply((item for item in yaml.load_all(text, _Plain) if item), kinds, None)

    def _apply(self, items, kinds, namespace):
        items = [item for item in items if kinds is None or item["kind"] in kinds]
        cluster_wide = ("Namespace", "ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition", "Node")
        for item in items:
            if namespace and item["kind"] not in cluster_wide:
                item["metadata"].setdefault("namespace", namespace)
        # A namespace with its labels before what lies in it.
        items.sort(key=lambda item: item["kind"] != "Namespace")
        made = self.admin.apply_all(items)
        self.wait_rights(items)
        return made

    def wait_rights(self, items):
        """Until accounts may what roles and bindings among these give them: the server decides by copies of its own, which follow."""
        roles = {(item["kind"], item["metadata"].get("namespace"), item["metadata"]["name"]): item for item in items}
        for binding in [item for item in items if item["kind"] in ("RoleBinding", "ClusterRoleBinding")]:
            where, ref = binding["metadata"].get("namespace"), binding["roleRef"]
            role = roles.get((ref["kind"], where if ref["kind"] == "Role" else None, ref["name"]))
            for rule in [rule for rule in (role["rules"] if role else ()) if "resources" in rule]:
                for subject in binding["subjects"]:
                    account = f'system:serviceaccount:{subject["namespace"]}:{subject["name"]}'
                    wait_for(lambda: self._allows(account, where, rule), f"{account} may {rule}")  # noqa: B023

    def _allows(self, user, namespace, rule):
        attributes = {"verb": rule["verbs"][0], "group": rule["apiGroups"][0], "resource": rule["resources"][0],
                      "namespace": namespace, "name": rule.get("resourceNames", [None])[0]}
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
                  "spec": {"user": user, "resourceAttributes": {key: value for key, value in attributes.items() if value}}}
        return self.admin.create_review("subjectaccessreviews", review)["allowed"]

    # Audit

    def audit_mark(self):
        """Where the log of requests ends now."""
        try:
            return os.path.getsize(self.audit_path)
        except FileNotFoundError:
            return 0

    def requests(self, since=0, **wanted):
        """Requests that came after the mark, e.g. user=…, verb="watch", resource="pods", code=410.

        A request is in the log before its answer is sent. `code` of a watch is there when it was opened,
        `completed` when it ended.
        """
        try:
            with open(self.audit_path, "rb") as file:
                file.seek(since)
                data = file.read()
        except FileNotFoundError:
            return []
        found = merge_audit(data[:data.rfind(b"\n") + 1].splitlines())
        return [request for request in found if all(getattr(request, key) == value for key, value in wanted.items())]


if __name__ == "__main__":
    if sys.argv[1:] != ["clean"]:
        sys.exit("usage: apiserver.py clean    remove what crashed ones left")
    print("removed:", " ".join(map(str, remove_dead())) or "nothing")
