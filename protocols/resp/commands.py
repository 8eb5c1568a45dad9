"""The one table of commands: what COMMAND answers, what arity and rights are checked by, what the README lists.

A line is one command, its columns divided by `` | ``:

    name          in lower case; a subcommand behind a ``|``
    arity         counts the name; negative: at least so many
    flags         as COMMAND gives them, in this order: they say which categories follow (``write`` -> ``@write``, ...)
    categories    those that do not follow from a flag
    keys          which words are keys and what is done to them: see below
    tips          as COMMAND gives them
    since         the version of Redis that brought it
    summary       what it does here

``== group`` begins a group (of COMMAND DOCS and of the README). A key specification is ``where:flags``:

    2             the word at index 2
    1..-1         from index 1 to the last; ``1..-2`` to the last but one; ``1..1`` and the next; ``/2`` every second
    STREAMS@1..-1/1/2    behind the first word STREAMS at or behind index 1, the first half of the rest
    1#            the word at index 1 says how many keys follow
    ?             not to be told from the table (SORT BY, GET, STORE): ``table.py`` knows

What runs a command is in ``HANDLERS`` of its family's module. Facts of arity, flags, keys and tips: redis-server 7.0.15
(``COMMAND``), which a test compares line by line; 7.2 where it says more (CLIENT SETINFO, NO-TOUCH, ZRANK WITHSCORE).
"""

