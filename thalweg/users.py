"""The user file: who may come in, and what each may do. One for all protocols.

    [users.sensor]
    secret = "SCRAM-SHA-256$4096:..."   # thalweg user add FILE sensor
    write = ["plant/*/temperature"]

    [users.anonymous]                   # who gives no credentials
    read = ["public/#"]

Rules are patterns over addresses (see ``protocols.identity``). A user without rules may do nothing; ``all = true`` is everything.
A file that has a mistake is refused whole, with every mistake in it.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import pathlib
import re
import stat
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from protocols.identity import ANONYMOUS, Identity, Right, Secret, Users, pattern
from substrate.api import DEFAULT_ACCOUNT, RESERVED, Account
from substrate.interest import Tokens
from thalweg.config import PYDANTIC, nearest

ITERATIONS_MAX = 16_384
"""A password is checked on the loop: 1 ms for the usual 4096, and every connection waits."""
SALT_BYTES = 16
NAME_BYTES_MAX = 255
ACCOUNT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
RULES = tuple(f"{prefix}{right.value}" for prefix in ("", "deny_") for right in Right)


class UsersError(Exception):
    """What is wrong with a user file, one line a mistake."""

    def __init__(self, *mistakes: str) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """One ``[users.NAME]``."""

    __pydantic_config__: ClassVar[Any] = PYDANTIC

    secret: str = ""
    """As `thalweg user hash` prints it; only `anonymous` has none."""
    account: str = DEFAULT_ACCOUNT
    """Whose topics, streams and keys this user sees; other accounts' are not there."""
    all: bool = False
    """Everything in the account is allowed, the server's own settings too."""
    read: tuple[str, ...] = ()
    """Subscribe, fetch, consume, read keys."""
    write: tuple[str, ...] = ()
    """Publish, produce, append, change keys."""
    manage: tuple[str, ...] = ()
    """Create, change, trim and delete topics and streams; on `_thalweg`: the server's own settings."""
    deny_read: tuple[str, ...] = ()
    """Outweighs `read`."""
    deny_write: tuple[str, ...] = ()
    """Outweighs `write`."""
    deny_manage: tuple[str, ...] = ()
    """Outweighs `manage`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UserFile:
    """The whole file."""

    __pydantic_config__: ClassVar[Any] = PYDANTIC

    users: dict[str, User] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A file that was read: what the hub is given, and what a later one is compared with."""

    users: Users
    entries: Mapping[str, User]
    warnings: Sequence[str]

    def changed(self, later: Loaded) -> frozenset[bytes]:
        """Users that are gone in ``later``, or may do something else, or have another password."""
        return frozenset(name.encode() for name, user in self.entries.items() if later.entries.get(name) != user)


def load(path: str | pathlib.Path) -> Loaded:
    """
    Raises:
        UsersError: the file cannot be read, others may write to it, or it has mistakes.
    """
    path = pathlib.Path(path)
    text, mode = _read(path)
    if mode & 0o022:
        raise UsersError(f"{path}: others may write to it (mode {mode:03o}); chmod go-w {path}")
    warnings = [f"{path}: others may read it (mode {mode:03o}); chmod go-r {path}"] if mode & 0o044 else []
    entries = parse(text, str(path))
    if not entries:
        warnings.append(f"{path}: there is no user in it, so nobody comes in")
    return Loaded(
        Users({name.encode(): _made(name, user) for name, user in entries.items()}, os.urandom(32)), entries, warnings
    )


def _read(path: pathlib.Path) -> tuple[str, int]:
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            return file.read().decode(), mode
    except OSError as error:
        raise UsersError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsersError(f"{path}: not UTF-8: {error}") from error


@functools.cache
def _adapter() -> Any:
    import pydantic

    return pydantic.TypeAdapter(UserFile)


def parse(text: str, name: str) -> dict[str, User]:
    """The users of a file's text. ``name``: of the file, for its mistakes.

    Raises:
        UsersError: with every mistake in it.
    """
    import pydantic

    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsersError(f"{name}: not TOML: {error}") from error
    try:
        file: UserFile = _adapter().validate_python(tree)
    except pydantic.ValidationError as error:
        raise UsersError(*(f"{name}: {_explain(mistake)}" for mistake in error.errors())) from None
    mistakes = [f"{name}: {told}" for user, entry in file.users.items() for told in _mistakes(user, entry)]
    if mistakes:
        raise UsersError(*mistakes)
    return file.users


def _explain(mistake: Any) -> str:
    place = ""
    for part in mistake["loc"]:
        place += f"[{part}]" if isinstance(part, int) else f"{'.' if place else ''}{key_of(part)}"
    if mistake["type"] in {"unexpected_keyword_argument", "extra_forbidden"}:
        known = [entry.name for entry in dataclasses.fields(User)] if len(mistake["loc"]) > 2 else ["users"]
        return f"{place}: no such key{nearest(str(mistake['loc'][-1]), known)}"
    given = mistake["input"]
    shown = "" if isinstance(given, dict) else f" (given {given!r})"
    return f"{place}: {mistake['msg']}{shown}"


