"""The lab's image, and the images of its pods.

The image is built on Debian: the registry's, or where no registry answers, a root file system made from Debian's
packages with mmdebstrap. Either is kept by the engine, and so are the layers on top of it: a change of the project's
code costs a copy.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path

from deploy.cluster import engine, machine
from deploy.cluster.settings import CHECKOUT
from deploy.cluster.steps import Failed, Step, last_lines, run_logged
from deploy.compose.compose import docker

IMAGE = "kube/lab"
BASE = "kube/lab-base"
RELEASE = "bookworm"
REGISTRY_BASE = f"debian:{RELEASE}-slim"
PACKAGES = (
    "busybox-static",
    "ca-certificates",
    "conntrack",
    "docker.io",
    "etcd-client",
    "etcd-server",
    "haproxy",
    "iproute2",
    "iptables",
    "nftables",
    "procps",
    "python3",
    "python3-venv",
)
CONTEXT = CHECKOUT / "deploy/images/lab"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
PULL_SECONDS = 120


def have_base(step: Step, log: Path) -> None:
    """Have the image that the lab's is built on. Raises Failed."""
    if _id(BASE):
        step.done(f"{BASE} is there")
        return
    if _pull():
        docker("tag", REGISTRY_BASE, BASE)
        step.done(f"{BASE} is the registry's {REGISTRY_BASE}")
        return
    step.say(f"no registry gives {REGISTRY_BASE}: making Debian from its packages")
    if not machine.which("mmdebstrap"):
        machine.install(step, ["mmdebstrap"], log)
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory) / "root.tar"
        command = ["mmdebstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", RELEASE, str(root)]
        if not run_logged(step, command, log):
            raise Failed(f"mmdebstrap could not make Debian (all of it: {log}):\n{last_lines(log, 5)}")
        docker("import", str(root), BASE)
    step.done(f"{BASE} made from Debian's packages")


def build(step: Step, log: Path) -> None:
    """Build the lab's image from this checkout; what has not changed comes from the engine's cache. Raises Failed."""
    before = _id(IMAGE)
    with tempfile.TemporaryDirectory() as directory:
        context = Path(directory)
        shutil.copytree(CONTEXT, context, dirs_exist_ok=True)
        for name in ("pyproject.toml", "README.md"):
            shutil.copy(CHECKOUT / name, context)
        shutil.copytree(CHECKOUT / "kube", context / "kube", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(CERTIFICATES, context)
        for path in (context, *context.rglob("*")):
            # The layer cache also looks at modes, which must not hang on the caller's umask.
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o644)
        command = ["docker", "build", "--force-rm", "--tag", IMAGE]
        arguments = {"BASE": BASE, "PACKAGES": " ".join(PACKAGES)}
        if index := os.environ.get("PIP_INDEX_URL"):
            arguments["PIP_INDEX_URL"] = index
        command += [f"--build-arg={name}={value}" for name, value in arguments.items()]
        command.append(str(context))
        # The classic builder: it comes with every docker.io, buildx does not.
        if not run_logged(step, command, log, os.environ | {"DOCKER_BUILDKIT": "0", "PATH": machine.PATH}):
            raise Failed(f"docker could not build {IMAGE} (all of it: {log}):\n{last_lines(log, 8)}")
    step.done(f"{IMAGE} is as before" if _id(IMAGE) == before else f"{IMAGE} built")


def save_for_minions(step: Step, directory: Path) -> None:
    """Write the images that pods use to `directory`, from which every minion loads them. Raises Failed."""
    if engine.missing_images():
        engine.build_images()
    directory.mkdir(parents=True, exist_ok=True)
    for name in engine.IMAGES:
        file, identity = directory / f"{name.replace('/', '-')}.tar", _id(name)
        note = file.with_suffix(".id")
        if file.exists() and note.exists() and note.read_text() == identity:
            continue
        docker("save", "--output", str(file), name)
        note.write_text(identity)
    step.done(f"{', '.join(engine.IMAGES)} for the minions' engines")


def remove() -> None:
    """Remove the lab's image and its base."""
    subprocess.run(["docker", "rmi", "--force", IMAGE, BASE], check=False, capture_output=True)


def _pull() -> bool:
    try:
        return not subprocess.run(
            ["docker", "pull", "--quiet", REGISTRY_BASE], capture_output=True, timeout=PULL_SECONDS
        ).returncode
    except subprocess.TimeoutExpired:
        return False


def _id(image: str) -> str:
    """The engine's id of an image; empty if it has none of that name."""
    return subprocess.run(
        ["docker", "image", "inspect", "--format", "{{.Id}}", image], capture_output=True, text=True
    ).stdout.strip()
