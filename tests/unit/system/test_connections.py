"""Whose connection it is."""

import os
import socket

import pytest

from facility.system.connections import user_of


@pytest.mark.parametrize(
    ("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
)
def test_a_connection_of_this_machine_has_its_user(family: socket.AddressFamily, host: str):
    with (
        socket.create_server((host, 0), family=family) as server,
        socket.create_connection(server.getsockname()[:2]) as client,
    ):
        accepted, address = server.accept()
        with accepted:
            assert client.getsockname() == address
            assert user_of(address) == os.geteuid()


@pytest.mark.parametrize("address", [None, (), ("",), "/a/socket", ("192.0.2.1", 4711)])
def test_others_have_none(address: object):
    assert user_of(address) is None  # type: ignore[arg-type]
