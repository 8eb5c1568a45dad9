"""Servers that the matrix runs against: ours, real ones on this machine, real ones in containers, any address.

A target is written as a word or a URL: ``thalweg`` (one is started), ``kafka://host:port``, ``nats://...``, ``mqtt://...``,
``redis://...`` (somebody's server, which is written to), or a scheme alone, ``redis://``: the real server of that
protocol, started here where it is installed, else in a container where Docker is.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import pathlib
import re
import subprocess
import sys
from dataclasses import dataclass, field

from conformance import apache_kafka
from conformance.process import GatewayProcess, NotReady, ServerProcess, find_command, free_port, peer_command

SCHEMES = {"kafka": "kafka", "nats": "nats", "mqtt": "mqtt", "redis": "resp", "resp": "resp"}
REAL = {"kafka": "Apache Kafka", "nats": "nats-server", "mqtt": "mosquitto", "resp": "redis-server"}
IMAGES = {"kafka": "apache/kafka:4.2.0", "nats": "nats:2", "mqtt": "eclipse-mosquitto:2", "resp": "redis:7.0"}
PORTS = {"kafka": 9092, "nats": 4222, "mqtt": 1883, "resp": 6379}
COMMANDS = {"nats": ["-js"], "mqtt": ["mosquitto", "-c", "/mosquitto-no-auth.conf"]}
"""Of the containers, where the image's own would not do."""
USER, PASSWORD = "matrix", "secret"
FORBIDDEN = "forbidden"
"""The user may do everything but what lies beneath this."""


class Unavailable(Exception):
    """Why a target cannot be had here."""


@dataclass
class Target:
    """``addresses``: protocol -> host:port. ``options``: protocol -> what cells may ask for beside it."""

    name: str
    addresses: dict[str, str]
    options: dict[str, dict[str, str]] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    """Protocol -> name and version of the server, for people."""


def check(spec: str) -> str:
    """The target as written.

    Raises:
        ValueError: it is none.
    """
    scheme, separator, rest = spec.partition("://")
    known = spec == "thalweg" or (separator and scheme in SCHEMES and re.fullmatch(r"([^:/]+:\d+)?/?", rest))
    if not known:
        raise ValueError(
            f"target {spec!r} is neither thalweg nor {', '.join(f'{name}://host:port' for name in SCHEMES)}"
        )
    return spec


def opened(spec: str, folder: pathlib.Path, until: contextlib.ExitStack) -> Target:
    """The target, ready; what was started for it ends with ``until``.

    Raises:
        Unavailable: it cannot be had.
        ValueError: the word is no target.
    """
    check(spec)
    if spec == "thalweg":
        return ours(folder / "thalweg", until)
    scheme, _, address = spec.partition("://")
    protocol = SCHEMES[scheme]
    if address.strip("/"):
        return Target(spec, {protocol: address.strip("/")}, {protocol: {}}, {protocol: spec})
    return real(protocol, folder / protocol, until)


# ours


def ours(folder: pathlib.Path, until: contextlib.ExitStack) -> Target:
    """Two processes of ``thalweg serve``: open to everybody, and with users."""
    command = [sys.executable, "-m", "thalweg", "serve"]
    listen = {"THALWEG_MQTT__WEBSOCKET_LISTEN": "127.0.0.1:0"}
    server = until.enter_context(GatewayProcess(command, folder / "open", env=listen))
    users = folder / "users.toml"
    users.write_text(
        f'[users.{USER}]\nsecret = "{scram_secret(PASSWORD)}"\nread = ["#"]\nwrite = ["#"]\nmanage = ["#"]\n'
        f'deny_read = ["{FORBIDDEN}/#"]\ndeny_write = ["{FORBIDDEN}/#"]\n'
    )
    users.chmod(0o600)
    guarded = until.enter_context(GatewayProcess(command, folder / "guarded", flags=["--users", str(users)]))
    protocols = ("kafka", "nats", "mqtt", "resp")
    target = Target("thalweg", {protocol: server.address(protocol) for protocol in protocols})
    target.options = {protocol: with_users(guarded.address(protocol)) for protocol in protocols}
    target.options["mqtt"]["websocket"] = json.loads(server.ready_file.read_text())["listeners"]["mqtt_websocket"]
    said = subprocess.run([sys.executable, "-m", "thalweg", "--version"], capture_output=True, text=True).stdout.strip()
    target.versions = dict.fromkeys(protocols, said)
    return target


