"""The configuration: one TOML file, an environment variable for each key, flags over both.

The key ``listen`` of the section ``[kafka]`` is the environment variable ``THALWEG_KAFKA__LISTEN``; ``data`` is ``THALWEG_DATA``.
A key that does not exist is an error, with the nearest one that does.

The models are dataclasses that pydantic validates, and describes as JSON Schema.
pydantic costs a third of the start-up and of the idle memory, so it is imported only where a file, a variable or
``thalweg config`` asks for it: flags alone are plain strings that the models' own checks judge.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import pathlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Le

Count = Annotated[int, Ge(1)]
NOTIFICATIONS = "Ag$lshzxeKEtmdn"
"""Letters of Redis' keyspace notifications."""
Bytes = Annotated[int, Ge(1), Le(2**31 - 1)]
Milliseconds = Annotated[int, Ge(1), Le(2**31 - 1)]
OFF = "off"
MEMORY = ":memory:"
DISK = "disk"
PREFIX = "THALWEG_"
NOT_KEYS = {
    "THALWEG_CONFIG": "the configuration file, where `--config` is not given",
    "THALWEG_SERVER": "the HTTP listener that `thalweg pub`, `cat` and the other commands for people ask",
    "THALWEG_PURE": "`1`: kernels run uncompiled",
    "THALWEG_DEBUG": "`1`: each connection's end is logged with its reason",
    "THALWEG_OUTDATED": "`1`: tests run although a compiled kernel is older than its source",
}
"""Environment variables of ours that are not keys, and what they say."""
SECTIONS = ("tls", "durability", "kafka", "nats", "mqtt", "resp", "http")
PYDANTIC = {"extra": "forbid", "use_attribute_docstrings": True}


class ConfigError(Exception):
    """What is wrong, one line a mistake: the key, what it is, what it may be."""

    def __init__(self, *mistakes: str) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


def parse_address(text: str) -> tuple[str, int] | None:
    """``host:port`` (IPv6 in brackets) in two parts; None for ``off``.

    Raises:
        ValueError: it is neither.
    """
    if text == OFF:
        return None
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"address {text!r} is neither host:port nor off")
    return host.removeprefix("[").removesuffix("]"), int(port)


def check_address(key: str, text: str) -> None:
    try:
        parse_address(text)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from None


def format_address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """What every listener has."""

    __pydantic_config__: ClassVar[Any] = PYDANTIC

    listen: str = OFF
    """Address to accept on: `host:port`, port 0 for any free one, `off` for none."""
    tls_listen: str = OFF
    """Address to accept TLS on."""

    def __post_init__(self) -> None:
        for key in ("listen", "tls_listen", "websocket_listen", "websocket_tls_listen"):
            check_address(key, getattr(self, key, OFF))


@dataclass(frozen=True, slots=True, kw_only=True)
class Kafka(Listener):
    """Kafka clients."""

    listen: str = "127.0.0.1:9092"
    """Address to accept Kafka clients on."""
    tls_listen: str = OFF
    """Address to accept Kafka clients on that speak TLS (`security.protocol` SSL or SASL_SSL)."""
    advertise: str = ""
    """Address told to clients in metadata: `host:port`; empty: that on which the listener accepts."""
    tls_advertise: str = ""
    """The same for clients of `tls_listen`."""
    auto_create_topics: bool = True
    """Whether asking for metadata of an unknown topic creates it (with one partition), if the client allows it."""
    partitions: Annotated[int, Ge(1), Le(1024)] = 1
    """Partitions of a topic created without a number."""
    request_bytes_max: Bytes = 100 * 1024 * 1024
    """A longer request costs its connection."""
    group_initial_rebalance_ms: Annotated[int, Ge(0), Le(60_000)] = 0
    """How long an empty consumer group waits for more members before its first generation (Kafka: 3000)."""
    connections_max: Count = 10_000
    """Connections beyond this are closed at once."""

    def __post_init__(self) -> None:
        Listener.__post_init__(self)
        for key in ("advertise", "tls_advertise"):
            address = getattr(self, key)
            if address:
                check_address(key, address)
                if address == OFF or address.endswith(":0"):
                    raise ValueError(f"{key}: {address!r} is nothing that a client can connect to")


