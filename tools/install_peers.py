"""Installs the real servers and stock tools that some tests compare with: ``make peers`` (root, Debian packages).

apt starts servers that it installs; those are stopped again, on the spot, so that no test talks to one by accident.
A package that cannot be installed is named and left out: its tests skip with the reason.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys

PACKAGES = {
    "redis-server": ["redis-server"],
    "redis-tools": [],
    "mosquitto": ["mosquitto"],
    "mosquitto-clients": [],
    "kcat": [],
    "etcd-server": ["etcd"],
    "iproute2": [],
    "nftables": ["nftables"],
    "tshark": [],
    "chromium": [],
}
"""Debian package -> the services that installing it starts."""


def is_installed(package: str) -> bool:
    done = subprocess.run(["dpkg-query", "-W", "-f", "${Status}", package], capture_output=True, text=True)
    return done.returncode == 0 and done.stdout.endswith("ok installed")


def apt_get(*arguments: str) -> bool:
    command = ["apt-get", "-o", "DPkg::Lock::Timeout=60", *arguments]
    print("peers:", " ".join(command), flush=True)
    return subprocess.run(command, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"}).returncode == 0


def stop(service: str) -> None:
    """Stop what apt started, under systemd or without it."""
    print(f"peers: stopping the service {service}, which apt started", flush=True)
    if shutil.which("systemctl") and pathlib.Path("/run/systemd/system").exists():
        subprocess.run(["systemctl", "disable", "--now", service], capture_output=True)
    elif shutil.which("service"):
        subprocess.run(["service", service, "stop"], capture_output=True)


def main() -> int:
    if shutil.which("apt-get") is None:
        print("peers: no apt-get here; install redis, mosquitto and kcat by other means", file=sys.stderr)
        return 1
    missing = [package for package in PACKAGES if not is_installed(package)]
    if not missing:
        print(f"peers: {', '.join(PACKAGES)} are installed")
        return 0
    if os.geteuid() != 0:
        print(f"peers: needs root to install {', '.join(missing)}", file=sys.stderr)
        return 1
    if not apt_get("install", "-y", "-q", "--no-install-recommends", *missing):
        apt_get("update", "-q")
        for package in missing:
            apt_get("install", "-y", "-q", "--no-install-recommends", package)
    for package in missing:
        if is_installed(package):
            for service in PACKAGES[package]:
                stop(service)
    failed = [package for package in missing if not is_installed(package)]
    if failed:
        print(f"peers: not installed: {', '.join(failed)}; tests that need them skip", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
