"""DescribeAcls 1-3, CreateAcls 1-3, DeleteAcls 1-3: refused with SECURITY_DISABLED, as of a Kafka without an authorizer.

Who may do what is written in the user file, for all protocols at once; clients can neither see nor change it.
"""

from __future__ import annotations

from typing import Any

from protocols.kafka.errors import Code
from protocols.kafka.exchange import Exchange

TEXT = "No Authorizer is configured: rights are those of the user file."


def describe_acls(exchange: Exchange, message: Any) -> None:
    exchange.reply(exchange.make(error_code=Code.SECURITY_DISABLED, error_message=TEXT))


def create_acls(exchange: Exchange, message: Any) -> None:
    results = [
        exchange.make("results", error_code=Code.SECURITY_DISABLED, error_message=TEXT) for _ in message.creations
    ]
    exchange.reply(exchange.make(results=results))


def delete_acls(exchange: Exchange, message: Any) -> None:
    results = [
        exchange.make("filter_results", error_code=Code.SECURITY_DISABLED, error_message=TEXT) for _ in message.filters
    ]
    exchange.reply(exchange.make(filter_results=results))
