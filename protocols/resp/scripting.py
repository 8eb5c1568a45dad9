"""Lua scripts: EVAL EVALSHA (and _RO), SCRIPT LOAD EXISTS FLUSH.

A script runs to its end inside its command: nothing happens in between, and what its commands did is recorded as their
effects, in one commit. Lua 5.1 by ``lupa``, without its access to Python; ``redis.call``, ``pcall``, ``error_reply``,
``status_reply``, ``sha1hex``, ``log``, ``setresp(2)``, ``replicate_commands``; keys need not be declared. No other globals than
Lua's own harmless ones can be read, none can be made.
Deviations: ``cjson``, ``cmsgpack``, ``struct``, ``bit`` and ``setresp(3)`` are not there, nor FUNCTION, FCALL, SCRIPT KILL and
DEBUG. A script that runs longer than ``INSTRUCTIONS_MAX`` ends in an error; what it did stays done. Scripts are forgotten when
the process ends, as Redis forgets them. A user with rules on addresses may not run scripts.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from protocols.resp.call import Block, Call
from protocols.resp.errors import CommandError
from protocols.resp.numbers import integer_of
from protocols.resp.table import Handlers
from protocols.resp.wire import OK, array_of, bulk, integer, null, request

if TYPE_CHECKING:
    from protocols.resp.keyspace import Keyspace

SCRIPTS_BYTES_MAX = 64 * 1024 * 1024
STRING_BYTES_MAX = 512 * 1024 * 1024
INSTRUCTIONS_MAX = 50_000_000
NO_SCRIPT = "NOSCRIPT No matching script. Please use EVAL."

PRELUDE = rb"""
local ask, limit, bytes_max = ...
local sethook, loadstring, setmetatable, rawset, rawget, error, type = debug.sethook, loadstring, setmetatable, rawset, rawget, error, type
local pcall, xpcall, tostring, format, concat, ceil, floor = pcall, xpcall, tostring, string.format, table.concat, math.ceil, math.floor
local ended = false
local too_long = 'the script ran too long'
local function guarded(...)
  if ended then error(too_long, 0) end
  return ...
end
local redis = {
  LOG_DEBUG = 0, LOG_VERBOSE = 1, LOG_NOTICE = 2, LOG_WARNING = 3, REDIS_VERSION = '7.2.4', REDIS_VERSION_NUM = 0x00070204,
  REPL_NONE = 0, REPL_AOF = 1, REPL_SLAVE = 2, REPL_REPLICA = 2, REPL_ALL = 3,
}
local function answer(...)
  local found = ask('call', ...)
  return found
end
redis.call = function(...)
  local found = answer(...)
  if type(found) == 'table' and found.err then error(found, 0) end
  return found
end
redis.pcall = answer
redis.sha1hex = function(text)
  if text == nil then error('wrong number of arguments') end
  return ask('sha1hex', tostring(text))
end
redis.log = function() end
redis.replicate_commands = function() return true end
redis.set_repl = function() end
redis.setresp = function(version)
  if version ~= 2 then error('RESP3 is not supported in scripts of this server') end
end
redis.error_reply = function(text)
  if type(text) ~= 'string' then return {err = 'ERR wrong number or type of arguments'} end
  if text:sub(1, 1) == '-' then return {err = text:sub(2)} end
  if not text:find(' ', 1, true) then return {err = 'ERR ' .. text} end
  return {err = text}
end
redis.status_reply = function(text)
  if type(text) ~= 'string' then return {err = 'ERR wrong number or type of arguments'} end
  return {ok = text}
end
local clock, traceback = os.clock, debug.traceback
for _, name in ipairs{'dofile', 'loadfile', 'require', 'module', 'package', 'io', 'os', 'debug', 'python', 'newproxy', 'print', 'getfenv', 'setfenv', 'load', 'coroutine', 'collectgarbage'} do
  rawset(_G, name, nil)
end
rawset(_G, 'os', {clock = clock})
rawset(_G, 'debug', {traceback = traceback})
rawset(_G, 'redis', redis)
rawset(_G, 'pcall', function(...) return guarded(pcall(...)) end)
rawset(_G, 'xpcall', function(...) return guarded(xpcall(...)) end)
local rep = string.rep
string.rep = function(text, count)
  if #tostring(text) * (tonumber(count) or 0) > bytes_max then error('string is too long') end
  return rep(text, count)
