"""The lab's life: nothing is left behind, labs do not meet, and what an agent finds around it."""

import os
import subprocess
import sys

import lab as lab_module
from lab import Lab
from parts import agent as agent_module
from parts import host, layout

FOLDER = os.path.dirname(os.path.abspath(__file__))


def leftovers(number):
    """What of lab `number` the machine still has."""
    found = [name for name in host.netns_list() if name.startswith(f"ev{number}-")]
    found += [path for path in (f"{host.RUN_DIR}/{number}", f"{host.RUN_DIR}/{number}.lock",
                                f"{host.cgroup_mount()}/evlab{number}") if os.path.exists(path)]
    return found + host.mounts_below(f"{host.RUN_DIR}/{number}")


def test_nothing_is_left(lab):
    other = Lab(echoes=False).up()
    number, pids = other.number, [process.pid for process in other.processes]
    assert number != lab.number and leftovers(number) and len(pids) > 5
    other.pod("pa").hold(layout.DNS_IP, 53)
    other.down()
    other.down()
    assert leftovers(number) == []
    assert [pid for pid in pids if os.path.exists(f"/proc/{pid}")] == []
    # The first one did not notice.
    assert lab.pod("pa").curl("http://echo1.lab/") == "203.0.113.68"


def test_two_at_once(lab):
    with Lab() as other:
        other.snat_other_sgc("blue", "red")
        assert other.pod("pa").curl("http://echo1.lab/") == "203.0.113.100"
        assert lab.pod("pa").curl("http://echo1.lab/") == "203.0.113.68"


def test_clean_after_kill(lab):
    program = f"import sys; sys.path.insert(0, {FOLDER!r})\nfrom lab import Lab\nl = Lab(echoes=False).up()\n" \
              "l.pod('pa').hold('10.0.0.10', 53)\nprint(l.number, flush=True)\nimport signal; signal.pause()"
    owner = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    number = int(owner.stdout.readline())
    assert number not in lab_module.clean()  # its owner lives
    owner.kill()
    owner.wait()
    owner.stdout.close()
    assert leftovers(number)
    assert number in lab_module.clean()
    assert leftovers(number) == []
    assert lab.pod("pa").curl("http://192.0.2.10/") == "203.0.113.68"


def test_command_line(lab):
    program = [sys.executable, f"{FOLDER}/lab.py"]
    number = subprocess.run([*program, "up"], capture_output=True, text=True, check=True, timeout=120).stdout.strip()
    try:
        assert int(number) not in lab_module.clean()
        seen = subprocess.run([*program, "exec", number, "pa", "--", "curl", "-sS", "-m", "5", "http://echo1.lab/"],
                              capture_output=True, text=True, check=False, timeout=120)
        assert seen.stdout.strip() == "203.0.113.68", seen.stderr
        status = subprocess.run([*program, "status"], capture_output=True, text=True, check=True, timeout=120).stdout
        assert f"{number} stays:" in status and f"{lab.number} lives:" in status
    finally:
        subprocess.run([*program, "down", number], check=True, timeout=120)
    assert leftovers(int(number)) == []


def test_shell():
    """Has the product within reach, ends as its shell ends, and knows which places there are."""
    def shell(*place, stdin=""):
        return subprocess.run([sys.executable, f"{FOLDER}/lab.py", "shell", *place], input=stdin,
                              capture_output=True, text=True, check=False, timeout=120)
    done = shell(stdin="command -v egress-verifier; exit 5\n")
    assert done.returncode == 5 and done.stdout.splitlines()[-1] == agent_module.binary(), done
    assert "try: egress-verifier check --config " in done.stdout
    done = shell("nope")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "lab.py: nope: no such node or pod\n")


# The product's surroundings

FAKE = """#!/usr/bin/python3 -S
import http.server, json, os, socketserver, sys
if sys.argv[1] != "agent":
    print(" ".join(sys.argv[1:]))
    sys.exit(3)
config = json.load(open(sys.argv[3]))
path = config["http"]["listen"][0].removeprefix("unix:")
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        said = {"resolv": open("/etc/resolv.conf").read(), "cgroup": open("/proc/self/cgroup").read(),
                "cni": os.listdir("/etc/cni/net.d"), "tunnels": os.listdir("/var/run/wireguard"),
                "netns": len(os.listdir(config["inventory"]["netnsDir"])), "state": "verified"}
        body = json.dumps(said).encode()
        os.makedirs("/sys/fs/bpf/pin", exist_ok=True)
        self.send_response(200 if "healthz" not in self.path else 503)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def address_string(self):
        return "unix"
class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    pass
if os.path.exists(path):
    os.unlink(path)
Server(path, Handler).serve_forever()
"""


def test_agent_helper_and_surroundings(lab, tmp_path, monkeypatch):
    """With a stand-in for the program: what it finds around it is the lab's."""
    program = tmp_path / "egress-verifier"
    program.write_text(FAKE)
    program.chmod(0o755)
    monkeypatch.setenv("BUILD", str(tmp_path))
    agent = lab.agent(name="stand-in", probe={"interval": "2s"})
    seen = agent.wait_state("pa", "verified")
    assert seen["resolv"].startswith(f"nameserver {layout.DNS_IP}") and seen["cni"] == ["01-egressgateway.conflist"]
    assert f"wg{lab.pod('pa').uid[:8]}.sock" in seen["tunnels"] and f"/evlab{lab.number}/stand-in" in seen["cgroup"]
    pods = seen["netns"]
    lab.add_pod("appears")  # its namespace must be visible in the running agent's mount namespace
    assert agent.subject("pa")["netns"] == pods + 1
    lab.delete_pod("appears")
    assert agent.subject("pa")["netns"] == pods
    assert os.path.isdir(f"/proc/{lab.worker.holder.pid}/root/sys/fs/bpf/pin")
    assert not os.path.exists("/sys/fs/bpf/pin")
    assert agent.cli("status") == (3, f"status --address unix:{agent.socket}\n", "")
    assert agent.kill() == -9
    agent.start()
    assert agent.config["probe"]["interval"] == "2s" and agent.config["probe"]["quorum"] == 2
    assert agent.stop() == -15
    assert "GET /healthz" in agent.log()


def test_node_trusts_the_echoes(lab):
    process = lab.start("w1", ["curl", "-sS", "-m", "5", "https://echo1.lab/"], "curl-w1")
    assert process.wait() == 0
    with open(process.log, encoding="ascii") as file:
        assert file.read().strip() == layout.OUTBOUND_IP


def test_many_pods(lab):
    names = [f"many{n}" for n in range(20)]
    pods = lab.add_pods([{"name": name, "sgc": "blue"} for name in names])
    assert {pod.curl("http://192.0.2.10/") for pod in pods} == {"203.0.113.68"}
    lab.delete_pods(names)
    assert not [name for name in host.netns_list() if name.startswith(lab.net("many"))]
