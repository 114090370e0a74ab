"""Ports that nothing listens on."""

import socket


def free_port() -> int:
    """Return a port that nothing listens on, nor on the next."""
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        port = first.getsockname()[1]
        second.bind(("127.0.0.1", port + 1))
    return port
