"""Nothing configured is ignored: every key reaches a protocol's settings, or is read by the process itself."""

from __future__ import annotations

import dataclasses
import pathlib

import pytest

from protocols.kafka import session as kafka
from protocols.mqtt import session as mqtt
from protocols.mqtt import sessions as mqtt_sessions
from protocols.nats import session as nats
from protocols.resp import session as resp
from thalweg.config import Config, keys

ROOT = pathlib.Path(__file__).resolve().parents[2]
SETTINGS = {
    "kafka": (kafka.Settings,),
    "nats": (nats.Settings,),
    "mqtt": (mqtt.Settings, mqtt_sessions.Limits),
    "resp": (resp.Settings,),
}
OF_THE_PROCESS = (
    "fleet.py",
    "gateway.py",
    "settings.py",
    "serve.py",
    "connection.py",
    "listeners.py",
    "tls.py",
    "ops.py",
    "commands/serve.py",
)


def read_by_the_process(section: str, name: str) -> bool:
    texts = [(ROOT / "thalweg" / file).read_text() for file in OF_THE_PROCESS]
    dotted = f"config.{section}.{name}" if section else f"config.{name}"
    return any(dotted in text for text in texts) or (
        name in {"listen", "tls_listen", "connections_max"} or name.startswith("websocket_")
    )


@pytest.mark.parametrize(("key", "variable", "default"), list(keys()), ids=lambda value: str(value))
def test_every_key_is_read_by_somebody(key: str, variable: str, default: object) -> None:
    section, _, name = key.rpartition(".")
    fields = {field.name for settings in SETTINGS.get(section, ()) for field in dataclasses.fields(settings)}
    assert name in fields or read_by_the_process(section, name), f"{key} is accepted and ignored"


@pytest.mark.parametrize("section", list(SETTINGS))
def test_defaults_agree_with_the_protocols_own(section: str) -> None:
    """A session built by hand and a process without a file behave alike."""
    ours = getattr(Config(), section)
    for field in (field for settings in SETTINGS[section] for field in dataclasses.fields(settings)):
        if hasattr(ours, field.name) and field.default is not dataclasses.MISSING:
            assert getattr(ours, field.name) == field.default, f"{section}.{field.name}"
