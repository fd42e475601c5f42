"""This machine: commands, network namespaces, processes, cgroups, mounts.

Knows nothing of what the lab models.
"""

import contextlib
import ctypes
import errno
import fcntl
import os
import queue
import re
import signal
import subprocess
import threading
import time

RUN_DIR = "/run/evlab"  # one folder and one lock file per lab
NETNS_DIR = "/run/netns"
CLONE_NEWNET = 0x40000000
MNT_DETACH = 2
MS_BIND, MS_SHARED = 4096, 1 << 20
# For how long what must come is waited for. It measures nothing: a machine that is busy is no failure.
PATIENCE = 60

_libc = ctypes.CDLL(None, use_errno=True)


class LabError(Exception):
    """The lab, not the product, is at fault."""


def run(argv, *, stdin=None, check=True, timeout=PATIENCE, env=None):
    """Runs a command to its end and returns its standard output."""
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=timeout, env=env)
    if check and done.returncode:
        raise LabError(f"{' '.join(argv)}: exit {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def wait_for(condition, what, timeout=PATIENCE, pause=0.003):
    """Waits until condition() is true; what it returned. There is no event to wait for, so it asks."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise LabError(f"not within {timeout} s: {what}")
        time.sleep(pause)


# Network namespaces


def ip_batch(lines, net=None, family=None):
    """Many ip(8) commands in one process, in namespace `net`. `family`: "-4" where ip would guess it wrong."""
    argv = ["ip"] + ([family] if family else []) + (["-n", net] if net else []) + ["-batch", "-"]
    run(argv, stdin="\n".join(lines) + "\n")


def ip(net, *args, check=True):
    return run(["ip", "-n", net, *args], check=check)


@contextlib.contextmanager
def inside(net):
    """This thread, and what it starts, in network namespace `net` for a while."""
    with open("/proc/thread-self/ns/net", "rb") as back, open(f"{NETNS_DIR}/{net}", "rb") as there:
        _setns(there.fileno())
        try:
            yield
        finally:
            _setns(back.fileno())


def _setns(fd):
    if _libc.setns(fd, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def sysctls(net, values):
    with inside(net):
        for name, value in values.items():
            # A slash form, because device names may have dots.
            with open(f"/proc/sys/net/{name}", "w", encoding="ascii") as file:
                file.write(str(value))


def iptables_restore(net, text):
    with inside(net):
        run(["iptables-nft-restore"], stdin=text)


def iptables_save(net):
    with inside(net):
        return run(["iptables-nft-save"])


def netns_list():
    try:
        return sorted(os.listdir(NETNS_DIR))
    except FileNotFoundError:
        return []


def netns_delete(name):
    umount(f"{NETNS_DIR}/{name}")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{NETNS_DIR}/{name}")


# Mounts


def mount_bind(source, target):
    if _libc.mount(source.encode(), target.encode(), None, MS_BIND, None):
        raise OSError(ctypes.get_errno(), f"mount {source} on {target}")


def mount_shared(target):
    if _libc.mount(None, target.encode(), None, MS_SHARED, None):
        raise OSError(ctypes.get_errno(), f"make {target} shared")


def umount(target):
    """All mounts that are stacked there."""
    while _libc.umount2(target.encode(), MNT_DETACH) == 0:
        pass


def mounts_below(folder):
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        points = [line.split()[4] for line in file]
    return sorted((p for p in points if p == folder or p.startswith(folder + "/")), reverse=True)


# Control groups


def cgroup_mount():
    """Where cgroup v2 is mounted."""
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        for line in file:
            fields, _, rest = line.partition(" - ")
            if rest.split()[0] == "cgroup2":
                return fields.split()[4]
    raise LabError("no cgroup v2 mounted")


def cgroup_pids(path):
    pids = []
    for folder, _, _ in os.walk(path):
        with contextlib.suppress(OSError):
            with open(f"{folder}/cgroup.procs", encoding="ascii") as file:
                pids += [int(line) for line in file]
    return pids


def cgroup_kill(path, timeout=PATIENCE):
    """Ends every process in the cgroup and removes it with everything below."""
    deadline = time.monotonic() + timeout
    while os.path.isdir(path):
        for pid in cgroup_pids(path):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(OSError):
            for folder, _, _ in os.walk(path, topdown=False):
                os.rmdir(folder)
        if os.path.isdir(path):
            if time.monotonic() > deadline:
                raise LabError(f"{path}: cannot be removed, pids {cgroup_pids(path)}")
            time.sleep(0.005)


# Processes


class Process:
    """A process of the lab. Its output goes to `log` (a path), or is kept line by line."""

    def __init__(self, argv, *, cgroup, net=None, mount_pid=None, log=None, env=None, name=None):
        enter = []
        if net or mount_pid:
            enter = ["nsenter"]
            enter += [f"--net={NETNS_DIR}/{net}"] if net else []
            enter += [f"--mount=/proc/{mount_pid}/ns/mnt"] if mount_pid else []
        # In its cgroup before its first own instruction.
        join = ["/bin/sh", "-c", 'echo $$ >"$0/cgroup.procs" && exec "$@"', cgroup]
        self.argv, self.name, self.log = argv, name or os.path.basename(argv[0]), log
        self.lines = []
        self._queue = queue.Queue()
        output = open(log, "ab") if log else subprocess.PIPE
        self.popen = subprocess.Popen(enter + join + list(argv), stdin=subprocess.DEVNULL, stdout=output,
                                      stderr=output if log else subprocess.STDOUT, start_new_session=True,
                                      env=dict(os.environ, **(env or {})))
        self.pid = self.popen.pid
        if log:
            output.close()
        else:
            self._reader = threading.Thread(target=self._read, daemon=True)
            self._reader.start()

    def _read(self):
        with self.popen.stdout:
            for line in self.popen.stdout:
                text = line.decode("utf-8", "replace").rstrip("\n")
                self.lines.append(text)
                self._queue.put(text)
        self._queue.put(None)

    def wait_line(self, pattern="", timeout=PATIENCE):
        """The next line that matches; LabError when it ends or takes too long."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                line = self._queue.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                line = None
            if line is None:
                raise LabError(f"{self.name}: no line /{pattern}/, output {self.lines[-5:]}, exit {self.popen.poll()}")
            if re.search(pattern, line):
                return line

    def alive(self):
        return self.popen.poll() is None

    def signal(self, number):
        with contextlib.suppress(ProcessLookupError):
            self.popen.send_signal(number)

    def stop(self, timeout=PATIENCE):
        """SIGTERM, and SIGKILL when that does not help; the exit status."""
        self.signal(signal.SIGTERM)
        try:
            return self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            return self.kill()

    def kill(self):
        self.signal(signal.SIGKILL)
        return self.popen.wait(PATIENCE)

    def wait(self, timeout=PATIENCE):
        """Waits for its end; the exit status. All output is in `lines` then."""
        code = self.popen.wait(timeout)
        if not self.log:
            self._reader.join(PATIENCE)
        return code


# Instances: a number per lab, locked for as long as its owner lives


def lab_lock(number):
    """The lock of a lab, or None when somebody lives there."""
    os.makedirs(RUN_DIR, exist_ok=True)
    path = f"{RUN_DIR}/{number}.lock"
    while True:
        file = open(path, "a+", encoding="ascii")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.close()
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            return None
        # Its last owner may have removed the file between open and flock.
        with contextlib.suppress(FileNotFoundError):
            if os.stat(path).st_ino == os.fstat(file.fileno()).st_ino:
                return file
        file.close()


def lab_unlock(number, file):
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{RUN_DIR}/{number}.lock")
    file.close()


def lab_numbers():
    """Labs that live or left something: folders, locks, namespaces, cgroups."""
    numbers = set()
    places = [(RUN_DIR, r"(\d+)(\.lock)?$"), (NETNS_DIR, r"ev(\d+)-"), (cgroup_mount(), r"evlab(\d+)$")]
    for folder, pattern in places:
        with contextlib.suppress(FileNotFoundError):
            for name in os.listdir(folder):
                match = re.match(pattern, name)
                if match:
                    numbers.add(int(match.group(1)))
    return sorted(numbers)


def remove_remains(number):
    """Everything that lab `number` may have left. Its lock must be held."""
    folder = f"{RUN_DIR}/{number}"
    cgroup_kill(f"{cgroup_mount()}/evlab{number}")
    for point in mounts_below(folder):
        umount(point)
    for name in netns_list():
        if name.startswith(f"ev{number}-"):
            netns_delete(name)
    if os.path.isdir(folder):
        run(["rm", "-rf", "--one-file-system", folder])
