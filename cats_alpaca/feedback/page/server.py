"""Who may reach the page, and what of Gradio they may reach."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
import warnings
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

import gradio as gr
import uvicorn
from fastapi import FastAPI

from .deeds import Host
from .layout import CSS, HEAD, build_page, new_theme
from .limits import new_limiter
from .people import LONGEST_PASSWORD, hash_password, is_password, read_people

MOST_BYTES = 1 << 20
"""The largest request; the longest form is far smaller."""

_LOCAL = frozenset(("localhost", "127.0.0.1", "::1"))
# Nothing of Gradio but what the page needs: no upload, no files, no queue, no programming interface.
_GET = re.compile(r"/(en/?|config/?|logout|theme\.css|favicon\.ico|manifest\.json|(assets|static)/[\w./-]+)?")
_POST = re.compile(r"/login/?|/gradio_api/run/predict/?")
_HEADERS = {
    "content-security-policy": "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval';"
    " style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; object-src 'none';"
    " base-uri 'self'; form-action 'self'; frame-ancestors 'self' https://huggingface.co",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


def is_loopback(address: str) -> bool:
    """Say whether only this machine reaches an address.

    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    try:
        return address in _LOCAL or ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def listen(address: str, port: int) -> socket.socket:
    """Take a port, so that what is said of it holds; 0 is any that is free."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.create_server((address, port), family=family)


def serve(host: Host, listening: socket.socket) -> None:
    """Serve the page until the process is stopped."""
    guarded = guard(_mount(host), local=not host.people)
    config = uvicorn.Config(guarded, log_level="warning", server_header=False, limit_concurrency=1000)
    uvicorn.Server(config).run(sockets=[listening])


def _mount(host: Host) -> FastAPI:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "SSR mode is not supported")  # nobody asked for it
        mounted: FastAPI = gr.mount_gradio_app(
            FastAPI(docs_url=None, redoc_url=None, openapi_url=None),
            build_page(host),
            "/",
            auth=_sign_in(host) if host.people else None,
            show_error=False,
            footer_links=[],
            run_history=False,
            ssr_mode=False,
            enable_monitoring=False,
            max_file_size=1,
            theme=new_theme(),
            css=CSS,
            head=HEAD,
        )
    return mounted


def _sign_in(host: Host) -> Callable[[str, str], Awaitable[bool]]:
    take = new_limiter(10, 0.1)
    hashing = asyncio.Semaphore(2)  # each takes 32 MB
    nobody = hash_password("nobody has this")

    async def sign_in(name: str, password: str) -> bool:
        person = read_people(host.people).get(name)
        if not take(name if person else "", 1) or len(password) > LONGEST_PASSWORD:
            return False
        async with hashing:  # as long for a name that nobody has
            right = await asyncio.to_thread(is_password, password, person.hashed if person else nobody)
        return bool(person) and right

    return sign_in


def guard(app: App, *, local: bool) -> App:
    """Let through what the page needs, from its own pages only, and nothing too large."""

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await app(scope, receive, send)
        status = 404 if scope["type"] != "http" else _refuse(scope, local)
        if status:
            return await _answer(scope, send, status)

        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                kept = "public, max-age=86400" if scope["path"].startswith(("/assets/", "/static/")) else "no-store"
                extra = {**_HEADERS, "cache-control": kept}
                headers = [one for one in message["headers"] if one[0].decode().lower() not in extra]
                message["headers"] = [*headers, *((name.encode(), text.encode()) for name, text in extra.items())]
            await send(message)

        return await app(scope, receive, send_with_headers)

    return guarded


def _refuse(scope: Scope, local: bool) -> int:
    """Give the status with which a request is refused, or 0."""
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    own = {headers.get("host", ""), headers.get("x-forwarded-host", "")} - {
        ""
    }  # an origin of "null" has no name either
    # Another site's name for this machine would make it the same site as this page.
    if local and not is_loopback(urlsplit(f"//{headers.get('host', '')}").hostname or ""):
        return 403
    if scope["method"] in ("GET", "HEAD"):
        return 0 if _GET.fullmatch(scope["path"]) else 404
    if scope["method"] != "POST" or not _POST.fullmatch(scope["path"]):
        return 404
    if (origin := headers.get("origin")) is not None and urlsplit(origin).netloc not in own:
        return 403
    length = headers.get("content-length", "")
    return 411 if not length.isdecimal() else 413 if int(length) > MOST_BYTES else 0


async def _answer(scope: Scope, send: Send, status: int) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})
