# Small, without a shell, as a user without rights, on a root that may be read-only; the same lock gives the same packages.
# Build:  docker build -t disagg-autoscaler:0.1.0 .
# Pin both images by digest where you build for production: --build-arg BUILD=...@sha256:... --build-arg RUN=...@sha256:...
ARG BUILD=python:3.11.14-slim-bookworm
ARG RUN=gcr.io/distroless/python3-debian12:nonroot

FROM ${BUILD} AS build
ENV UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_PYTHON_DOWNLOADS=never \
    UV_PROJECT_ENVIRONMENT=/opt/autoscaler \
    SOURCE_DATE_EPOCH=0
RUN pip install --no-cache-dir uv==0.13.9
WORKDIR /src
COPY pyproject.toml uv.lock ./
# the packages first: they change seldom
RUN uv sync --frozen --no-dev --extra otel --no-install-project --no-cache
COPY README.md LICENSE NOTICE ./
COPY autoscaler ./autoscaler
RUN uv sync --frozen --no-dev --extra otel --no-editable --no-cache

FROM ${RUN}
# distroless has Python 3.11 as python3; packages of the build are pure or manylinux wheels for it
COPY --from=build /opt/autoscaler/lib/python3.11/site-packages /opt/autoscaler
# answers of megabytes are read in threads: one heap gives their memory back, one for each thread keeps it
ENV PYTHONPATH=/opt/autoscaler \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    MALLOC_ARENA_MAX=1
USER 65532:65532
EXPOSE 9095
ENTRYPOINT ["/usr/bin/python3", "-m", "autoscaler"]
CMD ["--help"]
