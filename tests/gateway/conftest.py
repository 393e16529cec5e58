"""What tests of the gateway share: the SDK's client runs on asyncio, as the gateway does."""

import pytest


@pytest.fixture
def anyio_backend() -> str:
    """The SDK's HTTP server is uvicorn, which knows asyncio only."""
    return "asyncio"
