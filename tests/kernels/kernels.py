#!/usr/bin/python3
"""Other kernels than this machine's: fetched from their distribution, booted by QEMU, with this machine's files.

    kernels.py run KERNEL [TEST…]   boots it and runs these tests inside (default: TESTS of selection.py; --all: MORE)
    kernels.py shell KERNEL COMMAND…
                                    boots it and runs a shell command inside, in the repository
    kernels.py fetch [KERNEL…]      only fetches
    kernels.py list                 what there is

    from kernels import KERNELS, Guest
    guest = Guest("6.1").start(["tests/lab/test_lab.py"])
    results = guest.wait()                # [{"test": "tests/lab/test_lab.py::test_x", "outcome": "passed", …}]
"""

import argparse
import collections
import contextlib
import hashlib
import json
import lzma
import os
import select
import shlex
import shutil
import signal
import stat
import struct
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass

from selection import selection

HERE = os.path.dirname(os.path.abspath(__file__))
REPOSITORY = os.path.dirname(os.path.dirname(HERE))
CACHE = f"{REPOSITORY}/.cache/kernels"
SECONDS = 1500  # for a whole guest, on a busy machine
MEMORY = "2048M"
# The guest's time is what it has executed, a nanosecond an instruction, however busy this machine is: only for what it waits
# for from outside (a file's content) it passes as it does here. So no deadline in there depends on the load out here.
CLOCK = ("-icount", "shift=0,sleep=on", "-rtc", "clock=vm")
END = "ended"
REMAINS = "ev-kernels-"  # and the process that made it
QEMU = "qemu-system-x86_64"
TOOLS = (QEMU, "busybox", "depmod", "modprobe", "dpkg-deb", "apt-get", "zstd")

# The machine's own registry, and others whose index is kept in CACHE.
DEBIAN_KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"
UBUNTU = "http://archive.ubuntu.com/ubuntu"
UBUNTU_KEYS = f"{CACHE}/ubuntu-archive-keyring.gpg"
UBUNTU_KEYS_SHA256 = "1a4dd63e5c76728960a2edddae22e2e0fc53df8e8b87806deb971030ac704eb0"
SUITES = {
    "bullseye": [f"deb [signed-by={DEBIAN_KEYS}] http://deb.debian.org/debian bullseye main"],
    "jammy": [f"deb [signed-by={UBUNTU_KEYS}] {UBUNTU} jammy-updates main"],
    "keys": [f"deb [trusted=yes] {UBUNTU} jammy main"],  # only to fetch the keys, which are compared
}
PATTERNS = ["./boot/vmlinuz-*", "./boot/config-*"] + [f"./lib/modules/*/{path}" for path in (
    "modules.order", "modules.builtin*", "kernel/net/*", "kernel/crypto/*", "kernel/lib/*", "kernel/arch/*",
    "kernel/fs/9p/*", "kernel/fs/overlayfs/*", "kernel/fs/netfs/*", "kernel/fs/fscache/*", "kernel/drivers/virtio/*",
    "kernel/drivers/net/*.ko*", "kernel/drivers/net/wireguard/*")]
# Before there is a root: what finds it.
EARLY = ("virtio_pci", "9pnet_virtio", "9p", "overlay")


class KernelError(Exception):
    """It does not boot, or not to its end."""


class Unavailable(KernelError):
    """It cannot be had: no network, another registry."""


@dataclass
class Kernel:
    packages: tuple  # what depends on the newest, or itself
    suite: str = ""  # "": the machine's own registry
    about: str = ""


KERNELS = {
    "5.10": Kernel(("linux-image-5.10.0-32-amd64",), "bullseye", "Debian 11, below what the agent needs"),
    "5.15": Kernel(("linux-image-azure-lts-22.04",), "jammy", "Ubuntu 22.04 on Azure: no tcx, Landlock 1"),
    "6.1": Kernel(("linux-image-amd64",), "", "Debian 12: no tcx, Landlock 2"),
    "6.8": Kernel(("linux-image-azure",), "jammy", "Ubuntu 22.04 and 24.04 on Azure: tcx, Landlock 4"),
    "6.12": Kernel(("linux-image-6.12-amd64",), "", "Debian 13, backported: tcx, Landlock 6"),
}


def missing_tools():
    return [tool for tool in TOOLS if not shutil.which(tool)]