end
string.dump = nil
math.randomseed(0)
setmetatable(_G, {
  __newindex = function(_, name) error("Script attempted to create global variable '" .. tostring(name) .. "'", 2) end,
  __index = function(_, name) error("Script attempted to access nonexistent global variable '" .. tostring(name) .. "'", 2) end,
})
local function line(text) return (text:gsub('[\r\n]', ' ')) end
local function encode(parts, value, nothing, depth)
  local kind = type(value)
  if kind == 'string' then
    parts[#parts + 1] = '$' .. #value .. '\r\n' .. value .. '\r\n'
  elseif kind == 'number' then
    local whole = value < 0 and ceil(value) or floor(value)
    if not (whole > -2^63 and whole < 2^63) then whole = -2^63 end
    parts[#parts + 1] = ':' .. format('%.0f', whole) .. '\r\n'
  elseif kind == 'boolean' and value then
    parts[#parts + 1] = ':1\r\n'
  elseif kind ~= 'table' then
    parts[#parts + 1] = nothing
  elseif depth > 128 then
    parts[#parts + 1] = '-ERR reached lua stack limit\r\n'
  elseif type(rawget(value, 'err')) == 'string' then
    parts[#parts + 1] = '-' .. line(rawget(value, 'err')) .. '\r\n'
  elseif type(rawget(value, 'ok')) == 'string' then
    parts[#parts + 1] = '+' .. line(rawget(value, 'ok')) .. '\r\n'
  else
    local place, count = #parts + 1, 0
    parts[place] = ''
    while rawget(value, count + 1) ~= nil do
      count = count + 1
      encode(parts, rawget(value, count), nothing, depth + 1)
    end
    parts[place] = '*' .. count .. '\r\n'
  end
end
local function whole(script, nothing)
  local parts = {}
  encode(parts, script(), nothing, 0)
  return concat(parts)
end
local function run(script, keys, arguments, nothing)
  rawset(_G, 'KEYS', keys)
  rawset(_G, 'ARGV', arguments)
  ended = false
  sethook(function()
    if not ended then ended = true; sethook(function() error(too_long, 0) end, '', 1000) end
    error(too_long, 0)
  end, '', limit)
  local good, found = pcall(whole, script, nothing)
  sethook()
  if good then return true, found end
  if type(found) == 'table' then
    local text = rawget(found, 'err')
    return false, type(text) == 'string' and text or 'ERR (error object is a table value)'
  end
  return false, 'ERR ' .. (type(found) == 'string' and found or type(found))
end
return function(text) return loadstring(text, '@user_script') end, run
"""


class Machine:
    """Lua, and the scripts that it knows. One for a keyspace, made when the first script comes."""

    def __init__(self, keyspace: Keyspace) -> None:
        from lupa import lua51  # slow to import, and only scripts need it

        self.keyspace = keyspace
        self.lua = lua51.LuaRuntime(
            encoding=None,
            register_eval=False,
            register_builtins=False,
            unpack_returned_tuples=True,
            attribute_filter=self._nothing,
        )
        self.texts: dict[bytes, bytes] = {}
        self.compiled: dict[bytes, Any] = {}
        self.bytes = 0
        self.call: Call | None = None
        self.outer: Call | None = None
        self.read_only = False
        self.compile, self.run = self.lua.execute(PRELUDE, self._asked, INSTRUCTIONS_MAX, STRING_BYTES_MAX)

    @staticmethod
    def _nothing(found: object, name: object, setting: bool) -> object:
        raise AttributeError("nothing of Python is for scripts")

    def load(self, text: bytes) -> bytes:
        """Its SHA1; kept from here on.

        Raises:
            CommandError: it is not Lua, or too many are kept.
        """
        sha = hashlib.sha1(text).hexdigest().encode()
        if sha not in self.texts:
            if self.bytes + len(text) > SCRIPTS_BYTES_MAX:
                raise CommandError(f"ERR more than {SCRIPTS_BYTES_MAX} bytes of scripts: SCRIPT FLUSH")
            found = self.compile(text)
            if isinstance(found, tuple):
                raise CommandError(f"ERR Error compiling script (new function): {shown(found[1])}")
            self.compiled[sha] = found
            self.texts[sha] = text
            self.bytes += len(text)
        return sha

    def forget(self) -> None:
        self.texts.clear()
        self.compiled.clear()
        self.bytes = 0

    def execute(self, call: Call, sha: bytes, keys: list[bytes], arguments: list[bytes], read_only: bool) -> bytes:
        """The reply of a script."""
        assert self.outer is None, "a script does not run within a script"
        inner = Call(self.keyspace)
        inner.databases, inner.db, inner.client, inner.account = call.databases, call.db, call.client, call.account
        inner.now_ms, inner.in_transaction = call.now_ms, True
        inner.before = call.before
        self.call, self.outer, self.read_only = inner, call, read_only
        call.effects = []
        try:
            good, found = self.run(
                self.compiled[sha], self.lua.table_from(keys), self.lua.table_from(arguments), null(call.protocol)
            )
        finally:
            self.call = self.outer = None
            call.elsewhere = True
        if not good:
            raise ScriptError(f"{shown(found)} script: {sha.decode()}, on @user_script:1.")
        return bytes(found)

    # from Lua

    def _asked(self, what: bytes, *words: object) -> object:
        if what == b"sha1hex":
            assert isinstance(words[0], bytes)
            return hashlib.sha1(words[0]).hexdigest().encode()
        texts: list[bytes] = []
        for word in words:
            if isinstance(word, bytes):
                texts.append(word)
            elif isinstance(word, (int, float)) and not isinstance(word, bool):
                texts.append(b"%d" % word if word == int(word) else b"%.17g" % word)
            else:
                return self._error("ERR Lua redis lib command arguments must be strings or integers")
        if not texts:
            return self._error("ERR Please specify at least one argument for this redis lib call")
        return self._perform(texts)

    def _perform(self, words: list[bytes]) -> object:
        call, outer = self.call, self.outer
        assert call is not None and outer is not None and outer.effects is not None
        found = self.keyspace.catalogue.check(words)
        if isinstance(found, str):
            wrong = "Unknown Redis command called from script" if "unknown" in found else None
            wrong = wrong or "Wrong number of args calling Redis command from script"
            return self._error(f"ERR {wrong}")
        if "noscript" in found.flags or found.handler is None or found.name == "select":
            return self._error("ERR This Redis command is not allowed from script")
        if self.read_only and found.writes:
            return self._error("ERR Write commands are not allowed from read-only scripts.")
        call.protocol = 2
        reply = self.keyspace.perform(call, words)
        if call.dirty:
            outer.dirty += call.dirty
            outer.effects += call.effects if call.effects is not None else [request(*words)]
        if isinstance(reply, Block):
            reply = reply.reply
        if not isinstance(reply, bytes):
            if reply.reply is None:
                return self._error(f"ERR {found.name.upper()} of a topic is not supported in scripts")
            outer.commit = max(outer.commit, reply.commit)
            reply = reply.reply
        return self._value(reply, 0)[0]

    def _error(self, text: str) -> object:
        return self.lua.table_from({b"err": text.encode("utf-8", "surrogateescape")})

    def _value(self, data: bytes, at: int) -> tuple[object, int]:
        """One encoded reply (RESP2) as Lua sees it, and where the next begins."""
        end = data.index(b"\r\n", at)
        kind, line = data[at], data[at + 1 : end]
        end += 2
        if kind == 58:
            return int(line), end
        if kind == 43:
            return self.lua.table_from({b"ok": line}), end
        if kind == 45:
            return self.lua.table_from({b"err": line}), end
        count = int(line)
        if count < 0:
            return False, end
        if kind == 36:
            return data[end : end + count], end + count + 2
        items = []
        for _ in range(count):
            item, end = self._value(data, end)
            items.append(item)
        return self.lua.table_from(items), end


class ScriptError(Exception):
    """The script failed; what it did before stays done."""


def shown(text: object) -> str:
    return text.decode("utf-8", "surrogateescape") if isinstance(text, bytes) else str(text)


def evaluate(call: Call, words: list[bytes]) -> bytes:
    count = integer_of(words[2])
    if count > len(words) - 3:
        raise CommandError("ERR Number of keys can't be greater than number of args")
    if count < 0:
        raise CommandError("ERR Number of keys can't be negative")
    machine = call.keyspace.machine()
    if call.name.startswith("evalsha"):
        sha = words[1].lower()
        if sha not in machine.texts:
            raise CommandError(NO_SCRIPT)
    else:
        sha = machine.load(words[1])
    read_only = call.name.endswith("_ro")
    call.writing = not read_only
    try:
        return machine.execute(call, sha, words[3 : 3 + count], words[3 + count :], read_only)
    except ScriptError as failed:
        return call.keyspace.failed(str(failed))


def script_load(call: Call, words: list[bytes]) -> bytes:
    return bulk(call.keyspace.machine().load(words[2]))


def script_exists(call: Call, words: list[bytes]) -> bytes:
    texts = call.keyspace.machine().texts
    return array_of([integer(word.lower() in texts) for word in words[2:]])


def script_flush(call: Call, words: list[bytes]) -> bytes:
    if len(words) > 3 or (len(words) == 3 and words[2].upper() not in (b"ASYNC", b"SYNC")):
        raise CommandError("ERR SCRIPT FLUSH only support SYNC|ASYNC option")
    call.keyspace.machine().forget()
    return OK


HANDLERS: Handlers = {
    "eval": evaluate, "evalsha": evaluate, "eval_ro": evaluate, "evalsha_ro": evaluate, "script|load": script_load,
    "script|exists": script_exists, "script|flush": script_flush,
}  # fmt: skip
