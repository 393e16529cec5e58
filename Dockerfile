# agent-trace with all its commands: the coordinator, the MCP gateway, the web view.
# docker-compose.yml runs them; docs/operations.md says how.

# Debian with Python 3.11 or newer; another registry's copy of it, for example, does as well.
ARG PYTHON_IMAGE=python:3.12-slim

FROM ${PYTHON_IMAGE} AS build
WORKDIR /usr/src/agent-trace
COPY pyproject.toml README.md LICENSE ./
COPY protocol protocol
COPY agents agents
COPY coordinator coordinator
RUN python -m venv /opt/agent-trace \
 && /opt/agent-trace/bin/pip install --no-cache-dir '.[traces]'

FROM ${PYTHON_IMAGE}
RUN apt-get update \
 && apt-get install --yes --no-install-recommends git \
 && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/agent-trace /opt/agent-trace
# A new named volume takes over the owner and the mode of the directory it is mounted on.
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin agent-trace \
 && install --directory --owner=10001 --group=10001 --mode=0750 /store /tokens
ENV PATH=/opt/agent-trace/bin:$PATH \
    AGENT_TRACE_STORE=/store \
    PYTHONDONTWRITEBYTECODE=1 \
    # Without a home directory nothing but the volumes is written.
    HOME=/tmp
USER 10001:10001
WORKDIR /store
ENTRYPOINT ["agent-trace"]
CMD ["--help"]