def command(argv, **options):
    done = subprocess.run(argv, capture_output=True, text=True, check=False, **options)
    if done.returncode:
        raise KernelError(f"{' '.join(argv)}: {done.stderr.strip()[-500:]}")
    return done.stdout


# From the registry


class Apt:
    """apt, asked about a suite; its index lives beside the kernels unless it is the machine's own."""

    def __init__(self, suite):
        self.options, self.suite = [], suite
        if not suite:
            return
        if suite == "jammy":
            fetch_ubuntu_keys()
        self._private(f"{CACHE}/apt-{suite}", SUITES[suite])

    def _private(self, folder, sources):
        for name in ("state/lists/partial", "cache/archives/partial"):
            os.makedirs(f"{folder}/{name}", exist_ok=True)
        with open(f"{folder}/sources.list", "w", encoding="ascii") as file:
            file.write("\n".join(sources) + "\n")
        self.options = [word for option in (
            f"Dir::Etc::sourcelist={folder}/sources.list", "Dir::Etc::sourceparts=/dev/null",
            f"Dir::State={folder}/state", f"Dir::Cache={folder}/cache", "Dir::State::status=/var/lib/dpkg/status",
            "Acquire::Languages=none", "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
        ) for word in ("-o", option)]

    def update(self):
        command(["apt-get", *self.options, "update", "-qq"])

    def depends(self, package):
        """Names that it depends on, without alternatives."""
        text = command(["apt-cache", *self.options, "depends", "--important", package])
        return [line.split()[1] for line in text.splitlines() if line.strip().startswith("Depends: ")]

    def download(self, packages, folder):
        command(["apt-get", *self.options, "download", "-qq", *packages], cwd=folder)


def fetch_ubuntu_keys():
    """Debian has no package of Ubuntu's keys; this file is known by its content."""
    if os.path.exists(UBUNTU_KEYS):
        return
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="keys-") as new:
        apt = Apt("keys")
        apt.update()
        apt.download(["ubuntu-keyring"], new)
        (package,) = os.listdir(new)
        command(["dpkg-deb", "-x", f"{new}/{package}", f"{new}/files"])
        keys = f"{new}/files/usr/share/keyrings/ubuntu-archive-keyring.gpg"
        with open(keys, "rb") as file:
            found = hashlib.sha256(file.read()).hexdigest()
        if found != UBUNTU_KEYS_SHA256:
            raise KernelError(f"Ubuntu's keys are others than those known here: {found}")
        os.replace(keys, UBUNTU_KEYS)


def with_modules(apt, package):
    """The packages that hold a kernel and its modules."""
    depends = [name for name in apt.depends(package) if name.startswith(("linux-image-", "linux-modules-"))]
    if not depends or any(name.startswith("linux-modules-") for name in depends):
        return [package, *depends]
    return [name for each in depends for name in with_modules(apt, each)]


def fetch(name):
    """The folder of a kernel: boot/, lib/modules/; fetched once."""
    folder = f"{CACHE}/{name}"
    if not os.path.exists(f"{folder}/packages"):
        os.makedirs(CACHE, exist_ok=True)
        try:
            fetch_into(folder, KERNELS[name])
        except KernelError as error:
            raise Unavailable(f"{name}: {error}") from error
    return folder


def fetch_into(folder, kernel):
    apt = Apt(kernel.suite)
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="fetch-") as new:
        os.chmod(new, 0o755)
        try:
            packages = with_modules(apt, kernel.packages[0])
            apt.download(packages, new)
        except KernelError:  # no index yet, or one that is too old
            apt.update()
            packages = with_modules(apt, kernel.packages[0])
            apt.download(packages, new)
        for file in [entry for entry in os.listdir(new) if entry.endswith(".deb")]:
            unpack(f"{new}/{file}", new)
            os.unlink(f"{new}/{file}")
        (image,) = [entry for entry in os.listdir(f"{new}/boot") if entry.startswith("vmlinuz-")]
        with open(f"{new}/boot/vmlinux", "wb") as out:
            out.write(uncompressed(f"{new}/boot/{image}"))
        os.unlink(f"{new}/boot/{image}")
        (release,) = os.listdir(f"{new}/lib/modules")
        command(["depmod", "--basedir", new, release])
        with open(f"{new}/packages", "w", encoding="ascii") as file:
            file.write(" ".join(packages) + "\n")
        shutil.rmtree(folder, ignore_errors=True)
        os.mkdir(folder)
        for part in ("boot", "lib", "packages"):  # that last, which says that all is there
            os.rename(f"{new}/{part}", f"{folder}/{part}")


