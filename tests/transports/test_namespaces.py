"""Multicast between hosts: three network namespaces of the test's own on one bridge, losses and duplicates by nftables."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest

ROOT = pathlib.Path(__file__).parent.parent.parent
COUNT = 20_000
DEADLINE_S = 90
HOSTS = {"a": "10.77.31.1", "b": "10.77.31.2", "c": "10.77.31.3"}


def sh(*command: str, text: str = "") -> str:
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def name(host: str) -> str:
    return f"tw{os.getpid()}{host}"


@pytest.fixture
def hosts() -> Iterator[None]:
    for tool in ("ip", "nft"):
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool} here (make peers installs it)")
    made = [name("sw"), *map(name, HOSTS)]
    try:
        for namespace in made:
            sh("ip", "netns", "add", namespace)
        switch = name("sw")
        sh("ip", "-n", switch, "link", "add", "br0", "type", "bridge", "mcast_snooping", "0")
        sh("ip", "-n", switch, "link", "set", "br0", "up")
        for host, address in HOSTS.items():
            here = name(host)
            sh("ip", "link", "add", "up0", "netns", here, "type", "veth", "peer", "name", f"to{host}", "netns", switch)
            sh("ip", "-n", switch, "link", "set", f"to{host}", "master", "br0", "up")
            sh("ip", "-n", here, "addr", "add", f"{address}/24", "dev", "up0")
            for device in ("up0", "lo"):
                sh("ip", "-n", here, "link", "set", device, "up")
            sh("ip", "-n", here, "route", "add", "239.0.0.0/8", "dev", "up0")
    except OSError as error:
        for namespace in made:
            subprocess.run(["ip", "netns", "del", namespace], capture_output=True, check=False)
        pytest.skip(f"no network namespaces of our own here: {error}")
    yield
    for namespace in made:
        subprocess.run(["ip", "netns", "del", namespace], capture_output=True, check=False)


def lose(host: str, percent: int) -> None:
    """Of all UDP packets that reach this host, so many in a hundred are lost: live, repaired and asked for alike."""
    rule = f"meta l4proto udp numgen random mod 100 < {percent} drop"
    table = f"table inet trial {{\n chain c {{\n  type filter hook input priority 0;\n  {rule}\n }}\n}}\n"
    sh("ip", "netns", "exec", name(host), "nft", "-f", "-", text=table)


def start(host: str, *arguments: str) -> subprocess.Popen[str]:
    command = ["ip", "netns", "exec", name(host), sys.executable, "-m", "conformance.multicast_trial", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)


def trial(count: int, *sending: str) -> list[dict[str, float]]:
    """One sender on a, subscribers on b and c: their reports."""
    common = ("--count", str(count))
    sender = start("a", "send", "--interface", HOSTS["a"], "--subscribers", "2", *common, *sending)
    repair = f"{HOSTS['a']}:19702"
    receivers = [start(h, "receive", "--interface", HOSTS[h], "--repair", repair, *common) for h in ("b", "c")]
    reports = []
    try:
        for process in (*receivers, sender):
            out, err = process.communicate(timeout=DEADLINE_S)
            assert process.returncode == 0, err
            reports.append(json.loads(out))
    finally:
        for process in (*receivers, sender):
            process.kill()
    return reports


@pytest.mark.parametrize("percent", [0, 1, 5, 20])
def test_everything_arrives_in_order_at_a_loss_of(percent: int, hosts: None) -> None:
    if percent:
        try:
            for host in HOSTS:
                lose(host, percent)
        except OSError as error:
            pytest.skip(f"nftables cannot lose packets here: {error}")
    *received, sent = trial(COUNT, "--segments", "0")  # lost one by one, not by the dozen
    for report in received:
        assert (report["delivered"], report["wrong"]) == (COUNT, 0)
        rate = report["delivered"] / max(report["seconds"], 1e-9)
        print(f"{percent} % lost: {rate:,.0f} messages/s, {report['repaired']} repaired, {report['requests']} requests")
    if percent >= 5:
        assert all(report["repaired"] > 0 for report in received)
    assert sent["sent"] == COUNT


def test_a_capture_is_dissected_as_moldudp64_without_a_malformed_packet(hosts: None, tmp_path: pathlib.Path) -> None:
    if shutil.which("tshark") is None:
        pytest.skip("no tshark here (make peers installs it)")
    capture = tmp_path / "capture.pcap"
    command = ["ip", "netns", "exec", name("b"), "tshark", "-i", "up0", "-f", "udp", "-w", str(capture), "-q"]
    recorder = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        assert recorder.stderr is not None
        line = recorder.stderr.readline()
        while line and "Capturing" not in line:
            line = recorder.stderr.readline()
        trial(2_000, "--segments", "0")
    finally:
        recorder.terminate()
        recorder.wait(DEADLINE_S)
    decode = ["-d", "udp.port==19700,moldudp64", "-T", "fields", "-e", "moldudp64.sequence", "-e", "moldudp64.count"]
    fields = sh("tshark", "-r", str(capture), *decode, "-Y", "udp.dstport == 19700")
    seen = [line.split("\t") for line in fields.splitlines() if line.strip()]
    assert sum(int(count.split(",")[0]) for sequence, count in seen if count) >= 1_000
    malformed = sh("tshark", "-r", str(capture), "-d", "udp.port==19700,moldudp64", "-Y", "_ws.malformed")
    assert malformed.strip() == ""
