"""The RDMA transport on real verbs: Debian's kernel with soft-RoCE in QEMU, this tree inside, checked. ``make test-rdma``.

Nothing of this machine changes: packages are unpacked under build/rdma, the guest sees the root of this machine read-only
under a layer in memory, and the two guests' network is a socket between them. Needs qemu-system-x86_64, busybox (static),
cpio, depmod, apt-get download, python3-pyverbs; says what is missing.

First one guest with both ends, then two guests with LOSS per cent of packets lost. About a minute with emulated processors.
"""

from __future__ import annotations

import gzip
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
HOME = ROOT / "build" / "rdma"
RESULT = ROOT / "docs" / "rdma.json"
MODULES = [
    "crc32_generic",
    "crc32c_generic",
    "virtio_pci",
    "virtio_net",
    "9p",
    "9pnet_virtio",
    "overlay",
    "dummy",
    "veth",
    "sch_netem",
    "rdma_rxe",
    "ib_uverbs",
    "rdma_ucm",
]
LOSS = 2
GUEST_S = 200
CONTROLS = re.compile(r"^.*\x1b(\[[0-9;?]*[A-Za-z]|c)")
"""The firmware's attempts to clear the screen, and what stands before them."""
NEEDS = {
    "qemu-system-x86_64": "qemu-system-x86", "busybox": "busybox-static", "cpio": "cpio", "depmod": "kmod", "rdma": "iproute2",
}  # fmt: skip

INIT = """#!/bin/busybox sh
B=/bin/busybox
$B mount -t proc proc /proc; $B mount -t sysfs sys /sys; $B mount -t devtmpfs dev /dev
for m in $($B cat /modules.order); do $B insmod /lib/modules/${m##*/} || echo "insmod $m failed"; done
$B mount -t 9p -o trans=virtio,version=9p2000.L,ro,cache=loose,msize=524288 host /host
$B mount -t tmpfs tmp /layer; $B mkdir -p /layer/up /layer/work /layer/root
$B mount -t overlay ov -o lowerdir=/host,upperdir=/layer/up,workdir=/layer/work /layer/root
for d in proc sys dev; do $B mount --bind /$d /layer/root/$d; done
$B mount -t tmpfs tmp /layer/root/run
$B cp /guest.sh /layer/root/run/guest.sh
$B chroot /layer/root /bin/bash /run/guest.sh $($B sed -n 's/.*guest=\\([^ ]*\\).*/\\1/p' /proc/cmdline)
echo "GUEST_STATUS=$?"
$B poweroff -f
"""

GUEST = """
export PATH=/usr/sbin:/usr/bin:/sbin:/bin PYTHONDONTWRITEBYTECODE=1
ip link set lo up
cd {root}
trial() {{ {python} -m conformance.rdma_trial "$@"; }}
case $1 in
alone)
  ip link add d0 type dummy; ip addr add 10.9.0.1/24 dev d0; ip link set d0 up
  rdma link add rxe0 type rxe netdev d0 || exit 3
  sleep 1; trial alone --host 10.9.0.1 ;;
*)
  nic=$(ls -d /sys/class/net/e* | head -1); nic=${{nic##*/}}
  [ $1 = listen ] && me=10.9.1.1 || me=10.9.1.2
  ip addr add $me/24 dev $nic; ip link set $nic up
  rdma link add rxe0 type rxe netdev $nic || exit 3
  sleep 1; tc qdisc add dev $nic root netem loss {loss}% || exit 4
  trial $1 --host 10.9.1.1 ;;
esac
"""


def run(*command: str, **more: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, check=True, capture_output=True, text=True, **more)  # type: ignore[call-overload,no-any-return]


def missing() -> list[str]:
    """Debian packages to install first."""
    found = [package for command, package in NEEDS.items() if shutil.which(command) is None]
    if not pathlib.Path("/usr/lib/python3/dist-packages/pyverbs").exists():
        found.append("python3-pyverbs")
    return found


def kernel() -> tuple[pathlib.Path, pathlib.Path]:
    """Debian's newest kernel image and its modules' folder, unpacked once."""
    unpacked = HOME / "kernel"
    if not unpacked.exists():
        depends = run("apt-cache", "depends", "linux-image-amd64").stdout
        name = re.search(r"Depends: (linux-image-\S+)", depends)
        if name is None:
            raise SystemExit("test-rdma: apt knows no linux-image-amd64 (apt-get update?)")
        print(f"test-rdma: {name[1]} into {unpacked.relative_to(ROOT)}", flush=True)
        run("apt-get", "download", "-q", name[1], cwd=HOME)
        (package,) = HOME.glob("linux-image-*.deb")
        run("dpkg", "-x", str(package), str(unpacked))
        package.unlink()
    (modules,) = (unpacked / "lib" / "modules").iterdir()
    if not (modules / "modules.dep").exists():
        run("depmod", "-b", str(unpacked), modules.name)
    return unpacked / "boot" / f"vmlinuz-{modules.name}", modules


