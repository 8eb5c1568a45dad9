"""redis-cli: its output as its users see it."""

from __future__ import annotations

import subprocess

from conformance.matrix.cells import Cells, Place, Skip
from conformance.process import find_command

COMMAND_S_MAX = 30


class RedisCli(Cells):
    def version(self) -> str:
        command = find_command("redis-cli")
        return (
            subprocess.run([command, "--version"], capture_output=True, text=True).stdout.split()[-1] if command else ""
        )


cells = RedisCli("resp", "redis-cli", "")


def cli(place: Place, *arguments: str, given: str | None = None) -> str:
    command = find_command("redis-cli")
    if command is None:
        raise Skip("redis-cli is not installed (make peers)")
    done = subprocess.run(
        [command, "-h", place.host, "-p", str(place.port), *arguments],
        input=given, capture_output=True, text=True, timeout=COMMAND_S_MAX,
    )  # fmt: skip
    return done.stdout + done.stderr


@cells.add("strings: set and get")
def set_and_get(place: Place) -> object:
    key = place.name("key")
    return [
        cli(place, "SET", key, "a b"),
        cli(place, "GET", key),
        cli(place, "--no-raw", "GET", key),
        cli(place, "--no-raw", "GET", "none"),
    ]


@cells.add("output: every shape of an answer")
def shapes(place: Place) -> object:
    key = place.name("key")
    cli(place, "RPUSH", key, "1", "2")
    cli(place, "HSET", key + "h", "a", "1")
    commands = (
        ["LRANGE", key, "0", "-1"],
        ["LLEN", key],
        ["HGETALL", key + "h"],
        ["GET", key],
        ["EXISTS", "none"],
        ["PING"],
    )
    told = [cli(place, "--no-raw", *command) for command in commands]
    return [*told, cli(place, "--csv", "LRANGE", key, "0", "-1"), cli(place, "--json", "HGETALL", key + "h")]


@cells.add("output: RESP3")
def resp3(place: Place) -> object:
    key = place.name("key")
    cli(place, "HSET", key, "a", "1")
    cli(place, "ZADD", key + "z", "1.5", "m")
    commands = (["HGETALL", key], ["ZRANGE", key + "z", "0", "-1", "WITHSCORES"], ["GET", "none"], ["SMEMBERS", "none"])
    return [cli(place, "-3", "--no-raw", *command) for command in commands]


@cells.add("input: commands by standard input")
def standard_input(place: Place) -> object:
    key = place.name("key")
    return cli(place, given=f'SET {key} "quoted \\n text"\nGET {key}\nINCR {key}\nMULTI\nSET {key} 1\nEXEC\n')


@cells.add("input: mass insertion by --pipe")
def pipe(place: Place) -> object:
    key = place.name("key")
    given = "".join(f"*3\r\n$3\r\nSET\r\n${len(key) + 4}\r\n{key}{number:04}\r\n$1\r\nx\r\n" for number in range(1000))
    return [line for line in cli(place, "--pipe", given=given).splitlines() if "errors" in line]


@cells.add("input: inline commands")
def inline(place: Place) -> object:
    import socket

    key = place.name("key")
    with socket.create_connection((place.host, place.port), timeout=COMMAND_S_MAX) as connection:
        connection.sendall(f"PING\r\nSET {key} 'a b'\r\nGET {key}\r\nSET {key} \"unbalanced\r\n".encode())
        told = b""
        while chunk := connection.recv(4096):
            told += chunk
    return told


@cells.add("keys: --scan")
def scan(place: Place) -> object:
    key = place.name("key")
    for number in range(5):
        cli(place, "SET", f"{key}:{number}", "x")
    return sorted(cli(place, "--scan", "--pattern", f"{key}:*").split())


@cells.add("keys: -n and -x")
def other_database(place: Place) -> object:
    key = place.name("key")
    return [
        cli(place, "-n", "7", "-x", "SET", key, given="from input"),
        cli(place, "-n", "7", "GET", key),
        cli(place, "GET", key),
    ]


@cells.add("server: info")
def info(place: Place) -> object:
    told = cli(place, "INFO", "server")
    return [
        told.startswith("# Server"),
        "redis_version:" in told,
        "tcp_port:" in told,
        "# Keyspace" in cli(place, "INFO"),
    ]


@cells.add("server: command docs for hints")
def docs(place: Place) -> object:
    told = cli(place, "COMMAND", "DOCS", "GET").split("\n")
    return [word in told for word in ("get", "summary", "group", "string", "arguments")]


@cells.add("pub/sub: subscribe")
def subscribe(place: Place) -> object:
    command = find_command("redis-cli")
    if command is None:
        raise Skip("redis-cli is not installed (make peers)")
    channel = place.name("channel")
    words = [command, "-h", place.host, "-p", str(place.port), "SUBSCRIBE", channel]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as listener:
        assert listener.stdout is not None
        told = [listener.stdout.readline() for _ in range(3)]
        told.append(cli(place, "PUBLISH", channel, "hello"))
        told += [listener.stdout.readline() for _ in range(3)]
        listener.terminate()
    return told


@cells.add("server: user and password")
def users(place: Place) -> object:
    address = place.option("users", "the target was started without users")
    other = Place(address)
    user, password = place.options["user"], place.options["password"]
    told = [cli(other, "--user", user, "--pass", password, "--no-auth-warning", "PING"), cli(other, "PING")]
    return [*told, cli(other, "--no-auth-warning", "-a", "wrong", "PING").splitlines()[0]]
