"""The agent in a container, as kubelet and containerd run one, by a real OCI runtime (crun)."""

import contextlib
import json
import os
import re
import subprocess

from . import agent as agent_module
from . import host

PROFILE = "/usr/share/containers/seccomp.json"  # Debian's golang-github-containers-common
# What that list lets through and containerd 1.6's own default does not, for a container with CAP_SYS_ADMIN, among what
# Linux on x86-64 and arm64 has (contrib/seccomp/seccomp_default.go in Debian's golang-github-containerd-containerd-dev).
# There everything that is refused is EPERM, the kernel's word for a missing right; Podman's default is ENOSYS.
NOT_CONTAINERDS = {"get_mempolicy", "keyctl", "mbind", "pidfd_getfd", "pivot_root", "process_vm_readv",
                   "process_vm_writev", "ptrace", "reboot", "set_mempolicy"}
ARCHITECTURES = {"x86_64": ("amd64", "SCMP_ARCH_X86_64"), "aarch64": ("arm64", "SCMP_ARCH_AARCH64")}
MASKED = ["/proc/asound", "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
          "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware"]
READ_ONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
PROGRAM, CGROUP = "/egress-verifier", "/sys/fs/cgroup"
CONFIG_DIR, RUN_DIR, SPOOL_DIR = "/etc/egress-verifier", "/run/egress-verifier", "/var/lib/egress-verifier"


def _holds(rule, architecture, capabilities):
    """Whether a rule of the profile is for this machine and a container with these capabilities."""
    includes, excludes = rule.get("includes") or {}, rule.get("excludes") or {}
    if architecture in excludes.get("arches", []) or capabilities & set(excludes.get("caps", [])):
        return False
    return architecture in includes.get("arches", [architecture]) and set(includes.get("caps", [])) <= capabilities


def seccomp(capabilities, without=()):
    """RuntimeDefault for a container with these capabilities, as `linux.seccomp` of an OCI configuration."""
    with open(PROFILE, encoding="utf-8") as file:
        profile = json.load(file)
    architecture, token = ARCHITECTURES[os.uname().machine]
    rules = [rule for rule in profile["syscalls"] if _holds(rule, architecture, set(capabilities))]
    refused = {name for rule in rules if rule["action"] != "SCMP_ACT_ALLOW" and not rule["args"] for name in rule["names"]}
    refused |= NOT_CONTAINERDS | set(without)
    calls = [{"names": [name for name in rule["names"] if name not in refused], "action": rule["action"],
              "args": [{key: arg[key] for key in ("index", "value", "valueTwo", "op")} for arg in rule["args"] or []]}
             for rule in rules if rule["action"] == "SCMP_ACT_ALLOW"]
    return {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1, "architectures": [token],
            "syscalls": [call for call in calls if call["names"]]}


def allowed(profile):
    """Names of the system calls that a profile lets through whatever their arguments."""
    return {name for rule in profile["syscalls"] if not rule["args"] for name in rule["names"]}


def bind(source, target, *options):
    return {"destination": target, "source": source, "type": "bind", "options": ["rbind", *options]}


def no_device(target, kind, *options):
    return {"destination": target, "source": kind, "type": kind, "options": ["nosuid", "noexec", *options]}


