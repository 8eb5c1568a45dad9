"""Stock clients as their users run them: paho-mqtt with a thread of its own, mosquitto_pub and mosquitto_sub."""

from __future__ import annotations

import queue
import shutil
import subprocess
from collections.abc import Callable
from typing import Any, Literal

import paho.mqtt.client as paho
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

WAIT_S = 20.0
VERSIONS = {"3.1": paho.MQTTv31, "3.1.1": paho.MQTTv311, "5.0": paho.MQTTv5}


class Paho:
    """One client. ``session_s``: seconds that its session outlives it (0: not at all). ``again``: it reconnects by itself."""

    def __init__(
        self, port: int, client_id: str, version: str = "3.1.1", session_s: int = 0, before: Callable[[paho.Client], None] | None = None,
        transport: Literal["tcp", "websockets"] = "tcp", again: bool = True,
    ) -> None:  # fmt: skip
        self.port = port
        self.version = VERSIONS[version]
        five = version == "5.0"
        more: dict[str, Any] = {} if five else {"clean_session": session_s == 0}
        self.client = paho.Client(
            paho.CallbackAPIVersion.VERSION2, client_id, protocol=self.version, transport=transport,
            reconnect_on_failure=again, **more,
        )  # fmt: skip
        self.messages: queue.Queue[paho.MQTTMessage] = queue.Queue()
        self.events: queue.Queue[tuple[str, Any]] = queue.Queue()
        self.present = False
        self.client.max_inflight_messages_set(100)
        self.client.max_queued_messages_set(0)
        self.client.on_message = lambda client, data, message: self.messages.put(message)
        self.client.on_subscribe = lambda client, data, mid, codes, properties: self.events.put(("suback", codes))
        self.client.on_unsubscribe = lambda client, data, mid, codes, properties: self.events.put(("unsuback", codes))
        self.client.on_connect = self._on_connect
        self.client.on_disconnect = lambda client, data, flags, code, properties: self.events.put(("closed", code))
        if before is not None:
            before(self.client)
        options: dict[str, Any] = {}
        if five:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = session_s
            options = {"clean_start": session_s == 0, "properties": properties}
        self.client.connect("127.0.0.1", port, keepalive=30, **options)
        self.client.loop_start()
        self.wait("connected")

    def _on_connect(self, client: object, data: object, flags: Any, code: Any, properties: object) -> None:
        self.present = flags.session_present
        self.events.put(("connected", code))

    def wait(self, event: str) -> Any:
        """The next event of this kind; others before it are passed over."""
        while True:
            kind, value = self.events.get(timeout=WAIT_S)
            if kind == event:
                return value

    def subscribe(self, *filters: str, qos: int = 0, **more: Any) -> Any:
        self.client.subscribe([(text, qos) for text in filters] if not more else filters[0], **more)
        return self.wait("suback")

    def publish(
        self, topic: str, payload: bytes, qos: int = 0, retain: bool = False, properties: Properties | None = None
    ) -> None:
        """Returns when it is acknowledged (QoS 1, 2) or written."""
        told = self.client.publish(topic, payload, qos, retain, properties)
        told.wait_for_publish(WAIT_S)
        assert told.is_published()

    def get(self) -> paho.MQTTMessage:
        return self.messages.get(timeout=WAIT_S)

    def take(self, count: int) -> list[tuple[str, bytes, int]]:
        found = [self.get() for _ in range(count)]
        return [(message.topic, message.payload, message.qos) for message in found]

    def nothing_more(self) -> None:
        """Whatever was on its way has come: a message of its own comes back, and nothing before it."""
        mark = f"mark/{self.client._client_id.decode()}"
        self.subscribe(mark, qos=2)
        self.publish(mark, b"mark", 2)
        assert self.get().topic == mark
        self.client.unsubscribe(mark)
        self.wait("unsuback")

    def drop(self) -> None:
        """The connection breaks, without DISCONNECT."""
        self.client.loop_stop()
        sock = self.client.socket()
        assert sock is not None
        sock.close()

    def reconnect(self) -> None:
        """Of one that does not by itself, after its connection broke. It forgets that it sent a PUBREL if the first attempt
        fails (paho 2.2, ``_messages_reconnect_reset_out``), and publishes that message anew."""
        self.wait("closed")
        self.client.loop_stop()
        self.client.reconnect()
        self.client.loop_start()
        self.wait("connected")

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


def command(name: str, port: int, *arguments: str) -> list[str]:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed (make peers)")
    return [found, "-h", "127.0.0.1", "-p", str(port), *arguments]


def run(name: str, port: int, *arguments: str) -> str:
    """A mosquitto tool's output; it must end well."""
    done = subprocess.run(command(name, port, *arguments), capture_output=True, text=True, timeout=WAIT_S)
    assert done.returncode == 0, done.stderr
    return done.stdout
