"""The peers a launch is measured beside, and how each is got: bubblewrap alone, docker, and Anthropic's sandbox runtime.

A peer is an argv that runs `true` to its end, or a `Missing` that says what to install. The docker image is made here from
this host's `true` and its libraries, so no registry is needed; srt is installed below bench/node_modules.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import NamedTuple

from bench.product import ROOT

BENCH = ROOT / "bench"
IMAGE = "claude-bottle-bench"
SRT = "@anthropic-ai/sandbox-runtime"


class Missing(NamedTuple):
    """Why a peer is not measured, and what to do about it."""

    why: str


def bubblewrap() -> list[str] | Missing:
    """A realistic bare bwrap: read-only root, private /tmp, every namespace, no capabilities, empty environment."""
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        return Missing("bwrap is not installed (apt install bubblewrap)")
    return [bwrap, "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp", "--unshare-all",
            "--cap-drop", "ALL", "--die-with-parent", "--new-session", "--clearenv", "true"]  # fmt: skip


def docker() -> list[str] | Missing:
    """`docker run --rm --network none`, of an image that holds nothing but `true`."""
    if shutil.which("docker") is None:
        return Missing("docker is not installed (apt install docker.io)")
    if subprocess.run(["docker", "info"], capture_output=True, check=False).returncode:
        return Missing("no docker daemon answers (start one: dockerd &)")
    if subprocess.run(["docker", "image", "inspect", IMAGE], capture_output=True, check=False).returncode:
        made = subprocess.run(["docker", "import", "-", IMAGE], input=_image(), capture_output=True, check=False)
        if made.returncode:
            return Missing(f"docker import failed: {made.stderr.decode(errors='replace').strip()[-200:]}")
    return ["docker", "run", "--rm", "--network", "none", IMAGE, "/bin/true"]


def _image() -> bytes:
    """A root file system as a tar: `true`, and the libraries ldd names."""
    true = shutil.which("true") or "/bin/true"
    wanted = subprocess.run(["ldd", true], capture_output=True, text=True, check=False).stdout.split()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.add(os.path.realpath(true), "bin/true")
        for path in sorted({word for word in wanted if word.startswith("/")}):
            tar.add(os.path.realpath(path), path.lstrip("/"))
    return packed.getvalue()


def srt(scratch: Path, *, install: bool) -> list[str] | Missing:
    """`srt true` with its allow-list proxies up, as ours has its gate. `install`: get it first if it is not there."""
    program = BENCH / "node_modules" / ".bin" / "srt"
    lacking = [name for name in ("npm", "rg", "socat") if shutil.which(name) is None]
    if lacking:
        return Missing(f"srt needs {', '.join(lacking)} (apt install npm ripgrep socat)")
    if not program.exists() and not install:
        return Missing("srt is not installed (a run without --quick does it)")
    if not program.exists():
        argv = ["npm", "install", "--no-audit", "--no-fund", "--no-save", "--prefix", str(BENCH), SRT]
        made = subprocess.run(argv, capture_output=True, text=True, check=False)
        if made.returncode:
            return Missing(f"npm install {SRT} failed: {made.stderr.strip()[-200:]}")
    settings = scratch / "srt.json"
    settings.write_text(json.dumps({
        "network": {"allowedDomains": ["api.example.com"], "deniedDomains": []},
        "filesystem": {"denyRead": [], "allowWrite": ["."], "denyWrite": []},
    }))  # fmt: skip
    argv = [str(program), "--settings", str(settings), "true"]
    if subprocess.run(argv, capture_output=True, check=False, cwd=scratch).returncode:
        return Missing(f"srt does not run here: {' '.join(argv)}")
    return argv
