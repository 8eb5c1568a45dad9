"""mosquitto_pub, mosquitto_sub and mosquitto_rr: MQTT 3.1.1 and 5."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from conformance.matrix.cells import Cells, Place, Skip
from conformance.process import find_command

COMMAND_S_MAX = 20
FIVE = ("5",)


class Tools(Cells):
    def version(self) -> str:
        command = find_command("mosquitto_pub")
        said = subprocess.run([command, "--help"], capture_output=True, text=True).stdout if command else ""
        return next((line.split("version ")[1].split(" ")[0] for line in said.splitlines() if " version " in line), "")


cells = Tools("mqtt", "mosquitto tools", "", variants=("3.1.1", "5"))


def words(place: Place, tool: str, *arguments: str) -> list[str]:
    command = find_command(tool)
    if command is None:
        raise Skip(f"{tool} is not installed (make peers)")
    version = {"3.1.1": "mqttv311", "5": "mqttv5"}[place.variant]
    return [command, "-h", place.host, "-p", str(place.port), "-V", version, *arguments]


def run(place: Place, tool: str, *arguments: str, given: str | None = None, status: int | None = 0) -> str:
    done = subprocess.run(
        words(place, tool, *arguments), input=given, capture_output=True, text=True, timeout=COMMAND_S_MAX
    )
    assert status is None or done.returncode == status, f"{tool}: status {done.returncode}: {done.stderr}"
    return done.stdout


@contextmanager
def listening(place: Place, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """mosquitto_sub, subscribed: it says so with -d, at once where its output is buffered by lines."""
    command = ["stdbuf", "-oL", *words(place, "mosquitto_sub", "-d", "-W", str(COMMAND_S_MAX), *arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith("Subscribed"):
                    break
            yield process
        finally:
            process.kill()


def messages(process: subprocess.Popen[str]) -> list[str]:
    """What it printed until it ended by itself (-C), without what -d adds."""
    output, _ = process.communicate(timeout=COMMAND_S_MAX)
    return [line for line in output.splitlines() if not line.startswith(("Client ", "Subscribed"))]


@cells.add("publish: QoS 0")
def qos_0(place: Place) -> object:
    return at_qos(place, 0)


@cells.add("publish: QoS 1")
def qos_1(place: Place) -> object:
    return at_qos(place, 1)


@cells.add("publish: QoS 2")
def qos_2(place: Place) -> object:
    return at_qos(place, 2)


def at_qos(place: Place, qos: int) -> object:
    topic = place.name("topic")
    with listening(place, "-t", f"{topic}/#", "-q", "2", "-C", "2", "-F", "%t %p %q %r") as reader:
        for word in ("a", "b"):
            run(place, "mosquitto_pub", "-t", f"{topic}/{word}", "-m", word, "-q", str(qos))
        return messages(reader)


@cells.add("publish: lines of standard input")
def lines(place: Place) -> object:
    topic = place.name("topic")
    with listening(place, "-t", topic, "-q", "1", "-C", "500") as reader:
        run(place, "mosquitto_pub", "-t", topic, "-l", "-q", "1", given="".join(f"{number}\n" for number in range(500)))
        found = messages(reader)
    return [len(found), found[-1]]


@cells.add("publish: a file, nothing, repeatedly")
def variants_of_input(place: Place) -> object:
    topic = place.name("topic")
    with listening(place, "-t", topic, "-q", "1", "-C", "4", "-F", "%l") as reader:
        run(place, "mosquitto_pub", "-t", topic, "-s", "-q", "1", given="x" * 100_000)
        run(place, "mosquitto_pub", "-t", topic, "-n", "-q", "1")
        run(place, "mosquitto_pub", "-t", topic, "-m", "again", "--repeat", "2", "-q", "1")
        return messages(reader)


@cells.add("retained: kept and removed")
def retained(place: Place) -> object:
    topic = place.name("topic")
    run(place, "mosquitto_pub", "-t", topic, "-m", "kept", "-r", "-q", "1")
    first = run(place, "mosquitto_sub", "-t", topic, "-C", "1", "-F", "%p %r")
    removed = run(place, "mosquitto_sub", "-t", topic, "--remove-retained", "-W", "1", status=27)
    return [first, removed, run(place, "mosquitto_sub", "-t", topic, "-C", "1", "-W", "1", "-F", "%p", status=27)]


@cells.add("session: what was missed")
def session(place: Place) -> object:
    topic, name = place.name("topic"), place.name("c")
    keep = ["-i", name, "-c", "-q", "1", "-t", topic] + (["-x", "100"] if place.variant == "5" else [])
    run(place, "mosquitto_sub", *keep, "-E")
    run(place, "mosquitto_pub", "-t", topic, "-m", "missed", "-q", "1")
    return run(place, "mosquitto_sub", *keep, "-C", "1")


@cells.add("will: of one that is killed")
def will(place: Place) -> object:
    topic = place.name("topic")
    with listening(place, "-t", topic, "-C", "1") as reader:
        with listening(place, "-t", "unused", "--will-topic", topic, "--will-payload", "gone") as dying:
            dying.kill()
        return messages(reader)


@cells.add("subscribe: filters out what is unwanted")
def filter_out(place: Place) -> object:
    topic = place.name("topic")
    with listening(place, "-t", f"{topic}/#", "-T", f"{topic}/no", "-C", "1", "-v", "-q", "1") as reader:
        run(place, "mosquitto_pub", "-t", f"{topic}/no", "-m", "x", "-q", "1")
        run(place, "mosquitto_pub", "-t", f"{topic}/yes", "-m", "x", "-q", "1")
        return messages(reader)


@cells.add("properties: pass through unchanged", FIVE)
def properties(place: Place) -> object:
    topic = place.name("topic")
    with listening(place, "-t", topic, "-C", "1", "-F", "%P|%C|%R|%D|%E|%F|%p") as reader:
        run(
            place, "mosquitto_pub", "-t", topic, "-m", "x", "-D", "publish", "user-property", "a", "1",
            "-D", "publish", "content-type", "text/plain", "-D", "publish", "response-topic", "r", "-D", "publish", "correlation-data", "c",
        )  # fmt: skip
        return messages(reader)


@cells.add("request: mosquitto_rr", FIVE)
def request(place: Place) -> object:
    root = place.name("root")
    with listening(place, "-t", f"{root}/ask", "-C", "1", "-F", "%R %p") as server:
        asking = subprocess.Popen(
            words(
                place,
                "mosquitto_rr",
                "-t",
                f"{root}/ask",
                "-e",
                f"{root}/answer",
                "-m",
                "question",
                "-W",
                str(COMMAND_S_MAX),
            ),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        asked = messages(server)
    run(place, "mosquitto_pub", "-t", f"{root}/answer", "-m", "answer")
    return [asked, asking.communicate(timeout=COMMAND_S_MAX)[0]]


@cells.add("shared: a subscription of a group", FIVE)
def shared(place: Place) -> object:
    topic = place.name("topic")
    with listening(place, "-t", f"$share/g/{topic}", "-C", "3", "-q", "1") as reader:
        for word in "abc":
            run(place, "mosquitto_pub", "-t", topic, "-m", word, "-q", "1")
        return messages(reader)


@cells.add("security: user and password")
def users(place: Place) -> object:
    other = Place(place.option("users", "the target was started without users"), place.variant)
    topic = place.name("topic")
    given = ["-t", topic, "-m", "x", "-u", place.options["user"]]
    run(other, "mosquitto_pub", *given, "-P", place.options["password"])
    done = subprocess.run(
        words(other, "mosquitto_pub", *given, "-P", "wrong"), capture_output=True, text=True, timeout=COMMAND_S_MAX
    )
    return [done.returncode, done.stderr]
