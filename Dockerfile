# The image of every service of pulse-bridge: one wheel, no compiler, no root.
ARG PYTHON=3.13.7-slim-bookworm

FROM python:${PYTHON} AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY pulse_bridge pulse_bridge
COPY adapters adapters
RUN pip wheel --no-cache-dir --wheel-dir /wheels ".[all]"

FROM python:${PYTHON}
COPY deploy/make_secrets.py /usr/local/lib/pulse-bridge/make_secrets.py
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-index --find-links /wheels "pulse-bridge[all]" \
    && useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin pulse \
    # An empty volume takes over owner and mode of the folder that it is mounted on. The group may write, because
    # the service may run as another user of it.
    && install --directory --owner pulse --group pulse --mode 0750 /secrets \
    && install --directory --owner pulse --group pulse --mode 0770 /journal /state /runs
USER 10001:10001
ENV XDG_STATE_HOME=/state PYTHONUNBUFFERED=1
STOPSIGNAL SIGTERM
ENTRYPOINT ["pulse-bridge"]
CMD ["--help"]