@dataclass(frozen=True, slots=True, kw_only=True)
class Nats(Listener):
    """NATS clients."""

    listen: str = "127.0.0.1:4222"
    """Address to accept NATS clients on."""
    tls_listen: str = OFF
    """Address to accept NATS clients on that must speak TLS (`tls://`)."""
    tls_first: Literal["never", "always", "auto"] = "never"
    """When TLS begins on `tls_listen`: after INFO, before it, or before it if the client begins within 50 ms (nats-server: `handshake_first`)."""
    websocket_listen: str = OFF
    """Address to accept NATS clients on that speak WebSocket (`ws://`, any path)."""
    websocket_tls_listen: str = OFF
    """The same within TLS (`wss://`)."""
    websocket_origins: str = ""
    """Origins that browsers may connect from, separated by commas; empty: any."""
    server_name: str = "thalweg"
    """Name told to clients in INFO."""
    payload_bytes_max: Annotated[int, Ge(1), Le(8 * 1024 * 1024)] = 1024 * 1024
    """Largest payload, headers included; told to clients in INFO."""
    pending_bytes_max: Bytes = 64 * 1024 * 1024
    """A consumer that lets more than this pile up is disconnected as slow."""
    connections_max: Count = 10_000
    """Connections beyond this are closed at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mqtt(Listener):
    """MQTT clients."""

    listen: str = "127.0.0.1:1883"
    """Address to accept MQTT clients on."""
    tls_listen: str = OFF
    """Address to accept MQTT clients on that speak TLS (usually port 8883)."""
    websocket_listen: str = OFF
    """Address to accept MQTT clients on that speak WebSocket (`ws://`, any path; usually port 9001)."""
    websocket_tls_listen: str = OFF
    """The same within TLS (`wss://`)."""
    websocket_origins: str = ""
    """Origins that browsers may connect from, separated by commas (`https://a.example`); empty: any."""
    packet_bytes_max: Annotated[int, Ge(64), Le(8 * 1024 * 1024)] = 1024 * 1024
    """A longer packet costs its connection; told to MQTT 5 clients as Maximum Packet Size."""
    pending_bytes_max: Bytes = 16 * 1024 * 1024
    """QoS 0 messages to a subscriber that lets more than this pile up are dropped and counted."""
    connect_timeout_s: Annotated[int, Ge(1), Le(3600)] = 10
    """Who has not sent its CONNECT by then is closed."""
    connect_bytes_max: Annotated[int, Ge(64), Le(8 * 1024 * 1024)] = 100_000
    """A longer packet of any kind but PUBLISH costs its connection."""
    keep_alive_max_s: Annotated[int, Ge(0), Le(65535)] = 0
    """A longer keep alive, or none, becomes this; told to MQTT 5 clients as Server Keep Alive. 0: the client decides."""
    receive_maximum: Annotated[int, Ge(1), Le(65535)] = 100
    """QoS 1 and 2 messages that an MQTT 5 client may send before they are acknowledged; told as Receive Maximum."""
    inflight_max: Annotated[int, Ge(1), Le(65535)] = 1000
    """QoS 1 and 2 messages that a client is sent before it acknowledges, if it allows as many."""
    topic_alias_maximum: Annotated[int, Ge(0), Le(65535)] = 10
    """Topic aliases that an MQTT 5 client may set, and that it is sent at most."""
    session_expiry_max_s: Annotated[int, Ge(0), Le(2**31 - 1)] = 7 * 24 * 3600
    """How long a session without its client is kept at most, whatever the client asks for; told to MQTT 5 clients."""
    queue_messages_max: Count = 100_000
    """Messages owed to one session; more are dropped for that session and counted."""
    queue_bytes_max: Bytes = 64 * 1024 * 1024
    """The same in bytes."""
    sys_interval_s: Annotated[int, Ge(0), Le(86_400)] = 10
    """How often changed values of `$SYS/broker/...` are sent to who subscribes; 0: there are none."""
    connections_max: Count = 10_000
    """Connections beyond this are closed at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resp(Listener):
    """Redis clients."""

    listen: str = "127.0.0.1:6379"
    """Address to accept Redis clients on."""
    tls_listen: str = OFF
    """Address to accept Redis clients on that speak TLS (`rediss://`, usually port 6380)."""
    appendfsync: Literal["always", "everysec", "no"] = "everysec"
    """When the keyspace's effects are fsynced, and replies wait for it: as in Redis; `CONFIG SET` changes it."""
    databases: Annotated[int, Ge(1), Le(16)] = 16
    """Databases that SELECT reaches."""
    requirepass: str = ""
    """The password of Redis clients where no users are configured; empty: none is asked for."""
    notify_keyspace_events: str = ""
    """Which keyspace notifications are told, in Redis' letters (`KEA`: all); `CONFIG SET` changes it."""
    bulk_bytes_max: Bytes = 512 * 1024 * 1024
    """A longer argument costs its connection."""
    pending_bytes_max: Bytes = 32 * 1024 * 1024
    """A subscriber that lets more than this pile up is disconnected."""
    connections_max: Count = 10_000
    """Connections beyond this are closed at once."""

    def __post_init__(self) -> None:
        Listener.__post_init__(self)
        if wrong := self.notify_keyspace_events.strip(NOTIFICATIONS):
            raise ValueError(f"notify_keyspace_events: {wrong!r} is none of {NOTIFICATIONS}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Http(Listener):
    """People and operators: the console, its API, health and metrics."""

    listen: str = "127.0.0.1:9480"
    """Address of the console, `/api`, `/livez`, `/readyz` and `/metrics`."""
    tls_listen: str = OFF
    """Address of the same over HTTPS."""
    hosts: str = ""
    """Names under which it is reached, separated by commas, beside addresses and names without a dot: a page under any other name is refused (DNS rebinding)."""
    connections_max: Count = 256
    """Connections beyond this are closed at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """What the listeners' `tls_listen` addresses show and ask for; files are read again on SIGHUP."""

    __pydantic_config__: ClassVar[Any] = PYDANTIC

    certificate: str = ""
    """PEM file of the server's certificate, followed by those that lead to a root."""
    key: str = ""
    """PEM file of its key, without a password."""
    client_ca: str = ""
    """PEM file of those whose client certificates are accepted; empty: clients are asked for none."""
    client_certificates: Literal["required", "optional"] = "required"
    """Whether a client must have one, where `client_ca` is set."""
    version_min: Literal["1.2", "1.3"] = "1.2"
    """Older TLS is refused."""

    def __post_init__(self) -> None:
        if bool(self.certificate) != bool(self.key):
            raise ValueError("key: is needed with a certificate, and a certificate with it")
        if self.client_ca and not self.certificate:
            raise ValueError("client_ca: says nothing without a certificate")


@dataclass(frozen=True, slots=True, kw_only=True)
class Durability:
    """What an acknowledgement means for customers' streams that say nothing else."""

    __pydantic_config__: ClassVar[Any] = PYDANTIC

    default: Literal["sync", "os", "interval"] = "sync"
    """`sync`: fsynced. `os`: in the page cache, lost with the machine. `interval`: fsynced every `interval_ms`."""
    interval_ms: Milliseconds = 1000
    """The loss window of `interval`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything that `thalweg serve` can be told. Immutable; what `load` gives is valid."""

    __pydantic_config__: ClassVar[Any] = PYDANTIC

    data: str = "data"
    """Directory of everything that is kept; `:memory:` keeps nothing."""
    engine: str = "disk"
    """What keeps the streams: `disk`, or `jetstream://[user:password@]host:port,host:port.../name?replicas=3`, a NATS JetStream cluster; `data` then holds a copy."""
    fleet_key: str = ""
    """File of the key that gateways over one cluster share (16 bytes or more, for its owner only); empty: this one is alone."""
    fleet_listen: str = "tcp://127.0.0.1:0"
    """Where the gateway that holds the lease accepts the others: `tcp://host:port`, `tls://host:port`; told to them as it is."""
    users: str = ""
    """File of those who may come in and of what each may do, read again on SIGHUP; empty: everybody may do everything."""
    workers: Annotated[int, Ge(0), Le(64)] = 0
    """Gateways in processes of their own that share the addresses, over one sequencer, supervised; 0: all in one process."""
    pinned: bool = False
    """Whether each of those processes is bound to a core."""
    checkpoint_bytes: Bytes = 32 * 1024 * 1024
    """A state stream that grew by this since its last checkpoint gets one, written by a process of its own."""
    tls: Tls = field(default_factory=Tls)
    durability: Durability = field(default_factory=Durability)
    kafka: Kafka = field(default_factory=Kafka)
    nats: Nats = field(default_factory=Nats)
    mqtt: Mqtt = field(default_factory=Mqtt)
    resp: Resp = field(default_factory=Resp)
    http: Http = field(default_factory=Http)

    def __post_init__(self) -> None:
        if not self.data or "\0" in self.data:
            raise ValueError(f"data: {self.data!r} is neither a directory nor :memory:")
        check_engine(self)
        for name in ("kafka", "nats", "mqtt", "resp", "http"):
            for key in ("tls_listen", "websocket_tls_listen"):
                if getattr(getattr(self, name), key, OFF) != OFF and not self.tls.certificate:
                    raise ValueError(f"{name}.{key}: needs tls.certificate and tls.key")


def check_engine(config: Config) -> None:
    """
    Raises:
        ValueError: no such engine, or one that does not go with the other keys.
    """
    if config.engine == DISK:
        if config.fleet_key:
            raise ValueError("fleet_key: says nothing without an engine in a cluster")
        return
    from substrate.jetstream.address import Cluster

    try:
        Cluster.parse(config.engine)
    except ValueError as error:
        raise ValueError(f"engine: {error}, nor {DISK}") from None
    if config.data == MEMORY:
        raise ValueError("engine: needs a directory in data for its copy")
    if config.workers:
        raise ValueError("workers: is for the disk engine; start more gateways with the same fleet_key")


def keys() -> Iterator[tuple[str, str, object]]:
    """Every key as ``section.key``, with its environment variable and its default."""
    defaults = Config()
    for entry in dataclasses.fields(Config):
        value = getattr(defaults, entry.name)
        if entry.name not in SECTIONS:
            yield entry.name, variable_of(entry.name), value
            continue
        for inner in dataclasses.fields(value):
            name = f"{entry.name}.{inner.name}"
            yield name, variable_of(name), getattr(value, inner.name)


def variable_of(key: str) -> str:
    return PREFIX + key.replace(".", "__").upper()


def nearest(word: str, known: Iterator[str] | list[str]) -> str:
    """`` (did you mean ...?)``, or nothing where nothing is near."""
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {found[0]}?" if found else ""


def load(
    file: str | pathlib.Path | None = None,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, str] | None = None,
) -> Config:
    """The configuration: ``flags`` (``{"kafka.listen": ...}``) over the environment over the file over the defaults.

    Raises:
        ConfigError: the file cannot be read, a key does not exist, a value is not allowed.
    """
    tree: dict[str, Any] = {}
    if file is not None:
        tree = read_file(pathlib.Path(file))
    from_environment = dict(read_environment(environ or {}))
    flags = flags or {}
    if not tree and not from_environment:
        return from_flags(flags)
    for key, value in {**from_environment, **flags}.items():
        put(tree, key, value)
    return validate(tree)


