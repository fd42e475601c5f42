"""The image: what is in it, what is not, and that the agent does its work there with what the DaemonSet gives it."""

import errno
import os
import re
import stat

import pytest
import shipped
from lab import Lab
from parts import container, layout
from parts.witness import assert_observes, capability_bits, one_flow, process_status

NAME = "egress-verifier"
PROGRAM = "/usr/bin/egress-verifier"
LABEL = "org.opencontainers.image."
# A shell's or a package manager's way in, or a program that changes who one is.
UNWANTED = re.compile(r"/(s?bin/.*(sh|busybox|perl|python.*|apt.*|dpkg.*|su|mount|curl|wget))$")

needs_runtime = pytest.mark.skipif(container.runtime_missing() is not None, reason=str(container.runtime_missing()))


# What it is


def test_describes_itself(image):
    labels = image.config["config"]["Labels"]
    version = shipped.makefile("VERSION")
    assert image.names == [f"localhost/{NAME}:{version}"]
    assert (labels[LABEL + "title"], labels[LABEL + "version"]) == (NAME, version)
    assert "per pod" in labels[LABEL + "description"]
    code, out, err = image.run(PROGRAM, "version")
    assert code == 0, err
    assert f"{NAME} {version} (commit {labels[LABEL + 'revision']})" in out
    assert image.config["config"]["Entrypoint"] == [PROGRAM]
    assert "User" not in image.config["config"], "root, of whose rights it keeps some"


def test_holds_no_other_program(image):
    programs, special = [], []
    for path in image.files():
        mode = os.stat(image.root + path).st_mode
        if stat.S_ISREG(mode) and mode & 0o111 and not re.search(r"\.so(\.|$)", path):
            programs.append(path)
        if mode & (stat.S_ISUID | stat.S_ISGID) or mode & stat.S_IWOTH:
            special.append(path)
        assert not UNWANTED.search(path), path
    assert programs == [PROGRAM] and not special
    size = sum(os.stat(image.root + path).st_size for path in image.files())
    print(f"{size / 2**20:.1f} MiB of files")
    assert size < 40 * 2**20


def test_libraries_are_whole_and_known(image):
    """Each is found in the image itself, and a scanner finds the package that it is of, with its licence."""
    code, out, err = image.run("/lib64/ld-linux-x86-64.so.2" if os.uname().machine == "x86_64" else
                               "/lib/ld-linux-aarch64.so.1", "--list", PROGRAM)
    assert code == 0 and "not found" not in out, out + err
    wanted = {"libbpf", "libcurl", "libcares", "libjson-c", "libmicrohttpd", "libsqlite3", "libssl", "libz"}
    assert {name for name in wanted if f"{name}." in out} == wanted, out
    packages = os.listdir(f"{image.root}/var/lib/dpkg/status.d")
    assert {"libc6", "libbpf1", "ca-certificates"} <= set(packages)
    for package in packages:
        with open(f"{image.root}/var/lib/dpkg/status.d/{package}", encoding="utf-8") as file:
            fields = dict(line.split(": ", 1) for line in file if re.match(r"(Package|Version|Status): ", line))
        assert fields["Package"].strip() == package and fields["Version"].strip()
        assert os.path.getsize(f"{image.root}/usr/share/doc/{package}/copyright") > 100


def test_trusts_the_usual_authorities(image):
    with open(f"{image.root}/etc/ssl/certs/ca-certificates.crt", encoding="ascii") as file:
        assert file.read().count("BEGIN CERTIFICATE") > 100


def test_takes_the_configuration_of_deploy(image, rendered):
    ((_, item),) = ((name, item) for (kind, name), item in rendered.items() if kind == "ConfigMap")
    path = f"{image.root}/tmp/config.yaml"
    with open(path, "w", encoding="utf-8") as file:
        file.write(item["data"]["config.yaml"])
    try:
        code, out, err = image.run(PROGRAM, "validate", "/tmp/config.yaml")
    finally:
        os.unlink(path)
    assert (code, err) == (0, ""), out


# What it does


class Shipped(container.Container):
    """From the image, with the rights and mounts of the DaemonSet; the lab's folders stand for the node's."""

    def __init__(self, lab, image, pod):
        (self.spec,) = pod["containers"]
        self.pod, self.files = pod, image
        added = self.spec["securityContext"]["capabilities"]["add"]
        super().__init__(lab, [name.lower() for name in added], "shipped")
        nodes = self.mounts
        sockets = nodes[container.RUN_DIR]
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        self.mounts = {mount["mountPath"]: self.mount(mount, volumes[mount["name"]], nodes)
                       for mount in self.spec["volumeMounts"]}
        # For the test to ask the agent by; and kubelet's own, of every pod.
        self.mounts |= {container.RUN_DIR: sockets, "/etc/resolv.conf": nodes["/etc/resolv.conf"]}
        self.root = image.root

    @staticmethod
    def mount(mount, volume, nodes):
        target = mount["mountPath"]
        if "hostPath" in volume:
            assert volume["hostPath"]["path"] == target
        spread = "rslave" if mount.get("mountPropagation") == "HostToContainer" else "rprivate"
        read_only = ["rro" if mount.get("recursiveReadOnly") else "ro"] if mount.get("readOnly") else ["rw"]
        return container.bind(nodes[target]["source"], target, *read_only, spread)

    def image(self):
        """Nothing is lent but the authority of the lab's echo with https, as a company mounts its own."""
        bundle = "/etc/ssl/certs/ca-certificates.crt"
        return [container.bind(bundle, bundle, "ro", "rprivate")]

    def oci(self):
        made = super().oci()
        made["process"]["args"] = [*self.files.config["config"]["Entrypoint"], *self.spec["args"]]
        made["process"]["env"] = ["PATH=/usr/bin", f"NODE_NAME={self.node.name}"]
        made["process"]["noNewPrivileges"] = not self.spec["securityContext"]["allowPrivilegeEscalation"]
        made["root"]["readonly"] = self.spec["securityContext"]["readOnlyRootFilesystem"]
        return made


