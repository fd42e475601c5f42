"""What the commands say, how it looks, and what their exit status means."""

import fcntl
import json
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import termios
import time

import pytest

from lab import Lab
from parts import agent as agent_module
from parts import host, layout
from parts.witness import open_kinds, unix

ECHO1 = layout.ECHOES["echo1"]
TALK = layout.TCP_TALK_PORT
ASKING = [("status",), ("violations",), ("flows",), ("gateways",), ("explain", "--pod", "payments/pa", "--to", ECHO1)]
NAMES = [argv[0] for argv in ASKING]
PATIENT = ["--wait", "60s"]  # a busy machine may lose an answer; it ends as soon as all are verified
COMMANDS = ["agent", "check", *NAMES, "echo", "validate", "version"]


@pytest.fixture(scope="module")
def lab():
    with Lab() as made:
        yield made


@pytest.fixture(scope="module")
def agent(lab):
    running = lab.agent(policy={"pendingGrace": "1s"}, probe={"interval": "500ms", "timeout": "1500ms"})
    for name in ("pa", "pb"):
        running.wait_state(name, "verified")
    assert lab.pod("pa").tcp(ECHO1, TALK, 3, interval=0.002)[0] == 0
    running.wait(lambda: running.flows("pa"), what="a flow")
    return running


def tidy(text, width=80):
    """Readable at a width: no longer line but one that is a single word, no control characters."""
    assert text.endswith("\n") or not text
    for line in text.splitlines():
        assert line == line.rstrip() and all(ord(c) >= 32 for c in line), line
        assert len(line) <= width or " " not in line.strip(), (len(line), line)
    return text


def one_line(err):
    assert err.startswith("egress-verifier") and err.endswith("\n") and err.count("\n") == 1, err
    return err


# Everything is as it should be


@pytest.mark.parametrize("argv", ASKING, ids=NAMES)
def test_all_verified(agent, argv):
    code, out, err = agent.cli(*argv)
    assert (code, err) == (0, ""), (code, out, err)
    tidy(out)
    wanted = {"status": r"(?s)^w1\n.*2 of 2 pods verified\n.*\nSTATE +POD +SEEN AS +REASON\n"
                        r"verified +payments/pa +203\.0\.113\.68 +3 of 3 TCP echoes",
              "violations": r"(?i)^no (open )?violations?",
              "flows": rf"POD +PROTO +DESTINATION +BY +PATH +PACKETS +BYTES\npayments/pa +tcp +{ECHO1}:{TALK} +wg0 +gateway ",
              "gateways": r"GATEWAY +ALLOWED +VIOLATIONS +PODS\npayments/blue +203\.0\.113\.68/31 +0 +1 verified\n"
                          r"payments/red +203\.0\.113\.100/31 +0 +1 verified\n",
              "explain": r"(?s)must take: gateway, by wg0.*live routes: default .* wg0.*seen: 1 flow, .*verdict: "}[argv[0]]
    assert re.search(wanted, out), out


@pytest.mark.parametrize("argv", ASKING, ids=NAMES)
def test_json(agent, argv):
    """The same fields as of the endpoint."""
    code, out, err = agent.cli(*argv, "--output", "json")
    assert (code, err) == (0, "") and out.count("\n") == 1
    answer = json.loads(out)
    path = {"explain": f"/v1/explain?pod=payments/pa&to={ECHO1}"}.get(argv[0], f"/v1/{argv[0]}")
    same = agent.get(path)
    assert set(same) - {"continue"} <= set(answer), (set(same), set(answer))
    if argv[0] == "status":
        assert [item["pod"] for item in answer["items"]] == ["pa", "pb"]
        assert {"namespace", "pod", "uid", "gateway", "state", "reason", "expected", "observed", "lastVerified",
                "violations"} <= set(answer["items"][0])
    if argv[0] == "flows":
        assert {"subject", "protocol", "destination", "port", "interface", "path", "packets", "bytes", "connections",
                "failed", "firstSeen", "lastSeen"} <= set(answer["items"][0])