def from_flags(flags: Mapping[str, str]) -> Config:
    """Only strings, whose checks are the models' own: without pydantic."""
    tree: dict[str, Any] = {}
    for key, value in flags.items():
        put(tree, key, value)
    models = {"tls": Tls, "kafka": Kafka, "nats": Nats, "mqtt": Mqtt, "resp": Resp, "http": Http}
    made: dict[str, Any] = {}
    for name, value in tree.items():
        try:
            made[name] = models[name](**value) if name in models else value
        except ValueError as error:
            raise ConfigError(f"{name}.{error}") from None
    try:
        return Config(**made)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def put(tree: dict[str, Any], key: str, value: object) -> None:
    *sections, last = key.split(".")
    for section in sections:
        inner = tree.setdefault(section, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"{section}: is a section, not {inner!r}")
        tree = inner
    tree[last] = value


def read_file(path: pathlib.Path) -> dict[str, Any]:
    import tomllib

    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error


def read_environment(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    known = {variable: key for key, variable, _ in keys()}
    mistakes = []
    for variable, value in environ.items():
        if not variable.startswith(PREFIX) or variable in NOT_KEYS:
            continue
        if variable in known:
            yield known[variable], value
        else:
            mistakes.append(f"{variable}: no such key{nearest(variable, list(known))}")
    if mistakes:
        raise ConfigError(*mistakes)


@functools.cache
def adapter() -> Any:
    """pydantic's view of the models: 60 ms to build."""
    import pydantic

    return pydantic.TypeAdapter(Config)


def validate(tree: Mapping[str, Any]) -> Config:
    """A parsed file as a configuration.

    Raises:
        ConfigError: with every mistake in it.
    """
    import pydantic

    try:
        config: Config = adapter().validate_python(dict(tree))
    except pydantic.ValidationError as error:
        raise ConfigError(*map(explain, error.errors())) from None
    return config


def explain(mistake: Any) -> str:
    """One line for one of pydantic's errors."""
    key = ".".join(str(part) for part in mistake["loc"])
    if mistake["type"] == "value_error":  # a model's own check, which names its key
        return f"{key}.{mistake['ctx']['error']}" if key else str(mistake["ctx"]["error"])
    if mistake["type"] in {"unexpected_keyword_argument", "extra_forbidden"}:
        known = [name for name, _, _ in keys()]
        return f"{key}: no such key{nearest(key, known + list(SECTIONS))}"
    given = mistake["input"]
    shown = "" if isinstance(given, dict) else f" (given {given!r})"
    return f"{key}: {mistake['msg']}{shown}"


def schema() -> dict[str, Any]:
    """The JSON Schema of the configuration file."""
    described: dict[str, Any] = adapter().json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **described}
