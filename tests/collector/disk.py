"""Small disks for the spool, in the mount namespace of a lab's node: they end with the lab."""

import contextlib
import itertools
import os

from parts import host

_number = itertools.count()


class Disk:
    """A tmpfs of `size` bytes. `device`: an ext4 on a loop device whose backing file is on that tmpfs: what was
    written without an error may then not be there after all, which fsync(2) says."""

    def __init__(self, lab, node="w1", size=4 << 20, device=False):
        self.holder = lab.node(node).holder.pid
        base = f"{lab.dir}/disk-{next(_number)}"
        self.back, self.folder = f"{base}-back", f"{base}/spool"
        self.mounted = [self.back]
        os.makedirs(self.back)
        os.makedirs(base)
        self.inside("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", self.back)
        if device:
            image = f"{self.back}/image"
            self.inside("truncate", "-s", "16M", image)
            self.inside("mkfs.ext4", "-q", "-O", "^has_journal,^resize_inode", "-N", "64", image)
            self.inside("mount", "-o", "loop", image, base)
            self.mounted.insert(0, base)
        else:
            self.folder = f"{self.back}/spool"

    def inside(self, *argv):
        return host.run(["nsenter", f"--mount=/proc/{self.holder}/ns/mnt", "--", *argv])

    def path(self, name="", folder=None):
        """As this process reaches it."""
        return f"/proc/{self.holder}/root{folder or self.folder}/{name}"

    def fill(self):
        """Until nothing more goes."""
        file = os.open(self.path("filling", self.back), os.O_CREAT | os.O_WRONLY, 0o600)
        try:
            for block in (65536, 512):
                with contextlib.suppress(OSError):
                    while True:
                        os.write(file, b"\xff" * block)
        finally:
            os.close(file)

    def empty(self):
        os.unlink(self.path("filling", self.back))

    def read_only(self, yes=True):
        self.inside("mount", "-o", f"remount,{'ro' if yes else 'rw'}", self.back)

    def close(self):
        for place in self.mounted:
            with contextlib.suppress(host.LabError):
                self.inside("umount", place)