def in_order(modules: pathlib.Path) -> list[str]:
    """The modules wanted and what they depend on, each after what it needs."""
    needs: dict[str, list[str]] = {}
    for line in (modules / "modules.dep").read_text().splitlines():
        module, _, rest = line.partition(":")
        needs[module] = rest.split()
    names = {pathlib.PurePath(module).name.split(".ko")[0].replace("-", "_"): module for module in needs}
    found: list[str] = []

    def add(module: str) -> None:
        for need in reversed(needs[module]):
            add(need)
        if module not in found:
            found.append(module)

    for name in MODULES:
        add(names[name])
    return found


def initramfs(modules: pathlib.Path) -> pathlib.Path:
    """busybox, the modules, and the two scripts."""
    tree = HOME / "initramfs"
    shutil.rmtree(tree, ignore_errors=True)
    for name in ("bin", "proc", "sys", "dev", "host", "layer", "lib/modules"):
        (tree / name).mkdir(parents=True)
    busybox = shutil.which("busybox")
    assert busybox is not None
    shutil.copy(busybox, tree / "bin" / "busybox")
    order = in_order(modules)
    for module in order:
        shutil.copy(modules / module, tree / "lib" / "modules")
    (tree / "modules.order").write_text("\n".join(order) + "\n")
    (tree / "init").write_text(INIT)
    (tree / "init").chmod(0o755)
    (tree / "guest.sh").write_text(GUEST.format(root=ROOT, python=sys.executable, loss=LOSS))
    names = "\n".join(str(path.relative_to(tree)) for path in sorted(tree.rglob("*")))
    packed = subprocess.run(
        ["cpio", "-o", "-H", "newc", "--quiet"], cwd=tree, input=names.encode(), capture_output=True, check=True
    )
    image = HOME / "initramfs.gz"
    image.write_bytes(gzip.compress(packed.stdout, 1))
    return image


def boot(role: str, image: pathlib.Path, disk: pathlib.Path, *network: str) -> subprocess.Popen[str]:
    """One guest; its console is its output."""
    command = [
        "qemu-system-x86_64",
        "-M",
        "q35",
        "-accel",
        "tcg,thread=multi",
        "-cpu",
        "max",
        "-smp",
        "2",
        "-m",
        "1024",
    ]
    command += [
        "-nographic",
        "-nodefaults",
        "-serial",
        "stdio",
        "-no-reboot",
        "-kernel",
        str(image),
        "-initrd",
        str(disk),
    ]
    command += ["-append", f"console=ttyS0 quiet loglevel=3 panic=-1 random.trust_cpu=on mitigations=off guest={role}"]
    command += ["-virtfs", "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap"]
    command += ["-device", "virtio-rng-pci", *network]
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )


def attend(role: str, guest: subprocess.Popen[str], said: list[str]) -> None:
    """Its console, until it is off or GUEST_S passed."""
    timer = threading.Timer(GUEST_S, guest.kill)
    timer.start()
    assert guest.stdout is not None
    for line in guest.stdout:
        words = CONTROLS.sub("", line).strip()
        if words:
            said.append(words)
            print(f"  {role}: {words}", flush=True)
    guest.wait()
    timer.cancel()


def outcome(role: str, said: list[str]) -> dict[str, object]:
    """What the trial printed, if it ended well."""
    if "GUEST_STATUS=0" not in said:
        raise SystemExit(f"test-rdma: FAILED: {role}: " + (said[-1] if said else "no output"))
    line = next(line for line in said if line.startswith(f"RDMA_{role.upper()} "))
    found: dict[str, object] = json.loads(line.partition(" ")[2])
    return found


def main() -> int:
    absent = missing()
    if absent:
        print(f"test-rdma: not here: needs {' '.join(absent)} (Debian packages)")
        return 1
    began = time.monotonic()
    HOME.mkdir(parents=True, exist_ok=True)
    image, modules = kernel()
    disk = initramfs(modules)
    print("test-rdma: one guest, both ends", flush=True)
    said: list[str] = []
    attend("alone", boot("alone", image, disk), said)
    alone = outcome("alone", said)
    print(f"test-rdma: two guests, {LOSS} % of packets lost", flush=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    consoles: dict[str, list[str]] = {"listen": [], "dial": []}
    threads = []
    for number, (role, how) in enumerate((("listen", "listen"), ("dial", "connect")), 1):
        card = f"virtio-net-pci,netdev=n,mac=52:54:00:00:00:0{number},romfile="
        guest = boot(role, image, disk, "-netdev", f"socket,id=n,{how}=127.0.0.1:{port}", "-device", card)
        threads.append(threading.Thread(target=attend, args=(role, guest, consoles[role])))
        threads[-1].start()
        time.sleep(1)  # the first listens for the second
    for thread in threads:
        thread.join()
    result = {
        "kernel": modules.name,
        "one_guest": alone,
        "two_guests": {**outcome("dial", consoles["dial"]), "loss_percent": LOSS},
        "seconds": round(time.monotonic() - began),
    }
    outcome("listen", consoles["listen"])
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(f"test-rdma: passed in {result['seconds']} s, written to {os.path.relpath(RESULT, ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
