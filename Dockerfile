# One image for every program of the gateway; docker-compose.yml says which one a container runs.
# What is installed is what requirements-run.lock pins, with hashes; nothing else is fetched but the base image.
ARG PYTHON_VERSION=3.13

FROM python:${PYTHON_VERSION}-slim AS wheel
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /source
COPY requirements-build.lock ./
RUN python -m pip install --require-hashes -r requirements-build.lock
COPY pyproject.toml README.md ./
COPY gateway gateway
COPY tasks tasks
COPY webhook webhook
RUN python -m pip wheel --no-deps --no-build-isolation --wheel-dir /wheels .

FROM python:${PYTHON_VERSION}-slim AS environment
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/sesgate
COPY requirements-run.lock /
# Wheels only: nothing that is downloaded gets to run code here.
RUN /opt/sesgate/bin/python -m pip install --only-binary :all: --require-hashes -r /requirements-run.lock
COPY --from=wheel /wheels /wheels
RUN /opt/sesgate/bin/python -m pip install --no-deps --no-index /wheels/*.whl \
    && /opt/sesgate/bin/python -m pip check

FROM python:${PYTHON_VERSION}-slim
RUN groupadd --gid 10001 sesgate \
    && useradd --uid 10001 --gid sesgate --no-log-init --no-create-home --home-dir /nonexistent \
        --shell /usr/sbin/nologin sesgate \
    && install --directory --owner sesgate --group sesgate --mode 0700 /var/lib/sesgate
COPY --from=environment /opt/sesgate /opt/sesgate
COPY deploy/compose/probe.py /opt/sesgate/probe.py
ENV PATH=/opt/sesgate/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    SESGATE_DATA_DIR=/var/lib/sesgate \
    SESGATE_LOG_FORMAT=json
# Celery looks for `tasks` in the working directory first, so it is one that the program cannot write to.
WORKDIR /opt/sesgate
# By number, so that Kubernetes' runAsNonRoot can tell that it is not root.
USER 10001:10001
EXPOSE 2525 5555 8024 8025
HEALTHCHECK --interval=15s --timeout=5s --start-period=20s CMD ["python", "/opt/sesgate/probe.py", "smtp", "2525"]
CMD ["sesgate", "smtp"]