def uncompressed(path):
    """The kernel inside a bzImage (Documentation/arch/x86/boot.rst): an emulated processor takes seconds to unpack it."""
    with open(path, "rb") as file:
        image = file.read()
    offset, length = struct.unpack_from("<II", image, 0x248)  # payload_offset, payload_length
    begin = (image[0x1f1] + 1) * 512 + offset  # setup_sects
    payload = image[begin:begin + length - 4]  # the last four say how much it will be
    if payload.startswith(b"\xfd7zXZ"):
        return lzma.LZMADecompressor().decompress(payload)
    if payload.startswith(b"\x28\xb5\x2f\xfd"):
        return subprocess.run(["zstd", "-dcq"], input=payload, stdout=subprocess.PIPE, check=False).stdout
    raise KernelError(f"{path}: compressed in a way not known here")


def unpack(package, folder):
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE) as tar:
        done = subprocess.run(["tar", "-x", "-C", folder, "--wildcards", *PATTERNS], stdin=tar.stdout, check=False,
                              capture_output=True, text=True)
    problems = [line for line in done.stderr.splitlines() if "Not found in archive" not in line and "Exiting" not in line]
    if tar.returncode or problems:
        raise KernelError(f"{package}: {problems}")


# Booting


def early_modules(folder):
    """(name, content) of the modules that find the root, in the order of their dependencies."""
    (release,) = os.listdir(f"{folder}/lib/modules")
    paths = []
    for module in EARLY:
        text = command(["modprobe", "--dirname", folder, "--set-version", release, "--show-depends", module])
        paths += [line.split()[1] for line in text.splitlines() if line.startswith("insmod ")]
    for path in dict.fromkeys(paths):
        with (lzma.open if path.endswith(".xz") else open)(path, "rb") as file:
            yield os.path.basename(path).removesuffix(".xz"), file.read()


def cpio(entries):
    """An archive as the kernel unpacks it (its Documentation/driver-api/early-userspace/buffer-format.rst)."""
    out = bytearray()
    for number, (name, mode, content) in enumerate([*entries, ("TRAILER!!!", 0, b"")], 1):
        fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
        out += b"070701" + b"".join(b"%08x" % field for field in fields) + name.encode() + b"\0"
        out += bytes(-len(out) % 4) + content
        out += bytes(-len(out) % 4)
    return bytes(out)


def first_files(folder, script):
    """What the kernel starts with: a shell, the early modules, what to do."""
    files = [(shutil.which("busybox"), "bin/busybox"), (f"{HERE}/init.sh", "init")]
    entries = [(name, stat.S_IFDIR | 0o755, b"") for name in ("bin", "modules")]
    entries += [("bin/sh", stat.S_IFLNK | 0o777, b"busybox"), ("run.sh", stat.S_IFREG | 0o755, script.encode())]
    for source, name in files:
        with open(source, "rb") as file:
            entries.append((name, stat.S_IFREG | 0o755, file.read()))
    modules = list(early_modules(folder))
    entries += [(f"modules/{name}", stat.S_IFREG | 0o644, content) for name, content in modules]
    order = "".join(name + "\n" for name, _ in modules).encode()
    return cpio([*entries, ("modules/order", stat.S_IFREG | 0o644, order)])


def remove_remains():
    """Folders of those that were killed; their guests ended with them."""
    for name in os.listdir(tempfile.gettempdir()):
        owner = name.removeprefix(REMAINS).split("-")[0] if name.startswith(REMAINS) else ""
        if owner.isdigit() and not os.path.exists(f"/proc/{owner}"):
            shutil.rmtree(f"{tempfile.gettempdir()}/{name}", ignore_errors=True)


