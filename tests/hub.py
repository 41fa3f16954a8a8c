"""A small Hub on loopback: a real HTTP server that speaks the Hub's protocol, and fails where a test says so.

It serves `huggingface_hub`, `datasets` and `@huggingface/hub` as the Hub does: repositories with commits, branches,
tags and pull requests; `preupload`, the Git LFS batch, upload and verify; `resolve` with redirects and ranges. The API
answers at 127.0.0.1 and the storage at localhost, so that a token that a client sends to the storage is noticed.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import SplitResult, parse_qs, quote, unquote, urlsplit

import yaml

TOKEN = "hf_theSecretOfTheTests"
LARGE = re.compile(r".*\.(parquet|png)")
"""What the Hub keeps in its storage for large files, by name; and whatever is larger than 10 MB."""

Headers = dict[str, str]


@dataclass
class Answer:
    """What a request is answered with."""

    status: int = 200
    content: bytes = b""
    headers: Headers = field(default_factory=dict)


def as_json(value: object, status: int = 200, **headers: str) -> Answer:
    return Answer(status, json.dumps(value).encode(), {"Content-Type": "application/json", **headers})


def refused(status: int, message: str, code: str = "") -> Answer:
    named = {"X-Error-Code": code} if code else {}
    return as_json({"error": message}, status, **{"X-Error-Message": message, **named})


@dataclass
class Repo:
    """A repository: commits are mappings from paths to contents, of large files to their sha256."""

    private: bool = False
    commits: dict[str, dict[str, bytes | str]] = field(default_factory=dict)
    messages: dict[str, str] = field(default_factory=dict)
    parents: dict[str, str | None] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    pulls: list[str] = field(default_factory=list)

    def commit(self, files: dict[str, bytes | str], message: str, branch: str = "main") -> str:
        parent = self.branches.get(branch)
        name = hashlib.sha1(f"{parent} {len(self.commits)} {message}".encode()).hexdigest()
        self.commits[name], self.messages[name], self.parents[name] = files, message, parent
        self.branches[branch] = name
        return name

    def find(self, revision: str) -> str | None:
        names = {**self.tags, **self.branches}
        return names.get(revision) or (revision if revision in self.commits else None)

    def history(self, branch: str = "main") -> list[str]:
        """Give the messages of a branch's commits, newest first, without the one that made the repository."""
        found, commit = [], self.branches.get(branch)
        while commit and self.parents[commit]:
            found.append(self.messages[commit])
            commit = self.parents[commit]
        return found


@dataclass
class Request:
    """A request as it came in: `label` is its method and what it is for."""

    label: str
    path: str
    size: int
    token: bool
    came: float
    answered: float = 0.0


@dataclass
class Fault:
    """What goes wrong at the next requests of a label, after some that go well."""

    label: str
    kind: str
    times: int = 1
    after: int = 0


