"""Sorted sets: what they are, how they are changed and read by range.

Speaks Redis 7.2's group: ZADD with all flags, ZRANGE in all forms, the older range commands, ZRANK WITHSCORE, pops,
blocking pops. Set algebra over them is in ``zsets_algebra.py``.
Effects: ZMPOP and blocking pops as ZPOPMIN and ZPOPMAX; the rest in the client's words.
Deviations: none known. Scores are doubles, written as Redis 7.2 does (shortest text that reads back).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from protocols.resp.call import Block, Call
from protocols.resp.errors import MUST_BE_POSITIVE, SYNTAX, CommandError
from protocols.resp.hashes import COUNT_MAX, choose, walk_dict
from protocols.resp.keys import NOTHING_SCANNED, cursor_of, scan_options
from protocols.resp.lists import key_count, timeout_of
from protocols.resp.numbers import float_of, float_text, integer_of
from protocols.resp.state import ZSET, Ranking
from protocols.resp.table import Handlers
from protocols.resp.wire import EMPTY, ZERO, array_of, bulk, bulks, integer, null, null_array
from substrate.interest import glob_matches

RANGE_NOT_FLOAT = "ERR min or max is not a float"
RANGE_NOT_STRING = "ERR min or max not valid string range item"
Pair = tuple[float, bytes]


def score_reply(score: float, protocol: int) -> bytes:
    return b",%b\r\n" % float_text(score) if protocol == 3 else bulk(float_text(score))


def pairs_reply(pairs: list[Pair], with_scores: bool, protocol: int) -> bytes:
    """Members, with scores flat in RESP2 and as pairs in RESP3."""
    if not with_scores:
        return bulks([member for _, member in pairs])
    if protocol == 3:
        return array_of([b"*2\r\n" + bulk(member) + score_reply(score, 3) for score, member in pairs])
    return bulks([word for score, member in pairs for word in (member, float_text(score))])


def zadd(call: Call, words: list[bytes]) -> bytes:
    nx = xx = gt = lt = ch = increment = False
    at = 2
    while at < len(words):
        option = words[at].upper()
        if option == b"NX":
            nx = True
        elif option == b"XX":
            xx = True
        elif option == b"GT":
            gt = True
        elif option == b"LT":
            lt = True
        elif option == b"CH":
            ch = True
        elif option == b"INCR":
            increment = True
        else:
            break
        at += 1
    rest = words[at:]
    if not rest or len(rest) % 2:
        raise CommandError(SYNTAX)
    if nx and xx:
        raise CommandError("ERR XX and NX options at the same time are not compatible")
    if (gt and nx) or (lt and nx) or (gt and lt):
        raise CommandError("ERR GT, LT, and/or NX options at the same time are not compatible")
    if increment and len(rest) > 2:
        raise CommandError("ERR INCR option supports a single increment-element pair")
    scores = [float_of(word) for word in rest[::2]]
    ranking = call.find_zset(words[1])
    made = ranking is None
    if ranking is None:
        if xx:
            return null(call.protocol) if increment else ZERO
        ranking = Ranking()
    added = updated = 0
    score: float | None = None
    for change, member in zip(scores, rest[1::2], strict=True):
        old = ranking.scores.get(member)
        score = change
        if old is not None:
            if nx:
                score = None
                continue
            if increment:
                score = old + change
                if score != score:
                    raise CommandError("ERR resulting score is not a number (NaN)")
            if (gt and score <= old) or (lt and score >= old):
                score = None
                continue
            if score != old:
                ranking.put(member, score)
                updated += 1
        elif xx:
            score = None
        else:
            ranking.put(member, score)
            added += 1
    if made and len(ranking):
        call.make(words[1], ZSET, ranking)
    if added or updated:
        call.changed(words[1], added + updated)
        call.event(b"zincr" if increment else b"zadd", words[1])
    if increment:
        return null(call.protocol) if score is None else score_reply(score, call.protocol)
    return integer(added + updated if ch else added)


def zincrby(call: Call, words: list[bytes]) -> bytes:
    change = float_of(words[2])
    ranking = call.find_zset(words[1])
    old = ranking.scores.get(words[3]) if ranking is not None else None
    score = change if old is None else old + change
    if score != score:
        raise CommandError("ERR resulting score is not a number (NaN)")
    if ranking is None:
        ranking = call.make(words[1], ZSET, Ranking())
    ranking.put(words[3], score)
    call.changed(words[1])
    call.event(b"zincr", words[1])
    return score_reply(score, call.protocol)


def zrem(call: Call, words: list[bytes]) -> bytes:
    ranking = call.find_zset(words[1])
    if ranking is None:
        return ZERO
    removed = sum([ranking.discard(member) for member in words[2:]])
    if removed:
        finish_removal(call, words[1], ranking, removed, b"zrem")
    return integer(removed)


def finish_removal(call: Call, key: bytes, ranking: Ranking, count: int, event: bytes) -> None:
    if not len(ranking):
        call.drop(key)
    call.changed(key, count)
    call.removed(key, event, not len(ranking))


def zscore(call: Call, words: list[bytes]) -> bytes:
    ranking = call.find_zset(words[1])
    score = ranking.scores.get(words[2]) if ranking is not None else None
    return null(call.protocol) if score is None else score_reply(score, call.protocol)


def zmscore(call: Call, words: list[bytes]) -> bytes:
    ranking = call.find_zset(words[1])
    found = [ranking.scores.get(member) if ranking is not None else None for member in words[2:]]
    return array_of([null(call.protocol) if score is None else score_reply(score, call.protocol) for score in found])


def zcard(call: Call, words: list[bytes]) -> bytes:
    ranking = call.find_zset(words[1])
    return integer(0 if ranking is None else len(ranking))


def zrank(call: Call, words: list[bytes]) -> bytes:
    with_score = len(words) > 3
    if with_score and (len(words) > 4 or words[3].upper() != b"WITHSCORE"):
        raise CommandError(SYNTAX)
    ranking = call.find_zset(words[1])
    score = ranking.scores.get(words[2]) if ranking is not None else None
    if ranking is None or score is None:
        return null_array(call.protocol) if with_score else null(call.protocol)
    rank = ranking.order.index((score, words[2]))
    if call.name == "zrevrank":
        rank = len(ranking) - 1 - rank
    return array_of((integer(rank), score_reply(score, call.protocol))) if with_score else integer(rank)


# ranges


class Reach:
    """Which pairs a range covers, as half-open indices into a ranking's order."""

    __slots__ = ("end", "start")

    def __init__(self, start: int, end: int) -> None:
        self.start = start
        self.end = max(start, end)

    def __len__(self) -> int:
        return self.end - self.start


