"""The product in the lab: an agent on the worker node, and its commands."""

import contextlib
import copy
import datetime
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import time

from . import host, layout

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))


def binary():
    """The program under test: $BUILD/egress-verifier, build/ by default."""
    build = os.environ.get("BUILD", "build")
    return os.path.join(REPOSITORY, build, "egress-verifier")


def merge(base, changes):
    """`changes` over `base`, maps merged, everything else replaced; None removes a key."""
    result = copy.deepcopy(base)
    for key, value in changes.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = merge(result[key], value)
        else:
            result[key] = value
    return result


def pod_of(item):
    """Name of the pod that a violation or flow is about."""
    subject = item.get("subject", item)
    if subject is None:  # the node's own
        return None
    return subject.split("/")[-1] if isinstance(subject, str) else subject.get("pod")


def unix(text):
    """Unix time of a time as the agent writes it."""
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def children(pid):
    """{name: process id} of what a process has started and not reaped."""
    found = {}
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        for child in file.read().split():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError), open(f"/proc/{child}/comm", encoding="utf-8") as comm:
                found[comm.read().rstrip("\n")] = int(child)
    return found


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Agent:
    """Made by Lab.agent(). Survives kill(): start() runs it again with the same files."""

    def __init__(self, lab, overrides, node=layout.WORKER, name="agent"):
        self.lab, self.node, self.name = lab, lab.node(node), name
        self.dir = f"{lab.dir}/{name}"
        self.socket, self.config_path = f"{self.dir}/agent.sock", f"{self.dir}/config.yaml"
        self.log_path = f"{self.dir}/agent.log"
        self.cgroup = f"{lab.cgroup}/{name}"
        self.process, self.launcher = None, []
        self.env = {"NODE_NAME": self.node.name}
        os.makedirs(self.dir, exist_ok=True)
        os.makedirs(self.cgroup, exist_ok=True)
        self.config = merge(self.defaults(), overrides)
        self.write_config()

    def defaults(self):
        return {
            "node": self.node.name,
            "inventory": {"source": "file", "file": self.lab.inventory_path, "netnsDir": self.lab.netns_dir,
                          "cgroupRoot": self.lab.cgroup},
            "policy": {"clusterCidrs": layout.CLUSTER_CIDRS, "pendingGrace": "3s"},
            "probe": {"interval": "1s", "timeout": "800ms", "quorum": 2, "nodeControl": True, "echoes": [
                {"name": "echo1", "url": "http://echo1.lab/"},
                {"name": "echo2", "url": "https://echo2.lab/json", "json": "ip"},
                {"name": "echo3", "url": "http://echo3.lab/trace", "key": "ip"}]},
            "collector": {"spool": {"directory": f"{self.dir}/spool"}},
            "http": {"listen": [f"unix:{self.socket}", "127.0.0.1:9466"]},
        }

    def write_config(self, **overrides):
        """Rewrites the file; JSON is YAML. reload() makes a running agent read it."""
        self.config = merge(self.config, overrides)
        with open(self.config_path + ".new", "w", encoding="utf-8") as file:
            json.dump(self.config, file, indent=1)
        os.replace(self.config_path + ".new", self.config_path)

    def _spawn(self, argv, cgroup, log=None):
        return host.Process([*self.launcher, binary(), *argv], cgroup=cgroup, net=self.node.net, mount_pid=self.node.holder.pid,
                            log=log, name=argv[0], env=self.env)

    def start(self, wait=True, timeout=host.PATIENCE):
        """Starts it; with `wait`, returns when its endpoint answers at all."""
        self.process = self._spawn(["agent", "--config", self.config_path], self.cgroup, self.log_path)
        self.lab.processes.append(self.process)
        if wait:
            self.wait_endpoint(timeout)
        return self

    def wait_endpoint(self, timeout=host.PATIENCE):
        def answers():
            if not self.process.alive():
                raise host.LabError(f"the agent ended with {self.process.popen.returncode}:\n{self.log()[-2000:]}")
            try:
                self.request("GET", "/healthz")
                return True
            except OSError:
                return False
        host.wait_for(answers, "the agent's endpoint", timeout, 0.005)

    def wait_ready(self, timeout=host.PATIENCE):
        self.wait(lambda: self.request("GET", "/readyz")[0] == 200, timeout, "ready")

    # Endpoint

    def request(self, method, path, timeout=20, headers=None):
        """(status, headers, body as bytes)."""
        connection = UnixConnection(self.socket, timeout)
        try:
            connection.request(method, path, headers=headers or {})
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        except http.client.HTTPException as error:
            raise OSError(f"{method} {path}: {error!r}") from error
        finally:
            connection.close()

    def get(self, path):
        """The decoded JSON of a path that must answer 200."""
        status, _, body = self.request("GET", path)
        if status != 200:
            raise host.LabError(f"GET {path}: {status} {body[:500]!r}")
        return json.loads(body)

    def post(self, path):
        status, _, body = self.request("POST", path)
        return status, json.loads(body) if body else None

    def metrics(self):
        """{series as printed, labels included: value}."""
        _, _, body = self.request("GET", "/metrics")
        rows = (line.rsplit(" ", 1) for line in body.decode().splitlines() if line and line[0] != "#")
        return {name: float(value) for name, value in rows}

    def items(self, path):
        """All items of a list, page after page."""
        result, more = [], None
        while True:
            page = self.get(path + (("&" if "?" in path else "?") + f"continue={more}" if more else ""))
            result += page["items"]
            more = page.get("continue")
            if not more:
                return result

    def subject(self, pod, namespace=layout.NAMESPACE):
        """A subject, or None when the agent does not know it."""
        status, _, body = self.request("GET", f"/v1/subjects/{namespace}/{pod}")
        return json.loads(body) if status == 200 else None

    def violations(self, **query):
        """Violations, e.g. state="open", kind="gateway-bypass", pod="pa"."""
        pod = query.pop("pod", None)
        text = "&".join(f"{key}={value}" for key, value in query.items())
        found = self.items("/v1/violations" + (f"?{text}" if text else ""))
        return [v for v in found if pod is None or pod_of(v) == pod]

    def flows(self, pod=None, **query):
        if pod:
            query["pod"] = pod if "/" in pod else f"{layout.NAMESPACE}/{pod}"
        text = "&".join(f"{key}={value}" for key, value in query.items())
        return self.items("/v1/flows" + (f"?{text}" if text else ""))

    def wait(self, condition, timeout=host.PATIENCE, what="condition", pause=0.01):
        """Polls until condition() is true and returns what it gave; on timeout says what the agent thinks."""
        deadline, problem = time.monotonic() + timeout, None
        while time.monotonic() < deadline:
            try:
                value = condition()
                if value:
                    return value
            except TimeoutError as error:
                problem = f"{error}; the agent is in {self.kernel_stack()}"
            # What the condition looks for inside may not be there yet: no item, no subject.
            except (OSError, LookupError, TypeError, host.LabError) as error:
                problem = repr(error)
            if not self.process.alive():
                raise host.LabError(f"the agent ended with {self.process.popen.returncode}:\n{self.log()[-2000:]}")
            time.sleep(pause)
        raise host.LabError(f"not within {timeout} s: {what} (last error: {problem})\n{self.describe()}")

    def wait_state(self, pod, state, timeout=host.PATIENCE, namespace=layout.NAMESPACE):
        def reached():
            subject = self.subject(pod, namespace)
            return subject if subject and subject["state"] == state else None
        return self.wait(reached, timeout, f"{namespace}/{pod} {state}")

    def wait_violation(self, kind, pod=None, state="open", timeout=host.PATIENCE):
        return self.wait(lambda: self.violations(kind=kind, state=state, pod=pod), timeout,
                         f"{state} {kind} {pod or ''}")[0]

    def wait_opened(self, kind, pod, since, enough=lambda violation: True):
        """A violation that was opened since then and is `enough`, open or not: what rests on packets ends soon after them."""
        def opened():
            return [v for v in self.violations(kind=kind, pod=pod) if unix(v["opened"]) >= since and enough(v)]
        return self.wait(opened, what=f"{kind} {pod} opened since {since}")[0]

    def describe(self):
        """What to print when a test fails."""
        text = []
        for path in ("/v1/status", "/v1/subjects", "/v1/violations"):
            try:
                text.append(f"{path}: {json.dumps(self.get(path))[:3000]}")
            except (OSError, host.LabError, ValueError) as error:
                text.append(f"{path}: {error}")
        return "\n".join([*text, "log:", self.log()[-2000:]])

    def events(self, timeout=host.PATIENCE):
        """Server-sent events as they come: (event, data). Ends, with OSError, when none comes in time."""
        connection = UnixConnection(self.socket, timeout)
        try:
            connection.request("GET", "/v1/events")
            answer, name, data = connection.getresponse(), "message", []
            for raw in answer:
                field, _, value = raw.decode().rstrip("\r\n").partition(":")
                value = value.removeprefix(" ")
                if field == "event":
                    name = value
                elif field == "data":
                    data.append(value)
                elif not field and not value and data:
                    yield name, "\n".join(data)
                    name, data = "message", []
        finally:
            connection.close()

    # Commands

    def cli(self, *args, timeout=120, stdin=None):
        """(exit status, standard output, standard error) of `egress-verifier ARGS…` on the node.

        Commands that ask a running agent get its --address; check gets --config.
        """
        args = list(args)
        asks = ("status", "violations", "flows", "gateways", "explain", "diagnose")
        if args[0] in asks and "--address" not in args:
            args[1:1] = ["--address", f"unix:{self.socket}"]
        if args[0] == "check" and "--config" not in args:
            args[1:1] = ["--config", self.config_path]
        argv = ["nsenter", f"--net={host.NETNS_DIR}/{self.node.net}", f"--mount=/proc/{self.node.holder.pid}/ns/mnt",
                "/bin/sh", "-c", 'echo $$ >"$0/cgroup.procs" && exec "$@"', f"{self.lab.cgroup}/infra", *self.launcher, binary(), *args]
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=timeout,
                              env=dict(os.environ, NODE_NAME=self.node.name))
        return done.returncode, done.stdout, done.stderr

    # Life

    def processes(self):
        """{name: process id} of "egress-broker", "egress-worker" and "egress-spool", as far as they have started."""
        return {"egress-broker": self.process.pid, **children(self.process.pid)}

    def worker(self):
        """Process id of the process without privilege."""
        return self.processes()["egress-worker"]

    def spool(self):
        """Process id of the process that keeps what was found."""
        return self.processes()["egress-spool"]

    def reload(self):
        self.process.signal(signal.SIGHUP)

    def stop(self, timeout=host.PATIENCE):
        """SIGTERM; the exit status."""
        return self.process.stop(timeout)

    def kill(self):
        """SIGKILL."""
        return self.process.kill()

    def crash(self):
        """SIGKILL, and as a container ends: the process of the spool has kept what it was told and is gone as well, so
        that the next agent finds the spool free. The exit status."""
        code = self.kill()
        host.wait_for(lambda: not host.cgroup_pids(self.cgroup), "nothing of the agent is left")
        return code

    def log(self):
        try:
            with open(self.log_path, encoding="utf-8", errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def files(self, pid=None, *, tell=os.readlink):
        """Open descriptors of the broker, or of `pid`: {number: what `tell` says of it}. One closed meanwhile is left out."""
        folder, found = f"/proc/{pid or self.process.pid}/fd", {}
        for number in os.listdir(folder):
            try:
                found[int(number)] = tell(f"{folder}/{number}")
            except FileNotFoundError:
                pass
        return found

    def kernel_stack(self):
        """Where it waits, for who waits for it."""
        try:
            with open(f"/proc/{self.process.pid}/stack", encoding="ascii") as file:
                return " < ".join(line.split()[-1].split("+")[0] for line in file)
        except OSError as error:
            return str(error)

    def memory(self):
        """Resident bytes."""
        with open(f"/proc/{self.process.pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def pins(self):
        """Paths below /sys/fs/bpf as the agent sees it."""
        root = f"/proc/{self.node.holder.pid}/root/sys/fs/bpf"
        return sorted(os.path.relpath(os.path.join(folder, name), root)
                      for folder, _, names in os.walk(root) for name in names)


def have_binary():
    return shutil.which(binary()) is not None