@pytest.fixture(scope="module")
def lab(image):
    with Lab(pods=False) as made:
        made.add_pods([{"name": name, "sgc": "blue", "annotate": False} for name in ("first", "second")])
        yield made


@pytest.fixture(scope="module")
def agent(lab, image, rendered):
    made = Shipped(lab, image, rendered["DaemonSet", NAME]["spec"]["template"]["spec"])
    try:
        made.start().wait_ready(60)
        yield made
    finally:
        if made.process and made.process.alive():
            made.kill()
        made.delete()


@needs_runtime
def test_runs_confined(agent):
    """The broker's list of system calls is also good with the image's libraries, and nothing is missed."""
    broker, worker, spool = (process_status(pid) for pid in (agent.broker(), agent.worker(), agent.spool()))
    assert capability_bits(spool["CapEff"]) == set() and spool["Uid"].split() == ["0"] * 4
    assert capability_bits(broker["CapEff"]) == {12, 21, 38, 39}, "NET_ADMIN, SYS_ADMIN, PERFMON, BPF"
    assert capability_bits(worker["CapEff"]) == set() and worker["Uid"].split() == ["65534"] * 4
    for status in (broker, worker, spool):
        assert (status["NoNewPrivs"], status["Seccomp"], status["Seccomp_filters"]) == ("1", "2", "2")
    with open(f"/proc/{agent.broker()}/maps", encoding="ascii") as file:
        libraries = {os.path.basename(line.split()[-1]) for line in file if ".so" in line}
    known = {os.path.basename(path) for path in agent.files.files()}
    assert "libbpf.so.1.5.0" in libraries and libraries <= known
    log = agent.log()
    assert " warn " not in log and " error " not in log, log


@needs_runtime
def test_proves_and_finds(lab, agent):
    """Probes by name, by https, and packets: all of it with the image's libraries."""
    agent.wait_state("first", "verified", 60)

    def answered():
        return {echo["echo"] for echo in agent.subject("first")["observed"]["echoes"] if echo.get("address")}
    agent.wait(lambda: answered() == {"echo1", "echo2", "echo3"}, 60, "the third echo, after the two of the verdict")
    assert lab.pod("first").tcp(layout.ECHOES["echo1"], layout.TCP_TALK_PORT, 3, interval=0.002)[0] == 0
    flow = agent.wait(lambda: one_flow(agent, "first", destination=layout.ECHOES["echo1"], port=layout.TCP_TALK_PORT,
                                       connections=3), 60)
    assert (flow["path"], flow["interface"]) == ("gateway", "wg0")
    assert_observes(lab, agent, "first")


@needs_runtime
def test_commands_are_there(agent):
    """As `kubectl exec` runs them: at the agent's usual address, and beside it."""
    code, out, err = agent.execute(PROGRAM, "status")
    assert code == 0 and "verified" in out, (out, err)
    code, out, err = agent.execute(PROGRAM, "check", "--wait", "60s", "--config", f"{container.CONFIG_DIR}/config.yaml")
    assert code == 0 and "2 of 2 pods verified" in out, (out, err)
    for name in ("/bin/sh", "/usr/bin/env"):
        assert agent.execute(name)[0] != 0


@needs_runtime
def test_only_pins_and_spool_can_be_written(agent):
    """By path, as the broker has it; the test's own folder for the socket aside."""
    for path, (options, _, kind) in agent.mounted().items():
        if path in (container.RUN_DIR, container.SPOOL_DIR, "/sys/fs/bpf") or kind in ("proc", "tmpfs", "devpts", "mqueue"):
            continue
        if path.startswith("/run/netns/"):  # files of the kernel, which nobody writes
            assert kind == "nsfs"
            continue
        assert "ro" in options, (path, options, kind)
    with pytest.raises(OSError) as refused:
        os.mkdir(f"/proc/{agent.broker()}/root/usr/x")
    assert refused.value.errno == errno.EROFS


@needs_runtime
def test_stops_in_order(agent):
    """Last: SIGTERM to the first process of the container."""
    pins = agent.pins()
    assert agent.stop(60) == 0
    assert pins and agent.pins() == pins
    assert not agent.process.alive()