def score_limit(word: bytes) -> tuple[float, bool]:
    """A score, and whether it is excluded.

    Raises:
        CommandError: not a number.
    """
    exclusive = word.startswith(b"(")
    return float_of(word[1:] if exclusive else word, RANGE_NOT_FLOAT), exclusive


def below(order: Any, score: float) -> int:
    """How many pairs have a lower score."""
    return int(order.bisect_left((score, b"")))


def up_to(order: Any, score: float) -> int:
    """How many pairs have at most this score."""
    if score == float("inf"):
        return len(order)
    return int(order.bisect_left((math.nextafter(score, math.inf), b"")))


def by_score(ranking: Ranking | None, low: bytes, high: bytes) -> Reach:
    minimum, above_only = score_limit(low)
    maximum, below_only = score_limit(high)
    if ranking is None:
        return Reach(0, 0)
    order = ranking.order
    start = up_to(order, minimum) if above_only else below(order, minimum)
    end = below(order, maximum) if below_only else up_to(order, maximum)
    return Reach(start, end)


def lex_limit(word: bytes) -> tuple[int, bytes, bool]:
    """(-1 lowest, 0 a member, 1 highest), the member, whether it is excluded.

    Raises:
        CommandError: neither ``-``, ``+``, nor a member after ``(`` or ``[``.
    """
    if word in (b"-", b"+"):
        return (-1 if word == b"-" else 1), b"", False
    if word[:1] not in (b"(", b"["):
        raise CommandError(RANGE_NOT_STRING)
    return 0, word[1:], word.startswith(b"(")


