# Penstock as a conventional image: gateway and command line from a wheel on Debian's Python, the portable watchdog at /penstock.
# `penstock image build` makes a smaller one without a base image, a registry or an engine: docs/how-to/container-image.md.
ARG BASE=python:3.13-slim

FROM ${BASE} AS build
WORKDIR /source
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .
RUN python -m venv /opt/penstock \
    && wheel="$(echo /wheels/penstock-*.whl)" \
    && /opt/penstock/bin/pip install --no-cache-dir "${wheel}[docker,kubernetes,s3]" \
    && /opt/penstock/bin/penstock watchdog bundle /penstock

FROM ${BASE}
LABEL org.opencontainers.image.title="Penstock" \
      org.opencontainers.image.description="Any program that reads stdin and writes stdout becomes an HTTP function" \
      org.opencontainers.image.licenses="MIT"
COPY --from=build /opt/penstock /opt/penstock
COPY --from=build /penstock /penstock
# A user that is given by its number alone is in group 0: so any user may write to the home.
RUN groupadd --gid 12000 penstock \
    && useradd --uid 12000 --gid 12000 --home-dir /var/lib/penstock --no-create-home --shell /usr/sbin/nologin penstock \
    && install -d -o 12000 -g 0 -m 0770 /var/lib/penstock
ENV PATH=/opt/penstock/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    HOME=/var/lib/penstock \
    PENSTOCK_HOME=/var/lib/penstock \
    PENSTOCK_HOST=0.0.0.0
USER 12000
VOLUME /var/lib/penstock
EXPOSE 8080 8082
HEALTHCHECK --interval=10s --timeout=5s CMD ["/opt/penstock/bin/penstock", "health"]
ENTRYPOINT ["/opt/penstock/bin/penstock"]
CMD ["serve"]
