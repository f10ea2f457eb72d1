"""Package registries of a test's own, on loopback: what is in them was made a moment ago, and is all there is.

`Registries` serves a PyPI index, an npm registry and a signed Debian archive over TLS from memory. They have names of their
own (`pypi.test`, `npm.test`, `apt.test`), which a bottle's gate finds by the operator's `upstreams`.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import http.server
import io
import json
import shutil
import ssl
import subprocess
import tarfile
import tempfile
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

HOSTS = ("pypi.test", "npm.test", "apt.test", "crates.test", "go.test")


@contextmanager
def served(place: Path) -> Iterator[Registries]:
    """Some whose files everybody may read, until the end of the block."""
    place.chmod(0o755)
    made = Registries(place)
    made.ca_file.chmod(0o644)
    yield made
    made.close()


class Registries:
    """`requests` are the paths asked for, in order. `files` may be changed at any time."""

    def __init__(self, place: Path) -> None:
        self.place, self.files, self.requests = place, dict[str, bytes](), list[str]()
        place.mkdir(parents=True, exist_ok=True)
        authority = trustme.CA()
        self.ca_file = place / "registries-ca.pem"
        authority.cert_pem.write_to_path(str(self.ca_file))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(*HOSTS).configure_cert(context)
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        # Shaken by whoever serves the connection: one who comes and says nothing keeps nobody waiting.
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        # The same without TLS, for who cannot call it by its name.
        self._plain = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.plain_port = self._plain.server_address[1]
        threading.Thread(target=self._plain.serve_forever, args=(0.05,), daemon=True).start()
        self.keyring: Path | None = None
        # A short path: the socket of gpg's agent lies in it, and the name of a socket has 107 characters at most.
        self._keys = tempfile.TemporaryDirectory(prefix="cb-", dir="/tmp", ignore_cleanup_errors=True)

    def close(self) -> None:
        self._keys.cleanup()
        for server in (self._server, self._plain):
            server.shutdown()
            server.server_close()

    def settings(self) -> dict[str, Any]:
        """What config.json says to find them."""
        upstream = {"connect": f"127.0.0.1:{self.port}", "ca": str(self.ca_file)}
        registries: dict[str, Any] = {
            "pip": {"url": "https://pypi.test/simple"}, "npm": {"url": "https://npm.test/"},
            "cargo": {"url": "https://crates.test/"}, "go": {"url": "https://go.test"},
        }  # fmt: skip
        if self.keyring:
            registries["apt"] = {"url": "https://apt.test/debian", "suites": ["stable"], "components": ["main"],
                                 "keyring": str(self.keyring)}  # fmt: skip
        return {"upstreams": {f"{host}:443": upstream for host in HOSTS}, "registries": registries}

    def python(self, name: str, version: str = "1.0", says: str = "hello") -> None:
        """A wheel with one module and one program, both called `name`."""
        wheel, info = f"{name}-{version}-py3-none-any.whl", f"{name}-{version}.dist-info"
        content = {
            f"{name}.py": f"def main():\n    print({says!r})\n",
            f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
            f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            f"{info}/entry_points.txt": f"[console_scripts]\n{name} = {name}:main\n",
        }
        content[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in content) + f"{info}/RECORD,,\n"
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for path, text in content.items():
                archive.writestr(path, text)
        self.files[f"/files/{wheel}"] = packed.getvalue()
        self.files[f"/simple/{name}/"] = f'<a href="/files/{wheel}">{wheel}</a>'.encode()

    def source(self, name: str, setup: str) -> None:
        """A Python package that can only be built by running `setup`."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as archive:
            info = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
            for path, text in {"setup.py": setup, "PKG-INFO": info}.items():
                _add(archive, f"{name}-1.0/{path}", text.encode())
        self.files[f"/files/{name}-1.0.tar.gz"] = packed.getvalue()
        self.files[f"/simple/{name}/"] = f'<a href="/files/{name}-1.0.tar.gz">{name}-1.0.tar.gz</a>'.encode()

    def node(self, name: str, says: str = "hello", install: str = "") -> None:
        """A package with one program called `name`; `install` is a script that its installation runs."""
        about: dict[str, Any] = {"name": name, "version": "1.0.0", "bin": {name: "cli.js"}}
        if install:
            about["scripts"] = {"install": install}
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as archive:
            _add(archive, "package/package.json", json.dumps(about).encode())
            _add(archive, "package/cli.js", f"#!/usr/bin/env node\nconsole.log({says!r})\n".encode(), 0o755)
        data = packed.getvalue()
        dist = {"tarball": f"https://npm.test/{name}/-/{name}-1.0.0.tgz", "shasum": hashlib.sha1(data).hexdigest(),
                "integrity": "sha512-" + base64.b64encode(hashlib.sha512(data).digest()).decode()}  # fmt: skip
        document = {"name": name, "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": {**about, "dist": dist}}}
        self.files[f"/{name}/-/{name}-1.0.0.tgz"] = data
        self.files[f"/{name}"] = json.dumps(document).encode()

    def debian(self, *packages: Path) -> None:
        """A signed archive with these packages. Skips where its tools are missing."""
        if not shutil.which("gpg"):
            pytest.skip("cannot run here: no gpg to sign an archive with")
        index = b""
        for deb in packages:
            control = subprocess.run(["dpkg-deb", "--field", deb], capture_output=True, check=True).stdout
            data = deb.read_bytes()
            self.files[f"/debian/pool/{deb.name}"] = data
            index += control + (f"Filename: pool/{deb.name}\nSize: {len(data)}\n"
                                f"SHA256: {hashlib.sha256(data).hexdigest()}\n\n").encode()  # fmt: skip
        machine = _debian_machine()
        entry = f"main/binary-{machine}/Packages"
        packed = gzip.compress(index)
        sums = "".join(f" {hashlib.sha256(data).hexdigest()} {len(data)} {entry}{end}\n"
                       for data, end in ((index, ""), (packed, ".gz")))  # fmt: skip
        release = (f"Origin: tests\nSuite: stable\nCodename: stable\nDate: {_now()}\nArchitectures: {machine}\n"
                   f"Components: main\nSHA256:\n{sums}")  # fmt: skip
        self.files[f"/debian/dists/stable/{entry}"] = index
        self.files[f"/debian/dists/stable/{entry}.gz"] = packed
        self.files["/debian/dists/stable/InRelease"] = self._signed(release.encode())

    def _signed(self, release: bytes) -> bytes:
        plain = ["gpg", "--homedir", self._keys.name, "--batch", "--quiet", "--pinentry-mode", "loopback"]
        # Started here, since gpg gives one that it starts itself five seconds.
        words = ["gpg-agent", "--homedir", self._keys.name, "--daemon"]
        subprocess.run(words, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if self.keyring is None:
            words = ["--passphrase", "", "--quick-generate-key", "tests@example.test", "rsa2048", "sign", "1d"]
            subprocess.run([*plain, *words], check=True, capture_output=True)
            self.keyring = self.place / "keyring.gpg"
            self.keyring.write_bytes(subprocess.run([*plain, "--export"], check=True, capture_output=True).stdout)
        done = subprocess.run([*plain, "--passphrase", "", "--clearsign"], input=release, check=True, capture_output=True)
        subprocess.run(["gpgconf", "--homedir", self._keys.name, "--kill", "gpg-agent"], check=False, capture_output=True)
        return done.stdout

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # see tests.git_remote

            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                outer.requests.append(path)
                body = outer.files.get(path)
                self.send_response(200 if body is not None else 404)
                self.send_header("content-type", "text/html" if path.startswith("/simple") else "application/octet-stream")
                self.send_header("content-length", str(len(body or b"")))
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, *_: Any) -> None:
                pass

        return Handler


