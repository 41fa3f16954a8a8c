"""Who may come in: a file of names, the contributor behind each, and a hash of the password.

A line is `name:person-id:scrypt$salt$hash`. The name stays in this file; the store knows the id only. It is read anew
at every request, so that whoever is taken out of it is out at once.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
from pathlib import Path
from typing import NamedTuple

from ...errors import FeedbackError

LONGEST_PASSWORD, SHORTEST_PASSWORD = 200, 8
_NAME = re.compile(r"[^\s:]{1,40}")
_COST = {"n": 1 << 15, "r": 8, "p": 3, "maxmem": 1 << 26}
"""32 MB and a fifth of a second each; OWASP's Password Storage Cheat Sheet, as of 2023, names this among others."""


class Person(NamedTuple):
    """Somebody who may come in."""

    contributor: str
    hashed: str


def read_people(path: str | Path) -> dict[str, Person]:
    """Read who may come in.

    Raises:
        FeedbackError: when a line is no such line.
    """
    people: dict[str, Person] = {}
    for number, line in enumerate(Path(path).read_text("utf-8").splitlines(), 1):
        if not line.strip():
            continue
        name, _, rest = line.partition(":")
        contributor, _, hashed = rest.partition(":")
        if not _NAME.fullmatch(name) or not contributor.startswith("person-") or hashed.count("$") != 2:
            step = "write it with cats-alpaca feedback login"
            raise FeedbackError(f"{path}:{number}: is no line name:person-id:scrypt$salt$hash; {step}")
        if name in people:
            raise FeedbackError(f"{path}:{number}: the same name stands there twice; delete one of the lines")
        people[name] = Person(contributor, hashed)
    return people


def write_person(path: str | Path, name: str, contributor: str, password: str) -> None:
    """Let somebody come in from now on, or change their password.

    Raises:
        FeedbackError: when the name or the password cannot be taken.
    """
    if not _NAME.fullmatch(name):
        raise FeedbackError(f"{name[:60]!r} cannot be a name: 1 to 40 characters, without spaces and colons")
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise FeedbackError(f"a password has {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters; choose another")
    people = read_people(path) if os.path.exists(path) else {}
    people[name] = Person(contributor, hash_password(password))
    text = "".join(f"{name}:{person.contributor}:{person.hashed}\n" for name, person in people.items())
    beside = Path(f"{path}.part")
    with open(os.open(beside, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    beside.replace(path)


def hash_password(password: str) -> str:
    """Hash a password with a new salt.

    >>> hashed = hash_password("correct horse")
    >>> is_password("correct horse", hashed), is_password("wrong horse", hashed)
    (True, False)
    """
    salt = os.urandom(16)
    return "$".join(("scrypt", *(base64.b64encode(part).decode() for part in (salt, _digest(password, salt)))))


def is_password(password: str, hashed: str) -> bool:
    """Say whether this is the password."""
    _, salt, digest = hashed.split("$")
    found = _digest(password[: LONGEST_PASSWORD + 1], base64.b64decode(salt))
    return hmac.compare_digest(found, base64.b64decode(digest))


def _digest(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode("utf-8", "surrogatepass"), salt=salt, **_COST)