def test_check_all_verified(lab, agent):
    pins, nets = agent.pins(), host.netns_list()
    code, out, err = agent.cli("check", *PATIENT)
    assert (code, err) == (0, ""), (code, out, err)
    assert re.search(r"(?s)verified +payments/pa .*verified +payments/pb .*\n2 of 2 pods verified\n$", tidy(out)), out
    code, out, err = agent.cli("check", *PATIENT, "--output", "json", "payments/pb")
    answer = json.loads(out)
    assert (code, err) == (0, "") and [s["pod"] for s in answer["subjects"]] == ["pb"]
    assert answer["subjects"][0]["observed"]["address"] == lab.sgc("red").public("gw1")
    assert answer["violations"] == []
    # Nothing stays behind, and the agent beside it goes on.
    assert agent.pins() == pins and [n for n in host.netns_list() if n.startswith(lab.net(""))] == [
        n for n in nets if n.startswith(lab.net(""))]
    assert agent.wait_state("pa", "verified")["flowsObserved"] and agent.violations() == []


def test_check_waits_for_a_pod_that_comes(lab, agent):
    sgc = lab.sgc("blue")
    lab.edit_sgc("blue", prefix="")
    process = subprocess.Popen(command(agent, "check", "--config", agent.config_path, "--wait", "20s", "payments/pa"),
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    agent.wait(lambda: agent.subject("pa")["expected"]["addresses"] == [])
    assert process.poll() is None
    lab.edit_sgc("blue", prefix=sgc.laid_prefix)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, ""), (out, err)
    lab.edit_sgc("blue", prefix=None)
    agent.wait_state("pa", "verified")
    # Who is proved is not waited for.
    begin = time.monotonic()
    code, out, err = agent.cli("check", "--wait", "60s", "payments/pb")
    assert code == 0 and time.monotonic() - begin < 30
    agent.wait(lambda: agent.violations(state="open") == [], what="no violation is left")


# Usage


@pytest.mark.parametrize("name", COMMANDS)
def test_help(agent, name):
    code, out, err = agent.cli(name, "--help")
    assert (code, err) == (0, ""), (code, err)
    assert out.startswith(f"usage: egress-verifier {name}")
    assert max(map(len, out.splitlines())) <= 80
    assert re.search(rf"^  {name} ", agent.cli("--help")[1], re.M)


@pytest.mark.parametrize("argv", [
    ["frobnicate"], ["status", "--frob"], ["status", "extra"], ["status", "--address"], ["status", "--address", "banana"],
    ["status", "--address", "unix:"], ["flows", "--output", "xml"], ["explain"], ["explain", "--pod", "payments/pa"],
    ["status", "--pod", "x/y"], ["check", "pa"], ["check", "--wait", "soon"], ["check", "--output", "xml"], ["validate"], ["version", "x"],
    ["echo"], ["echo", "--listen", "nowhere"], ["agent"], [],
], ids=" ".join)
def test_usage(agent, argv):
    if argv[:1] in (["status"], ["flows"]) and "--address" not in argv:
        argv = [argv[0], "--address", f"unix:{agent.socket}", *argv[1:]]
    code, out, err = run(agent, *argv)
    assert code == 2 and out == "" and err
    assert "\n" not in err.strip() or err.startswith("usage:"), err


def test_version(agent):
    code, out, err = agent.cli("version")
    assert (code, err) == (0, "")
    assert re.fullmatch(r"egress-verifier \d+\.\d+\.\d+ \(commit [0-9a-f]{7,40}\S*\)\n"
                        r"libcurl \S+ with \S+, c-ares \S+\nlibmicrohttpd \S+, libyaml \S+, json-c \S+, libbpf \S+\n", out)
    assert agent.get("/v1/status")["version"] == out.split()[1]


def test_answer_that_is_lost(agent):
    """A full disk must not look like a good verdict, nor like help."""
    for argv in (["--help"], ["status", "--help"], ["version"], ["status", "--address", f"unix:{agent.socket}"]):
        with open("/dev/full", "w", encoding="ascii") as full:
            done = subprocess.run(command(agent, *argv), stdout=full, stderr=subprocess.PIPE, text=True, timeout=120)
        assert done.returncode == 3 and "cannot write the answer" in done.stderr, (argv, done)


# Nothing could be decided


