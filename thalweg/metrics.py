"""What each metric means: the text behind ``# HELP`` and in ``docs/metrics.md``.

Sessions and executors count by name (``port.note("nats_slow_consumers")``); every such name has its line here.
A name that ends in ``_total`` counts since the process began; others are gauges.
"""

from __future__ import annotations

PROTOCOLS = ("kafka", "nats", "mqtt", "resp", "http")

OF_EACH_PROTOCOL = {
    "connections": "Connections now.",
    "connections_total": "Connections accepted.",
    "connections_refused_total": "Connections closed at once because connections_max was reached.",
    "slow_consumers_total": "Connections closed because more than pending_bytes_max waited for a peer that does not read.",
    "tls_errors_total": "TLS connections that ended in an error: not TLS, no handshake in time, no certificate that is accepted.",
    "wire_errors_total": "Connections closed because the peer broke the protocol's grammar.",
}

ONCE = {
    "checkpoint_failures_total": "Checkpoints that could not be written; the older one stays.",
    "checkpoints_total": "Checkpoints of executors' state written.",
    "commits_total": "Commit frames made, since the data directory was created.",
    "epoch": "The shard's epoch: rises at every open and after every storage failure.",
    "logins_refused_total": "Wrong names or passwords given, by any protocol (not by SCRAM).",
    "messages_uncaptured_total": "Messages that no topic or stream captured: delivered to who listened, kept nowhere.",
    "records_appended_total": "Records appended to streams.",
    "session_crashes_total": "Sessions ended by an exception nobody expected: ours to fix, its trace is in the log.",
    "storage_failures_total": "Writes or fsyncs that failed: what waited for them was not acknowledged.",
    "substrate_links_lost_total": "Links to the sequencer that broke; every client connection of that gateway was closed.",
    "substrate_links_refused_total": "Attempts to link to a sequencer that failed.",
    "substrate_links_remade_total": "Links to a sequencer made again after one was lost.",
    "storage_recoveries_total": "New epochs made durable after a storage failure.",
    "streams": "Streams known, internal ones included.",
    "undecodable_batches_total": "Batches of Kafka clients that were stored but could not be decoded for live subscribers.",
}

OF_ONE_PROTOCOL = {
    "http_live_drops_total": "Groups of messages not shown to a live tail that does not read.",
    "kafka_closed_total": "Connections closed by the session, with the reason in the log.",
    "kafka_idle_closed_total": "Connections closed because they were idle too long.",
    "mqtt_websocket_errors_total": "WebSocket connections that ended in an error: handshakes refused, frames that are not allowed.",
    "nats_websocket_errors_total": "The same of NATS clients.",
    "mqtt_connect_timeouts_total": "Connections closed because no CONNECT came in time.",
    "mqtt_keep_alive_timeouts_total": "Connections closed because their keep alive passed one and a half times.",
    "mqtt_logins_refused_total": "CONNECT packets answered with a refusal.",
    "mqtt_malformed_packets_total": "Connections closed for a malformed packet.",
    "mqtt_owed_records_gone_total": "Messages owed to a session that retention removed before they were delivered.",
    "mqtt_publishes_refused_total": "PUBLISH packets refused: to the server's own topics ($... and _thalweg), or without the right to.",
    "mqtt_queue_full_drops_total": "Messages dropped because a session's queue was full.",
    "mqtt_quota_refusals_total": "PUBLISH packets refused because sessions or retained messages hold too much already.",
    "mqtt_records_trimmed_total": "Times that retention removed records of a stream before they were read for MQTT sessions.",
    "mqtt_sessions_refused_total": "CONNECT packets refused because there are too many sessions.",
    "mqtt_slow_consumer_drops_total": "QoS 0 messages dropped for a subscriber that does not read.",
    "nats_max_deliveries_total": "JetStream messages not delivered again because max_deliver was reached.",
    "nats_protocol_violations_total": "Clients told -ERR for breaking the protocol.",
    "nats_unreadable_streams_total": "Reads for a JetStream consumer that failed, and are tried again.",
    "nats_stale_connections_total": "Clients that did not answer PING in time.",
}


def meanings() -> dict[str, str]:
    """Every metric's name, without the prefix ``thalweg_``, and what it says."""
    each = {f"{protocol}_{name}": words for protocol in PROTOCOLS for name, words in OF_EACH_PROTOCOL.items()}
    return dict(sorted((each | ONCE | OF_ONE_PROTOCOL).items()))
