"""``thalweg user hash | add | check``: write and check the user file. Passwords are read, never given as arguments."""

from __future__ import annotations

import argparse
import pathlib
import sys

from thalweg.cli import complain

RIGHTS = ("read", "write", "manage")


def add(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="what", required=True, metavar="what")
    commands.add_parser(
        "hash", allow_abbrev=False, help="read a password (standard input, or asked for twice) and print its secret"
    )
    put = commands.add_parser(
        "add", allow_abbrev=False, help="add a user to a file, or give one another password, read as for hash"
    )
    put.add_argument("file", metavar="FILE", type=pathlib.Path, help="the user file; made if it is not there")
    put.add_argument("name", metavar="NAME", help="the user; anonymous is asked for no password")
    for right in RIGHTS:
        put.add_argument(
            f"--{right}",
            metavar="RULE",
            action="append",
            default=[],
            help=f"addresses that a new user may {right}, such as orders/#",
        )
    put.add_argument("--all", action="store_true", help="a new user may do everything")
    check = commands.add_parser("check", allow_abbrev=False, help="say what is wrong with a file, and what holds")
    check.add_argument("file", metavar="FILE", type=pathlib.Path, help="the user file")


def run(options: argparse.Namespace) -> int:
    from thalweg.users import UsersError

    try:
        return {"hash": print_hash, "add": put, "check": check}[options.what](options)
    except UsersError as error:
        for mistake in error.mistakes:
            complain(mistake)
        return 1


def password() -> bytes:
    """From who types it, twice; or the first line of standard input.

    Raises:
        UsersError: it is empty, or the two differ.
    """
    from thalweg.users import UsersError

    if not sys.stdin.isatty():
        given = sys.stdin.buffer.readline().rstrip(b"\r\n")
    else:
        import getpass

        given = getpass.getpass("password: ").encode()
        if getpass.getpass("once more: ").encode() != given:
            raise UsersError("these are two different passwords")
    if not given:
        raise UsersError("there is no password")
    return given


def print_hash(options: argparse.Namespace) -> int:
    from thalweg.users import make_secret

    print(make_secret(password()))
    return 0


def put(options: argparse.Namespace) -> int:
    from protocols.identity import ANONYMOUS
    from thalweg import users
    from thalweg.users import User, make_secret

    secret = "" if options.name.encode() == ANONYMOUS else str(make_secret(password()))
    read, write, manage = (tuple(getattr(options, right)) for right in RIGHTS)
    made = User(secret=secret, all=options.all, read=read, write=write, manage=manage)
    done = users.put(options.file, options.name, made)
    print(f"{options.name}: {done}")
    if done == "changed" and (options.all or read or write or manage):
        complain(f"{options.name} was there: only its secret is new; its rules are changed in {options.file}")
    return 0


def check(options: argparse.Namespace) -> int:
    from thalweg.users import RULES, load

    loaded = load(options.file)
    for warning in loaded.warnings:
        complain(warning)
    for name, user in loaded.entries.items():
        rules = [f"{rule} {' '.join(getattr(user, rule))}" for rule in RULES if getattr(user, rule)]
        print(f"{name}: {'everything' if user.all else '; '.join(rules) or 'nothing'} (account {user.account})")
    return 0
