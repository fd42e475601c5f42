"""What is shipped: deploy/ as kubectl renders it, and the image as it is built."""

import functools
import json
import os
import re
import subprocess
import tarfile

import programs
import yaml
from programs import Unavailable

REPOSITORY = programs.REPOSITORY
DEPLOY = f"{REPOSITORY}/deploy"
NO_MIRROR = 3  # deploy/image.sh: Debian's packages cannot be had
IMAGE_SECONDS = 900


def makefile(name):
    with open(f"{REPOSITORY}/Makefile", encoding="utf-8") as file:
        return re.search(rf"^{name} \?= (\S+)$", file.read(), re.M).group(1)


@functools.lru_cache(maxsize=None)
def render():
    done = subprocess.run([programs.path("kubectl"), "kustomize", DEPLOY], capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    items = [item for item in yaml.safe_load_all(done.stdout) if item]
    found = {(item["kind"], item["metadata"]["name"]): item for item in items}
    assert len(found) == len(items), "two objects of one kind and name"
    return found


@functools.lru_cache(maxsize=None)
def build_image():
    """The archive that `make image` leaves; one that is up to date takes seconds."""
    done = subprocess.run(["make", "--no-print-directory", "image"], cwd=REPOSITORY, capture_output=True, text=True,
                          timeout=IMAGE_SECONDS)
    if done.returncode:
        text = (done.stdout + done.stderr).strip()
        if f"Error {NO_MIRROR}" in text:
            raise Unavailable(text.splitlines()[0])
        raise AssertionError(text)
    return os.path.join(REPOSITORY, os.environ.get("BUILD", "build"), "egress-verifier.tar")


class Image:
    """An archive, and its files below `root`."""

    def __init__(self, archive, folder):
        self.archive, self.root = archive, f"{folder}/root"
        with tarfile.open(archive) as tar:
            read = lambda name: json.load(tar.extractfile(name))  # noqa: E731
            (manifest,) = read("manifest.json")
            self.config, self.names = read(manifest["Config"]), manifest["RepoTags"]
            for layer in manifest["Layers"]:
                with tarfile.open(fileobj=tar.extractfile(layer)) as files:
                    files.extractall(self.root, numeric_owner=True)

    def files(self):
        """Regular files, as paths in the image."""
        for folder, _, names in os.walk(self.root):
            for name in names:
                path = os.path.join(folder, name)
                if not os.path.islink(path):
                    yield path[len(self.root):]

    def run(self, *argv):
        """In the image's files alone, without /proc and with no environment."""
        done = subprocess.run(["/usr/sbin/chroot", self.root, *argv], env={}, capture_output=True, text=True, timeout=120)
        return done.returncode, done.stdout, done.stderr
