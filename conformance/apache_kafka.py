"""Apache Kafka as a peer: fetched from Maven Central into ``build/``, started as one KRaft node, beside ours in tests and benches.

    with ApacheKafka(folder) as kafka:       # raises NoKafka where java or the jars cannot be had
        kafka.address                        # "127.0.0.1:port"
        kafka.run_tool("ProducerPerformance", "--topic", "t", ...)

    python -m conformance.apache_kafka fetch          # once; tests only use what is there
    python -m conformance.apache_kafka serve FOLDER   # one to play with

``run_tool`` runs Kafka's own command line classes (org.apache.kafka.tools), against any broker.
"""

from __future__ import annotations

import fcntl
import os
import pathlib
import shutil
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

from conformance.process import READY_S, NotReady, ServerProcess, free_port

VERSION = "4.2.0"
"""4.x brokers run on Java 17 and later (KIP-1013)."""
JAVA_MIN = 17
HOME = pathlib.Path(__file__).resolve().parent.parent / "build" / "apache-kafka" / VERSION
FETCH_S = 300
CLUSTER_ID = "dGhhbHdlZy1jb21wYXJlZA"
SERVER_OPTIONS = ("-Xmx1G", "-Xms1G", "-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20",
                  "-XX:InitiatingHeapOccupancyPercent=35", "-XX:+ExplicitGCInvokesConcurrent")  # fmt: skip
"""As Kafka's own start script gives them."""
QUIET = ("-Djava.awt.headless=true", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")
POM = """<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>thalweg</groupId><artifactId>apache-kafka</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{version}</version></dependency>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>{version}</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
"""


class NoKafka(Exception):
    """Why Apache Kafka cannot be had here; the message is for whoever skips for it."""


def java() -> str:
    """The path of a Java that runs this version.

    Raises:
        NoKafka: there is none, or it is too old.
    """
    found = shutil.which("java")
    if found is None:
        raise NoKafka("java is not installed")
    told = subprocess.run([found, "-version"], capture_output=True, text=True, timeout=30).stderr
    first = told.partition('"')[2].partition(".")[0].partition('"')[0]
    if not first.isdigit() or int(first) < JAVA_MIN:
        raise NoKafka(f"Apache Kafka {VERSION} needs Java {JAVA_MIN}, this is {told.splitlines()[0] if told else '?'}")
    return found


def jars(download: bool = False) -> pathlib.Path:
    """The folder of its jars; ``download``: fetched with Maven if they are not there.

    Raises:
        NoKafka: they are not there, and cannot be fetched or should not.
    """
    folder, complete = HOME / "jars", HOME / "complete"
    if complete.exists():
        return folder
    if not download:
        raise NoKafka(f"Apache Kafka {VERSION} is not there (python -m conformance.apache_kafka fetch)")
    if shutil.which("mvn") is None:
        raise NoKafka("mvn is not installed")
    HOME.mkdir(parents=True, exist_ok=True)
    with (HOME / "lock").open("w") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        if complete.exists():
            return folder
        (HOME / "pom.xml").write_text(POM.format(version=VERSION))
        command = ["mvn", "-B", "-q", "dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={folder}"]  # fmt: skip
        try:
            made = subprocess.run(command, cwd=HOME, capture_output=True, text=True, timeout=FETCH_S)
        except subprocess.TimeoutExpired:
            raise NoKafka(f"Maven Central did not answer in {FETCH_S} s") from None
        if made.returncode:
            raise NoKafka(f"Maven could not fetch Apache Kafka: {(made.stdout + made.stderr).strip()[-300:]}")
        complete.touch()
    return folder


def _command(class_name: str, *arguments: str, options: Sequence[str] = ()) -> list[str]:
    return [java(), *options, *QUIET, "-cp", f"{jars()}/*", class_name, *arguments]


def run_tool(name: str, *arguments: object, timeout_s: float = 300, check: bool = True) -> str:
    """What one of Kafka's own command line classes prints: ``run_tool("ProducerPerformance", "--topic", "t", ...)``.

    Raises:
        NoKafka: it cannot be had. CalledProcessError: it ended with an error (``check``).
    """
    class_name = name if "." in name else f"org.apache.kafka.tools.{name}"
    command = _command(class_name, *map(str, arguments), options=("-Xmx512M",))
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s)
    if check and done.returncode:
        raise subprocess.CalledProcessError(done.returncode, command[-len(arguments) - 1 :], done.stdout, done.stderr)
    return done.stdout + done.stderr


def wait_until_answering(server: ServerProcess, port: int, timeout_s: float = READY_S) -> None:
    """Return when a Kafka broker on this loopback port answers ApiVersions.

    Raises:
        NotReady: its process ended, or nobody answered in time.
    """
    deadline = time.monotonic() + timeout_s
    request = struct.pack(">hhih", 18, 0, 1, -1)
    while True:
        server.wait_until_accepting(port, max(0.1, deadline - time.monotonic()))
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as peer:
                peer.sendall(struct.pack(">i", len(request)) + request)
                if len(peer.recv(8, socket.MSG_WAITALL)) == 8:
                    return
        except OSError:
            pass
        if time.monotonic() > deadline:
            raise NotReady(f"nobody answered on port {port} in time:\n{server.last_words()}")


class ApacheKafka(ServerProcess):
    """One node that is broker and controller, on free ports of the loopback, its data in ``folder``.

    ``settings`` are lines of server.properties, over those that make one node self-sufficient.
    """

    def __init__(self, folder: pathlib.Path, settings: Mapping[str, str] | None = None) -> None:
        self.port, controller = free_port(), free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.ready_s = 0.0
        """Seconds from exec to the first answer."""
        self._properties = folder / "server.properties"
        self._settings = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@127.0.0.1:{controller}",
            "listeners": f"PLAINTEXT://{self.address},CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": f"PLAINTEXT://{self.address}",
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            "log.dirs": str(folder / "data"),
            "offsets.topic.replication.factor": "1",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
            **(settings or {}),
        }
        command = _command("kafka.Kafka", str(self._properties), options=SERVER_OPTIONS)
        super().__init__(command, folder, {"LANG": "C"})

    def start(self) -> None:
        """Format its folder at the first start; return when it answers.

        Raises:
            NotReady: it ended, or did not answer in time.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self._properties.exists():
            self._properties.write_text("".join(f"{name}={value}\n" for name, value in self._settings.items()))
            run_tool("kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", self._properties, timeout_s=60)
        began = time.monotonic()
        super().start()
        wait_until_answering(self, self.port, 60)
        self.ready_s = time.monotonic() - began


def main(arguments: Sequence[str]) -> int:
    try:
        if arguments[:1] == ["fetch"]:
            print(jars(download=True))
            return 0
        if arguments[:1] == ["serve"] and len(arguments) == 2:
            jars(download=True)
            with ApacheKafka(pathlib.Path(arguments[1])) as kafka:
                print(f"{kafka.address} answered after {kafka.ready_s:.2f} s, pid {kafka.pid}", flush=True)
                os.waitpid(kafka.pid, 0)
            return 0
    except NoKafka as reason:
        print(reason, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
