"""What every test of the tree shares: both event loops, and one reproducible hypothesis profile."""

import pytest
from hypothesis import HealthCheck, settings

from agent_trace.naming import HOST_VARIABLES

# A failing property must fail for the next reader too, so examples come from the test's own name
# and never from a database or the clock; the blob reproduces one example by itself.
settings.register_profile(
    "agent-trace",
    derandomize=True,
    database=None,
    print_blob=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("agent-trace")


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Run every asynchronous test on both event loops that the client promises to work on."""
    backend: str = request.param
    return backend


@pytest.fixture(autouse=True)
def no_agent_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests, an agent host perhaps, must not become the actor of commands."""
    for variable in HOST_VARIABLES:
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture(autouse=True)
def nothing_generated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Coordinators write no documents of their own, which would come between the operations that
    tests count; what tests them turns it on."""
    monkeypatch.setenv("AGENT_TRACE_GENERATED", "0")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the flag that rewrites golden files, whose changes are then reviewed as a diff."""
    parser.addoption(
        "--regenerate",
        action="store_true",
        help="rewrite golden files from what the code does, instead of comparing",
    )


@pytest.fixture
def regenerate(request: pytest.FixtureRequest) -> bool:
    """Whether golden files are to be rewritten."""
    return bool(request.config.getoption("--regenerate"))
