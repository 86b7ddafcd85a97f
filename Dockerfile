# The daemon and the sync service: one image, chosen by the command. The build context is narrowed by .dockerignore.

FROM python:3.12.12-slim-bookworm AS build
WORKDIR /src
RUN python -m venv /opt/memoryd
COPY . .
RUN --mount=type=cache,target=/root/.cache/pip \
    pip wheel --no-deps --wheel-dir /dist . \
    && /opt/memoryd/bin/pip install "$(echo /dist/memoryd-*.whl)[daemon]"

FROM python:3.12.12-slim-bookworm
# 10001: no user of the host or of the base image has it. Models are kept in a folder that this user owns, so that a
# named volume mounted there is his too.
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /var/lib/memoryd --shell /usr/sbin/nologin memoryd \
    && install --directory --owner=memoryd --group=memoryd --mode=0750 /var/lib/memoryd
COPY --from=build /opt/memoryd /opt/memoryd
ENV PATH=/opt/memoryd/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    MEMORYD_CACHE_DIR=/var/lib/memoryd
USER memoryd
WORKDIR /var/lib/memoryd
CMD ["memoryd", "serve"]
