"""The page as it is run, a program that talks to it as a browser does, and a model that answers it."""

from __future__ import annotations

import http.server
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from cats_alpaca import feedback
from cats_alpaca.feedback.page.people import write_person

PASSWORD = "a long enough one"


class Served(NamedTuple):
    """The page, running."""

    url: str
    folder: Path
    process: subprocess.Popen[str]

    @property
    def store(self) -> Path:
        return self.folder / "cats.sqlite"

    def said(self) -> str:
        """What it wrote on stderr."""
        return (self.folder / "stderr").read_text("utf-8")


Serve = Callable[..., Served]
"""Runs the page with some arguments."""


@contextmanager
def serving(folder: Path, *arguments: str) -> Iterator[Served]:
    """Run `cats-alpaca feedback serve` with the store of a folder, at a port that is free."""
    command = [sys.executable, "-m", "cats_alpaca", "feedback", "serve", "--port", "0", *arguments]
    environment = {
        **os.environ,
        "CATS_ALPACA_STORE": str(folder / "cats.sqlite"),
        "GRADIO_TEMP_DIR": str(folder / "tmp"),
    }
    with (
        open(folder / "stderr", "w") as stderr,
        subprocess.Popen(
            command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=stderr
        ) as process,
    ):
        assert process.stdout
        try:
            url = process.stdout.readline().strip().replace("0.0.0.0", "127.0.0.1")
            assert url, (folder / "stderr").read_text("utf-8")
            _wait(url)
            yield Served(url.rstrip("/"), folder, process)
        finally:
            process.terminate()
            while _OPEN:
                _OPEN.pop().close()


def _wait(url: str) -> None:
    for _ in range(600):
        try:
            httpx.get(f"{url}theme.css", timeout=60)
        except httpx.TransportError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError(f"{url} does not answer")


def new_people(folder: Path, *names: str) -> dict[str, str]:
    """Let people sign in; give the contributor of each."""
    with feedback.open_store(folder / "cats.sqlite") as store:
        people = {name: feedback.join(store) for name in names}
    for name, who in people.items():
        write_person(folder / "people.txt", name, who, PASSWORD)
    return people


_OPEN: list[httpx.Client] = []


def new_web(url: str) -> httpx.Client:
    """Make what fetches and sends; it is closed when the page is stopped."""
    _OPEN.append(httpx.Client(base_url=url, timeout=120, headers={"Origin": url}))
    return _OPEN[-1]


class Browser:
    """Sends what the page's own program would send."""

    def __init__(self, url: str, name: str = "", session: str = "a-session") -> None:
        self.web = new_web(url)
        self.session = session
        if name:
            assert self.sign_in(name, PASSWORD) == 200
        self.config: dict[str, Any] = self.web.get("/config").json()
        self.deeds = {one["api_name"]: one for one in self.config["dependencies"] if one["backend_fn"]}

    def sign_in(self, name: str, password: str) -> int:
        return self.web.post("/login", data={"username": name, "password": password}).status_code

    def send(self, deed: str, *data: object) -> httpx.Response:
        body = {"fn_index": self.deeds[deed]["id"], "data": data, "session_hash": self.session, "event_data": None}
        headers = {"Content-Type": "application/json"}
        return self.web.post("/gradio_api/run/predict", content=json.dumps(body), headers=headers)

    def do(self, deed: str, *data: object) -> str:
        """Do something; give all that came back, as one text."""
        answer = self.send(deed, *data)
        assert answer.status_code == 200, answer.text
        return json.dumps(answer.json(), ensure_ascii=False)

    def note(self, seen: str, *, cat: str = "new", name: str = "ミケ", share: str = "me") -> str:
        return self.do("note_ja", cat, name, "2024-11-08", share, seen, "", "", "")

    def ask(self, question: str, *, cat: str = "new", name: str = "ミケ") -> tuple[str, str]:
        """Ask; give the turn's id and all that came back."""
        text = self.do("ask_ja", cat, name, question, "")
        found = re.search(r"fb-[a-z2-7]{16}", text)
        assert found, text
        return found[0], text


class Model:
    """A server that speaks chat completions; what it answers can be changed, and None fails."""

    def __init__(self) -> None:
        self.answer: str | None = "うけたまわりました。"
        self.asked: list[str] = []
        model = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                model.asked.append(body["messages"][0]["content"])
                reply = json.dumps({"choices": [{"message": {"content": model.answer}}], "model": "neko"}).encode()
                self.send_response(200 if model.answer else 503)
                self.send_header("Content-Length", str(len(reply)))
                self.end_headers()
                self.wfile.write(reply)

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