class Container(agent_module.Agent):
    """An agent in a container of its own. `mounts` are of the host, {target: OCI mount}; a test may change them."""

    def __init__(self, lab, capabilities, name="container", **overrides):
        self.capabilities = [f"CAP_{capability.upper()}" for capability in capabilities]
        self.id = f"{os.path.basename(lab.cgroup)}-{name}"
        folder = f"{lab.dir}/{name}"
        self.root, self.state, self.config_dir = f"{folder}/rootfs", f"{folder}/state", f"{folder}/etc"
        for path in (self.config_dir, f"{folder}/run", f"{folder}/spool"):
            os.makedirs(path, exist_ok=True)
        super().__init__(lab, overrides, name=name)
        self.socket = f"{folder}/run/agent.sock"
        os.rename(self.config_path, f"{self.config_dir}/config.yaml")
        self.config_path = f"{self.config_dir}/config.yaml"
        self.pid_path, self.seccomp = f"{folder}/pid", seccomp(self.capabilities)
        self.mounts = {mount["destination"]: mount for mount in [
            bind(lab.netns_dir, "/run/netns", "ro", "rslave"),
            bind(lab.cgroup.replace(host.cgroup_mount(), CGROUP, 1), CGROUP, "ro", "rslave"),
            bind("/sys/fs/bpf", "/sys/fs/bpf", "rw", "rprivate"),
            bind("/etc/cni/net.d", "/etc/cni/net.d", "ro", "rprivate"),
            bind("/run/wireguard", "/run/wireguard", "ro", "rslave"),
            bind(self.config_dir, CONFIG_DIR, "ro", "rprivate"),
            bind(f"{folder}/run", RUN_DIR, "rw", "rprivate"),
            bind(f"{folder}/spool", SPOOL_DIR, "rw", "rprivate"),
            bind("/etc/resolv.conf", "/etc/resolv.conf", "ro", "rprivate")]}
        lab.agents.append(self)

    def defaults(self):
        """Nothing of it names a place of the lab: the mounts are where a pod's would be."""
        config = super().defaults()
        return dict(config, inventory={"source": "file"}, collector={},
                    http={"listen": [f"unix:{RUN_DIR}/agent.sock", "127.0.0.1:9466"]})

    # The bundle

    def image(self):
        """What comes from an image: libraries, the CA bundle, the program."""
        return [bind("/usr", "/usr", "ro", "rprivate"), bind("/etc/ssl", "/etc/ssl", "ro", "rprivate"),
                bind(agent_module.binary(), PROGRAM, "ro", "rprivate")]

    def kernel(self):
        """What containerd mounts into every container."""
        return [no_device("/proc", "proc", "nodev"), {"destination": "/dev", "source": "tmpfs", "type": "tmpfs",
                                                      "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
                no_device("/dev/pts", "devpts", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
                no_device("/dev/mqueue", "mqueue", "nodev"), no_device("/sys", "sysfs", "nodev", "ro")]

    def oci(self):
        """config.json."""
        sets = {name: self.capabilities for name in ("bounding", "effective", "permitted")}
        namespaces = [{"type": kind} for kind in ("pid", "ipc", "uts", "mount", "cgroup")]
        namespaces.append({"type": "network", "path": f"{host.NETNS_DIR}/{self.node.net}"})
        return {
            "ociVersion": "1.0.2",
            "process": {"user": {"uid": 0, "gid": 0}, "cwd": "/", "capabilities": sets,
                        "args": [PROGRAM, "agent", "--config", f"{CONFIG_DIR}/config.yaml"],
                        "env": ["PATH=/usr/sbin:/usr/bin", f"NODE_NAME={self.node.name}"],
                        # The processes set it themselves, whatever the runtime does.
                        "noNewPrivileges": False},
            "root": {"path": self.root, "readonly": True},
            "hostname": self.id,
            "mounts": [*self.kernel(), *self.image(), *self.mounts.values()],
            "linux": {"namespaces": namespaces, "seccomp": self.seccomp, "maskedPaths": MASKED, "readonlyPaths": READ_ONLY,
                      # As containerd does for a mount with HostToContainer.
                      "rootfsPropagation": "rslave"},
        }

    def write_bundle(self):
        # The folder that is mounted holds the configuration and the inventory, and nothing else.
        self.lab.inventory_path = f"{self.config_dir}/inventory.yaml"
        self.lab.write_objects()
        os.makedirs(self.root, exist_ok=True)
        for name in ("bin", "lib", "lib64", "sbin"):
            if os.path.islink(f"/{name}") and not os.path.islink(f"{self.root}/{name}"):
                os.symlink(f"usr/{name}", f"{self.root}/{name}")
        if not os.path.islink(f"{self.root}/var/run"):
            os.makedirs(f"{self.root}/var", exist_ok=True)
            os.symlink("../run", f"{self.root}/var/run")
        with open(f"{self.dir}/config.json", "w", encoding="utf-8") as file:
            json.dump(self.oci(), file, indent=1)

    # Life

    def _runtime(self, *args):
        """crun does not work where cgroup v1 and v2 are mixed: it is shown v2 only. Its container stays in the cgroup of
        who starts it, which is the lab's, so that a lab whose owner died finds it there."""
        runtime = ["crun", "--root", self.state, "--cgroup-manager=disabled", *args]
        if host.cgroup_mount() == CGROUP:
            return runtime
        script = f'mount --bind "$0" {CGROUP} && exec "$@"'
        return ["unshare", "--mount", "--propagation", "slave", "/bin/sh", "-c", script, host.cgroup_mount(), *runtime]

    def _there(self, *args):
        """Like _runtime(), for the node's mount namespace."""
        return ["nsenter", f"--mount=/proc/{self.node.holder.pid}/ns/mnt", "--", *self._runtime(*args)]

    def _spawn(self, argv, cgroup, log=None):
        self.write_bundle()
        self.delete()
        return host.Process(self._runtime("run", "--bundle", self.dir, "--pid-file", self.pid_path, self.id),
                            cgroup=cgroup, mount_pid=self.node.holder.pid, log=log, name=argv[0])

    def start(self, wait=True, timeout=host.PATIENCE):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.pid_path)
        super().start(wait=False)
        if wait:
            self.wait_endpoint(timeout)
            self.process.pid = self.broker()
        return self

    def broker(self):
        """The first process of the container, as this machine numbers it."""
        with open(self.pid_path, encoding="ascii") as file:
            return int(file.read())

    def signal(self, name):
        """As kubelet has it done: from outside of the container's process namespace."""
        host.run(self._there("kill", self.id, name))

    def reload(self):
        self.signal("HUP")

    def stop(self, timeout=host.PATIENCE):
        """SIGTERM; the exit status, as the runtime passes it on."""
        self.signal("TERM")
        try:
            return self.process.popen.wait(timeout)
        except subprocess.TimeoutExpired as error:
            raise host.LabError(f"does not end within {timeout} s of SIGTERM:\n{self.log()[-2000:]}") from error

    def kill(self):
        self.signal("KILL")
        return self.process.popen.wait(host.PATIENCE)

    def delete(self):
        """Whatever is left of it."""
        host.run(self._there("delete", "--force", self.id), check=False)

    def execute(self, *argv, timeout=120):
        """(exit status, standard output, standard error) of a command inside, as `kubectl exec` does it."""
        join = ["/bin/sh", "-c", 'echo $$ >"$0/cgroup.procs" && exec "$@"', f"{self.lab.cgroup}/infra"]
        done = subprocess.run([*join, *self._there("exec", self.id, *argv)], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=timeout, check=False)
        return done.returncode, done.stdout, done.stderr

    def mounted(self):
        """{mount point: (options, file system)} as the container has it."""
        with open(f"/proc/{self.broker()}/mountinfo", encoding="utf-8") as file:
            found = [re.match(r"\S+ \S+ \S+ \S+ (\S+) (\S+) (.*?)- (\S+)", line).groups() for line in file]
        return {point: (options.split(","), propagation.split(), kind) for point, options, propagation, kind in found}


def runtime_missing():
    """Why no container can be run here, or None."""
    for path in ("/usr/bin/crun", PROFILE):
        if not os.path.exists(path):
            return f"{path} is not installed: tests/deps.sh test"
    return None