@pytest.mark.parametrize("argv", ASKING, ids=NAMES)
def test_no_agent(agent, argv):
    for address in ("unix:/nowhere/agent.sock", "http://127.0.0.1:1", "http://127.0.0.1:9"):
        code, out, err = agent.cli(argv[0], "--address", address, *argv[1:])
        assert (code, out) == (3, "") and address in one_line(err), (code, out, err)
        # Of a path that is not there no host and no port is to blame.
        assert ("No such file or directory\n" in err and "port" not in err) == address.startswith("unix:"), err


def test_unknown_pod(agent):
    for argv in (["explain", "--pod", "payments/nope", "--to", ECHO1], ["flows", "--pod", "payments/nope"],
                 ["check", "payments/nope"], ["check", "payments/pa", "payments/pc"]):
        code, out, err = agent.cli(*argv)
        assert (code, out) == (3, ""), (argv, code, out)
        assert ("payments/nope" in err) or ("payments/pc" in err)
        one_line(err)


def test_no_subject(lab, agent):
    other = f"{agent.dir}/elsewhere.yaml"
    with open(other, "w", encoding="utf-8") as file:
        json.dump(agent_module.merge(agent.config, {"node": "w9"}), file)
    code, out, err = agent.cli("check", "--config", other)
    assert code == 3 and "no pod of node w9 uses a gateway or must" in err, (out, err)
    code, out, err = agent.cli("check", "--config", other, "--output", "json")
    assert code == 3 and json.loads(out)["subjects"] == []


def test_no_echo(lab, agent):
    """Nobody answers pods and node: nothing is proved, nobody is accused."""
    begin = time.time()
    for name in layout.ECHOES:
        lab.echo_fault(name, "down")
    for name in ("pa", "pb"):
        agent.wait(lambda name=name: [s for s in [agent.subject(name)] if s["state"] == "unverified"
                                      and "connect-refused" in s["reason"]], what=f"{name} is not proved")
    code, out, err = agent.cli("status")
    assert code == 3 and "0 of 2 pods verified" in tidy(out) and "connect-refused" in out, out
    code, out, err = agent.cli("status", "--output", "json")
    assert code == 3 and json.loads(out) and "0 of 2 pods verified" in one_line(err)
    code, out, err = agent.cli("check")
    assert code == 3 and "connect-refused" in tidy(out), out
    assert [v for v in agent.violations() if unix(v["opened"]) >= begin] == []
    assert agent.cli("violations")[0] == 0
    lab.echo_restore()
    agent.wait_state("pa", "verified")
    agent.wait_state("pb", "verified")


def test_check_without_privilege(lab, agent):
    """Packets cannot be observed, but asking the echoes needs less."""
    pins = agent.pins()
    bounds = ["setpriv", "--bounding-set=-bpf,-perfmon,-net_admin", "--inh-caps=-bpf,-perfmon,-net_admin"]
    code, out, err = run(agent, "check", *PATIENT, "--config", agent.config_path, before=bounds)
    assert re.search(r"observing packets needs CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN", err), (code, out, err)
    assert re.search(r"(?m)^verified +payments/pa ", out) and re.search(r"(?m)^verified +payments/pb ", out), out
    assert "its flows are not observed" in " ".join(out.split())
    assert code in (0, 3)
    tidy(out)
    assert agent.pins() == pins
    # Nor without the way into the pods.
    bounds = ["setpriv", "--bounding-set=-bpf,-perfmon,-net_admin,-sys_admin", "--inh-caps=-bpf,-perfmon,-net_admin"
              ",-sys_admin"]
    code, out, err = run(agent, "check", "--config", agent.config_path, before=bounds)
    assert code == 3 and "CAP_SYS_ADMIN" in err and "verified +payments" not in out, (code, out, err)


def test_file_that_root_may_not_read(lab, agent):
    """Somebody's own, below a home that is closed: root without CAP_DAC_OVERRIDE is told what to do."""
    folder = f"{agent.dir}/home"
    os.makedirs(folder, exist_ok=True)
    shutil.copy(agent.config_path, f"{folder}/config.yaml")
    os.chown(folder, 1000, 1000)
    os.chmod(folder, 0o700)
    code, out, err = agent.cli("check", "--config", f"{folder}/config.yaml")
    assert (code, out) == (2, ""), (code, out, err)
    assert err.startswith(f"egress-verifier: {folder}/config.yaml: Permission denied, also to root without CAP_DAC_OVERRIDE: ")
    shutil.rmtree(folder)