def by_lex(ranking: Ranking | None, low: bytes, high: bytes) -> Reach:
    """Meaningful, as in Redis, where all scores are equal."""
    low_kind, low_member, above_only = lex_limit(low)
    high_kind, high_member, below_only = lex_limit(high)
    if ranking is None or low_kind > 0 or high_kind < 0:
        return Reach(0, 0)
    order = ranking.order
    start, end = 0, len(order)
    if low_kind == 0:
        start = lex_index(order, low_member, above_only)
    if high_kind == 0:
        end = lex_index(order, high_member, not below_only)
    return Reach(start, end)


def lex_index(order: Any, member: bytes, after: bool) -> int:
    """The first index whose member is >= (``after``: >) this one: a search by bisection over members alone."""
    low, high = 0, len(order)
    while low < high:
        middle = (low + high) // 2
        found = order[middle][1]
        if found < member or (after and found == member):
            low = middle + 1
        else:
            high = middle
    return low


def by_rank(ranking: Ranking | None, first: bytes, last: bytes, reverse: bool) -> Reach:
    start, end = integer_of(first), integer_of(last)
    length = 0 if ranking is None else len(ranking)
    start = max(start + length, 0) if start < 0 else start
    end = end + length if end < 0 else min(end, length - 1)
    if start > end or start >= length:
        return Reach(0, 0)
    return Reach(length - 1 - end, length - start) if reverse else Reach(start, end + 1)


def pairs_of(ranking: Ranking | None, reach: Reach, reverse: bool, offset: int = 0, count: int = -1) -> list[Pair]:
    """The pairs of a range, after ``offset`` of them at most ``count`` (negative: all)."""
    if ranking is None or offset < 0 or not len(reach):
        return []
    start, end = reach.start, reach.end
    if reverse:
        end -= offset
        start = max(start, end - count) if count >= 0 else start
    else:
        start += offset
        end = min(end, start + count) if count >= 0 else end
    if start >= end:
        return []
    return list(ranking.order.islice(start, end, reverse))


def select(call: Call, words: list[bytes], at: int, store: bool) -> tuple[list[Pair], bool]:
    """The general ZRANGE: ``words[at]`` is the key, then two limits and options. Gives pairs and WITHSCORES.

    Raises:
        CommandError: options that do not go together, limits that cannot be read.
    """
    name = call.name
    how = "score" if "byscore" in name else "lex" if "bylex" in name else "rank"
    reverse = "rev" in name
    settled = how != "rank" or reverse
    with_scores = limited = False
    offset, count = 0, -1
    index = at + 3
    while index < len(words):
        option = words[index].upper()
        if option == b"WITHSCORES" and not store:
            with_scores = True
        elif option == b"LIMIT" and index + 2 < len(words):
            offset, count = integer_of(words[index + 1]), integer_of(words[index + 2])
            limited = True
            index += 2
        elif option == b"BYSCORE" and not settled and how == "rank":
            how = "score"
        elif option == b"BYLEX" and not settled and how == "rank":
            how = "lex"
        elif option == b"REV" and not settled:
            reverse = True
        else:
            raise CommandError(SYNTAX)
        index += 1
    if limited and how == "rank":
        raise CommandError("ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX")
    if with_scores and how == "lex":
        raise CommandError("ERR syntax error, WITHSCORES not supported in combination with BYLEX")
    first, last = words[at + 1], words[at + 2]
    if how == "rank":
        integer_of(first), integer_of(last)
        ranking = call.find_zset(words[at])
        return pairs_of(ranking, by_rank(ranking, first, last, reverse), reverse), with_scores
    low, high = (last, first) if reverse else (first, last)
    find = by_score if how == "score" else by_lex
    find(None, low, high)
    ranking = call.find_zset(words[at])
    return pairs_of(ranking, find(ranking, low, high), reverse, offset, count), with_scores


