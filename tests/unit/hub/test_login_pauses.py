"""Pauses between wrong passwords: who waits, for how long, and what is remembered."""

import asyncio
import itertools
import tracemalloc
from types import SimpleNamespace
from typing import Any

import pytest
from jupyterhub.auth import Authenticator
from tornado.httputil import HTTPHeaders
from tornado.web import HTTPError
from traitlets.config import Config

from facility.hub import login_pauses
from facility.hub.kubernetes.configuration import SharedPassword
from facility.hub.login_pauses import FREE, KNOWN, LONGEST, NAMES, Pauses, PausingAuthenticator

HERE, THERE = "192.0.2.1", "192.0.2.2"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pauses(clock: Clock) -> Pauses:
    return Pauses(clock)


def guess(pauses: Pauses, clock: Clock, names: Any, seconds: float, address: str = HERE) -> int:
    """Try ten times a second; return how often it was looked at."""
    end, looked_at = clock.now + seconds, 0
    while clock.now < end:
        looked_at += not pauses.begin(next(names), address)
        clock.now += 0.1
    return looked_at


def test_pauses_grow_to_half_a_minute_and_no_longer(pauses: Pauses, clock: Clock):
    waits = []
    for _ in range(FREE + 9):
        assert pauses.begin("ada", HERE) == 0
        wait = pauses.begin("ada", HERE)  # not looked at, and does not count
        waits.append(wait)
        clock.now += wait
        if not wait:
            pauses.right("nobody", THERE)
    assert set(waits[FREE // 2 + 1 :]) <= {1, 2, 4, 8, 16, LONGEST}
    assert waits[-2:] == [LONGEST, LONGEST]


def test_two_guesses_a_minute_remain(pauses: Pauses, clock: Clock):
    assert guess(pauses, clock, itertools.repeat("ada"), 3600) <= 2 * 60 + FREE + 6


def test_a_new_name_each_time_does_not_help(pauses: Pauses, clock: Clock):
    names = (f"user-{number}" for number in itertools.count())
    assert guess(pauses, clock, names, 3600) <= 4 * NAMES + 2 * 60 + FREE + 6


def test_few_names_in_turn_help_little(pauses: Pauses, clock: Clock):
    names = itertools.cycle(f"user-{number}" for number in range(500))
    assert guess(pauses, clock, names, 600) <= (NAMES + 1) * (2 * 10 + FREE + 6)


def test_another_user_and_another_address_do_not_wait(pauses: Pauses, clock: Clock):
    guess(pauses, clock, itertools.repeat("ada"), 60)
    assert pauses.begin("ada", HERE) > 0
    assert pauses.begin("grace", HERE) == 0
    assert pauses.begin("ada", THERE) == 0


def test_who_has_logged_in_from_an_address_does_not_wait_for_others_there(
    pauses: Pauses, clock: Clock
):
    assert pauses.begin("grace", HERE) == 0
    pauses.right("grace", HERE)
    guess(pauses, clock, (f"user-{number}" for number in itertools.count()), 600)
    assert pauses.begin("newcomer", HERE) > 0
    assert pauses.begin("grace", HERE) == 0


def test_a_right_password_ends_what_wrong_ones_began(pauses: Pauses, clock: Clock):
    for _ in range(FREE):
        assert pauses.begin("ada", HERE) == 0
    assert pauses.begin("ada", HERE) == 0
    clock.now += 1
    assert pauses.begin("ada", HERE) == 0
    pauses.right("ada", HERE)
    assert [pauses.begin("ada", HERE) for _ in range(FREE + 1)] == [0] * (FREE + 1)
    assert pauses.begin("ada", HERE) == 1


def test_a_newcomer_at_a_guessers_address_gets_a_turn_and_then_a_count_of_their_own(
    pauses: Pauses, clock: Clock
):
    guess(pauses, clock, (f"user-{number}" for number in itertools.count()), 300)
    wait = pauses.begin("newcomer", HERE)
    assert 0 < wait <= LONGEST
    clock.now += wait
    assert pauses.begin("newcomer", HERE) == 0
    pauses.right("newcomer", HERE)
    guess(pauses, clock, (f"user-{number}" for number in itertools.count()), 300)
    assert pauses.begin("newcomer", HERE) == 0


def test_wrong_passwords_are_forgotten_after_a_quarter_of_an_hour(pauses: Pauses, clock: Clock):
    guess(pauses, clock, itertools.repeat("ada"), 600)
    clock.now += login_pauses.FORGOTTEN + LONGEST
    assert [pauses.begin("ada", HERE) for _ in range(FREE)] == [0] * FREE


def test_a_million_names_and_addresses_fill_no_memory(pauses: Pauses, clock: Clock):
    tracemalloc.start()
    try:
        for number in range(20_000):
            pauses.begin(f"{number:09d}" * 1000, HERE)
            pauses.begin("ada", f"192.0.{number // 256 % 256}.{number % 256}-{number}")
        for number in range(2 * KNOWN):
            pauses.begin(f"known-{number}", HERE)
            pauses.right(f"known-{number}", HERE)
        kept = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert kept < 20e6


# --- where a login comes from ----------------------------------------------------------------


def request(peer: str, *forwarded: str, **others: str) -> Any:
    headers = HTTPHeaders({key.replace("_", "-"): value for key, value in others.items()})
    for each in forwarded:
        headers.add("X-Forwarded-For", each)
    context = SimpleNamespace(address=(peer, 4711))
    return SimpleNamespace(headers=headers, connection=SimpleNamespace(context=context))


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("10.0.0.1", ["192.0.2.7"], "192.0.2.7"),
        ("::ffff:10.0.0.1", ["::ffff:192.0.2.7"], "192.0.2.7"),
        # What the client has made up stands before what our proxy has seen.
        ("10.0.0.1", ["198.51.100.1, 192.0.2.7"], "192.0.2.7"),
        ("10.0.0.1", ["198.51.100.1", "192.0.2.7"], "192.0.2.7"),
        # Through a proxy that is trusted, and one before it that is not.
        ("10.0.0.1", ["198.51.100.1, 192.0.2.7, 10.0.1.5"], "192.0.2.7"),
        ("10.0.0.1", ["198.51.100.1:4321, 10.0.1.5"], "198.51.100.1"),
        ("10.0.0.1", ["[2001:db8:1:2ff::1]:443, 10.0.1.5"], "2001:db8:1:200::/56"),
        ("10.0.0.1", ["nonsense, 10.0.1.5"], "10.0.1.5"),
        ("10.0.0.1", [], "10.0.0.1"),
        # A user's server that comes to the hub by itself.
        ("10.0.0.9", ["192.0.2.7"], "10.0.0.9"),
    ],
)
def test_the_address_is_what_trusted_proxies_say(peer: str, forwarded: list[str], expected: str):
    trusted = {"10.0.0.1", "10.0.1.5"}
    asked = request(peer, *forwarded, X_Real_Ip="203.0.113.1")
    found = login_pauses.client_address(asked, trusted.__contains__)
    assert login_pauses.neighbourhood(found) == expected


