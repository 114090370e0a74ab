"""Packages that only some uses need, and the extra of the distribution that brings them."""

from __future__ import annotations

from importlib.util import find_spec

from amint_core.errors import AmintError

DISTRIBUTION = "amint-kit"


def require(extra: str, *modules: str) -> None:
    """Check that what an extra brings is installed.

    Args:
        extra: a name under `optional-dependencies` of pyproject.toml.
        modules: modules that are needed of it.

    Raises:
        AmintError: one is not installed; the message names the extra.
    """
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        raise AmintError(
            f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed. "
            f"The extra {extra!r} brings what this needs: pip install '{DISTRIBUTION}[{extra}]', "
            "or `make setup` in a checkout of the repository."
        )
