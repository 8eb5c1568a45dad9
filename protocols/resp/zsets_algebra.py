"""ZUNION, ZINTER, ZDIFF and their STORE forms; plain sets take part with score 1.

Effects: in the client's words.
Deviations: none known.
"""

from __future__ import annotations

from protocols.resp.call import Call
from protocols.resp.errors import SYNTAX, WRONG_TYPE, CommandError
from protocols.resp.numbers import find_integer, float_of
from protocols.resp.sets import limit_of
from protocols.resp.state import SET, ZSET
from protocols.resp.table import Handlers
from protocols.resp.wire import integer
from protocols.resp.zsets import Pair, pairs_reply, store


def scores_of(call: Call, key: bytes) -> dict[bytes, float]:
    entry = call.find(key)
    if entry is None:
        return {}
    if entry.kind == SET:
        return dict.fromkeys(entry.value.items, 1.0)
    if entry.kind != ZSET:
        raise CommandError(WRONG_TYPE)
    scores: dict[bytes, float] = entry.value.scores
    return scores


def number_of(word: bytes, name: str) -> int:
    number = find_integer(word)
    if number is None:
        raise CommandError("ERR value is not an integer or out of range")
    if number < 1:
        raise CommandError(f"ERR at least 1 input key is needed for '{name}' command")
    return number


def aggregate(how: bytes, old: float, new: float) -> float:
    if how == b"MIN":
        return min(old, new)
    if how == b"MAX":
        return max(old, new)
    total = old + new
    return 0.0 if total != total else total  # inf + -inf is 0 here (t_zset.c zunionInterAggregate)


def combine(call: Call, words: list[bytes], at: int, storing: bool) -> tuple[list[Pair], bool]:
    """Pairs by rank, and WITHSCORES. ``words[at]`` is the number of keys.

    Raises:
        CommandError: as Redis for each word it cannot read.
    """
    number = number_of(words[at], call.name)
    keys, rest = words[at + 1 : at + 1 + number], words[at + 1 + number :]
    if len(keys) < number:
        raise CommandError(SYNTAX)
    how_all = call.name[1:].removesuffix("store")
    weights, how, with_scores = [1.0] * number, b"SUM", False
    sources = [scores_of(call, key) for key in keys]
    index = 0
    while index < len(rest):
        option = rest[index].upper()
        if option == b"WEIGHTS" and how_all != "diff" and len(rest) >= index + 1 + number:
            weights = [
                float_of(word, "ERR weight value is not a float") for word in rest[index + 1 : index + 1 + number]
            ]
            index += number
        elif option == b"AGGREGATE" and how_all != "diff" and index + 1 < len(rest):
            index += 1
            how = rest[index].upper()
            if how not in (b"SUM", b"MIN", b"MAX"):
                raise CommandError(SYNTAX)
        elif option == b"WITHSCORES" and not storing:
            with_scores = True
        else:
            raise CommandError(SYNTAX)
        index += 1
    return sorted((score, member) for member, score in merge(sources, weights, how, how_all).items()), with_scores


def weighted(weight: float, score: float) -> float:
    value = weight * score
    return 0.0 if value != value else value


def merge(sources: list[dict[bytes, float]], weights: list[float], how: bytes, kind: str) -> dict[bytes, float]:
    if kind == "diff":
        return {m: s for m, s in sources[0].items() if not any(m in other for other in sources[1:])}
    found: dict[bytes, float] = {}
    if kind == "inter":
        order = sorted(range(len(sources)), key=lambda i: len(sources[i]))
        first, others = order[0], order[1:]
        for member, score in sources[first].items():
            if all(member in sources[i] for i in others):
                value = weighted(weights[first], score)
                for i in others:
                    value = aggregate(how, value, weighted(weights[i], sources[i][member]))
                found[member] = value
        return found
    for source, weight in zip(sources, weights, strict=True):
        for member, score in source.items():
            value = weighted(weight, score)
            found[member] = aggregate(how, found[member], value) if member in found else value
    return found


def algebra(call: Call, words: list[bytes]) -> bytes:
    pairs, with_scores = combine(call, words, 1, False)
    return pairs_reply(pairs, with_scores, call.protocol)


def algebra_store(call: Call, words: list[bytes]) -> bytes:
    pairs, _ = combine(call, words, 2, True)
    return store(call, words[1], pairs)


def zintercard(call: Call, words: list[bytes]) -> bytes:
    number = find_integer(words[1])
    if number is None or number <= 0:
        raise CommandError("ERR numkeys should be greater than 0")
    if number > len(words) - 2:
        raise CommandError(SYNTAX)
    limit = limit_of(words[2 + number :])
    sources = [scores_of(call, key) for key in words[2 : 2 + number]]
    count = len(merge(sources, [1.0] * number, b"SUM", "inter"))
    return integer(min(count, limit) if limit else count)


HANDLERS: Handlers = {
    "zunion": algebra, "zunionstore": algebra_store, "zinter": algebra, "zinterstore": algebra_store,
    "zdiff": algebra, "zdiffstore": algebra_store, "zintercard": zintercard,
}  # fmt: skip