def test_ordinary_user(agent):
    """Is told to be root, and nothing of root's rights that could not be given up."""
    copied = shutil.copy(agent_module.binary(), f"{agent.lab.dir}/egress-verifier")
    done = subprocess.run(["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups", copied, "check", "--config",
                           agent.config_path], capture_output=True, text=True, timeout=120)
    assert done.returncode == 3, done
    assert "CAP_SYS_ADMIN is missing" in done.stderr and "start it as root" in done.stderr
    assert "CAP_SETUID" not in done.stderr and "stays user root" not in done.stderr
    # Lines of a command begin with its name, and say each thing once.
    lines = done.stderr.splitlines()
    assert all(line.startswith("egress-verifier: ") for line in lines) and len(set(lines)) == len(lines), lines
    assert len([line for line in lines if "observing packets needs" in line]) == 1, lines


# A terminal


def command(agent, *argv, before=()):
    """To start a command where cli() starts it, but with descriptors of one's own."""
    return ["nsenter", f"--net={host.NETNS_DIR}/{agent.node.net}", f"--mount=/proc/{agent.node.holder.pid}/ns/mnt",
            "/bin/sh", "-c", 'echo $$ >"$0/cgroup.procs" && exec "$@"', f"{agent.lab.cgroup}/infra", *before,
            agent_module.binary(), *argv]


def run(agent, *argv, before=()):
    done = subprocess.run(command(agent, *argv, before=before), capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout, done.stderr


class Terminal:
    """A command on a terminal of this width; what it printed."""

    def __init__(self, agent, *argv, width=80, **env):
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
        kept = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "TERM")}
        self.text = ""
        self.popen = subprocess.Popen(command(agent, *argv), stdin=slave, stdout=slave, stderr=slave,
                                      env={**kept, "TERM": "xterm-256color", **env}, start_new_session=True)
        os.close(slave)

    def read(self, until=None, timeout=host.PATIENCE):
        """Reads until a pattern came (the text since the last time), or to the end."""
        deadline = time.monotonic() + timeout
        begin = len(self.text)
        while time.monotonic() < deadline:
            if select.select([self.master], [], [], 0.05)[0]:
                try:
                    self.text += os.read(self.master, 65536).decode()
                except OSError:  # EIO: nobody writes any more
                    return self.text[begin:]
            if until and re.search(until, self.text[begin:]):
                return self.text[begin:]
        raise host.LabError(f"not within {timeout} s: {until}\n{self.text[begin:]}")

    def end(self, number=None):
        if number:
            self.popen.send_signal(number)
        self.read()
        os.close(self.master)
        return self.popen.wait(host.PATIENCE)


ESCAPE = re.compile(r"\033\[[0-9;]*m")


@pytest.mark.parametrize("argv", [*ASKING, ("check", "payments/pa")], ids=[*NAMES, "check"])
def test_colour_on_a_terminal_only(agent, argv):
    where = [*PATIENT, "--config", agent.config_path] if argv[0] == "check" else ["--address", f"unix:{agent.socket}"]
    argv = [argv[0], *where, *argv[1:]]
    coloured, plain = {}, {}
    for width in (80, 60, 120):
        terminal = Terminal(agent, *argv, width=width)
        assert terminal.end() == 0
        coloured[width] = terminal.text.replace("\r\n", "\n")
        assert ESCAPE.search(coloured[width]) and ESCAPE.sub("", coloured[width]).count("\033") == 0
        tidy(ESCAPE.sub("", coloured[width]), width)
        for env in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
            terminal = Terminal(agent, *argv, width=width, **env)
            assert terminal.end() == 0
            plain[width] = terminal.text.replace("\r\n", "\n")
            assert "\033" not in plain[width]
    assert "\033" not in run(agent, *argv)[1]
    if argv[0] == "status":
        assert coloured[120] != coloured[60]


# Something is wrong


@pytest.fixture(scope="module")
def late(lab, agent):
    pod = lab.add_pod("late", sgc="blue", wg=False)
    agent.wait_violation("unprogrammed-pod", "late")
    return pod


@pytest.fixture
def bypassing(agent, late):
    """It sends until the test is over, so that its violation stays open."""
    sender = late.traffic("tcp", ECHO1, TALK, "--forever", "--interval", "0.1")
    agent.wait_violation("gateway-bypass", "late")
    yield late
    sender.kill()