def _mistakes(name: str, user: User) -> list[str]:
    """What pydantic cannot see."""
    place, found = f"users.{key_of(name)}", []
    size = len(name.encode(errors="replace"))
    if not 1 <= size <= NAME_BYTES_MAX or not name.isprintable():
        found.append(f"{place}: a name has 1 to {NAME_BYTES_MAX} bytes, all printable")
    if not ACCOUNT.fullmatch(user.account):
        found.append(f"{place}.account: {user.account!r} is not of letters, digits, '_', '.' and '-', at most 64")
    if name == ANONYMOUS.decode():
        found += [f"{place}.secret: who gives no credentials has no secret"] if user.secret else []
    elif not user.secret:
        found.append(f"{place}: has no secret (thalweg user add FILE {key_of(name)})")
    else:
        try:
            secret = Secret.parse(user.secret)
        except ValueError as error:
            found.append(f"{place}.secret: {error}")
        else:
            if secret.iterations > ITERATIONS_MAX:
                found.append(f"{place}.secret: {secret.iterations} iterations, limit {ITERATIONS_MAX}")
    for rule in RULES:
        for index, text in enumerate(getattr(user, rule)):
            wrong = _wrong(rule, text)
            if wrong:
                found.append(f"{place}.{rule}[{index}]: {wrong}")
    if user.all and any(getattr(user, rule) for rule in RULES):
        found.append(f"{place}: has all = true and rules; it is one or the other")
    return found


def _wrong(rule: str, text: str) -> str:
    if not text:
        return "is empty"
    try:
        pattern(text)
    except ValueError:
        return f"{text!r}: '>' and '#' match the rest, so nothing stands after them"
    if rule == "write" and text.split("/")[0] == RESERVED.decode():
        return f"{text!r}: what lies beneath {RESERVED.decode()} is written by the server alone"
    return ""


def _made(name: str, user: User) -> tuple[Identity, Secret | None]:
    def rules(prefix: str) -> dict[Right, list[Tokens]]:
        return {right: [pattern(text) for text in getattr(user, prefix + right.value)] for right in Right}

    identity = Identity(name.encode(), Account(user.account), rules(""), rules("deny_"), user.all)
    return identity, Secret.parse(user.secret) if user.secret else None


# writing


def make_secret(password: bytes) -> Secret:
    """With a salt of its own.

    Raises:
        ValueError: there is no password.
    """
    if not password:
        raise ValueError("an empty password lets everybody in; without credentials is the user anonymous")
    return Secret.of(password, os.urandom(SALT_BYTES))


def key_of(name: str) -> str:
    """A name as TOML writes it in a table's head."""
    return name if BARE_KEY.fullmatch(name) else json.dumps(name, ensure_ascii=False)


def put(path: pathlib.Path, name: str, user: User) -> str:
    """Add a user to the file, or give one that is there another secret; ``added`` or ``changed``.

    The rest of the file stays as it is, comments too. The file is replaced whole, or not at all; a new one is its
    owner's alone.

    Raises:
        UsersError: the file has mistakes, or is written in a way that only people can change.
    """
    text, mode = _read(path) if path.exists() else ("", 0o600)
    entries = parse(text, str(path))
    if name in entries:
        text = _with_secret(text, name, user.secret, path)
    else:
        text += f"{chr(10) if text and not text.endswith(chr(10)) else ''}{chr(10) if text else ''}{_table(name, user)}"
    written = parse(text, str(path)).get(name)
    if written is None or written.secret != user.secret:
        raise UsersError(
            f'{path}: users.{key_of(name)} is not a table of its own; put this there by hand: secret = "{user.secret}"'
        )
    _replace(path, text, mode)
    return "changed" if name in entries else "added"


def _table(name: str, user: User) -> str:
    lines = [f"[users.{key_of(name)}]"]
    for entry in dataclasses.fields(User):
        value = getattr(user, entry.name)
        if value != entry.default:
            shown = [*value] if isinstance(value, tuple) else value
            lines.append(f"{entry.name} = {json.dumps(shown, ensure_ascii=False)}")
    return "\n".join(lines) + "\n"


def _with_secret(text: str, name: str, secret: str, path: pathlib.Path) -> str:
    lines = text.splitlines(keepends=True)
    heads = [index for index, line in enumerate(lines) if line.split("#")[0].strip() == f"[users.{key_of(name)}]"]
    if heads:
        for index in range(heads[0] + 1, len(lines)):
            if lines[index].startswith("["):
                break
            if re.match(r"secret\s*=", lines[index]):
                lines[index] = f'secret = "{secret}"\n'
                return "".join(lines)
        lines.insert(heads[0] + 1, f'secret = "{secret}"\n')
    return "".join(lines)


def _replace(path: pathlib.Path, text: str, mode: int) -> None:
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), mode)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch, path)
    except OSError as error:
        scratch.unlink(missing_ok=True)
        raise UsersError(f"{path}: {error.strerror}") from error
