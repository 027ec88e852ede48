# The first stage has pip; the second has only what runs. Any image with Python 3.11 or later is good for both.
ARG PYTHON_IMAGE=python:3.12-slim
FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
COPY setup.cfg setup.py pyproject.toml README.rst LICENSE ./
COPY smtprelay smtprelay
COPY twisted twisted
# The slim image has no compiler, so nothing that needs one gets in. Twisted's plugin cache is
# written now, because the relay's user may not write there.
RUN python -m venv /opt/smtprelay \
    && /opt/smtprelay/bin/pip install ".[all]" \
    && /opt/smtprelay/bin/python -c "from twisted.plugin import IPlugin, getPlugins; list(getPlugins(IPlugin))" \
    && /opt/smtprelay/bin/python -m compileall -q /opt/smtprelay/lib

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="smtprelay" \
      org.opencontainers.image.description="SMTP in, a durable spool, delivery over the HTTP APIs of mail providers" \
      org.opencontainers.image.licenses="MIT"
COPY --from=build /opt/smtprelay /opt/smtprelay
# For people; no relay ever starts with it by mistake.
COPY etc/smtprelay.yaml /usr/share/doc/smtprelay/smtprelay.yaml
# Any user id of group 0 may run it, as OpenShift wants; the volume is all that is written to.
RUN useradd --system --uid 10001 --gid 0 --no-create-home --home-dir /var/lib/smtprelay smtprelay \
    && install --directory --owner=10001 --group=0 --mode=0770 /var/lib/smtprelay
# Variables, and no arguments, say where the configuration and the control socket are: so the health check and every
# command within the container know it, too.
ENV PATH=/opt/smtprelay/bin:$PATH \
    SMTPRELAY_CONFIG=/etc/smtprelay/smtprelay.yaml \
    RUNTIME_DIRECTORY=/var/lib/smtprelay \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001:0
WORKDIR /var/lib/smtprelay
VOLUME /var/lib/smtprelay
EXPOSE 2525 9090
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=12s --start-period=10s CMD ["smtprelay", "healthcheck"]
ENTRYPOINT ["twistd", "--nodaemon", "--pidfile=", "smtprelay"]