class Guest:
    """One boot of a kernel. What runs inside has this machine's files, which it cannot change, and root's rights."""

    def __init__(self, name):
        self.name, self.folder = name, fetch(name)
        self.process = self.directory = None

    def start(self, tests):
        """Boots it and runs these tests of the repository with pytest."""
        return self.boot(shlex.join(["/usr/bin/python3", f"{HERE}/inside.py", *tests]))

    def boot(self, shell_command):
        remove_remains()
        self.directory = tempfile.TemporaryDirectory(prefix=f"{REMAINS}{os.getpid()}-")
        build = os.environ.get("BUILD", "build")
        script = f"""export BUILD={shlex.quote(build)} PYTHONDONTWRITEBYTECODE=1 HOME=/root TERM=dumb EV_KERNEL={self.name}
            export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
            cd {shlex.quote(REPOSITORY)}
            {shell_command} </dev/null >/dev/ttyS0 2>&1
            echo "{END} $?" >/dev/ttyS1
            busybox poweroff -f"""
        with open(f"{self.directory.name}/first", "wb") as file:
            file.write(first_files(self.folder, script))
        line = ["console=ttyS0", "panic=-1", "mitigations=off", "random.trust_cpu=on", "nokaslr",
                f"kernels.folder={self.folder}"]
        # It ends with us, however we end.
        argv = ["setpriv", "--pdeathsig", "KILL", QEMU, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
                "-machine", "q35,accel=tcg", "-cpu", "max", "-m", MEMORY, *CLOCK,
                "-kernel", f"{self.folder}/boot/vmlinux", "-initrd", f"{self.directory.name}/first",
                "-append", " ".join(line), "-serial", f"file:{self.directory.name}/console",
                "-serial", f"file:{self.directory.name}/results",
                "-virtfs", "local,path=/,mount_tag=machine,security_model=none,readonly=on,multidevs=remap"]
        with open(f"{self.directory.name}/qemu", "wb") as log:
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.begin = time.monotonic()
        return self

    def cpu_seconds(self):
        """What it took of this machine's processors until now."""
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as file:
            return sum(map(int, file.read().rpartition(")")[2].split()[11:13])) / os.sysconf("SC_CLK_TCK")

    def read(self, what):
        with contextlib.suppress(FileNotFoundError), open(f"{self.directory.name}/{what}", encoding="utf-8",
                                                          errors="replace") as file:
            return file.read()
        return ""

    def wait(self):
        """The tests' results, or KernelError with what the console said last."""
        end = os.pidfd_open(self.process.pid)
        try:
            ended = select.select([end], [], [], max(0, self.begin + SECONDS - time.monotonic()))[0]
        finally:
            os.close(end)
        how = "ended" if ended else f"did not end within {SECONDS} s"
        self.cpu = self.cpu_seconds()  # also of one that ended, until it is waited for
        self.seconds = time.monotonic() - self.begin
        lines = self.read("results").splitlines()
        self.console = self.read("console")
        said = self.read("qemu")
        self.stop()
        if not lines or not lines[-1].startswith(END):
            raise KernelError(f"{self.name} {how} without a result: {said[-1000:]}\n{self.console[-6000:]}")
        self.status = int(lines[-1].split()[1])
        return [json.loads(line) for line in lines[:-1]]

    def stop(self):
        if self.process:
            self.process.kill()
            self.process.wait()
        if self.directory:
            self.directory.cleanup()
        self.process = self.directory = None


# Command line


def run(name, tests):
    guest = Guest(name).start(tests)
    try:
        results = guest.wait()
    finally:
        guest.stop()
    for result in results:
        print(f"{result['outcome']:8} {result['seconds']:6.1f} s  {result['test']}")
        if result["outcome"] != "passed":
            print(result["text"])
    counts = collections.Counter(result["outcome"] for result in results)
    print(f"{name} ({KERNELS[name].about}): {dict(counts)}, {guest.seconds:.0f} s, "
          f"{guest.cpu:.0f} s of a processor")
    if guest.status:
        print(guest.console[-4000:])
    return guest.status


def shell(name, words):
    guest = Guest(name).boot(" ".join(words))
    try:
        guest.wait()
    finally:
        guest.stop()
    print(guest.console)
    return guest.status


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for verb in ("run", "shell"):
        one = commands.add_parser(verb)
        one.add_argument("kernel", choices=KERNELS)
        one.add_argument("words", nargs="*" if verb == "run" else "+")
        if verb == "run":
            one.add_argument("--all", action="store_true")
    commands.add_parser("fetch").add_argument("kernels", nargs="*")
    commands.add_parser("list")
    args = parser.parse_args()
    if args.command == "list":
        for name, kernel in KERNELS.items():
            print(f"{name:5} {kernel.about}")
    elif args.command == "fetch":
        for name in args.kernels or KERNELS:
            print(name, fetch(name))
    elif args.command == "run":
        sys.exit(run(args.kernel, args.words or selection(args.kernel, args.all)))
    else:
        sys.exit(shell(args.kernel, args.words))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        main()
    except KernelError as problem:
        sys.exit(f"kernels.py: {problem}")