def package(
    place: Path, name: str, files: dict[str, str], *, version: str = "1.0", depends: str = "", postinst: str = "",
    mode: int = 0o755,
) -> Path:  # fmt: skip
    """A Debian package of these files (path → content; what begins with #! may be executed and has `mode`). Skips without
    dpkg-deb."""
    if not shutil.which("dpkg-deb"):
        pytest.skip("cannot run here: no dpkg-deb to make packages with")
    tree = place / f"{name}-tree"
    for path, text in files.items():
        target = tree / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        target.chmod(mode if text.startswith("#!") else 0o644)
    (tree / "DEBIAN").mkdir(parents=True)
    lines = [f"Package: {name}", f"Version: {version}", f"Architecture: {_debian_machine()}",
             "Maintainer: t <t@e.test>", "Description: a test", *([f"Depends: {depends}"] if depends else [])]  # fmt: skip
    (tree / "DEBIAN" / "control").write_text("\n".join(lines) + "\n")
    if postinst:
        (tree / "DEBIAN" / "postinst").write_text(postinst)
        (tree / "DEBIAN" / "postinst").chmod(0o755)
    made = place / f"{name}_{version}.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "--build", tree, made], check=True, capture_output=True)
    return made


def _add(archive: tarfile.TarFile, path: str, data: bytes, mode: int = 0o644) -> None:
    info = tarfile.TarInfo(path)
    info.size, info.mode = len(data), mode
    archive.addfile(info, io.BytesIO(data))


def _debian_machine() -> str:
    return subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True, check=True).stdout.strip()


def _now() -> str:
    from email.utils import formatdate

    return formatdate(usegmt=True).replace("GMT", "UTC")