async def test_the_own_proxy_and_those_of_the_values_are_trusted():
    config = Config()
    config.PausingAuthenticator.trusted_proxies = ["10.0.1.0/24"]
    config.PausingAuthenticator.proxy_host = "localhost"
    authenticator = SharedPassword(config=config, allow_all=True)
    asked = request("127.0.0.1", "198.51.100.1, 192.0.2.7, 10.0.1.5")
    assert await authenticator.address(asked) == "192.0.2.7"
    asked = request("10.0.0.9", "198.51.100.1, 192.0.2.7, 10.0.1.5")
    assert await authenticator.address(asked) == "10.0.0.9"


async def test_a_proxy_that_does_not_resolve_counts_as_the_address():
    config = Config()
    config.PausingAuthenticator.proxy_host = "proxy-pods.nowhere.invalid"
    authenticator = SharedPassword(config=config, allow_all=True)
    assert await authenticator.address(request("10.0.0.9", "192.0.2.7")) == "10.0.0.9"


# --- the authenticator -----------------------------------------------------------------------


async def test_the_shared_password_pauses_and_says_for_how_long():
    authenticator = SharedPassword(user_password="eight-letters", allow_all=True)
    handler = SimpleNamespace(request=request("192.0.2.7"))
    data = {"username": "Ada", "password": "wrong"}
    for _ in range(FREE + 1):
        assert await authenticator.authenticate(handler, data) is None
    right = {"username": "ada", "password": "eight-letters"}
    with pytest.raises(HTTPError, match="Wait 1 second, then log in again") as refused:
        await authenticator.authenticate(handler, right)
    assert refused.value.status_code == 429
    assert vars(refused.value)["headers"] == {"Retry-After": "1"}
    other = await authenticator.authenticate(handler, {**right, "username": "grace"})
    assert other["name"] == "grace"
    await asyncio.sleep(1.1)
    assert (await authenticator.authenticate(handler, right))["name"] == "ada"


async def test_tries_at_the_same_time_do_not_slip_through():
    class Slow(Authenticator):
        async def authenticate(self, handler: Any, data: Any) -> None:
            await asyncio.sleep(0.1)

    class Paused(PausingAuthenticator, Slow):
        pass

    authenticator = Paused(allow_all=True)
    handler = SimpleNamespace(request=request("192.0.2.7"))
    data = {"username": "ada", "password": "wrong"}
    tries = (authenticator.authenticate(handler, data) for _ in range(100))
    found = await asyncio.gather(*tries, return_exceptions=True)
    assert found.count(None) == FREE + 1
