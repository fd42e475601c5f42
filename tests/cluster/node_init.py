"""The first process of a node: makes its root, runs containerd and kubelet, reaps. Started by node.py.

Runs in mount, PID, UTS, IPC and cgroup namespaces of its own and in the lab's network namespace of the node. The root is an
overlay over the machine's with the writes in memory, so that nothing that a node writes stays behind.
"""

import ctypes
import json
import os
import shutil
import subprocess
import sys
import time

BIND, REC, PRIVATE, SHARED = 4096, 16384, 1 << 18, 1 << 20
PLAIN = 2 | 4 | 8  # nosuid, nodev, noexec
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}[os.uname().machine]
# kubelet wants to write these, and they are the whole kernel's: it is shown files that already hold what it wants.
TUNABLES = {"vm/overcommit_memory": 1, "vm/panic_on_oom": 0, "kernel/panic": 10, "kernel/panic_on_oops": 1,
            "kernel/keys/root_maxkeys": 1000000, "kernel/keys/root_maxbytes": 25000000}
libc = ctypes.CDLL(None, use_errno=True)


def mount(source, target, kind=None, flags=0, options=None):
    words = [word.encode() if word else None for word in (source, target, kind)]
    if libc.mount(*words, flags, options.encode() if options else None):
        raise OSError(ctypes.get_errno(), f"mount {source} on {target} ({kind}, {options})")


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def make_root(spec):
    mount(None, "/", None, REC | PRIVATE)
    base = spec["folder"] + "/root"
    os.makedirs(base, exist_ok=True)
    mount("tmpfs", base, "tmpfs", 0, "size=256m,mode=755")
    for name in ("upper", "work", "new"):
        os.mkdir(f"{base}/{name}")
    new = base + "/new"
    mount("overlay", new, "overlay", 0, f"lowerdir=/,upperdir={base}/upper,workdir={base}/work")
    mount("proc", new + "/proc", "proc", PLAIN)
    mount("sysfs", new + "/sys", "sysfs", PLAIN)
    mount("/dev", new + "/dev", None, BIND | REC)
    mount("tmpfs", new + "/run", "tmpfs", 2 | 4, "mode=755")
    mount("tmpfs", new + "/tmp", "tmpfs", 2 | 4, "mode=1777")
    # Not of the overlay: containerd lays overlays there, and an overlay is no upper layer of another.
    for path in ("/var/lib/containerd", "/var/lib/kubelet"):
        os.makedirs(new + path, exist_ok=True)
        mount("tmpfs", new + path, "tmpfs", 0, "size=512m,mode=755")
    cgroups = new + "/sys/fs/cgroup"
    mount("tmpfs", cgroups, "tmpfs", PLAIN, "mode=755")
    for name, (kind, options) in spec["cgroups"].items():
        os.mkdir(f"{cgroups}/{name}")
        mount(kind, f"{cgroups}/{name}", kind, PLAIN, options)
    mount("bpf", new + "/sys/fs/bpf", "bpf", PLAIN)
    for name, value in TUNABLES.items():
        write(f"{base}/{name.replace('/', '.')}", f"{value}\n")
        mount(f"{base}/{name.replace('/', '.')}", f"{new}/proc/sys/{name}", None, BIND)
    for target, source in spec["binds"].items():
        if os.path.isdir(source):
            os.makedirs(new + target, exist_ok=True)
        else:
            write(new + target, "")
        mount(source, new + target, None, BIND)
    os.chdir(new)
    if libc.syscall(PIVOT_ROOT, b".", b"."):
        raise OSError(ctypes.get_errno(), "pivot_root")
    if libc.umount2(b".", 2):
        raise OSError(ctypes.get_errno(), "umount of the old root")
    os.chdir("/")
    # As systemd leaves it: mounts that the runtime makes later reach the pods that asked for them.
    mount(None, "/", None, REC | SHARED)


def prepare(spec):
    libc.sethostname(spec["name"].encode(), len(spec["name"]))
    for path, text in spec["files"].items():
        write(path, text)
    for path, source in spec["programs"].items():
        os.makedirs(os.path.dirname(path), exist_ok=True)
        shutil.copy(source, path)
    os.makedirs("/opt/cni/bin", exist_ok=True)
    for name in os.listdir("/usr/lib/cni"):
        os.symlink(f"/usr/lib/cni/{name}", f"/opt/cni/bin/{name}")


def start(spec, name):
    with open(f"{spec['logs']}/{name}.log", "ab") as log:
        return subprocess.Popen(spec["services"][name], stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def import_images(spec):
    ctr = ["ctr", "-n", "k8s.io"]
    deadline = time.monotonic() + 120
    while subprocess.run([*ctr, "version"], capture_output=True).returncode:
        if time.monotonic() > deadline:
            sys.exit("containerd does not answer")
        time.sleep(0.02)
    for image in spec["images"]:
        subprocess.run([*ctr, "images", "import", image], check=True, stdin=subprocess.DEVNULL)


def serve(services):
    """Ends, and with it the node, when one of the programs does."""
    while True:
        pid, status = os.waitpid(-1, 0)
        for name, process in services.items():
            if pid == process.pid:
                sys.exit(f"{name} ended: status {status}")


def unit(spec, name, kind, after, argv):
    quoted = " ".join('"' + word.replace("%", "%%").replace("$", "$$") + '"' for word in argv)
    return f"""[Unit]
DefaultDependencies=no
After={after}
[Service]
{kind}
Environment="PATH={os.environ['PATH']}" HOME=/root
StandardOutput=append:{spec['logs']}/{name}.log
StandardError=append:{spec['logs']}/{name}.log
ExecStart={quoted}
"""


def become_systemd(spec):
    """As on most nodes: the first process is systemd, which runs the services and hands out the cgroups."""
    units, lasting = "/run/node-units", "Type=exec\nDelegate=yes\nKillMode=process\nTasksMax=infinity"
    once = "Type=oneshot\nRemainAfterExit=yes"
    write("/run/node.json", json.dumps(spec))
    images = [sys.executable, "/tests/node_init.py", "/run/node.json", "images"]
    write(f"{units}/containerd.service", unit(spec, "containerd", lasting, "", spec["services"]["containerd"]))
    write(f"{units}/images.service", unit(spec, "images", once, "containerd.service", images))
    write(f"{units}/kubelet.service", unit(spec, "kubelet", lasting, "images.service", spec["services"]["kubelet"]))
    write(f"{units}/node.target", "[Unit]\nDefaultDependencies=no\nWants=containerd.service images.service kubelet.service\n")
    write(f"{spec['logs']}/console.log", "")
    mount(f"{spec['logs']}/console.log", "/dev/console", None, BIND)
    # SYSTEMD_UNIT_PATH: none of the machine's own units. container: keep from the machine's clock and the like.
    environment = {"PATH": os.environ["PATH"], "HOME": "/root", "LANG": "C", "container": "node", "SYSTEMD_UNIT_PATH": units,
                   "SYSTEMD_GENERATOR_PATH": "/run/none"}
    program = "/lib/systemd/systemd"
    os.execve(program, [program, "--system", "--unit=node.target", "--log-target=console", "--log-level=notice",
                        "--show-status=no"], environment)


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        spec = json.load(file)
    if sys.argv[2:] == ["images"]:
        import_images(spec)
        return
    make_root(spec)
    prepare(spec)
    if spec["systemd"]:
        become_systemd(spec)
    services = {"containerd": start(spec, "containerd")}
    import_images(spec)
    services["kubelet"] = start(spec, "kubelet")
    serve(services)


main()
