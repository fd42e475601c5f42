"""Programs that end with their owner, and folders that the next one removes."""

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import threading
import time

import programs

RUN_DIR = "/run/evkube"
FOLDERS = 200  # at once; more than anybody has started


class HarnessError(Exception):
    """The harness, not the product, is at fault."""


def wait_for(condition, what, timeout=60.0, pause=0.01):
    """What condition() gave, once it is true. There is no event to wait for, so it asks."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise HarnessError(f"not within {timeout} s: {what}")
        time.sleep(pause)


class Program:
    """One of the programs; start() after stop() or kill() runs it again with the same arguments."""

    def __init__(self, name, arguments, folder, net):
        self.name, self.arguments, self.log_path, self.net = name, arguments, f"{folder}/{name}.log", net
        self.popen = None

    def start(self):
        if self.alive():
            return
        if threading.current_thread() is not threading.main_thread():
            raise HarnessError("a program ends with the thread that started it: start it from the main thread")
        # Ended by the kernel when this process ends, however; setpriv and nsenter become the program.
        argv = ["setpriv", "--pdeathsig", "KILL", "--"]
        argv += ["nsenter", f"--net={self.net}", "--"] if self.net else []
        with open(self.log_path, "ab") as log:
            self.popen = subprocess.Popen([*argv, programs.path(self.name), *self.arguments()], stdin=subprocess.DEVNULL,
                                          stdout=log, stderr=log, start_new_session=True)

    def alive(self):
        return self.popen is not None and self.popen.poll() is None

    def need_alive(self):
        if not self.alive():
            raise HarnessError(f"{self.name} ended with {self.popen.returncode}:\n{self.log()[-3000:]}")

    def _end(self, number, timeout):
        if self.alive():
            self.popen.send_signal(signal.SIGCONT)
            self.popen.send_signal(number)
            self.popen.wait(timeout)

    def stop(self, timeout=60):
        try:
            self._end(signal.SIGTERM, timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise HarnessError(f"{self.name} did not end within {timeout} s") from None

    def kill(self):
        self._end(signal.SIGKILL, 60)

    def pause(self):
        """It answers nothing; the kernel still takes connections and bytes for it."""
        self.popen.send_signal(signal.SIGSTOP)

    def resume(self):
        self.popen.send_signal(signal.SIGCONT)

    def log(self):
        try:
            with open(self.log_path, encoding="utf-8", errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def memory(self):
        """Resident bytes."""
        with open(f"/proc/{self.popen.pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Folder:
    """/run/evkube/N, with a lock that goes with this process."""

    def __init__(self):
        remove_dead()
        self.number = next(number for number in range(FOLDERS) if self._lock(number))
        self.path = f"{RUN_DIR}/{self.number}"
        remove(self.number)
        os.mkdir(self.path, 0o700)

    def _lock(self, number):
        self.lock = lock(number)
        return self.lock is not None

    def close(self):
        if self.lock:
            remove(self.number)
            unlock(self.number, self.lock)
            self.lock = None


def lock(number):
    """The lock of folder `number`, or None when its owner lives."""
    path = f"{RUN_DIR}/{number}.lock"
    while True:
        file = open(path, "a+", encoding="ascii")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return None
        # Its last owner may have removed the file between open and flock.
        with contextlib.suppress(FileNotFoundError):
            if os.stat(path).st_ino == os.fstat(file.fileno()).st_ino:
                return file
        file.close()


def unlock(number, file):
    os.unlink(f"{RUN_DIR}/{number}.lock")
    file.close()


def processes_of(number):
    """Those whose arguments name the folder."""
    found, folder = [], f"{RUN_DIR}/{number}/".encode()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                words = file.read().split(b"\0")
        except OSError:
            continue
        if os.path.basename(words[0]) in (b"etcd", b"kube-apiserver") and folder in b" ".join(words):
            found.append(int(pid))
    return found


def remove(number):
    for pid in processes_of(number):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    wait_for(lambda: not processes_of(number), f"end of the programs of {RUN_DIR}/{number}")
    shutil.rmtree(f"{RUN_DIR}/{number}", ignore_errors=True)


def remove_dead():
    """What crashed ones left; their numbers."""
    removed = []
    os.makedirs(RUN_DIR, exist_ok=True)
    for number in sorted({int(name.removesuffix(".lock")) for name in os.listdir(RUN_DIR)}):
        held = lock(number)
        if held:
            remove(number)
            unlock(number, held)
            removed.append(number)
    return removed