class Hub:
    """The state of the server, and what tests do to it."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.objects: dict[str, bytes] = {}
        self.whole: dict[str, bool] = {}
        self.requests: list[Request] = []
        self.faults: list[Fault] = []
        self.hooks: dict[str, list[Callable[[], object]]] = {}
        self.role: dict[str, Any] = {"role": "write"}
        self.leaks: list[str] = []
        self.xet = False
        self.xorbs: dict[str, list[bytes]] = {}
        self.lock = threading.RLock()
        self.hang = threading.Event()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(self))
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.storage = f"http://localhost:{self.port}/storage"

    def fail(self, label: str, kind: str, times: int = 1, after: int = 0) -> None:
        self.faults.append(Fault(label, kind, times, after))

    def before(self, label: str, hook: Callable[[], object]) -> None:
        """Have something done before the next request of a label is answered."""
        self.hooks.setdefault(label, []).append(hook)

    def labels(self) -> list[str]:
        return [request.label for request in self.requests]

    def content(self, repo: Repo, commit: str, path: str) -> bytes:
        found = repo.commits[commit][path]
        return found if isinstance(found, bytes) else self.objects[found]

    def edit(self, repo_id: str, path: str, content: bytes | None, branch: str = "main") -> str:
        """Commit as somebody else does at the web page: one file, or its removal."""
        with self.lock:
            repo = self.repos[repo_id]
            files = dict(repo.commits[repo.branches[branch]])
            files.pop(path, None)
            if content is not None:
                files[path] = content
            return repo.commit(files, f"Edit {path}", branch)


@contextmanager
def running() -> Iterator[Hub]:
    hub = Hub()
    thread = threading.Thread(target=hub.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.hang.set()
        hub.server.shutdown()
        hub.server.server_close()


def _handler_of(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *arguments: object) -> None:
            pass

        def _serve(self) -> None:
            split = urlsplit(self.path)
            answer, label = _route(self.command, split.path)
            size = int(self.headers.get("Content-Length", 0))
            token = "Authorization" in self.headers
            with hub.lock:
                request = Request(label, self.path, size, token, time.monotonic())
                hub.requests.append(request)
                kind = self._take_fault(label)
                hooks = hub.hooks.get(label, [])
                hook = hooks.pop(0) if hooks else None
            if split.path.startswith("/storage") and token:
                hub.leaks.append(self.path)
            if hook:
                hook()
            self._answer(answer, kind, split, size)
            request.answered = time.monotonic()

        def _answer(self, answer: Answering, kind: str | None, split: SplitResult, size: int) -> None:
            if kind in ("drop-before", "hang"):
                self._vanish(kind)
                return
            asked = size // 2 if kind == "cut-upload" else size
            body = self._body(asked)
            if len(body) < asked:
                self._vanish("drop-before")  # who sent it is gone
                return
            if kind and kind in _ERROR_PAGES:
                self._send(_ERROR_PAGES[kind])
                return
            if kind == "short-upload":
                body = body[: len(body) // 2]
            query = {name: values[-1] for name, values in parse_qs(split.query).items()}
            made = answer(hub, Call(hub, split.path, query, body, self.headers)) if kind != "cut-upload" else Answer()
            if kind == "cut-answer":
                made.headers["Content-Length"] = str(len(made.content))
                made.content = made.content[: len(made.content) // 2]
            if kind not in ("drop-after", "cut-upload"):
                self._send(made)
            if kind in ("drop-after", "cut-upload", "cut-answer"):
                self._vanish(kind)

        def _body(self, size: int) -> bytes:
            if self.headers.get("Transfer-Encoding") == "chunked":
                parts = []
                while count := int(self.rfile.readline().strip() or b"0", 16):
                    parts.append(self.rfile.read(count))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(parts)
            return self.rfile.read(size)

        def _take_fault(self, label: str) -> str | None:
            for fault in hub.faults:
                if fault.label != label or not fault.times:
                    continue
                if fault.after:
                    fault.after -= 1
                    continue
                fault.times -= 1
                return fault.kind
            return None

        def _vanish(self, kind: str) -> None:
            if kind == "hang":
                hub.hang.wait(30)
            self.close_connection = True
            with suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)

        def _send(self, answer: Answer) -> None:
            self.send_response(answer.status)
            headers = {"Content-Length": str(len(answer.content)), **answer.headers}
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.content)

        do_GET = do_HEAD = do_POST = do_PUT = _serve

    return Handler


_HTML = b"<html><body><h1>Service temporarily unavailable</h1></body></html>"
_ERROR_PAGES = {
    **{str(status): refused(status, "try again later") for status in (408, 500, 502, 503, 504)},
    "429": as_json({"error": "slow down"}, 429, **{"Retry-After": "1"}),
    "429-day": as_json({"error": "slow down"}, 429, **{"Retry-After": "86400"}),
    "429-window": as_json({"error": "slow down"}, 429, RateLimit='"api";r=0;t=3600'),
    "html-503": Answer(503, _HTML, {"Content-Type": "text/html"}),
    "html-200": Answer(200, _HTML, {"Content-Type": "text/html"}),
    "404": refused(404, "Repository not found", "RepoNotFound"),
    "403-quota": refused(403, "Private repository storage limit reached"),
}


@dataclass
class Call:
    """What an answering function gets."""

    hub: Hub
    path: str
    query: dict[str, str]
    body: bytes
    headers: Message

    @property
    def allowed(self) -> bool:
        return self.headers.get("Authorization", "").removeprefix("Bearer ") == TOKEN

    def repo(self) -> tuple[str, Repo | None]:
        found = re.match(r"/(?:api/)?(?:resolve-cache/)?datasets/([^/]+/[^/]+?)(?:\.git)?(?:/|$)", self.path)
        assert found, self.path
        repo = self.hub.repos.get(found[1])
        hidden = repo is not None and repo.private and not self.allowed
        return found[1], None if hidden else repo

    def after(self, word: str) -> str:
        return unquote(self.path.partition(f"/{word}/")[2])


Answering = Callable[[Hub, Call], Answer]
_ROUTES: list[tuple[str, re.Pattern[str], str, Answering]] = []


def route(methods: str, pattern: str, label: str) -> Callable[[Answering], Answering]:
    def add(answering: Answering) -> Answering:
        _ROUTES.append((methods, re.compile(pattern), label, answering))
        return answering

    return add


def _route(method: str, path: str) -> tuple[Answering, str]:
    for methods, pattern, label, answering in _ROUTES:
        if method in methods.split() and pattern.fullmatch(path):
            return answering, f"{method} {label}"
    return lambda hub, call: refused(404, "Not Found"), f"{method} {path}"


NO_REPO = "Repository not found"
REPO = r"/api/datasets/[^/]+/[^/]+"


@route("GET", r"/api/whoami-v2", "whoami")
def whoami(hub: Hub, call: Call) -> Answer:
    if not call.allowed:
        return refused(401, "Invalid credentials in Authorization header")
    orgs = [
        {"type": "org", "name": "cats", "roleInOrg": "write"},
        {"type": "org", "name": "readers", "roleInOrg": "read"},
    ]
    token = {"displayName": "tests", **hub.role}
    return as_json({"type": "user", "name": "you", "orgs": orgs, "auth": {"accessToken": token}})


@route("HEAD GET POST", r"/api/telemetry/.*", "telemetry")
def telemetry(hub: Hub, call: Call) -> Answer:
    return as_json({})


@route("POST", r"/api/repos/create", "create")
def create(hub: Hub, call: Call) -> Answer:
    wanted = json.loads(call.body)
    name = f"{wanted.get('organization') or 'you'}/{wanted['name']}"
    if not call.allowed:
        return refused(401, "Invalid credentials in Authorization header")
    with hub.lock:
        if name in hub.repos:
            return as_json({"error": "You already created this dataset repo", "url": f"{hub.url}/datasets/{name}"}, 409)
        repo = Repo(private=wanted.get("visibility") == "private" or bool(wanted.get("private")))
        repo.commit({".gitattributes": b"*.parquet filter=lfs diff=lfs merge=lfs -text\n"}, "initial commit")
        hub.repos[name] = repo
    return as_json({"url": f"{hub.url}/datasets/{name}", "name": name, "id": "0"})


@route("POST", r"/api/validate-yaml", "validate-yaml")
def validate_yaml(hub: Hub, call: Call) -> Answer:
    found = re.match(r"\s*---\n(.*?)\n---\n", json.loads(call.body)["content"], re.DOTALL)
    try:
        values = yaml.safe_load(found[1]) if found else {}
        faults = [] if isinstance(values.get("license", ""), str) else ["license must be a string"]
    except yaml.YAMLError as error:
        faults = [str(error)]
    return as_json({"errors": [{"message": fault} for fault in faults], "warnings": []}, 400 if faults else 200)


def _info(hub: Hub, call: Call, revision: str) -> Answer:
    name, repo = call.repo()
    if repo is None:
        return refused(404 if call.allowed else 401, NO_REPO, "RepoNotFound")
    commit = repo.find(revision)
    if commit is None:
        return refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")
    files = [{"rfilename": path} for path in sorted(repo.commits[commit])]
    return as_json(
        {
            "_id": "0",
            "id": name,
            "author": name.split("/")[0],
            "sha": commit,
            "private": repo.private,
            "gated": False,
            "disabled": False,
            "tags": [],
            "downloads": 0,
            "likes": 0,
            "lastModified": "2026-01-01T00:00:00.000Z",
            "createdAt": "2026-01-01T00:00:00.000Z",
            "siblings": files,
            "cardData": {},
        }
    )


@route("GET HEAD", REPO, "info")
def info(hub: Hub, call: Call) -> Answer:
    return _info(hub, call, "main")


@route("GET HEAD", REPO + r"/revision/.+", "info")
def info_of_revision(hub: Hub, call: Call) -> Answer:
    return _info(hub, call, call.after("revision"))


@route("GET", REPO + r"/refs", "refs")
def refs(hub: Hub, call: Call) -> Answer:
    _, repo = call.repo()
    if repo is None:
        return refused(404 if call.allowed else 401, NO_REPO, "RepoNotFound")

    def listed(names: dict[str, str], prefix: str) -> list[dict[str, str]]:
        return [{"name": name, "ref": prefix + name, "targetCommit": commit} for name, commit in names.items()]

    branches = {name: commit for name, commit in repo.branches.items() if not name.startswith("refs/pr/")}
    return as_json(
        {"branches": listed(branches, "refs/heads/"), "tags": listed(repo.tags, "refs/tags/"), "converts": []}
    )


@route("GET", REPO + r"/discussions", "discussions")
def discussions(hub: Hub, call: Call) -> Answer:
    name, repo = call.repo()
    pulls = repo.pulls if repo else []
    found = [
        {
            "title": title,
            "num": number,
            "status": "open",
            "author": {"name": "you"},
            "repo": {"name": name, "type": "dataset"},
            "createdAt": "2026-01-01T00:00:00.000Z",
            "isPullRequest": True,
        }
        for number, title in enumerate(pulls, 1)
    ]
    return as_json({"discussions": found, "count": len(found), "start": 0})


def _entry(hub: Hub, repo: Repo, commit: str, path: str) -> dict[str, Any]:
    content = repo.commits[commit][path]
    if isinstance(content, bytes):
        oid = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        return {"type": "file", "oid": oid, "size": len(content), "path": path}
    size = len(hub.objects[content])
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{content}\nsize {size}\n".encode()
    oid = hashlib.sha1(b"blob %d\0" % len(pointer) + pointer).hexdigest()
    lfs = {"oid": content, "size": size, "pointerSize": len(pointer)}
    return {"type": "file", "oid": oid, "size": size, "path": path, "lfs": lfs}


def _folder(path: str) -> dict[str, Any]:
    return {"type": "directory", "oid": hashlib.sha1(path.encode()).hexdigest(), "size": 0, "path": path}


def _found(call: Call, revision: str) -> tuple[Repo, str] | Answer:
    _, repo = call.repo()
    if repo is None:
        return refused(404 if call.allowed else 401, NO_REPO, "RepoNotFound")
    commit = repo.find(revision)
    return (repo, commit) if commit else refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")


def _split_revision(text: str) -> tuple[str, str]:
    """Cut `REV/path`, where the revision may be `refs/pr/1`."""
    found = re.match(r"(refs/[^/]+/[^/]+|[^/]+)/?(.*)", text, re.DOTALL)
    assert found
    return found[1], found[2]


@route("GET", REPO + r"/tree/.+", "tree")
def tree(hub: Hub, call: Call) -> Answer:
    revision, folder = _split_revision(call.after("tree"))
    found = _found(call, revision)
    if isinstance(found, Answer):
        return found
    repo, commit = found
    prefix = f"{folder}/" if folder else ""
    paths = [path for path in sorted(repo.commits[commit]) if path.startswith(prefix)]
    if not paths:
        return refused(404, f"{folder} does not exist", "EntryNotFound")
    deep = call.query.get("recursive", "").lower() in ("true", "1")
    entries, folders = [], set()
    for path in paths:
        parts = path[len(prefix) :].split("/")
        for depth in range(1, len(parts) if deep else min(len(parts), 2)):
            folders.add(prefix + "/".join(parts[:depth]))
        if deep or len(parts) == 1:
            entries.append(_entry(hub, repo, commit, path))
    return as_json([*map(_folder, sorted(folders)), *entries])


@route("POST", REPO + r"/paths-info/.+", "paths-info")
def paths_info(hub: Hub, call: Call) -> Answer:
    found = _found(call, call.after("paths-info"))
    if isinstance(found, Answer):
        return found
    repo, commit = found
    if "json" in call.headers.get("Content-Type", ""):
        paths = json.loads(call.body)["paths"]
    else:
        paths = parse_qs(call.body.decode()).get("paths", [])
    entries = []
    for path in paths:
        if path in repo.commits[commit]:
            entries.append(_entry(hub, repo, commit, path))
        elif any(file.startswith(f"{path}/") for file in repo.commits[commit]):
            entries.append(_folder(path))
    return as_json(entries)


@route("POST", REPO + r"/preupload/.+", "preupload")
def preupload(hub: Hub, call: Call) -> Answer:
    found = _found(call, call.after("preupload"))
    if isinstance(found, Answer):
        return found
    repo, commit = found
    if not call.allowed:
        return refused(403, "You may not write here")
    files = []
    for file in json.loads(call.body)["files"]:
        large = LARGE.fullmatch(file["path"]) is not None or file["size"] > 10_000_000
        answer = {"path": file["path"], "uploadMode": "lfs" if large else "regular", "shouldIgnore": False}
        if file["path"] in repo.commits[commit]:
            entry = _entry(hub, repo, commit, file["path"])
            answer["oid"] = entry.get("lfs", entry)["oid"]
        files.append(answer)
    return as_json({"files": files})


@route("POST", r"/datasets/[^/]+/[^/]+\.git/info/lfs/objects/batch", "lfs-batch")
def lfs_batch(hub: Hub, call: Call) -> Answer:
    name, _ = call.repo()
    objects = []
    for wanted in json.loads(call.body)["objects"]:
        oid, size = wanted["oid"], wanted["size"]
        answer: dict[str, Any] = {"oid": oid, "size": size}
        if not hub.whole.get(oid):
            answer["actions"] = {
                "upload": {"href": f"{hub.storage}/{oid}?signature=0"},
                "verify": {"href": f"{hub.url}/api/datasets/{name}/lfs-verify"},
            }
        objects.append(answer)
    return as_json({"transfer": "basic", "objects": objects})


@route("PUT", r"/storage/.+", "storage")
def upload(hub: Hub, call: Call) -> Answer:
    oid = call.after("storage")
    hub.objects[oid] = call.body
    hub.whole[oid] = hashlib.sha256(call.body).hexdigest() == oid
    return Answer()


@route("POST", REPO + r"/lfs-verify", "lfs-verify")
def lfs_verify(hub: Hub, call: Call) -> Answer:
    said = json.loads(call.body)
    if len(hub.objects.get(said["oid"], b"")) != said["size"]:
        return refused(422, "The uploaded object has another size")
    return as_json({})


@route("POST", REPO + r"/commit/.+", "commit")
def commit(hub: Hub, call: Call) -> Answer:
    revision = call.after("commit")
    with hub.lock:
        found = _found(call, revision)
        if isinstance(found, Answer):
            return found
        repo, head = found
        if not call.allowed:
            return refused(403, "You may not write here")
        lines = [json.loads(line) for line in call.body.splitlines()]
        header = lines[0]["value"]
        if header.get("parentCommit") and header["parentCommit"] != head:
            return refused(412, "A commit has happened since. Please refresh and try again.")
        files = dict(repo.commits[head])
        for line in lines[1:]:
            value, path = line["value"], line["value"]["path"]
            if line["key"] == "file":
                files[path] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                if not hub.whole.get(value["oid"]):
                    return refused(400, f"LFS pointer of {path} points to a file that does not exist")
                files[path] = value["oid"]
            elif files.pop(path, None) is None:
                return refused(404, "A file with this name doesn't exist", "EntryNotFound")
        pull = None
        if call.query.get("create_pr"):
            repo.pulls.append(header["summary"])
            pull = f"refs/pr/{len(repo.pulls)}"
            repo.branches[pull] = head
        name = repo.commit(files, header["summary"], pull or revision)
        base = f"{hub.url}/datasets/{call.repo()[0]}"
        made = {"success": True, "commitOid": name, "commitUrl": f"{base}/commit/{name}", "hookOutput": ""}
        return as_json({**made, "pullRequestUrl": f"{base}/discussions/{len(repo.pulls)}"} if pull else made)


@route("POST", REPO + r"/tag/.+", "tag")
def tag(hub: Hub, call: Call) -> Answer:
    found = _found(call, call.after("tag"))
    if isinstance(found, Answer):
        return found
    repo, commit = found
    name = json.loads(call.body)["tag"]
    if name in repo.tags:
        return refused(409, f"Tag {name} already exists")
    repo.tags[name] = commit
    return as_json({})


@route("GET HEAD", r"/datasets/[^/]+/[^/]+/resolve/.+", "resolve")
def resolve(hub: Hub, call: Call) -> Answer:
    revision, path = _split_revision(call.after("resolve"))
    found = _found(call, revision)
    if isinstance(found, Answer):
        return found
    repo, commit = found
    if path not in repo.commits[commit]:
        return refused(404, "Entry not found", "EntryNotFound")
    entry = _entry(hub, repo, commit, path)
    headers = {"X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
    if "lfs" in entry:
        oid = entry["lfs"]["oid"]
        headers |= {"X-Linked-Size": str(entry["size"]), "X-Linked-Etag": f'"{oid}"', "ETag": f'"{oid}"'}
        return Answer(302, b"", {**headers, "Location": f"{hub.storage}/{oid}?signature=0"})
    place = f"/api/resolve-cache/datasets/{call.repo()[0]}/{commit}/{quote(path)}"
    return Answer(307, b"", {**headers, "ETag": f'"{entry["oid"]}"', "Location": place})


@route("GET HEAD", r"/api/resolve-cache/datasets/.+", "resolve-cache")
def resolve_cache(hub: Hub, call: Call) -> Answer:
    _, repo = call.repo()
    commit, path = re.sub(r"/api/resolve-cache/datasets/[^/]+/[^/]+/", "", call.path).split("/", 1)
    if repo is None:
        return refused(404, NO_REPO, "RepoNotFound")
    oid = _entry(hub, repo, commit, unquote(path))["oid"]
    return _ranged(call, hub.content(repo, commit, unquote(path)), {"X-Repo-Commit": commit, "ETag": f'"{oid}"'})


@route("GET", REPO + r"/xet-write-token/.+", "xet-token")
def xet_token(hub: Hub, call: Call) -> Answer:
    if not hub.xet:
        return refused(404, "Not Found")
    place, until = f"http://localhost:{hub.port}/xet", int(time.time()) + 3600
    headers = {"X-Xet-Cas-Url": place, "X-Xet-Access-Token": "xet", "X-Xet-Token-Expiration": str(until)}
    return as_json({"casUrl": place, "accessToken": "xet", "exp": until}, 200, **headers)


@route("POST", r"/xet/v1/xorbs/default/.+", "xet-xorb")
def xorb(hub: Hub, call: Call) -> Answer:
    """Keep the chunks of a block: each has a header of version, packed size, how it is packed, and size."""
    chunks, at = [], 0
    while at < len(call.body) and call.body[at] == 0:
        packed, way, size = (int.from_bytes(call.body[at + a : at + b], "little") for a, b in ((1, 4), (4, 5), (5, 8)))
        chunks.append(_unpacked(call.body[at + 8 : at + 8 + packed], way, size))
        at += 8 + packed
    hub.xorbs[_xet_name(bytes.fromhex(call.after("default")), 8)] = chunks
    return as_json({"was_inserted": True})


def _unpacked(packed: bytes, way: int, size: int) -> bytes:
    if way == 0:
        return packed
    import pyarrow as pa

    found: bytes = pa.decompress(packed, decompressed_size=size, codec="lz4", asbytes=True)
    if way == 1:
        return found
    groups, at = bytearray(size), 0
    for offset in range(4):
        count = len(range(offset, size, 4))
        groups[offset::4] = found[at : at + count]
        at += count
    return bytes(groups)


def _xet_name(hash_: bytes, word: int) -> str:
    """Write a hash as its 64-bit words: in a URL they stand reversed."""
    return b"".join(hash_[at : at + word][::-1] for at in range(0, len(hash_), word)).hex()


@route("POST", r"/xet/v1/shards", "xet-shard")
def shard(hub: Hub, call: Call) -> Answer:
    """Put files together from chunks, as a shard says; entries are 48 bytes, files come first."""
    at = 48
    while (header := call.body[at : at + 48])[:32] != b"\xff" * 32:
        flags, count = struct.unpack_from("<II", header, 32)
        content = b""
        for number in range(count):
            entry = call.body[at + 48 * (number + 1) :][:48]
            _, _, first, last = struct.unpack_from("<IIII", entry, 32)
            content += b"".join(hub.xorbs[entry[:32].hex()][first:last])
        oid = hashlib.sha256(content).hexdigest()
        hub.objects[oid], hub.whole[oid] = content, True
        at += 48 * (1 + count + (count if flags & 1 << 31 else 0) + (1 if flags & 1 << 30 else 0))
    return as_json({"result": 1})


@route("GET HEAD", r"/storage/.+", "storage")
def stored(hub: Hub, call: Call) -> Answer:
    oid = call.after("storage")
    return _ranged(call, hub.objects[oid], {"ETag": f'"{oid}"'}) if oid in hub.objects else refused(404, "NoSuchKey")


def _ranged(call: Call, content: bytes, headers: Headers) -> Answer:
    headers = {**headers, "Accept-Ranges": "bytes"}
    found = re.fullmatch(r"bytes=(\d+)-(\d*)", call.headers.get("Range", ""))
    if not found:
        return Answer(200, content, headers)
    first, last = int(found[1]), min(int(found[2] or len(content) - 1), len(content) - 1)
    if first >= len(content):
        return Answer(416, b"", {**headers, "Content-Range": f"bytes */{len(content)}"})
    return Answer(206, content[first : last + 1], {**headers, "Content-Range": f"bytes {first}-{last}/{len(content)}"})


if __name__ == "__main__":
    with running() as shown:
        print(f"export HF_ENDPOINT={shown.url} HF_TOKEN={TOKEN} HF_HUB_DISABLE_XET=1", flush=True)
        while True:
            time.sleep(3600)
