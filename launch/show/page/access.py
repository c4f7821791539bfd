"""Who may see a live page: everybody on this host; from elsewhere, who has the token."""

import hmac
import ipaddress
from http.cookies import SimpleCookie

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

OPEN = ("/healthz",)


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class TokenRequired:
    """Answers 401 without the token: in the address (`?token=`), which leaves it in a cookie, in that cookie,
    or in a header `Authorization: Bearer`."""

    def __init__(self, app: ASGIApp, token: str, cookie: str) -> None:
        self._app, self._token, self._cookie = app, token, cookie

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in OPEN:
            await self._app(scope, receive, send)
            return
        asks = HTTPConnection(scope)
        in_address = self._fits(asks.query_params.get("token"))
        bearer = asks.headers.get("authorization", "").removeprefix("Bearer ")
        if not (in_address or self._fits(asks.cookies.get(self._cookie)) or self._fits(bearer)):
            refusal = "This page needs the token that was printed when it was started: /?token=...\n"
            await PlainTextResponse(refusal, 401, {"WWW-Authenticate": "Bearer"})(scope, receive, send)
            return

        async def send_with_cookie(message: Message) -> None:
            if message["type"] == "http.response.start" and in_address:
                MutableHeaders(scope=message).append("set-cookie", self._new_cookie())
            await send(message)

        await self._app(scope, receive, send_with_cookie)

    def _fits(self, given: str | None) -> bool:
        return given is not None and hmac.compare_digest(given.encode(), self._token.encode())

    def _new_cookie(self) -> str:
        cookie = SimpleCookie({self._cookie: self._token})
        morsel = cookie[self._cookie]
        morsel["httponly"], morsel["samesite"], morsel["path"] = True, "Strict", "/"
        return morsel.OutputString()