def with_users(address: str) -> dict[str, str]:
    return {"users": address, "user": USER, "password": PASSWORD}


def scram_secret(password: str, iterations: int = 4096) -> str:
    """As PostgreSQL and our user file write it: RFC 5803's stored and server key."""
    salt = b"matrix-of-clients"
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    salt64, stored64, server64 = (base64.b64encode(part).decode() for part in (salt, stored, server))
    return f"SCRAM-SHA-256${iterations}:{salt64}${stored64}:{server64}"


# real ones


def real(protocol: str, folder: pathlib.Path, until: contextlib.ExitStack) -> Target:
    """The real server of the protocol, started here."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if protocol == "kafka":
            return real_kafka(folder, until)
        return installed(protocol, folder, until)
    except Unavailable as here:
        try:
            return contained(protocol, until)
        except Unavailable as there:
            raise Unavailable(f"{here}; {there}") from None


def real_kafka(folder: pathlib.Path, until: contextlib.ExitStack) -> Target:
    """One node with a listener that is open to everybody, and one for a user, by PLAIN and SCRAM-SHA-256."""
    port, guarded, controller = free_port(), free_port(), free_port()
    listeners = f"PLAINTEXT://127.0.0.1:{port},SASL_PLAINTEXT://127.0.0.1:{guarded}"
    login = "org.apache.kafka.common.security"
    settings = {
        "controller.quorum.voters": f"1@127.0.0.1:{controller}",
        "listeners": f"{listeners},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": listeners,
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT",
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256",
        "listener.name.sasl_plaintext.plain.sasl.jaas.config": f'{login}.plain.PlainLoginModule required user_{USER}="{PASSWORD}";',
        "listener.name.sasl_plaintext.scram-sha-256.sasl.jaas.config": f"{login}.scram.ScramLoginModule required;",
    }
    try:
        apache_kafka.jars()
        server = apache_kafka.ApacheKafka(folder, settings)
        server.port, server.address = port, f"127.0.0.1:{port}"
        until.enter_context(server)
        add = f"SCRAM-SHA-256=[iterations=4096,password={PASSWORD}]"
        words = ["--bootstrap-server", server.address, "--alter", "--entity-type", "users", "--entity-name", USER]
        apache_kafka.run_tool("kafka.admin.ConfigCommand", *words, "--add-config", add, timeout_s=60)
    except (apache_kafka.NoKafka, NotReady, subprocess.SubprocessError) as why:
        raise Unavailable(f"Apache Kafka: {str(why).splitlines()[0]}") from None
    options = with_users(f"127.0.0.1:{guarded}")
    return Target(
        "kafka://", {"kafka": server.address}, {"kafka": options}, {"kafka": f"Apache Kafka {apache_kafka.VERSION}"}
    )


def installed(protocol: str, folder: pathlib.Path, until: contextlib.ExitStack) -> Target:
    """A server of this machine, open to everybody, and one with a user."""
    name = REAL[protocol]
    command = find_command(name)
    if command is None:
        raise Unavailable(f"{name} is not installed (make peers)")
    port, guarded, websocket = free_port(), free_port(), free_port()
    options = with_users(f"127.0.0.1:{guarded}")
    open_command = peer_command(name, port, folder)
    assert open_command is not None
    if protocol == "mqtt":
        settings = folder / "mosquitto.conf"
        settings.write_text(
            f"listener {port} 127.0.0.1\nallow_anonymous true\nlistener {websocket} 127.0.0.1\nprotocol websockets\nsys_interval 1\n"
        )
        options["websocket"] = f"127.0.0.1:{websocket}"
    try:
        start(open_command, folder / "open", port, until)
        start(guarded_command(protocol, command, guarded, folder), folder / "guarded", guarded, until)
    except NotReady as why:
        raise Unavailable(f"{name}: {str(why).splitlines()[-1]}") from None
    said = subprocess.run([command, "-h" if protocol == "mqtt" else "--version"], capture_output=True, text=True).stdout
    version = re.search(r"\d+\.\d+\.\d+", said)
    found = f"{name} {version[0] if version else ''}".strip()
    return Target(f"{protocol}://", {protocol: f"127.0.0.1:{port}"}, {protocol: options}, {protocol: found})


def start(command: list[str], folder: pathlib.Path, port: int, until: contextlib.ExitStack) -> None:
    until.enter_context(ServerProcess(command, folder)).wait_until_accepting(port)


def guarded_command(protocol: str, command: str, port: int, folder: pathlib.Path) -> list[str]:
    """One user, who may do everything but what lies beneath ``FORBIDDEN``."""
    settings = folder / "guarded.conf"
    if protocol == "nats":
        denied = f'{{ deny: "{FORBIDDEN}.>" }}'
        settings.write_text(
            f"host: 127.0.0.1\nport: {port}\nauthorization: {{ users: [ {{ user: {USER}, password: {PASSWORD}, "
            f"permissions: {{ publish: {denied}, subscribe: {denied} }} }} ] }}\n"
        )
        return [command, "-c", str(settings)]
    if protocol == "resp":
        settings.write_text(
            f'bind 127.0.0.1\nport {port}\nsave ""\nuser default off\nuser {USER} on >{PASSWORD} ~* &* +@all\n'
        )
        return [command, str(settings), "--dir", str(folder)]
    passwords, rules = folder / "passwords", folder / "rules"
    tool = find_command("mosquitto_passwd")
    if tool is None:
        raise Unavailable("mosquitto_passwd is not installed (make peers)")
    subprocess.run([tool, "-b", "-c", str(passwords), USER, PASSWORD], check=True, capture_output=True)
    rules.write_text(f"user {USER}\ntopic readwrite #\ntopic deny {FORBIDDEN}/#\n")
    for file in (passwords, rules):
        file.chmod(0o644)  # mosquitto reads them as the user it becomes
    folder.chmod(0o755)
    settings.write_text(f"listener {port} 127.0.0.1\npassword_file {passwords}\nacl_file {rules}\nuser root\n")
    return [command, "-c", str(settings)]


def contained(protocol: str, until: contextlib.ExitStack) -> Target:
    """The real server in a container, by testcontainers."""
    try:
        import docker
        from testcontainers.core.container import DockerContainer
        from testcontainers.kafka import KafkaContainer
    except ImportError as missing:
        raise Unavailable(f"containers: {missing}") from None
    try:
        docker.from_env().ping()
        if protocol == "kafka":
            kafka = until.enter_context(KafkaContainer())
            return Target("kafka://", {"kafka": kafka.get_bootstrap_server()}, {"kafka": {}}, {"kafka": kafka.image})
        container = DockerContainer(IMAGES[protocol]).with_exposed_ports(PORTS[protocol])
        if protocol in COMMANDS:
            container = container.with_command(COMMANDS[protocol])
        until.enter_context(container)
        address = f"{container.get_container_host_ip()}:{container.get_exposed_port(PORTS[protocol])}"
    except docker.errors.DockerException as why:
        raise Unavailable(f"containers: {str(why).splitlines()[0][:120]}") from None
    return Target(f"{protocol}://", {protocol: address}, {protocol: {}}, {protocol: IMAGES[protocol]})
