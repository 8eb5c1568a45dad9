"""kcat: its output as its users see it."""

from __future__ import annotations

import json
import subprocess

from conformance.matrix.cells import Cells, Place, Skip
from conformance.process import find_command

COMMAND_S_MAX = 30


class Kcat(Cells):
    def version(self) -> str:
        command = find_command("kcat")
        if command is None:
            return ""
        return (
            subprocess.run([command, "-V"], capture_output=True, text=True).stdout.split("Version ")[-1].split(" ")[0]
        )


cells = Kcat("kafka", "kcat", "")


def kcat(place: Place, *arguments: str, given: str = "", status: int | None = 0) -> str:
    command = find_command("kcat")
    if command is None:
        raise Skip("kcat is not installed (make peers)")
    done = subprocess.run(
        [command, "-b", place.address, *arguments], input=given, capture_output=True, text=True, timeout=COMMAND_S_MAX
    )
    assert status is None or done.returncode == status, f"status {done.returncode}: {done.stderr}"
    return done.stdout


@cells.add("produce: and consume")
def produce(place: Place) -> object:
    name = place.name("topic")
    kcat(place, "-P", "-t", name, given="one\ntwo\nthree\n")
    return kcat(place, "-C", "-t", name, "-o", "beginning", "-e", "-q", "-f", "%p %o %k %s\\n")


@cells.add("produce: keys, headers and partitions")
def keys(place: Place) -> object:
    name = place.name("topic")
    kcat(place, "-P", "-t", name, "-K", ":", "-H", "a=1", "-H", "b=2", "-p", "0", given="k1:v1\nk2:v2\n")
    return kcat(place, "-C", "-t", name, "-e", "-q", "-J", "-o", "beginning", "-f", "%k|%s|%h\\n").count("\n")


@cells.add("produce: headers and tombstones as JSON")
def as_json(place: Place) -> object:
    name = place.name("topic")
    kcat(place, "-P", "-t", name, "-K", ":", "-Z", "-H", "a=1", given="k1:v1\nk2:\n")
    lines = kcat(place, "-C", "-t", name, "-e", "-q", "-J", "-o", "beginning").splitlines()
    return [
        {key: value for key, value in json.loads(line).items() if key in ("key", "payload", "offset", "headers")}
        for line in lines
    ]


@cells.add("produce: compression")
def compression(place: Place) -> object:
    name = place.name("topic")
    for codec in ("gzip", "snappy", "lz4", "zstd"):
        kcat(place, "-P", "-t", name, "-z", codec, given=f"{codec}\n" * 20)
    return kcat(place, "-C", "-t", name, "-e", "-q", "-o", "beginning").split()


@cells.add("produce: acks")
def acks(place: Place) -> object:
    name = place.name("topic")
    for level in ("-1", "1", "0"):
        kcat(place, "-P", "-t", name, "-X", f"acks={level}", given=f"acks {level}\n")
    return sorted(kcat(place, "-C", "-t", name, "-c", "3", "-q", "-o", "beginning").splitlines())


@cells.add("consume: offsets")
def offsets(place: Place) -> object:
    name = place.name("topic")
    kcat(place, "-P", "-t", name, given="".join(f"{number}\n" for number in range(10)))
    return [kcat(place, "-C", "-t", name, "-o", start, "-c", "2", "-q").split() for start in ("beginning", "5", "-3")]


@cells.add("consume: by time")
def by_time(place: Place) -> object:
    name = place.name("topic")
    kcat(place, "-P", "-t", name, given="a\nb\n")
    early = kcat(place, "-C", "-t", name, "-o", "s@1000", "-c", "1", "-q").split()
    return [early, kcat(place, "-Q", "-t", f"{name}:0:1000").split()]


@cells.add("consume: a group")
def group(place: Place) -> object:
    name, members = place.name("topic"), place.name("group")
    kcat(place, "-P", "-t", name, given="a\nb\nc\n")
    words = ("-X", "auto.offset.reset=earliest", "-X", "session.timeout.ms=6000", "-q")
    first = kcat(place, "-G", members, *words, "-c", "3", name).split()
    kcat(place, "-P", "-t", name, given="d\n")
    return [first, kcat(place, "-G", members, *words, "-c", "1", name).split()]


@cells.add("list: metadata")
def metadata(place: Place) -> object:
    name = place.name("topic")
    kcat(place, "-P", "-t", name, given="a\n")
    found = json.loads(kcat(place, "-L", "-J", "-t", name))
    [topic] = found["topics"]
    return [len(found["brokers"]), topic["topic"], len(topic["partitions"]), len(topic["partitions"][0]["replicas"])]


@cells.add("list: an unknown topic")
def unknown(place: Place) -> object:
    return "ERR" in kcat(
        place, "-C", "-t", place.name("topic"), "-X", "allow.auto.create.topics=false", "-e", "-q", status=1
    )


@cells.add("security: SASL PLAIN")
def sasl(place: Place) -> object:
    other = Place(place.option("users", "the target was started without users"))
    words = (
        "-X",
        "security.protocol=SASL_PLAINTEXT",
        "-X",
        "sasl.mechanism=PLAIN",
        "-X",
        f"sasl.username={place.options['user']}",
    )
    told = json.loads(kcat(other, *words, "-X", f"sasl.password={place.options['password']}", "-L", "-J"))
    kcat(other, *words, "-X", "sasl.password=wrong", "-L", "-m", "3", status=1)
    return len(told["brokers"])
