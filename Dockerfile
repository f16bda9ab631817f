# Only the first stage has pip and a shell. Both stages have Python 3.13, so that bytecode of the
# first is valid in the second.
FROM python:3.13-slim-trixie AS build

WORKDIR /build

# Before app/, which changes more often, so that the packages come from the build cache.
COPY requirements.txt .

# --target, because a virtual environment, like the scripts in bin, refers to the location of its
# Python, which differs in the second stage.
RUN pip install --quiet --no-cache-dir --disable-pip-version-check --root-user-action=ignore \
        --no-compile --require-hashes --requirement requirements.txt --target packages \
    && rm -r packages/bin

COPY app app

# Bytecode, because the service cannot write it at run time. It is checked against a hash of the
# source, so that edits in derived images and bind mounts take effect. Fixed times and modes make
# builds reproducible.
RUN python -m compileall -q --invalidation-mode checked-hash packages app \
    && chmod -R u=rwX,go=rX packages app \
    && find packages app -exec touch --date=@0 {} +

# Debian's Python without a shell or a package manager. The image has no version tags, which
# hadolint requires; README.md shows how to pin it.
# hadolint ignore=DL3006
FROM gcr.io/distroless/python3-debian13

# `python3 -m` finds the packages and app in the working directory.
WORKDIR /srv

# Owned by root, so that the service cannot change its files.
COPY --from=build /build/packages .

# The standard library has no bytecode. This compiles a module that the health check imports when it
# connects.
RUN ["python3", "-c", "import encodings.idna"]

# After the packages, so that an edit of app/ leaves their layers unchanged.
COPY --from=build /build/app app

# Loopback would not be reachable from outside the container.
ENV HOST=0.0.0.0

# An invalid configuration fails the build. This also creates the rest of the bytecode.
RUN ["python3", "-m", "app.server", "--check-config"]

# Numeric, because Kubernetes cannot verify runAsNonRoot for a user name. 65532 is nonroot.
USER 65532:65532

# The public port, and the management port.
EXPOSE 8000 8001

# gunicorn drains at SIGTERM.
STOPSIGNAL SIGTERM

# Without --start-interval, which Podman 4 rejects; docker-compose.yml sets it.
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 \
    CMD ["python3", "-m", "app.healthcheck"]

# Exec form, so that gunicorn is process 1 and receives the signals.
ENTRYPOINT ["python3", "-m", "app.server"]

# Last, because they change with each commit. `make image` sets the first three.
ARG VERSION=dev
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
ARG SOURCE=

# Labels of the metric target_info.
ENV IMAGE_VERSION=$VERSION IMAGE_REVISION=$REVISION

# Annotations of the OCI image specification.
LABEL org.opencontainers.image.title="hello-wsgi" \
      org.opencontainers.image.description="A plain WSGI JSON service" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.created="$CREATED" \
      org.opencontainers.image.source="$SOURCE" \
      org.opencontainers.image.licenses="MIT"