def test_watch_prints_again_and_ends_on_a_signal(lab, agent):
    """On a terminal it begins at the top again; into a pipe a line divides."""
    terminal = Terminal(agent, "status", "--address", f"unix:{agent.socket}", "--watch")
    assert terminal.read(r"2 of 2 pods verified(?s:.*)payments/pb").startswith("\033[H\033[2J")
    piped = subprocess.Popen(command(agent, "violations", "--address", f"unix:{agent.socket}", "--watch", "--output",
                                     "json"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert json.loads(piped.stdout.readline())["items"] == []
    lab.add_pod("brief", sgc="blue", wg=False)
    shown = terminal.read(r"open violation(?s:.*)payments/brief")
    assert "\033[H\033[2J" in shown
    answer = json.loads(piped.stdout.readline())
    while not answer["items"]:
        answer = json.loads(piped.stdout.readline())
    assert answer["items"][0]["subject"]["pod"] == "brief"
    lab.delete_pod("brief")
    terminal.read(r"2 of 2 pods verified(?s:.*)payments/pb")
    assert terminal.end(signal.SIGINT) in (-signal.SIGINT, 130, 0)
    piped.send_signal(signal.SIGINT)
    _, err = piped.communicate(timeout=120)
    assert piped.returncode in (-signal.SIGINT, 130, 0) and err == ""
    agent.wait(lambda: agent.violations(state="open") == [])


def test_open_violations(agent, bypassing):
    for argv, wanted in [
            (["status"], r"\d open violations; 2 of 3 pods verified"),
            (["violations"], rf"gateway-bypass  payments/late  gateway blue\n  tcp {ECHO1} port {TALK} left by eth0"),
            (["violations", "--all"], r"resolved"),
            (["flows"], r"payments/late +tcp +\S+ +eth0 +direct \(wrong\)"),
            (["flows", "--pod", "payments/late", "--path", "direct"], r"direct \(wrong\)"),
            (["gateways"], r"payments/blue +203\.0\.113\.68/31 +[1-9] +1 violated, 1 verified"),
            (["explain", "--pod", "payments/late", "--to", ECHO1], r"live routes: .*eth0")]:
        code, out, err = agent.cli(*argv)
        assert (code, err) == (1, "") and re.search(wanted, tidy(out)), (argv, code, out, err)
    # What another pod does is not asked for.
    assert agent.cli("flows", "--pod", "payments/pa")[0] == 0
    assert agent.cli("explain", "--pod", "payments/pa", "--to", ECHO1)[0] == 0
    assert "restart the pod with `kubectl delete pod -n payments late`" in " ".join(agent.cli("violations")[1].split())


def with_patience(agent):
    """A configuration with which one round is enough on a busy machine, too."""
    path = f"{agent.dir}/patient.yaml"
    with open(path, "w", encoding="utf-8") as file:
        json.dump(agent_module.merge(agent.config, {"probe": {"interval": "10s", "timeout": "20s"}}), file)
    return ["check", "--config", path]


def test_check_sees_in_one_round_what_the_agent_sees(lab, agent, late):
    agent.stop()
    assert agent.cli("status")[0] == 3
    late_created = lab.pod("late").created
    check = with_patience(agent)
    code, out, err = agent.cli(*check)
    assert (code, err) == (1, ""), (code, out, err)
    assert re.search(r"(?m)^unprogrammed-pod +payments/late", out), (late_created, out)
    assert re.search(r"(?m)^violated +payments/late", out) and re.search(r"(?m)^verified +payments/pa", tidy(out)), out
    # Its own questions are nobody's traffic.
    assert "gateway-bypass" not in out
    code, out, err = agent.cli(*check, "payments/pa")
    assert (code, err) == (0, "") and "late" not in out
    lab.edit_sgc("red", exclude=["192.0.2.11/32", "198.18.0.0/15"])
    code, out, err = agent.cli(*check, "--output", "json", "payments/pb")
    assert code == 1 and [v["kind"] for v in json.loads(out)["violations"]] == ["stale-routes"], out
    lab.edit_sgc("red", exclude=["192.0.2.11/32"])
    agent.start()
    agent.wait_state("pb", "verified")
    agent.wait(lambda: "unprogrammed-pod" in open_kinds(agent, "late"))