def zrange(call: Call, words: list[bytes]) -> bytes:
    pairs, with_scores = select(call, words, 1, False)
    return pairs_reply(pairs, with_scores, call.protocol)


def zrangestore(call: Call, words: list[bytes]) -> bytes:
    pairs, _ = select(call, words, 2, True)
    return store(call, words[1], pairs)


def store(call: Call, key: bytes, pairs: list[Pair], event: bytes = b"") -> bytes:
    """Replace what is under the key by these pairs; by nothing where there are none."""
    there = call.find(key) is not None
    if there:
        call.drop(key)
    if pairs:
        call.make(key, ZSET, Ranking(pairs))
    if there or pairs:
        call.changed(key)
        call.event((event or call.name.encode()) if pairs else b"del", key)
    return integer(len(pairs))


def zcount(call: Call, words: list[bytes]) -> bytes:
    find = by_lex if call.name == "zlexcount" else by_score
    find(None, words[2], words[3])
    return integer(len(find(call.find_zset(words[1]), words[2], words[3])))


def zremrange(call: Call, words: list[bytes]) -> bytes:
    if call.name == "zremrangebyrank":
        integer_of(words[2]), integer_of(words[3])
        ranking = call.find_zset(words[1])
        reach = by_rank(ranking, words[2], words[3], False)
    else:
        find = by_lex if call.name == "zremrangebylex" else by_score
        find(None, words[2], words[3])
        ranking = call.find_zset(words[1])
        reach = find(ranking, words[2], words[3])
    if ranking is None or not len(reach):
        return ZERO
    removed = list(ranking.order.islice(reach.start, reach.end))
    for _, member in removed:
        ranking.discard(member)
    finish_removal(call, words[1], ranking, len(removed), call.name.encode())
    return integer(len(removed))


# pops, random, scan


def take(call: Call, key: bytes, ranking: Ranking, lowest: bool, count: int) -> list[Pair]:
    taken: list[Pair] = []
    for _ in range(min(count, len(ranking))):
        pair = ranking.order.pop(0) if lowest else ranking.order.pop()
        del ranking.scores[pair[1]]
        taken.append(pair)
    finish_removal(call, key, ranking, len(taken), b"zpopmin" if lowest else b"zpopmax")
    return taken


def zpop(call: Call, words: list[bytes]) -> bytes:
    if len(words) > 3:
        raise CommandError(SYNTAX)
    count = 1
    if len(words) == 3:
        count = integer_of(words[2], MUST_BE_POSITIVE)
        if count < 0:
            raise CommandError(MUST_BE_POSITIVE)
    ranking = call.find_zset(words[1])
    if ranking is None or count == 0:
        return EMPTY
    taken = take(call, words[1], ranking, call.name == "zpopmin", count)
    if call.protocol == 3 and len(words) == 2:
        return array_of((bulk(taken[0][1]), score_reply(taken[0][0], 3)))
    return pairs_reply(taken, True, call.protocol)


def bzpop(call: Call, words: list[bytes]) -> bytes | Block:
    deadline_ms = timeout_of(call, words[-1])
    lowest = call.name == "bzpopmin"
    for key in words[1:-1]:
        ranking = call.find_zset(key)
        if ranking is not None:
            score, member = take(call, key, ranking, lowest, 1)[0]
            call.effect(b"ZPOPMIN" if lowest else b"ZPOPMAX", key)
            return array_of((bulk(key), bulk(member), score_reply(score, call.protocol)))
    return Block(words[1:-1], deadline_ms, null_array(call.protocol), words)


