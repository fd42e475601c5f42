"""Certificates, by openssl(1)."""

import itertools
import os
import subprocess

_serial = itertools.count(1)


def openssl(*args):
    done = subprocess.run(["openssl", *args], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise RuntimeError(f"openssl {args[0]}: {done.stderr.strip()}")
    return done.stdout


def _certificate(crt, key, subject, extensions, signer=()):
    # A configuration of its own: the system's adds extensions that would then be there twice.
    with open(crt + ".cnf", "w", encoding="ascii") as file:
        file.write("[req]\ndistinguished_name = dn\n[dn]\n[ext]\n" + "\n".join(extensions) + "\n")
    # Both under other names first: a server may be watching them.
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
            "-config", crt + ".cnf", "-extensions", "ext", "-subj", subject, "-set_serial", str(next(_serial)),
            "-keyout", key + ".new", "-out", crt + ".new", *signer)
    os.replace(key + ".new", key)
    os.replace(crt + ".new", crt)
    os.unlink(crt + ".cnf")


def subject_name(name):
    return ("IP:" if name.replace(".", "").isdigit() or ":" in name else "DNS:") + name


class Authority:
    """A certificate authority: FOLDER/NAME.crt and .key."""

    def __init__(self, folder, name):
        self.folder, self.name = folder, name
        self.crt, self.key = f"{folder}/{name}.crt", f"{folder}/{name}.key"
        _certificate(self.crt, self.key, f"/CN={name}", ["basicConstraints = critical, CA:TRUE",
                     "keyUsage = critical, keyCertSign, cRLSign", "subjectKeyIdentifier = hash"])

    def issue(self, name, user, groups=(), names=()):
        """FOLDER/NAME.crt and .key for a client, or with `names` for a server; replaces both when they are there."""
        crt, key = f"{self.folder}/{name}.crt", f"{self.folder}/{name}.key"
        extensions = ["basicConstraints = critical, CA:FALSE", "extendedKeyUsage = clientAuth, serverAuth",
                      "authorityKeyIdentifier = keyid"]
        if names:
            extensions.append("subjectAltName = " + ", ".join(map(subject_name, names)))
        subject = "".join(f"/O={group}" for group in groups) + f"/CN={user}"
        _certificate(crt, key, subject, extensions, ["-CA", self.crt, "-CAkey", self.key])
        return crt, key


def signing_key(folder, name):
    """A key pair without certificate: (private, public)."""
    private, public = f"{folder}/{name}.key", f"{folder}/{name}.pub"
    openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", private)
    openssl("ec", "-in", private, "-pubout", "-out", public)
    return private, public
