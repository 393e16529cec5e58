"""What tests of the gateway share: one store and one gateway, for all that need none of their own;
and the event loop, for the SDK's client runs on asyncio, as the gateway does."""

from collections.abc import Generator

import pytest

from support.coordinator import running
from support.mcp import Stage, http_gateway


@pytest.fixture
def anyio_backend() -> str:
    """The SDK's HTTP server is uvicorn, which knows asyncio only."""
    return "asyncio"


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Generator[Stage]:
    """One for all tests here that end nothing of it; each test has paths of its own."""
    root = tmp_path_factory.mktemp("store")
    with running(root) as coordinator, http_gateway(root, "--tools", "full") as service:
        yield Stage(root, coordinator, service)
