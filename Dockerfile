# Two stages: the first has pip and a shell to build with, the second runs and has neither.
# The Python of both is 3.13, so the bytecode of the first is good for the second.
FROM python:3.13-slim-trixie AS build

# A folder of our own.
WORKDIR /build

# Before app/, which changes more often: so the packages come from the builder's cache.
COPY requirements.txt .

# Only packages whose hashes are in the lock; into a plain directory, since a virtual environment
# points at its Python, which the second stage has at another place. So do the scripts in bin.
RUN pip install --quiet --no-cache-dir --disable-pip-version-check --root-user-action=ignore \
        --no-compile --require-hashes --requirement requirements.txt --target packages \
    && rm -r packages/bin

# The service itself: an edit has the builder start from here.
COPY app app

# Bytecode, as the service can't write its own: it runs on a read-only root, as a user that owns
# nothing. Times and modes are the same in each build, whatever the checkout's are; so the bytecode
# is not tied to the time of its source.
RUN python -m compileall -q --invalidation-mode checked-hash packages app \
    && chmod -R u=rwX,go=rX packages app \
    && find packages app -exec touch --date=@0 {} +

# Debian's Python and what it needs: no shell, no package manager. It has no tags for versions,
# which hadolint asks for; README says how to pin it.
# hadolint ignore=DL3006
FROM gcr.io/distroless/python3-debian13

# `python3 -m` finds the packages and app in the working directory.
WORKDIR /srv

# The files belong to root: what runs can't change them.
COPY --from=build /build/packages .

# The standard library comes without bytecode. This leaves that of what the health check imports late,
# as it connects.
RUN ["python3", "-c", "import encodings.idna"]

# After the packages, whose layers an edit of app/ leaves as they are.
COPY --from=build /build/app app

# In a container, the loopback would be out of everybody's reach.
ENV HOST=0.0.0.0

# A configuration that gunicorn can't load fails here; the rest of the bytecode is made on the way.
RUN ["python3", "-m", "app.server", "--check-config"]

# By number, as Kubernetes' runAsNonRoot can't tell who a name is; 65532 is distroless' nonroot.
USER 65532:65532

# The public port, and the management port.
EXPOSE 8000 8001

# gunicorn drains at SIGTERM.
STOPSIGNAL SIGTERM

# The service is ready in less than a second, so one asks each second until it is.
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 \
    CMD ["python3", "-m", "app.healthcheck"]

# The command of `make run`; exec form, so that gunicorn is process 1 and gets the signals.
ENTRYPOINT ["python3", "-m", "app.server"]

# Last, as they change with each commit. `make image` fills in the first three.
ARG VERSION=dev
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
ARG SOURCE=

# What target_info tells Prometheus.
ENV IMAGE_VERSION=$VERSION IMAGE_REVISION=$REVISION

# What the image tells of itself, in the names of the OCI image specification.
LABEL org.opencontainers.image.title="hello-wsgi" \
      org.opencontainers.image.description="A plain WSGI JSON service" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.created="$CREATED" \
      org.opencontainers.image.source="$SOURCE" \
      org.opencontainers.image.licenses="MIT"
