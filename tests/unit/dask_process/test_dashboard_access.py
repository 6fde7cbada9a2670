"""Who may see a dashboard."""

import pytest
from distributed import Scheduler
from tornado.httputil import HTTPHeaders

from facility.dask_process.dashboard_access import (
    TOKEN_HEADER,
    answer_instead,
    cookie_name,
    new_token,
    token_in,
    with_token,
)
from facility.dask_process.dashboard_guard import Guarded

TOKEN = "kPDeGC3UuuBTMxoStOTowaq3dD1h3abdrkHkmCIckfc"
"""The same in each process of the tests, as parts of their names."""
COOKIE = f"{cookie_name(TOKEN)}={TOKEN}"


def status(uri: str = "/status", **headers: str) -> int | None:
    """What is answered instead of the page; None where it may be seen."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = answer_instead(uri, HTTPHeaders(named), TOKEN)
    return answer and answer.status


def test_tokens_are_long_and_new_each_time() -> None:
    assert len({new_token() for _ in range(100)}) == 100
    assert len(TOKEN) >= 43


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ("http://127.0.0.1:1/status", f"http://127.0.0.1:1/status?token={TOKEN}"),
        ("/user/ada/proxy/1/status?a=b", f"/user/ada/proxy/1/status?a=b&token={TOKEN}"),
        ("", ""),
    ],
)
def test_a_link_holds_the_token(link: str, expected: str) -> None:
    assert with_token(link, TOKEN) == expected
    assert with_token(link, "") == link
    assert token_in(expected) == (TOKEN if link else "")


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, 401),
        ({"Cookie": "a=b; =; ;;"}, 401),
        ({"Cookie": f"{cookie_name(TOKEN)}=other"}, 401),
        ({"Cookie": f"other={TOKEN}"}, 401),
        ({"Cookie": "a=b; " + COOKIE}, None),
        ({"Authorization": f"token {TOKEN}"}, 401),
        ({TOKEN_HEADER.replace("-", "_"): TOKEN}, None),
        ({TOKEN_HEADER.replace("-", "_"): ""}, 401),
        ({TOKEN_HEADER.replace("-", "_"): "tök€n"}, 401),
        # Pages of others that the user's browser shows.
        ({"Cookie": COOKIE, "Origin": "http://evil.example", "Host": "127.0.0.1:1"}, 403),
        ({"Cookie": COOKIE, "Origin": "null", "Host": "127.0.0.1:1"}, 403),
        ({"Cookie": COOKIE, "Origin": "http://127.0.0.1:2", "Host": "127.0.0.1:1"}, 403),
        ({"Cookie": COOKIE, "Origin": "http://127.0.0.1:1", "Host": "127.0.0.1:1"}, None),
        ({"Cookie": COOKIE, "Origin": "http://[", "Host": "127.0.0.1:1"}, 403),
        # A proxy that has asked who is there.
        ({TOKEN_HEADER.replace("-", "_"): TOKEN, "Origin": "https://hub.example.org"}, None),
    ],
)
def test_who_sees_a_page(headers: dict[str, str], expected: int | None) -> None:
    assert status(**headers) == expected


def test_a_link_opens_it_and_a_wrong_one_does_not() -> None:
    assert status(f"/status?token={TOKEN}") is None
    assert status(f"/status?token={TOKEN}x") == 403
    assert status(f"//[?token={TOKEN}") is None
    assert status("//[?&&=&token") == 401
    assert status(f"/status?token={TOKEN}", Sec_Fetch_Mode="navigate") == 200


def go_on(uri: str) -> str:
    answer = answer_instead(uri, {"Sec-Fetch-Mode": "navigate"}, TOKEN)
    assert answer is not None
    return answer.page.partition("url=")[2].partition('"')[0]


def test_where_a_browser_goes_on_stays_here() -> None:
    assert go_on(f"/?token={TOKEN}") == "./"
    for uri in (f"//evil.example/?token={TOKEN}", f"/a//evil.example/x?token={TOKEN}"):
        answer = answer_instead(uri, {"Sec-Fetch-Mode": "navigate"}, TOKEN)
        assert answer is not None
        assert "evil" not in answer.page
        assert "url=./" in answer.page


async def test_one_whose_http_server_does_not_ask_does_not_start() -> None:
    class Other(Guarded, Scheduler):
        start_http_server = Scheduler.start_http_server

    scheduler = Other(dashboard_token=TOKEN, port=0, dashboard=False, dashboard_address=":0")
    try:
        with pytest.raises(RuntimeError, match="failed to start") as failed:
            await scheduler
        assert "open to all users of this machine" in str(failed.value.__cause__)
    finally:
        await scheduler.close()