def zmpop(call: Call, words: list[bytes]) -> bytes | Block:
    blocking = call.name == "bzmpop"
    deadline_ms = timeout_of(call, words[1]) if blocking else 0
    at = 2 if blocking else 1
    number = key_count(words[at])
    keys, rest = words[at + 1 : at + 1 + number], words[at + 1 + number :]
    if not rest or len(keys) < number or rest[0].upper() not in (b"MIN", b"MAX"):
        raise CommandError(SYNTAX)
    count = 1
    if len(rest) > 1:
        if len(rest) == 2 or rest[1].upper() != b"COUNT":
            raise CommandError(SYNTAX)
        count = integer_of(rest[2], "ERR count should be greater than 0")
        if count <= 0:
            raise CommandError("ERR count should be greater than 0")
        if len(rest) > 3:
            raise CommandError(SYNTAX)
    lowest = rest[0].upper() == b"MIN"
    for key in keys:
        ranking = call.find_zset(key)
        if ranking is not None:
            taken = take(call, key, ranking, lowest, count)
            call.effect(b"ZPOPMIN" if lowest else b"ZPOPMAX", key, b"%d" % len(taken))
            pairs = [array_of((bulk(member), score_reply(score, call.protocol))) for score, member in taken]
            return array_of((bulk(key), array_of(pairs)))
    nothing = null_array(call.protocol)
    return Block(keys, deadline_ms, nothing, words) if blocking else nothing


def zrandmember(call: Call, words: list[bytes]) -> bytes:
    if len(words) == 2:
        ranking = call.find_zset(words[1])
        members = list(ranking.scores) if ranking is not None else []
        return bulk(members[call.pick(len(members))]) if members else null(call.protocol)
    count = integer_of(words[2])
    with_scores = len(words) == 4 and words[3].upper() == b"WITHSCORES"
    if len(words) > 4 or (len(words) == 4 and not with_scores):
        raise CommandError(SYNTAX)
    if not -COUNT_MAX < count < COUNT_MAX:
        raise CommandError("ERR value is out of range")
    ranking = call.find_zset(words[1])
    if ranking is None:
        return EMPTY
    chosen = choose(call, list(ranking.scores), count)
    return pairs_reply([(ranking.scores[member], member) for member in chosen], with_scores, call.protocol)


def zscan(call: Call, words: list[bytes]) -> bytes:
    cursor = cursor_of(words[2])
    if call.find_zset(words[1]) is None:
        return NOTHING_SCANNED
    pattern, count, _ = scan_options(words, 3)
    ranking = call.find_zset(words[1])
    scores = ranking.scores if ranking is not None else {}
    following, found = walk_dict(scores, cursor, count)
    chosen: Iterator[bytes] = (member for member in found if pattern is None or glob_matches(pattern, member))
    return array_of((bulk(b"%d" % following), bulks([word for m in chosen for word in (m, float_text(scores[m]))])))


HANDLERS: Handlers = {
    "zadd": zadd, "zincrby": zincrby, "zrem": zrem, "zscore": zscore, "zmscore": zmscore, "zcard": zcard,
    "zrank": zrank, "zrevrank": zrank, "zcount": zcount, "zlexcount": zcount, "zrange": zrange,
    "zrangestore": zrangestore, "zrevrange": zrange, "zrangebyscore": zrange, "zrevrangebyscore": zrange,
    "zrangebylex": zrange, "zrevrangebylex": zrange, "zremrangebyrank": zremrange, "zremrangebyscore": zremrange,
    "zremrangebylex": zremrange, "zpopmin": zpop, "zpopmax": zpop, "zmpop": zmpop, "bzpopmin": bzpop,
    "bzpopmax": bzpop, "bzmpop": zmpop, "zrandmember": zrandmember, "zscan": zscan,
}  # fmt: skip