TABLE = """\
== string
append | 3 | write denyoom fast | @string | 1:RW,insert |  | 2.0.0 | Append to a string
decr | 2 | write denyoom fast | @string | 1:RW,access,update |  | 1.0.0 | Take one
decrby | 3 | write denyoom fast | @string | 1:RW,access,update |  | 1.0.0 | Take an integer
get | 2 | readonly fast | @string | 1:RO,access |  | 1.0.0 | The value of a key
getdel | 2 | write fast | @string | 1:RW,access,delete |  | 6.2.0 | Delete a key, give its value
getex | -2 | write fast | @string | 1:RW,access,update |  | 6.2.0 | Give a value and set or remove its expiry
getrange | 4 | readonly | @string | 1:RO,access |  | 2.4.0 | Part of a string
getset | 3 | write denyoom fast | @string | 1:RW,access,update |  | 1.0.0 | Set a key, give its old value
incr | 2 | write denyoom fast | @string | 1:RW,access,update |  | 1.0.0 | Add one
incrby | 3 | write denyoom fast | @string | 1:RW,access,update |  | 1.0.0 | Add an integer
incrbyfloat | 3 | write denyoom fast | @string | 1:RW,access,update |  | 2.6.0 | Add a float
lcs | -3 | readonly | @string | 1..1:RO,access |  | 7.0.0 | The longest common subsequence of two strings; LEN IDX
mget | -2 | readonly fast | @string | 1..-1:RO,access | request_policy:multi_shard | 1.0.0 | The values of several keys
mset | -3 | write denyoom | @string | 1..-1/2:OW,update | request_policy:multi_shard response_policy:all_succeeded | 1.0.1 | Set several keys
msetnx | -3 | write denyoom | @string | 1..-1/2:OW,insert | request_policy:multi_shard response_policy:agg_min | 1.0.1 | Set several keys if none is there
psetex | 4 | write denyoom | @string | 1:OW,update |  | 2.6.0 | Set a key for milliseconds
set | -3 | write denyoom | @string | 1:RW,access,update,variable_flags |  | 1.0.0 | Set a key; EX PX EXAT PXAT KEEPTTL NX XX GET
setex | 4 | write denyoom | @string | 1:OW,update |  | 2.0.0 | Set a key for seconds
setnx | 3 | write denyoom fast | @string | 1:OW,insert |  | 1.0.0 | Set a key that is not there
setrange | 4 | write denyoom | @string | 1:RW,update |  | 2.2.0 | Overwrite part of a string
strlen | 2 | readonly fast | @string | 1:RO |  | 2.2.0 | Length of a string
substr | 4 | readonly | @string | 1:RO,access |  | 1.0.0 | Part of a string (older name of GETRANGE)
== bitmap
bitcount | -2 | readonly | @bitmap | 1:RO,access |  | 2.6.0 | How many bits are set; BYTE BIT
bitfield | -2 | write denyoom | @bitmap | 1:RW,access,update,variable_flags |  | 3.2.0 | Read and change integers of any width in a string; GET SET INCRBY OVERFLOW
bitfield_ro | -2 | readonly fast | @bitmap | 1:RO,access |  | 6.0.0 | Read integers of any width in a string
bitop | -4 | write denyoom | @bitmap | 2:OW,update 3..-1:RO,access |  | 2.6.0 | AND OR XOR NOT of strings
bitpos | -3 | readonly | @bitmap | 1:RO,access |  | 2.8.7 | The first bit that is set, or not
getbit | 3 | readonly fast | @bitmap | 1:RO,access |  | 2.2.0 | A bit
setbit | 4 | write denyoom | @bitmap | 1:RW,access,update |  | 2.2.0 | Set a bit
== generic
copy | -3 | write denyoom | @keyspace | 1:RO,access 2:OW,update |  | 6.2.0 | Copy a key; DB REPLACE
del | -2 | write | @keyspace | 1..-1:RM,delete | request_policy:multi_shard response_policy:agg_sum | 1.0.0 | Delete keys
dump | 2 | readonly | @keyspace | 1:RO,access | nondeterministic_output | 2.6.0 | A value as bytes, in Redis' form
exists | -2 | readonly fast | @keyspace | 1..-1:RO | request_policy:multi_shard response_policy:agg_sum | 1.0.0 | How many of these keys are there
expire | -3 | write fast | @keyspace | 1:RW,update |  | 1.0.0 | Set when a key expires; NX XX GT LT
expireat | -3 | write fast | @keyspace | 1:RW,update |  | 1.2.0 | Set when a key expires; NX XX GT LT
expiretime | 2 | readonly fast | @keyspace | 1:RO,access |  | 7.0.0 | When a key expires
keys | 2 | readonly | @dangerous @keyspace |  | request_policy:all_shards nondeterministic_output_order | 1.0.0 | All keys that match a glob
move | 3 | write fast | @keyspace | 1:RW,access,update |  | 1.0.0 | Move a key to another database
object|encoding | 3 | readonly | @keyspace | 2:RO | nondeterministic_output | 2.2.3 | What Redis would call the representation
object|freq | 3 | readonly | @keyspace | 2:RO | nondeterministic_output | 4.0.0 | Refused unless maxmemory-policy is LFU, which it is not
object|help | 2 | loading stale | @keyspace |  |  | 6.2.0 | Lists the subcommands
object|idletime | 3 | readonly | @keyspace | 2:RO | nondeterministic_output | 2.2.3 | Idle times are not kept: 0
object|refcount | 3 | readonly | @keyspace | 2:RO | nondeterministic_output | 2.2.3 | 1 where there is the key
persist | 2 | write fast | @keyspace | 1:RW,update |  | 2.2.0 | Remove an expiry
pexpire | -3 | write fast | @keyspace | 1:RW,update |  | 2.6.0 | Set when a key expires; NX XX GT LT
pexpireat | -3 | write fast | @keyspace | 1:RW,update |  | 2.6.0 | Set when a key expires; NX XX GT LT
pexpiretime | 2 | readonly fast | @keyspace | 1:RO,access |  | 7.0.0 | When a key expires
pttl | 2 | readonly fast | @keyspace | 1:RO,access | nondeterministic_output | 2.6.0 | When a key expires
randomkey | 1 | readonly | @keyspace |  | request_policy:all_shards nondeterministic_output | 1.0.0 | Any key
rename | 3 | write | @keyspace | 1:RW,access,delete 2:OW,update |  | 1.0.0 | Give a key another name
renamenx | 3 | write fast | @keyspace | 1:RW,access,delete 2:OW,insert |  | 1.0.0 | Give a key another name that is free
restore | -4 | write denyoom | @dangerous @keyspace | 1:OW,update |  | 2.6.0 | Make a key of a value's bytes; REPLACE ABSTTL IDLETIME FREQ
scan | -2 | readonly | @keyspace |  | nondeterministic_output request_policy:special | 2.8.0 | Keys, some at a time; MATCH COUNT TYPE
sort | -2 | write denyoom movablekeys | @dangerous @list @set @sortedset | 1:RO,access ?:RO,access ?:OW,update |  | 1.0.0 | Sorted elements; BY LIMIT GET ASC DESC ALPHA STORE
sort_ro | -2 | readonly movablekeys | @dangerous @list @set @sortedset | 1:RO,access ?:RO,access |  | 7.0.0 | Sorted elements; BY LIMIT GET ASC DESC ALPHA
touch | -2 | readonly fast | @keyspace | 1..-1:RO | request_policy:multi_shard response_policy:agg_sum | 3.2.1 | How many of these keys are there
ttl | 2 | readonly fast | @keyspace | 1:RO,access | nondeterministic_output | 1.0.0 | When a key expires
type | 2 | readonly fast | @keyspace | 1:RO |  | 1.0.0 | The kind of a key
unlink | -2 | write fast | @keyspace | 1..-1:RM,delete | request_policy:multi_shard response_policy:agg_sum | 4.0.0 | Delete keys
wait | 3 | noscript | @connection |  | request_policy:all_shards response_policy:agg_min | 3.0.0 | How many replicas have it: none
== hash
hdel | -3 | write fast | @hash | 1:RW,delete |  | 2.0.0 | Delete fields
hexists | 3 | readonly fast | @hash | 1:RO |  | 2.0.0 | Whether a field is there
hget | 3 | readonly fast | @hash | 1:RO,access |  | 2.0.0 | The value of a field
hgetall | 2 | readonly | @hash | 1:RO,access | nondeterministic_output_order | 2.0.0 | All fields and values
hincrby | 4 | write denyoom fast | @hash | 1:RW,access,update |  | 2.0.0 | Add an integer to a field
hincrbyfloat | 4 | write denyoom fast | @hash | 1:RW,access,update |  | 2.6.0 | Add a float to a field
hkeys | 2 | readonly | @hash | 1:RO,access | nondeterministic_output_order | 2.0.0 | All fields
hlen | 2 | readonly fast | @hash | 1:RO |  | 2.0.0 | How many fields
hmget | -3 | readonly fast | @hash | 1:RO,access |  | 2.0.0 | The values of several fields
hmset | -4 | write denyoom fast | @hash | 1:RW,update |  | 2.0.0 | Set fields (older form)
hrandfield | -2 | readonly | @hash | 1:RO,access | nondeterministic_output | 6.2.0 | Random fields
hscan | -3 | readonly | @hash | 1:RO,access | nondeterministic_output | 2.8.0 | Fields and values, some at a time
hset | -4 | write denyoom fast | @hash | 1:RW,update |  | 2.0.0 | Set fields
hsetnx | 4 | write denyoom fast | @hash | 1:RW,insert |  | 2.0.0 | Set a field that is not there
hstrlen | 3 | readonly fast | @hash | 1:RO |  | 3.2.0 | Length of a field's value
hvals | 2 | readonly | @hash | 1:RO,access | nondeterministic_output_order | 2.0.0 | All values
== list
blmove | 6 | write denyoom noscript blocking | @list | 1:RW,access,delete 2:RW,insert |  | 6.2.0 | Move an element to another list, or wait
blmpop | -5 | write blocking movablekeys | @list | 2#:RW,access,delete |  | 7.0.0 | Pop from the first list that is there, or wait
blpop | -3 | write noscript blocking | @list | 1..-2:RW,access,delete |  | 2.0.0 | Pop at the left, or wait
brpop | -3 | write noscript blocking | @list | 1..-2:RW,access,delete |  | 2.0.0 | Pop at the right, or wait
brpoplpush | 4 | write denyoom noscript blocking | @list | 1:RW,access,delete 2:RW,insert |  | 2.2.0 | Move the last element to another list's head, or wait
lindex | 3 | readonly | @list | 1:RO,access |  | 1.0.0 | The element at an index
linsert | 5 | write denyoom | @list | 1:RW,insert |  | 2.2.0 | Insert before or after an element
llen | 2 | readonly fast | @list | 1:RO |  | 1.0.0 | Length of a list
lmove | 5 | write denyoom | @list | 1:RW,access,delete 2:RW,insert |  | 6.2.0 | Move an element to another list
lmpop | -4 | write movablekeys | @list | 1#:RW,access,delete |  | 7.0.0 | Pop from the first list that is there
lpop | -2 | write fast | @list | 1:RW,access,delete |  | 1.0.0 | Pop at the left
lpos | -3 | readonly | @list | 1:RO,access |  | 6.0.6 | Where an element stands; RANK COUNT MAXLEN
lpush | -3 | write denyoom fast | @list | 1:RW,insert |  | 1.0.0 | Push at the left
lpushx | -3 | write denyoom fast | @list | 1:RW,insert |  | 2.2.0 | Push at the left of a list that is there
lrange | 4 | readonly | @list | 1:RO,access |  | 1.0.0 | Elements between two indices
lrem | 4 | write | @list | 1:RW,delete |  | 1.0.0 | Remove elements that are equal
lset | 4 | write denyoom | @list | 1:RW,update |  | 1.0.0 | Set the element at an index
ltrim | 4 | write | @list | 1:RW,delete |  | 1.0.0 | Keep the elements between two indices
rpop | -2 | write fast | @list | 1:RW,access,delete |  | 1.0.0 | Pop at the right
rpoplpush | 3 | write denyoom | @list | 1:RW,access,delete 2:RW,insert |  | 1.2.0 | Move the last element to another list's head
rpush | -3 | write denyoom fast | @list | 1:RW,insert |  | 1.0.0 | Push at the right
rpushx | -3 | write denyoom fast | @list | 1:RW,insert |  | 2.2.0 | Push at the right of a list that is there
== set
sadd | -3 | write denyoom fast | @set | 1:RW,insert |  | 1.0.0 | Add members
scard | 2 | readonly fast | @set | 1:RO |  | 1.0.0 | How many members
sdiff | -2 | readonly | @set | 1..-1:RO,access | nondeterministic_output_order | 1.0.0 | Difference from the first
sdiffstore | -3 | write denyoom | @set | 1:OW,update 2..-1:RO,access |  | 1.0.0 | Store a difference
sinter | -2 | readonly | @set | 1..-1:RO,access | nondeterministic_output_order | 1.0.0 | Intersection
sintercard | -3 | readonly movablekeys | @set | 1#:RO,access |  | 7.0.0 | Size of the intersection; LIMIT
sinterstore | -3 | write denyoom | @set | 1:RW,update 2..-1:RO,access |  | 1.0.0 | Store an intersection
sismember | 3 | readonly fast | @set | 1:RO |  | 1.0.0 | Whether it is a member
smembers | 2 | readonly | @set | 1:RO,access | nondeterministic_output_order | 1.0.0 | All members
smismember | -3 | readonly fast | @set | 1:RO,access |  | 6.2.0 | Whether they are members
smove | 4 | write fast | @set | 1:RW,access,delete 2:RW,insert |  | 1.0.0 | Move a member to another set
spop | -2 | write fast | @set | 1:RW,access,delete | nondeterministic_output | 1.0.0 | Take random members out
srandmember | -2 | readonly | @set | 1:RO,access | nondeterministic_output | 1.0.0 | Random members
srem | -3 | write fast | @set | 1:RW,delete |  | 1.0.0 | Remove members
sscan | -3 | readonly | @set | 1:RO,access | nondeterministic_output | 2.8.0 | Members, some at a time
sunion | -2 | readonly | @set | 1..-1:RO,access | nondeterministic_output_order | 1.0.0 | Union
sunionstore | -3 | write denyoom | @set | 1:OW,update 2..-1:RO,access |  | 1.0.0 | Store a union
== sorted-set
bzmpop | -5 | write blocking movablekeys | @sortedset | 2#:RW,access,delete |  | 7.0.0 | Take from the first that is there, or wait
bzpopmax | -3 | write noscript blocking fast | @sortedset | 1..-2:RW,access,delete |  | 5.0.0 | Take the highest out, or wait
bzpopmin | -3 | write noscript blocking fast | @sortedset | 1..-2:RW,access,delete |  | 5.0.0 | Take the lowest out, or wait
zadd | -4 | write denyoom fast | @sortedset | 1:RW,update |  | 1.2.0 | Add members or set scores; NX XX GT LT CH INCR
zcard | 2 | readonly fast | @sortedset | 1:RO |  | 1.2.0 | How many members
zcount | 4 | readonly fast | @sortedset | 1:RO,access |  | 2.0.0 | How many between two scores
zdiff | -3 | readonly movablekeys | @sortedset | 1#:RO,access |  | 6.2.0 | Difference of sorted sets
zdiffstore | -4 | write denyoom movablekeys | @sortedset | 1:OW,update 2#:RO,access |  | 6.2.0 | Store: difference of sorted sets
zincrby | 4 | write denyoom fast | @sortedset | 1:RW,access,update |  | 1.2.0 | Add to a score
zinter | -3 | readonly movablekeys | @sortedset | 1#:RO,access |  | 6.2.0 | Intersection of sorted sets
zintercard | -3 | readonly movablekeys | @sortedset | 1#:RO,access |  | 7.0.0 | Size of the intersection; LIMIT
zinterstore | -4 | write denyoom movablekeys | @sortedset | 1:OW,update 2#:RO,access |  | 2.0.0 | Store: intersection of sorted sets
zlexcount | 4 | readonly fast | @sortedset | 1:RO,access |  | 2.8.9 | How many between two members
zmpop | -4 | write movablekeys | @sortedset | 1#:RW,access,delete |  | 7.0.0 | Take from the first that is there
zmscore | -3 | readonly fast | @sortedset | 1:RO,access |  | 6.2.0 | The scores of several members
zpopmax | -2 | write fast | @sortedset | 1:RW,access,delete |  | 5.0.0 | Take the highest out
zpopmin | -2 | write fast | @sortedset | 1:RW,access,delete |  | 5.0.0 | Take the lowest out
zrandmember | -2 | readonly | @sortedset | 1:RO,access | nondeterministic_output | 6.2.0 | Random members
zrange | -4 | readonly | @sortedset | 1:RO,access |  | 1.2.0 | A range; BYSCORE BYLEX REV LIMIT WITHSCORES
zrangebylex | -4 | readonly | @sortedset | 1:RO,access |  | 2.8.9 | A range (older form)
zrangebyscore | -4 | readonly | @sortedset | 1:RO,access |  | 1.0.5 | A range (older form)
zrangestore | -5 | write denyoom | @sortedset | 1:OW,update 2:RO,access |  | 6.2.0 | Store a range
zrank | -3 | readonly fast | @sortedset | 1:RO,access |  | 2.0.0 | Rank from the lowest; WITHSCORE
zrem | -3 | write fast | @sortedset | 1:RW,delete |  | 1.2.0 | Remove members
zremrangebylex | 4 | write | @sortedset | 1:RW,delete |  | 2.8.9 | Remove a range
zremrangebyrank | 4 | write | @sortedset | 1:RW,delete |  | 2.0.0 | Remove a range
zremrangebyscore | 4 | write | @sortedset | 1:RW,delete |  | 1.2.0 | Remove a range
zrevrange | -4 | readonly | @sortedset | 1:RO,access |  | 1.2.0 | A range (older form)
zrevrangebylex | -4 | readonly | @sortedset | 1:RO,access |  | 2.8.9 | A range (older form)
zrevrangebyscore | -4 | readonly | @sortedset | 1:RO,access |  | 2.2.0 | A range (older form)
zrevrank | -3 | readonly fast | @sortedset | 1:RO,access |  | 2.0.0 | Rank from the highest; WITHSCORE
zscan | -3 | readonly | @sortedset | 1:RO,access | nondeterministic_output | 2.8.0 | Members and scores, some at a time
zscore | 3 | readonly fast | @sortedset | 1:RO,access |  | 1.2.0 | The score of a member
zunion | -3 | readonly movablekeys | @sortedset | 1#:RO,access |  | 6.2.0 | Union of sorted sets
zunionstore | -4 | write denyoom movablekeys | @sortedset | 1:OW,update 2#:RO,access |  | 2.0.0 | Store: union of sorted sets
== geo
geoadd | -5 | write denyoom | @geo | 1:RW,update |  | 3.2.0 | Add positions; NX XX CH
geodist | -4 | readonly | @geo | 1:RO,access |  | 3.2.0 | The distance between two members
geohash | -2 | readonly | @geo | 1:RO,access |  | 3.2.0 | Geohash texts
geopos | -2 | readonly | @geo | 1:RO,access |  | 3.2.0 | Positions
georadius | -6 | write denyoom movablekeys | @geo | 1:RO,access STORE@6..0:OW,update STOREDIST@6..0:OW,update |  | 3.2.0 | Members around a position (older form)
georadius_ro | -6 | readonly | @geo | 1:RO,access |  | 3.2.10 | Members around a position (older form)
georadiusbymember | -5 | write denyoom movablekeys | @geo | 1:RO,access STORE@5..0:OW,update STOREDIST@5..0:OW,update |  | 3.2.0 | Members around a member (older form)
georadiusbymember_ro | -5 | readonly | @geo | 1:RO,access |  | 3.2.10 | Members around a member (older form)
geosearch | -7 | readonly | @geo | 1:RO,access |  | 6.2.0 | Members in a circle or a box
geosearchstore | -8 | write denyoom | @geo | 1:OW,update 2:RO,access |  | 6.2.0 | Store members in a circle or a box
== hyperloglog
pfadd | -2 | write denyoom fast | @hyperloglog | 1:RW,insert |  | 2.8.9 | Add elements to a HyperLogLog
pfcount | -2 | readonly | @hyperloglog | 1..-1:RW,access |  | 2.8.9 | How many different elements, about
pfmerge | -2 | write denyoom | @hyperloglog | 1:RW,access,insert 2..-1:RO,access |  | 2.8.9 | Unite HyperLogLogs
== stream
xack | -4 | write fast | @stream | 1:RW,update |  | 5.0.0 | Entries are done with
xadd | -5 | write denyoom fast | @stream | 1:RW,update | nondeterministic_output | 5.0.0 | Append an entry; NOMKSTREAM MAXLEN MINID
xautoclaim | -6 | write fast | @stream | 1:RW,delete | nondeterministic_output | 6.2.0 | Take over entries that wait long
xclaim | -6 | write fast | @stream | 1:RW,update | nondeterministic_output | 5.0.0 | Take over pending entries
xdel | -3 | write fast | @stream | 1:RW,delete |  | 5.0.0 | Delete entries
xgroup|create | -5 | write denyoom | @stream | 2:RW,insert |  | 5.0.0 | Make a consumer group; MKSTREAM ENTRIESREAD
xgroup|createconsumer | 5 | write denyoom | @stream | 2:RW,insert |  | 6.2.0 | Make a consumer
xgroup|delconsumer | 5 | write | @stream | 2:RW,delete |  | 5.0.0 | Remove a consumer
xgroup|destroy | 4 | write | @stream | 2:RW,delete |  | 5.0.0 | Remove a consumer group
xgroup|help | 2 | loading stale | @stream |  |  | 5.0.0 | Lists the subcommands
xgroup|setid | -5 | write | @stream | 2:RW,update |  | 5.0.0 | Set what a group was given last; ENTRIESREAD
xinfo|consumers | 4 | readonly | @stream | 2:RO,access | nondeterministic_output | 5.0.0 | A group's consumers
xinfo|groups | 3 | readonly | @stream | 2:RO,access |  | 5.0.0 | A stream's consumer groups
xinfo|help | 2 | loading stale | @stream |  |  | 5.0.0 | Lists the subcommands
xinfo|stream | -3 | readonly | @stream | 2:RO,access |  | 5.0.0 | What a stream holds; FULL COUNT
xlen | 2 | readonly fast | @stream | 1:RO |  | 5.0.0 | How many entries
xpending | -3 | readonly | @stream | 1:RO,access | nondeterministic_output | 5.0.0 | Entries that were given and not acknowledged
xrange | -4 | readonly | @stream | 1:RO,access |  | 5.0.0 | Entries between two ids
xread | -4 | readonly blocking movablekeys | @stream | STREAMS@1..-1/1/2:RO,access |  | 5.0.0 | Entries after an id of several streams; BLOCK
xreadgroup | -7 | write blocking movablekeys | @stream | STREAMS@4..-1/1/2:RO,access |  | 5.0.0 | New entries, or a consumer's pending ones; COUNT BLOCK NOACK
xrevrange | -4 | readonly | @stream | 1:RO,access |  | 5.0.0 | Entries between two ids, newest first
xsetid | -3 | write denyoom fast | @stream | 1:RW,update |  | 5.0.0 | Set the last id
xtrim | -4 | write | @stream | 1:RW,delete | nondeterministic_output | 5.0.0 | Remove the oldest entries
== transactions
discard | 1 | noscript loading stale fast allow_busy | @transaction |  |  | 2.0.0 | Forget what was queued
exec | 1 | noscript loading stale skip_slowlog | @transaction |  |  | 1.2.0 | Run what was queued
multi | 1 | noscript loading stale fast allow_busy | @transaction |  |  | 1.2.0 | Begin to queue
unwatch | 1 | noscript loading stale fast allow_busy | @transaction |  |  | 2.2.0 | Watch nothing
watch | -2 | noscript loading stale fast allow_busy | @transaction | 1..-1:RO |  | 2.2.0 | Let EXEC depend on keys
== pubsub
psubscribe | -2 | pubsub noscript loading stale |  |  |  | 2.0.0 | Listen to patterns
publish | 3 | pubsub loading stale fast |  |  |  | 2.0.0 | Send to a channel
pubsub|channels | -2 | pubsub loading stale |  |  |  | 2.8.0 | Channels with Redis subscribers
pubsub|help | 2 | loading stale |  |  |  | 6.2.0 | Lists the subcommands
pubsub|numpat | 2 | pubsub loading stale |  |  |  | 2.8.0 | How many patterns
pubsub|numsub | -2 | pubsub loading stale |  |  |  | 2.8.0 | Redis subscribers of channels
pubsub|shardchannels | -2 | pubsub loading stale |  |  |  | 7.0.0 | Shard channels with subscribers
pubsub|shardnumsub | -2 | pubsub loading stale |  |  |  | 7.0.0 | Subscribers of shard channels
punsubscribe | -1 | pubsub noscript loading stale |  |  |  | 2.0.0 | Stop listening to patterns
spublish | 3 | pubsub loading stale fast |  | 1:not_key |  | 7.0.0 | Send to a shard channel
ssubscribe | -2 | pubsub noscript loading stale |  | 1..-1:not_key |  | 7.0.0 | Listen to shard channels
subscribe | -2 | pubsub noscript loading stale |  |  |  | 2.0.0 | Listen to channels
sunsubscribe | -1 | pubsub noscript loading stale |  | 1..-1:not_key |  | 7.0.0 | Stop listening to shard channels
unsubscribe | -1 | pubsub noscript loading stale |  |  |  | 2.0.0 | Stop listening to channels
== scripting
eval | -3 | noscript stale no_mandatory_keys skip_monitor movablekeys | @scripting | 2#:RW,access,update |  | 2.6.0 | Run a Lua script
eval_ro | -3 | readonly noscript stale no_mandatory_keys skip_monitor movablekeys | @scripting | 2#:RO,access |  | 7.0.0 | Run a Lua script that writes nothing
evalsha | -3 | noscript stale no_mandatory_keys skip_monitor movablekeys | @scripting | 2#:RW,access,update |  | 2.6.0 | Run a script that is known
evalsha_ro | -3 | readonly noscript stale no_mandatory_keys skip_monitor movablekeys | @scripting | 2#:RO,access |  | 7.0.0 | Run a script that is known and writes nothing
script|exists | -3 | noscript | @scripting |  | request_policy:all_shards response_policy:agg_logical_and | 2.6.0 | Whether scripts are known
script|flush | -2 | noscript | @scripting |  | request_policy:all_nodes response_policy:all_succeeded | 2.6.0 | Forget all scripts
script|help | 2 | loading stale | @scripting |  |  | 5.0.0 | Lists the subcommands
script|load | 3 | noscript stale | @scripting |  | request_policy:all_nodes response_policy:all_succeeded | 2.6.0 | Make a script known
== connection
auth | -2 | noscript loading stale fast no_auth allow_busy | @connection |  |  | 1.0.0 | Say who one is
client|caching | 3 | noscript loading stale | @connection |  |  | 6.0.0 | Refused: tracking is not supported
client|getname | 2 | noscript loading stale | @connection |  |  | 2.6.9 | The connection's name
client|getredir | 2 | noscript loading stale | @connection |  |  | 6.0.0 | The connection that invalidations go to: none
client|help | 2 | loading stale | @connection |  |  | 5.0.0 | Lists the subcommands
client|id | 2 | noscript loading stale | @connection |  |  | 5.0.0 | The connection's number
client|info | 2 | noscript loading stale | @connection |  | nondeterministic_output | 6.2.0 | This connection
client|kill | -3 | admin noscript loading stale | @connection |  |  | 2.4.0 | Close connections; ID TYPE ADDR LADDR USER SKIPME
client|list | -2 | admin noscript loading stale | @connection |  | nondeterministic_output | 2.4.0 | Connections that have called; TYPE ID
client|no-evict | 3 | admin noscript loading stale | @connection |  |  | 7.0.0 | Nothing is ever evicted
client|no-touch | 3 | noscript loading stale |  |  |  | 7.0.0 | Idle times are not kept
client|pause | -3 | admin noscript loading stale | @connection |  |  | 2.9.50 | Hold commands back for a while; WRITE ALL
client|reply | 3 | noscript loading stale | @connection |  |  | 3.2.0 | Answer, or do not: ON OFF SKIP
client|setinfo | 4 | noscript loading stale |  |  |  | 7.0.0 | The client library's name and version
client|setname | 3 | noscript loading stale | @connection |  |  | 2.6.9 | Name the connection
client|tracking | -3 | noscript loading stale | @connection |  |  | 6.0.0 | OFF; ON is refused
client|trackinginfo | 2 | noscript loading stale | @connection |  |  | 6.2.0 | Whether this connection is tracking: no
client|unblock | -3 | admin noscript loading stale | @connection |  |  | 5.0.0 | Wake a connection that waits; TIMEOUT ERROR
client|unpause | 2 | admin noscript loading stale | @connection |  |  | 6.2.0 | Let commands go on
echo | 2 | loading stale fast | @connection |  |  | 1.0.0 | Answer the word
hello | -1 | noscript loading stale fast no_auth allow_busy | @connection |  |  | 6.0.0 | Agree on RESP2 or RESP3; AUTH SETNAME
ping | -1 | fast | @connection |  | request_policy:all_shards response_policy:all_succeeded | 1.0.0 | Answer PONG, or the word
quit | -1 | noscript loading stale fast no_auth allow_busy | @connection |  |  | 1.0.0 | Close the connection
reset | 1 | noscript loading stale fast no_auth allow_busy | @connection |  |  | 6.2.0 | Begin the connection anew
select | 2 | loading stale fast | @connection |  |  | 1.0.0 | Use another database
== server
acl|cat | -2 | noscript loading stale |  |  |  | 6.0.0 | Categories of commands, or the commands of one
acl|deluser | -3 | admin noscript loading stale |  |  |  | 6.0.0 | Refused: users are configured in the user file
acl|dryrun | -4 | admin noscript loading stale |  |  |  | 7.0.0 | Whether a user might run a command
acl|genpass | -2 | noscript loading stale |  |  |  | 6.0.0 | A random password
acl|getuser | 3 | admin noscript loading stale |  |  |  | 6.0.0 | A user's rules
acl|help | 2 | loading stale |  |  |  | 6.0.0 | Lists the subcommands
acl|list | 2 | admin noscript loading stale |  |  |  | 6.0.0 | All users and their rules
acl|load | 2 | admin noscript loading stale |  |  |  | 6.0.0 | Refused: users are configured in the user file
acl|log | -2 | admin noscript loading stale |  |  |  | 6.0.0 | Nothing is kept: an empty list
acl|save | 2 | admin noscript loading stale |  |  |  | 6.0.0 | Refused: users are configured in the user file
acl|setuser | -3 | admin noscript loading stale |  |  |  | 6.0.0 | Refused: users are configured in the user file
acl|users | 2 | admin noscript loading stale |  |  |  | 6.0.0 | Names of all users
acl|whoami | 2 | noscript loading stale |  |  |  | 6.0.0 | Who this connection is
bgrewriteaof | 1 | admin noscript no_async_loading |  |  |  | 1.0.0 | Nothing to do: checkpoints are taken by themselves
bgsave | -1 | admin noscript no_async_loading |  |  |  | 1.0.0 | Nothing to do: writes are stored already
command | -1 | loading stale | @connection |  | nondeterministic_output_order | 2.8.13 | All commands
command|count | 2 | loading stale | @connection |  |  | 2.8.13 | How many commands
command|docs | -2 | loading stale | @connection |  | nondeterministic_output_order | 7.0.0 | What commands are for
command|getkeys | -4 | loading stale | @connection |  |  | 2.8.13 | The keys in a command's words
command|getkeysandflags | -4 | loading stale | @connection |  |  | 7.0.0 | The keys in a command's words and what is done to each
command|help | 2 | loading stale | @connection |  |  | 5.0.0 | Lists the subcommands
command|info | -2 | loading stale | @connection |  | nondeterministic_output_order | 2.8.13 | Some commands
command|list | -2 | loading stale | @connection |  | nondeterministic_output_order | 7.0.0 | Names of commands; FILTERBY PATTERN
config|get | -3 | admin noscript loading stale |  |  |  | 2.0.0 | Parameters that match globs
config|help | 2 | loading stale |  |  |  | 5.0.0 | Lists the subcommands
config|resetstat | 2 | admin noscript loading stale |  |  |  | 2.0.0 | Begin the counters anew
config|rewrite | 2 | admin noscript loading stale |  |  |  | 2.8.0 | Answered as a server without a file answers
config|set | -4 | admin noscript loading stale |  |  | request_policy:all_nodes response_policy:all_succeeded | 2.0.0 | Set appendfsync
dbsize | 1 | readonly fast | @keyspace |  | request_policy:all_shards response_policy:agg_sum | 1.0.0 | How many keys the database has
debug | -2 | admin noscript loading stale |  |  |  | 1.0.0 | OBJECT SLEEP SET-ACTIVE-EXPIRE RELOAD; the rest is refused
failover | -1 | admin noscript stale |  |  |  | 6.2.0 | Refused: no replicas
flushall | -1 | write | @dangerous @keyspace |  | request_policy:all_shards response_policy:all_succeeded | 1.0.0 | Remove all keys of all databases
flushdb | -1 | write | @dangerous @keyspace |  | request_policy:all_shards response_policy:all_succeeded | 1.0.0 | Remove all keys of this database
info | -1 | loading stale | @dangerous |  | nondeterministic_output request_policy:all_shards response_policy:special | 1.0.0 | What the server says of itself
lastsave | 1 | loading stale fast | @admin @dangerous |  | nondeterministic_output | 1.0.0 | When all was last stored: now
latency|doctor | 2 | admin noscript loading stale |  |  | nondeterministic_output request_policy:all_nodes response_policy:special | 2.8.13 | Nothing is measured: says so
latency|graph | 3 | admin noscript loading stale |  |  | nondeterministic_output request_policy:all_nodes response_policy:special | 2.8.13 | Nothing is measured: no such event
latency|help | 2 | loading stale |  |  |  | 2.8.13 | Lists the subcommands
latency|histogram | -2 | admin noscript loading stale |  |  | nondeterministic_output request_policy:all_nodes response_policy:special | 7.0.0 | Nothing is measured: empty
latency|history | 3 | admin noscript loading stale |  |  | nondeterministic_output request_policy:all_nodes response_policy:special | 2.8.13 | Nothing is measured: empty
latency|latest | 2 | admin noscript loading stale |  |  | nondeterministic_output request_policy:all_nodes response_policy:special | 2.8.13 | Nothing is measured: empty
latency|reset | -2 | admin noscript loading stale |  |  | request_policy:all_nodes response_policy:all_succeeded | 2.8.13 | Nothing is measured: 0
lolwut | -1 | readonly fast |  |  |  | 5.0.0 | Redis' version, for people
memory|doctor | 2 |  |  |  | nondeterministic_output request_policy:all_shards response_policy:special | 4.0.0 | Nothing to say
memory|help | 2 | loading stale |  |  |  | 4.0.0 | Lists the subcommands
memory|malloc-stats | 2 |  |  |  | nondeterministic_output request_policy:all_shards response_policy:special | 4.0.0 | Nothing to say
memory|purge | 2 |  |  |  | request_policy:all_shards response_policy:all_succeeded | 4.0.0 | Nothing to do
memory|stats | 2 |  |  |  | nondeterministic_output request_policy:all_shards response_policy:special | 4.0.0 | What is known of memory
memory|usage | -3 | readonly |  | 2:RO |  | 4.0.0 | An estimate of a key's bytes
module|help | 2 | loading stale |  |  |  | 5.0.0 | Lists the subcommands
module|list | 2 | admin noscript |  |  | nondeterministic_output_order | 4.0.0 | No modules
module|load | -3 | admin noscript no_async_loading |  |  |  | 4.0.0 | Refused
module|loadex | -3 | admin noscript no_async_loading |  |  |  | 7.0.0 | Refused
module|unload | 3 | admin noscript no_async_loading |  |  |  | 4.0.0 | Refused
monitor | 1 | admin noscript loading stale |  |  |  | 1.0.0 | Refused: it would show everybody's commands
replicaof | 3 | admin noscript stale no_async_loading |  |  |  | 5.0.0 | NO ONE; the rest is refused
restore-asking | -4 | write denyoom asking | @dangerous @keyspace | 1:OW,update |  | 3.0.0 | As RESTORE
role | 1 | noscript loading stale fast | @admin @dangerous |  |  | 2.8.12 | master, without replicas
save | 1 | admin noscript no_multi no_async_loading |  |  |  | 1.0.0 | Nothing to do: writes are stored already
shutdown | -1 | admin noscript loading stale allow_busy no_multi |  |  |  | 1.0.0 | Refused: stop the process instead
slaveof | 3 | admin noscript stale no_async_loading |  |  |  | 1.0.0 | NO ONE; the rest is refused
slowlog|get | -2 | admin loading stale |  |  | request_policy:all_nodes nondeterministic_output | 2.2.12 | Nothing is kept: empty
slowlog|help | 2 | loading stale |  |  |  | 6.2.0 | Lists the subcommands
slowlog|len | 2 | admin loading stale |  |  | request_policy:all_nodes response_policy:agg_sum nondeterministic_output | 2.2.12 | Nothing is kept: 0
slowlog|reset | 2 | admin loading stale |  |  | request_policy:all_nodes response_policy:all_succeeded | 2.2.12 | Nothing is kept: OK
swapdb | 3 | write fast | @dangerous @keyspace |  |  | 4.0.0 | Exchange two databases
time | 1 | loading stale fast |  |  | nondeterministic_output | 2.6.0 | The server's clock
== cluster
asking | 1 | fast | @connection |  |  | 3.0.0 | Refused: no cluster
cluster|addslots | -3 | admin stale no_async_loading |  |  |  | 3.0.0 | Refused: no cluster
cluster|addslotsrange | -4 | admin stale no_async_loading |  |  |  | 7.0.0 | Refused: no cluster
cluster|bumpepoch | 2 | admin stale no_async_loading |  |  | nondeterministic_output | 3.0.0 | Refused: no cluster
cluster|count-failure-reports | 3 | admin stale |  |  | nondeterministic_output | 3.0.0 | Refused: no cluster
cluster|countkeysinslot | 3 | stale |  |  |  | 3.0.0 | Refused: no cluster
cluster|delslots | -3 | admin stale no_async_loading |  |  |  | 3.0.0 | Refused: no cluster
cluster|delslotsrange | -4 | admin stale no_async_loading |  |  |  | 7.0.0 | Refused: no cluster
cluster|failover | -2 | admin stale no_async_loading |  |  |  | 3.0.0 | Refused: no cluster
cluster|flushslots | 2 | admin stale no_async_loading |  |  |  | 3.0.0 | Refused: no cluster
cluster|forget | 3 | admin stale no_async_loading |  |  |  | 3.0.0 | Refused: no cluster
cluster|getkeysinslot | 4 | stale |  |  | nondeterministic_output | 3.0.0 | Refused: no cluster
cluster|help | 2 | loading stale |  |  |  | 5.0.0 | Lists the subcommands
cluster|info | 2 | stale |  |  | nondeterministic_output | 3.0.0 | Refused: no cluster
cluster|keyslot | 3 | stale |  |  |  | 3.0.0 | Refused: no cluster
cluster|links | 2 | stale |  |  | nondeterministic_output | 7.0.0 | Refused: no cluster
cluster|meet | -4 | admin stale no_async_loading |  |  |  | 3.0.0 | Refused: no cluster
cluster|myid | 2 | stale |  |  |  | 3.0.0 | Refused: no cluster
cluster|nodes | 2 | stale |  |  | nondeterministic_output | 3.0.0 | Refused: no cluster
cluster|replicas | 3 | admin stale |  |  | nondeterministic_output | 5.0.0 | Refused: no cluster
cluster|replicate | 3 | admin stale no_async_loading |  |  |  | 3.0.0 | Refused: no cluster
cluster|reset | -2 | admin noscript stale |  |  |  | 3.0.0 | Refused: no cluster
cluster|saveconfig | 2 | admin stale no_async_loading |  |  |  | 3.0.0 | Refused: no cluster
cluster|set-config-epoch | 3 | admin stale no_async_loading |  |  |  | 3.0.0 | Refused: no cluster
cluster|setslot | -4 | admin stale no_async_loading |  |  |  | 3.0.0 | Refused: no cluster
cluster|shards | 2 | stale |  |  | nondeterministic_output | 7.0.0 | Refused: no cluster
cluster|slaves | 3 | admin stale |  |  | nondeterministic_output | 3.0.0 | Refused: no cluster
cluster|slots | 2 | stale |  |  | nondeterministic_output | 3.0.0 | Refused: no cluster
readonly | 1 | loading stale fast | @connection |  |  | 3.0.0 | Refused: no cluster
readwrite | 1 | loading stale fast | @connection |  |  | 3.0.0 | Refused: no cluster
"""
