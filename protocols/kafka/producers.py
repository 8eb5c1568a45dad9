"""InitProducerId 0-4: ids for idempotent producers.

An id is never given twice; its epoch is 0. A producer that names the id and epoch it had (version 3) gets a new id, which
is as good to it. Transactions are not spoken: a transactional id gets TRANSACTIONAL_ID_AUTHORIZATION_FAILED, which every
client takes as final; an empty one INVALID_REQUEST.
"""

from __future__ import annotations

from typing import Any

from protocols.kafka.errors import Code, refusal
from protocols.kafka.exchange import Exchange
from substrate.api import Answer, Called, NewProducerId


def init_producer_id(exchange: Exchange, message: Any) -> None:
    def answered(answer: Answer) -> None:
        if isinstance(answer, Called) and isinstance(answer.answer, int):
            exchange.reply(exchange.make(producer_id=answer.answer, producer_epoch=0), {answer.shard: answer.commit})
            return
        code, _ = refusal(answer.answer if isinstance(answer, Called) else answer)
        exchange.reply(exchange.make(error_code=code, producer_epoch=-1))

    if message.transactional_id is not None:
        refused = Code.TRANSACTIONAL_ID_AUTHORIZATION_FAILED if message.transactional_id else Code.INVALID_REQUEST
        exchange.reply(exchange.make(error_code=refused, producer_epoch=-1))
        return
    exchange.call("topics", NewProducerId(), answered)
